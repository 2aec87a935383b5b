"""
Changes that meet: somebody else changes an object between our reading it and our writing it.

The other change is made at exactly that moment, by the same thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from objstore.client import Client
from objstore.core.deadline import Deadline
from objstore.errors import (
    BucketFullError,
    ObjectAlreadyExistsError,
    ObjectNotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
)
from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.proxy import Proxy
from tests.raw_bucket import RawBucket


@contextmanager
def meanwhile(store: ObjectStore, act: Callable[[], object], *, nth: int = 1) -> Iterator[None]:
    """Act when the store has read the nth meta, and before it goes on."""
    bucket: Any = store._bucket
    read = bucket.meta
    count = 0

    def meta(name: str, deadline: Deadline) -> Any:
        nonlocal count
        count += 1
        info = read(name, deadline)
        if count == nth:
            act()
        return info

    bucket.meta = meta
    try:
        yield
    finally:
        bucket.meta = read
    assert count >= nth, "the moment never came"


@pytest.fixture
def other(server: LocalServer, store: ObjectStore) -> Iterator[ObjectStore]:
    """The same bucket in the hands of somebody else."""
    with Client(server.url) as client:
        yield client.object_store(store.bucket)


@pytest.fixture(autouse=True)
def nothing_is_left_over(store: ObjectStore, raw: RawBucket) -> Iterator[None]:
    """Whatever meets whatever: in the end every chunk is of a live object, and all are there."""
    yield
    live = [info for info in store.list() if info.size]
    assert set(raw.chunks) == {info.nuid for info in live}
    for info in live:
        store.get_bytes(info)


def test_update_meta_meets_a_put(store: ObjectStore, other: ObjectStore) -> None:
    """The new bytes get the new description; the old bytes never come back."""
    store.put("a", b"old", metadata={"k": "v"})
    with meanwhile(store, lambda: other.put("a", b"new")):
        info = store.update_meta("a", description="d")
    assert store.get_bytes("a") == b"new"
    assert (info.description, info.metadata) == ("d", {})


def test_update_meta_meets_another(store: ObjectStore, other: ObjectStore) -> None:
    """Neither is lost."""
    store.put("a", b"data")
    with meanwhile(store, lambda: other.update_meta("a", metadata={"k": "v"})):
        info = store.update_meta("a", description="d")
    assert (info.description, info.metadata) == ("d", {"k": "v"})


def test_update_meta_meets_a_delete(store: ObjectStore, other: ObjectStore) -> None:
    """What is deleted stays deleted."""
    store.put("a", b"data")
    with meanwhile(store, lambda: other.delete("a")):
        with pytest.raises(ObjectNotFoundError):
            store.update_meta("a", description="d")


@pytest.mark.parametrize("purge", [True, False])
def test_delete_meets_a_put(store: ObjectStore, other: ObjectStore, purge: bool) -> None:
    """One before the other: here the object that was just put is deleted, chunks and all."""
    store.put("a", b"old")
    with meanwhile(store, lambda: other.put("a", b"new")):
        store.delete("a", purge=purge)
    assert "a" not in store


def test_delete_meets_a_delete(store: ObjectStore, other: ObjectStore) -> None:
    store.put("a", b"data")
    with meanwhile(store, lambda: other.delete("a")):
        store.delete("a")
    with meanwhile(store, lambda: other.delete("a", purge=True)):
        store.delete("a")
    assert "a" not in store


@pytest.mark.parametrize("act", ["put", "update_meta", "delete"])
@pytest.mark.parametrize("call", ["update_meta", "rename", "delete"])
def test_condition_fails_if_anything_came_between(
    store: ObjectStore, other: ObjectStore, act: str, call: str
) -> None:
    """And the other's change stands."""
    info = store.put("a", b"old")
    acts: dict[str, Callable[[], object]] = {
        "put": lambda: other.put("a", b"new"),
        "update_meta": lambda: other.update_meta("a", description="new"),
        "delete": lambda: other.delete("a"),
    }
    calls: dict[str, Callable[[], object]] = {
        "update_meta": lambda: store.update_meta("a", description="d", if_revision=info.revision),
        "rename": lambda: store.update_meta("a", new_name="b", if_revision=info.revision),
        "delete": lambda: store.delete("a", if_revision=info.revision),
    }
    with meanwhile(store, acts[act]):
        with pytest.raises(PreconditionFailedError):
            calls[call]()
    assert ("a" in store) == (act != "delete")
    assert "b" not in store
    if act == "put":
        assert store.get_bytes("a") == b"new"
    if act == "update_meta":
        assert store.get_info("a").description == "new"


@pytest.mark.parametrize("nth", [1, 2])
def test_rename_meets_a_put_over_the_old_name(
    store: ObjectStore, other: ObjectStore, nth: int
) -> None:
    """The new bytes are renamed; no name is left with bytes that are gone."""
    store.put("a", b"old")
    with meanwhile(store, lambda: other.put("a", b"new"), nth=nth):
        store.update_meta("a", new_name="b")
    assert list(store) == ["b"]
    assert store.get_bytes("b") == b"new"


def test_rename_meets_a_put_of_the_new_name(store: ObjectStore, other: ObjectStore) -> None:
    """Which stays, and so does the old one."""
    store.put("a", b"data")
    with meanwhile(store, lambda: other.put("b", b"other"), nth=2):
        with pytest.raises(ObjectAlreadyExistsError):
            store.update_meta("a", new_name="b")
    assert store.get_bytes("a") == b"data"
    assert store.get_bytes("b") == b"other"


def test_rename_meets_a_delete(store: ObjectStore, other: ObjectStore) -> None:
    store.put("a", b"data")
    with meanwhile(store, lambda: other.delete("a"), nth=2):
        with pytest.raises(ObjectNotFoundError):
            store.update_meta("a", new_name="b")
    assert store.list() == []


