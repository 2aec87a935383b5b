"""Rename: one change where the bucket allows it, and elsewhere steps that lose nothing."""

from __future__ import annotations

import itertools
import json
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from objstore.bucket import ALIAS, Bucket
from objstore.client import Client
from objstore.errors import (
    ObjectAlreadyExistsError,
    ObjectNotFoundError,
    ObjStoreError,
    OutcomeUnknownError,
    PreconditionFailedError,
)
from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.proxy import Proxy
from tests.raw_bucket import RawBucket
from tests.test_changes import meanwhile

in_steps = pytest.mark.parametrize("store", ["steps"], indirect=True)

DATA = b"data"
TIMEOUT = 10.0


@pytest.fixture(params=["steps", "atomic"])
def store(request: pytest.FixtureRequest, client: Client, bucket: str) -> Iterator[ObjectStore]:
    """A bucket where old and new name change as one, and one where they do not."""
    store = client.create_object_store(bucket, atomic=request.param == "atomic")
    if request.param == "atomic" and not store._bucket.atomic:
        pytest.skip("this server stores no batches")
    yield store
    client.delete_object_store(bucket)


@pytest.fixture
def other(server: LocalServer, store: ObjectStore) -> Iterator[ObjectStore]:
    """The same bucket in the hands of somebody else."""
    with Client(server.url) as client:
        yield client.object_store(store.bucket)


@pytest.fixture
def proxy(server: LocalServer) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def proxied(proxy: Proxy, store: ObjectStore) -> Iterator[ObjectStore]:
    with Client(proxy.url) as client:
        yield client.object_store(store.bucket)


@pytest.fixture(autouse=True)
def nothing_is_left_over(store: ObjectStore, raw: RawBucket) -> Iterator[None]:
    """In the end every chunk is of an object, and every object has all of its own."""
    yield
    report = store.check(read_data=True)
    assert report
    assert {w.kind for w in report.warnings} <= {"shared"}, report


def contents(store: ObjectStore) -> dict[str, bytes]:
    return {name: store.get_bytes(name) for name in store}


def test_rename(store: ObjectStore, raw: RawBucket) -> None:
    """The bytes stay; the new info is what is stored."""
    before = store.put("a", DATA, description="d")
    renamed = store.update_meta("a", new_name="b", metadata={"k": "v"})
    assert (renamed.name, renamed.nuid, renamed.description) == ("b", before.nuid, "d")
    assert renamed.metadata == {"k": "v"}
    info = store.get_info("b")
    assert (info, info.revision) == (
        replace(renamed, mtime=info.mtime),
        renamed.revision,
    )
    assert contents(store) == {"b": DATA}
    assert raw.chunks == {before.nuid: 1}


def test_there_and_back(store: ObjectStore, raw: RawBucket) -> None:
    """Over and over, also onto names that were deleted, and between puts and updates."""
    store.put("c", b"x")
    store.delete("c")
    store.put("a", DATA)
    for name, new_name in [("a", "b"), ("b", "c"), ("c", "a"), ("a", "c"), ("c", "b")]:
        store.update_meta(name, new_name=new_name)
        store.update_meta(new_name, description=new_name)
        assert contents(store) == {new_name: DATA}
    store.put("b", b"new")
    assert len(raw.chunks) == 1
    store.delete("b")
    assert raw.chunks == {}


def test_empty_objects_and_links(store: ObjectStore) -> None:
    store.put("a", b"")
    link = store.add_link("l", store.put("t", DATA))
    assert store.update_meta("a", new_name="b").size == 0
    assert store.update_meta("l", new_name="m").link == link.link
    assert contents(store) == {"b": b"", "m": DATA, "t": DATA}


def test_watcher_learns_of_it(store: ObjectStore) -> None:
    """Of the new name always; of the old one that it is gone where that is one change."""
    store.put("a", DATA)
    with store.watch(updates_only=True) as watcher:
        store.update_meta("a", new_name="b")
        if store._bucket.atomic:
            events = [watcher.next(TIMEOUT), watcher.next(TIMEOUT)]
            assert [(e.name, e.deleted) for e in events if e] == [("b", False), ("a", True)]
        else:
            while (event := watcher.next(TIMEOUT)) is not None and event.name != "b":
                assert (event.name, event.deleted) == ("a", False)


def test_what_is_left_of_the_old_name_names_no_chunks(store: ObjectStore, raw: RawBucket) -> None:
    """Some clients delete a deleted object again, and purge what its tombstone names."""
    info = store.put("a", DATA)
    store.update_meta("a", new_name="b")
    message = raw.meta_message("a")
    if store._bucket.atomic:
        assert message is not None
        assert raw.meta("a")["nuid"] != info.nuid
        assert raw.meta("a")["deleted"]
    else:
        assert message is None


# Others


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("act", ["put", "update_meta"])
def test_change_of_the_old_name_comes_first(
    store: ObjectStore, other: ObjectStore, act: str, nth: int
) -> None:
    """What it is now is renamed."""
    store.put("a", b"old")
    acts: dict[str, Callable[[], object]] = {
        "put": lambda: other.put("a", DATA),
        "update_meta": lambda: other.update_meta("a", description="d"),
    }
    with meanwhile(store, acts[act], nth=nth):
        info = store.update_meta("a", new_name="b")
    assert contents(store) == {"b": DATA if act == "put" else b"old"}
    assert info.description == ("" if act == "put" else "d")


def test_new_name_that_is_taken_meanwhile(store: ObjectStore, other: ObjectStore) -> None:
    store.put("a", DATA)
    with meanwhile(store, lambda: other.put("b", b"other"), nth=2):
        with pytest.raises(ObjectAlreadyExistsError):
            store.update_meta("a", new_name="b")
    assert contents(store) == {"a": DATA, "b": b"other"}


@pytest.mark.parametrize("act", ["delete", "rename"])
def test_old_name_that_goes_meanwhile(store: ObjectStore, other: ObjectStore, act: str) -> None:
    store.put("a", DATA)
    acts: dict[str, Callable[[], object]] = {
        "delete": lambda: other.delete("a"),
        "rename": lambda: other.update_meta("a", new_name="c"),
    }
    with meanwhile(store, acts[act], nth=2):
        with pytest.raises(ObjectNotFoundError):
            store.update_meta("a", new_name="b")
    assert contents(store) == ({} if act == "delete" else {"c": DATA})


def test_condition_holds_or_nothing_happens(store: ObjectStore, other: ObjectStore) -> None:
    info = store.put("a", b"old")
    other.put("a", DATA)
    with pytest.raises(PreconditionFailedError):
        store.update_meta("a", new_name="b", if_revision=info.revision)
    revision = store.get_info("a").revision
    store.update_meta("a", new_name="b", if_revision=revision)
    assert contents(store) == {"b": DATA}


@pytest.mark.slow
def test_everybody_at_once(server: LocalServer, store: ObjectStore, raw: RawBucket) -> None:
    """Renames in all directions, puts and deletes: no chunk is lost, none is left over."""
    barrier = threading.Barrier(4)
    names = "abc"

    def work(seed: int) -> None:
        draw = random.Random(seed)
        with Client(server.url) as client:
            mine = client.object_store(store.bucket)
            barrier.wait(TIMEOUT)
            for number in range(60):
                name, new_name = draw.sample(names, 2)
                try:
                    match draw.randrange(5):
                        case 0:
                            mine.delete(name, missing_ok=True)
                        case 1 | 2:
                            mine.put(name, b"%d %d" % (seed, number))
                        case _:
                            mine.update_meta(name, new_name=new_name)
                except (ObjectNotFoundError, ObjectAlreadyExistsError):
                    pass

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    infos = store.list()
    assert set(raw.chunks) == {info.nuid for info in infos}
    assert len(raw.chunks) == len(infos)


@in_steps
@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (lambda other: other.put("a", b"x"), {"b": b"x"}),
        (lambda other: other.update_meta("a", description="d"), {"b": DATA}),
        (lambda other: other.delete("a"), None),
        (lambda other: other.put("b", b"x"), {"b": b"x"}),
        (lambda other: other.delete("b"), {}),
    ],
)
def test_change_while_both_names_are_there(
    store: ObjectStore,
    other: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[[ObjectStore], object],
    expected: dict[str, bytes] | None,
) -> None:
    """Who sees two names spares the chunks; who renames removes them if nobody needs them."""
    store.put("a", DATA)
    bucket: Any = store._bucket
    purge_meta = bucket.purge_meta
    acts = [act]

    def purge(*args: Any) -> Any:
        if acts:
            acts.pop()(other)
        return purge_meta(*args)

    monkeypatch.setattr(bucket, "purge_meta", purge)
    if expected is None:
        with pytest.raises(ObjectNotFoundError):
            store.update_meta("a", new_name="b")
    else:
        store.update_meta("a", new_name="b")
    assert contents(store) == (expected or {})
    assert store.check().warnings == ()


# Faults


@pytest.mark.parametrize("direction", ["c2s", "s2c"])
def test_every_cut_leaves_one_name(
    store: ObjectStore, proxied: ObjectStore, proxy: Proxy, direction: Any
) -> None:
    """Whichever request or answer is lost, the rename comes to its end."""
    pattern = b"PUB " if direction == "c2s" else b"MSG _INBOX."
    for nth in itertools.count(1):
        store.put("a", b"%d" % nth)
        cut = proxy.on(pattern, proxy.cut, direction=direction, nth=nth, before=True)
        proxied.update_meta("a", new_name="b")
        assert contents(store) == {"b": b"%d" % nth}
        store.delete("b")
        if not cut.is_set():
            break
    assert nth > 3


def test_unknown_outcome_is_named(store: ObjectStore, proxied: ObjectStore, proxy: Proxy) -> None:
    """No ack, and no connection again: either may hold, and nothing is lost."""
    info = store.put("a", DATA)

    def vanish() -> None:
        proxy.hold_s2c()
        proxy.refuse()

    word = b"Nats-Batch-Commit" if store._bucket.atomic else b"HPUB $O."
    proxy.on(word, vanish, before=True)
    with pytest.raises(OutcomeUnknownError) as caught:
        proxied.update_meta("a", new_name="b", timeout=0.5)
    assert caught.value.nuid == info.nuid
    assert set(contents(store)) in ({"a"}, {"b"})
    assert set(contents(store).values()) == {DATA}