def test_rename_meets_a_rename(store: ObjectStore, other: ObjectStore) -> None:
    """One of the two names has it."""
    store.put("a", b"data")
    with meanwhile(store, lambda: other.update_meta("a", new_name="c"), nth=2):
        with pytest.raises(ObjectNotFoundError):
            store.update_meta("a", new_name="b")
    assert list(store) == ["c"]


def test_put_meets_a_rename(store: ObjectStore, other: ObjectStore) -> None:
    """The renamed object keeps its bytes: a put purges what it replaced, not what it saw."""
    store.put("a", b"old")
    with store.put("a") as writer:
        writer.write(b"new")
        other.update_meta("a", new_name="b")
    assert store.get_bytes("a") == b"new"
    assert store.get_bytes("b") == b"old"


def test_put_meets_a_put(store: ObjectStore, other: ObjectStore) -> None:
    """The last to close stays."""
    store.put("a", b"old")
    with store.put("a") as writer:
        writer.write(b"last")
        other.put("a", b"first")
    assert store.get_bytes("a") == b"last"


def test_put_meets_a_delete(store: ObjectStore, other: ObjectStore) -> None:
    store.put("a", b"old")
    with store.put("a") as writer:
        writer.write(b"new")
        other.delete("a", purge=True)
    assert store.get_bytes("a") == b"new"


@pytest.mark.parametrize("call", ["add_link", "add_bucket_link"])
def test_link_meets_a_put(store: ObjectStore, other: ObjectStore, call: str) -> None:
    """An object that came first is not replaced by a link."""
    target = store.put("t", b"target")
    calls: dict[str, Callable[[], object]] = {
        "add_link": lambda: store.add_link("a", target),
        "add_bucket_link": lambda: store.add_bucket_link("a", store),
    }
    with meanwhile(store, lambda: other.put("a", b"new")):
        with pytest.raises(ObjectAlreadyExistsError):
            calls[call]()
    assert store.get_bytes("a") == b"new"


@pytest.mark.parametrize("call", ["delete", "update_meta", "add_link", "add_bucket_link"])
@pytest.mark.parametrize("then", ["put", "delete", "rename", "update_meta"])
def test_lost_ack_meets_another_change(
    server: LocalServer, store: ObjectStore, other: ObjectStore, call: str, then: str
) -> None:
    """It came before the other change, whether it was stored or not: that is an outcome, too."""
    target = store.put("t", b"target")
    link = call.startswith("add")
    if not link:
        store.put("a", b"old")
    calls: dict[str, Callable[[ObjectStore], object]] = {
        "delete": lambda store: store.delete("a"),
        "update_meta": lambda store: store.update_meta("a", description="d"),
        "add_link": lambda store: store.add_link("a", target),
        "add_bucket_link": lambda store: store.add_bucket_link("a", store),
    }
    acts: dict[str, Callable[[], object]] = {
        "put": lambda: other.put("a", b"new"),
        "delete": lambda: other.delete("a"),
        "rename": lambda: other.update_meta("a", new_name="b"),
        "update_meta": lambda: other.update_meta("a", description="other"),
    }

    def act() -> None:
        with contextlib.suppress(ObjectNotFoundError):  # a deleted one
            acts[then]()
        proxy.cut()

    with Proxy(server.port) as proxy, Client(proxy.url) as client:
        proxied = client.object_store(store.bucket)
        cut = proxy.on(b'{"stream":"OBJ_', act, direction="s2c", before=True)
        if then == "update_meta" and call != "delete":
            # It is built on what is there: which of the two was last nobody can say.
            with contextlib.suppress(OutcomeUnknownError):
                calls[call](proxied)
        else:
            calls[call](proxied)
        assert cut.is_set()
    expected = {"put": ["t", "a"], "delete": ["t"], "rename": ["t", "b"]}
    if call == "delete" and then != "put":
        assert list(store) == ["t"]
    elif then == "update_meta":
        assert store.get_info("a").description == "other"
    else:
        assert list(store) == expected[then]


@pytest.mark.parametrize("call", ["delete", "update_meta"])
def test_condition_whose_ack_is_lost_meets_a_put(
    server: LocalServer, store: ObjectStore, other: ObjectStore, call: str
) -> None:
    """It held: the other one tells what it replaced."""
    revision = store.put("a", b"old").revision
    with Proxy(server.port) as proxy, Client(proxy.url) as client:
        proxied = client.object_store(store.bucket)

        def act() -> None:
            other.put("a", b"new")
            proxy.cut()

        proxy.on(b'{"stream":"OBJ_', act, direction="s2c", before=True)
        calls: dict[str, Callable[[], object]] = {
            "delete": lambda: proxied.delete("a", if_revision=revision),
            "update_meta": lambda: proxied.update_meta("a", description="d", if_revision=revision),
        }
        calls[call]()
    assert store.get_bytes("a") == b"new"


def test_delete_on_a_full_bucket_meets_a_put(client: Client, raw: RawBucket, bucket: str) -> None:
    """The object that has come meanwhile is not deleted in place of the one that was read."""
    store = client.create_object_store(f"{bucket}-full", max_bytes=30_000)
    store.put("a", bytes(5_000))
    store.put("filler", bytes(22_000))
    size = 2_000
    while size:
        with contextlib.suppress(BucketFullError):
            store.put(f"filler-{size}", bytes(size))
        size //= 2
    other = client.object_store(store.bucket)

    def act() -> None:
        other.delete("filler")
        other.put("a", bytes(21_000))

    with meanwhile(store, act):
        store.delete("a")
    assert "a" not in store
    client.delete_object_store(store.bucket)