# In steps, and what an interrupted one leaves


class DiedError(Exception):
    """The process is gone."""


@pytest.fixture
def interrupted(
    request: pytest.FixtureRequest, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> ObjectStore:
    """A rename from a to b died when both were there."""
    store.put("a", DATA)

    def die(*args: Any) -> bool:
        raise DiedError

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "purge_meta", die)
        with pytest.raises(DiedError):
            store.update_meta("a", new_name="b")
    assert contents(store) == {"a": DATA, "b": DATA}
    return store


ENDS: dict[str, tuple[Callable[[ObjectStore], object], dict[str, bytes]]] = {
    "rename again": (lambda store: store.update_meta("a", new_name="b"), {"b": DATA}),
    "rename back": (lambda store: store.update_meta("b", new_name="a"), {"a": DATA}),
    "delete the old": (lambda store: store.delete("a"), {"b": DATA}),
    "delete the new": (lambda store: store.delete("b"), {"a": DATA}),
    "delete for good": (lambda store: store.delete("a", purge=True), {"b": DATA}),
    "put over the old": (lambda store: store.put("a", b"x"), {"a": b"x", "b": DATA}),
    "put over the new": (lambda store: store.put("b", b"x"), {"a": DATA, "b": b"x"}),
    "put many": (lambda store: store.put_many({"a": b"x"}), {"a": b"x", "b": DATA}),
    "describe": (
        lambda store: (store.update_meta("b", description="d"), store.delete("b")),
        {"a": DATA},
    ),
    "delete twice": (lambda store: (store.delete("a"), store.delete("a")), {"b": DATA}),
    "delete both": (lambda store: (store.delete("a"), store.delete("b")), {}),
}


@in_steps
@pytest.mark.parametrize("end", ENDS)
def test_two_names_do_not_harm_each_other(
    interrupted: ObjectStore, raw: RawBucket, end: str
) -> None:
    """Each way out leaves the other name whole, and in the end no chunk too many."""
    assert [w.kind for w in interrupted.check().warnings] == ["shared"]
    act, expected = ENDS[end]
    act(interrupted)
    assert contents(interrupted) == expected
    assert interrupted.check(read_data=True).warnings == ()


@in_steps
def test_third_name_is_refused(interrupted: ObjectStore) -> None:
    """Nobody could keep track of three."""
    for name, alias in (("a", "b"), ("b", "a")):
        with pytest.raises(ObjectAlreadyExistsError, match=f"'{alias}'.*was not finished"):
            interrupted.update_meta(name, new_name="c")
    interrupted.delete("a")
    interrupted.update_meta("b", new_name="c")
    assert contents(interrupted) == {"c": DATA}


@in_steps
def test_unreadable_alias_keeps_the_chunks(interrupted: ObjectStore, raw: RawBucket) -> None:
    """It may be its name, too."""
    info = interrupted.get_info("b")
    meta = raw.meta("a")
    raw.put_meta("a", b"{")
    interrupted.delete("b")
    assert set(raw.chunks) == {info.nuid}
    raw.put_meta("a", meta)


@pytest.mark.parametrize("alias", ["", "x", "====", "w6k", "YQ", "YQ==", ">", "a.b", "YWFh" * 1500])
def test_hostile_alias_is_no_name(store: ObjectStore, raw: RawBucket, alias: str) -> None:
    """Or that of an object which has other chunks, or none."""
    raw.put_object("a", [DATA])
    payload = json.dumps(raw.meta("a")).encode()
    raw.publish(raw.meta_subject("b"), payload, {ALIAS: alias})
    raw.purge(raw.meta_subject("a"))
    store.delete("b")
    assert raw.chunks == {}


@in_steps
def test_bucket_that_stores_no_batches(client: Client, store: ObjectStore, bucket: str) -> None:
    """It was changed since: its server refuses the batch, and the steps do it, from now on."""
    atomic = client.create_object_store(f"{bucket}-atomic", atomic=True)
    client.delete_object_store(atomic.bucket)
    if not atomic._bucket.atomic:
        pytest.skip("this server knows no batches, so no bucket was ever made to take them")
    store._bucket.atomic = True
    store.put("a", DATA)
    store.update_meta("a", new_name="b")
    assert contents(store) == {"b": DATA}
    assert not store._bucket.atomic


@pytest.mark.parametrize("store", ["atomic"], indirect=True)
def test_full_bucket_says_so(client: Client, store: ObjectStore, bucket: str) -> None:
    """And the object keeps its name."""
    full = client.create_object_store(f"{bucket}-full", max_bytes=2000, atomic=True)
    full.put("a", bytes(1200))
    with pytest.raises(ObjStoreError):
        full.update_meta("a", new_name="b" * 300)
    assert list(contents(full)) == ["a"]
    client.delete_object_store(full.bucket)
