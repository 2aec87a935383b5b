"""Chunk and meta of a new object in one write, and what happens when something comes between."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import objstore.batch as module
import objstore.commit as commit_module
from objstore import (
    BucketFullError,
    BucketNotFoundError,
    BucketSealedError,
    Client,
    ConnectionLostError,
    ObjectStore,
    OutcomeUnknownError,
    PermissionsViolationError,
    PreconditionFailedError,
)
from objstore.core.deadline import Deadline
from objstore.core.nuid import next_nuid
from objstore.exchange import Exchange
from objstore.models import DEFAULT_CHUNK_SIZE
from objstore.server import LocalServer
from tests.fake_bucket import FakeBucket
from tests.fake_server import Command, FakeConnection, FakeServer
from tests.helpers import Interruption, interrupt, pattern, wait_until
from tests.proxy import Proxy
from tests.raw_bucket import RawBucket

GoOn = Callable[[], None]

#: Level of the API that knows the condition.
LEVEL = 2
#: What may wait for another round trip, or may not.
SIZES = [1, 1024, module.SMALL_REQUEST + 1, DEFAULT_CHUNK_SIZE]


@pytest.fixture
def once(store: ObjectStore) -> ObjectStore:
    """A store that knows where its stream ends, and what is asked for at once."""
    store.put("first", b"1")
    return store


def is_at_once(raw: RawBucket, name: str) -> bool:
    """Whether an object was stored in one round trip."""
    message = raw.message(last_by_subj=raw.meta_subject(name))
    assert message is not None
    return b"Nats-Expected-Last-Sequence" in message["hdrs"]


def check_clean(store: ObjectStore, raw: RawBucket) -> None:
    """Every object has its chunks, and there are no others."""
    infos = store.list(show_deleted=True)
    assert raw.chunks == {info.nuid: info.chunks for info in infos if info.chunks}
    for info in infos:
        if info.chunks:
            store.get_bytes(info.name)


# All goes well


@pytest.mark.parametrize("size", SIZES)
def test_new_object_takes_one_round_trip(size: int) -> None:
    """From the second on, when it is known where the stream ends."""
    fake = FakeBucket(level=LEVEL)
    data = pattern(size)
    with FakeServer(fake) as server, fake.open(server) as store:
        store.put("first", data)
        fake.log.clear()
        info = store.put("a", data)
        assert fake.log == ["chunk", "meta"]
        assert store.get_info("a").revision == info.revision == fake.last_seq
        assert store.get_bytes("a") == data
        fake.log.clear()
        store.put("a", data)
        assert fake.log == ["get", "chunk", "meta", "purge"], "that name is known to exist"
        store.put("b", data)
        assert fake.log[4:] == ["chunk", "meta"]


@pytest.mark.parametrize(("level", "replicas"), [(None, 1), (1, 1), (LEVEL, 3)])
def test_what_the_server_does_not_know_is_not_asked_of_it(level: int | None, replicas: int) -> None:
    fake = FakeBucket(level=level, replicas=replicas)
    with FakeServer(fake) as server, fake.open(server) as store:
        for name in "abc":
            store.put(name, b"data")
        assert fake.log[-3:] == ["get", "chunk", "meta"]


@pytest.mark.parametrize("metadata", [None, [], {"_nats.level": 2}, {"_nats.level": "x"}, "2"])
def test_level_that_is_none_is_none(metadata: Any) -> None:
    fake = FakeBucket()
    fake._config["metadata"] = metadata
    with FakeServer(fake) as server, fake.open(server) as store:
        assert not store._bucket.takes_both


@pytest.mark.parametrize("size", SIZES)
def test_server_stores_both(once: ObjectStore, raw: RawBucket, size: int) -> None:
    data = pattern(size)
    meta = {"description": "d", "headers": {"k": ["v", "w"]}, "metadata": {"m": "n"}}
    for number in range(5):
        info = once.put(f"{number}", data, **meta)  # type: ignore[arg-type]
        assert is_at_once(raw, f"{number}")
        found = once.get_info(f"{number}")
        assert found.with_fields(mtime=info.mtime) == info and found.description == "d"
        assert once.get_bytes(f"{number}") == data
    check_clean(once, raw)


def test_object_can_be_changed_afterwards_like_any(once: ObjectStore, raw: RawBucket) -> None:
    names = ["put", "update", "rename", "delete"]
    for name in names:
        once.put(name, b"old")
        assert is_at_once(raw, name)
    once.put("put", b"new")
    assert once.update_meta("update", description="new").description == "new"
    once.update_meta("rename", new_name="renamed")
    once.delete("delete")
    assert once.get_bytes("put") == b"new"
    assert set(once) == {"first", "put", "update", "renamed"}
    check_clean(once, raw)


def test_many_new_objects_take_one_round_trip_together() -> None:
    """Each begins where the one before it ends; what cannot be new goes the other way."""
    fake = FakeBucket(level=LEVEL)
    items = {f"{number}": pattern(100 + number) for number in range(40)}
    with FakeServer(fake) as server, fake.open(server) as store:
        store.put("first", b"1")
        fake.log.clear()
        infos = store.put_many(items)
        assert fake.log == ["chunk", "meta"] * 40
        assert [info.revision for info in infos] == list(range(4, 84, 2))
        fake.log.clear()
        store.put_many({"new": b"x", "first": b"2", "empty": b"", "newer": b"y"})
        assert fake.log == [
            *["chunk", "meta"] * 2,
            *["get", "chunk", "get"],
            *["meta", "meta", "purge"],
        ]
        for name, data in [*items.items(), ("first", b"2"), ("empty", b""), ("newer", b"y")]:
            assert store.get_bytes(name) == data


@pytest.mark.parametrize("size", [10, module.SMALL_REQUEST + 1])
def test_server_stores_many(once: ObjectStore, raw: RawBucket, size: int) -> None:
    items = {f"{number}": pattern(size + number) for number in range(100)}
    once.put_many(items)
    assert all(is_at_once(raw, name) for name in items)
    assert {name: once.get_bytes(name) for name in items} == items
    check_clean(once, raw)


def test_mirror_has_it_all(once: ObjectStore, raw: RawBucket) -> None:
    """The conditions are for the stream that they were made for."""
    mirror = RawBucket(once._bucket.js.connection, f"{once.bucket}-mirror")
    once.put("a", b"data")
    once.delete("a")
    once.put("b", b"data")
    config = {"name": f"OBJ_{mirror.name}", "mirror": {"name": f"OBJ_{once.bucket}"}}
    assert "error" not in mirror.call("STREAM.CREATE.%", config)
    once.put("c", b"data")
    assert is_at_once(raw, "a") or is_at_once(raw, "c")
    wait_until(lambda: mirror.state["last_seq"] == raw.state["last_seq"])
    assert mirror.call("STREAM.DELETE.%")["success"]


# Somebody else


def test_object_that_another_has_stored_is_replaced(
    server: LocalServer, once: ObjectStore, raw: RawBucket
) -> None:
    """The name is not new, and this client does not know it."""
    with Client(server.url) as client:
        client.object_store(once.bucket).put("a", b"old")
    once._bucket.recent.stored(raw.state["last_seq"])
    once.put("a", b"new")
    assert once.get_bytes("a") == b"new" and not is_at_once(raw, "a")
    check_clean(once, raw)


def test_message_of_another_makes_the_guess_a_wrong_one(once: ObjectStore, raw: RawBucket) -> None:
    raw.put_object("other", [b"data"])
    once.put("a", b"data")
    assert not is_at_once(raw, "a")
    check_clean(once, raw)


@pytest.mark.parametrize("nth", [2, 3, 10, 20])
@pytest.mark.parametrize("kind", ["chunk", "meta"])
def test_who_comes_between_many_sends_those_behind_him_the_other_way(kind: str, nth: int) -> None:
    def come_between(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count[kind] == nth:
            fake.store(Command("HPUB", f"$O.b.M.{TOKEN}", payload=META.encode()))
        go_on()

    fake = FakeBucket(level=LEVEL, **{kind: come_between})
    names = [f"{number}" for number in range(18)] + ["a"]
    with FakeServer(fake) as server, fake.open(server) as store:
        store.put("first", b"1")
        infos = store.put_many((name, name.encode()) for name in names)
        assert [store.get_info(name).revision for name in names] == [i.revision for i in infos]
        assert all(store.get_bytes(name) == name.encode() for name in names)
        assert len([m for m in fake.messages if ".C." in m.subject]) == 20


def test_guesses_wait_the_longer_the_more_of_them_were_wrong() -> None:
    fake = FakeBucket(level=LEVEL)
    with FakeServer(fake) as server, fake.open(server) as store:
        tries = []
        for number in range(40):
            fake.log.clear()
            store.put(f"{number}", b"data")
            if fake.log[:2] == ["chunk", "meta"]:
                tries.append(number)
            fake.store(Command("HPUB", "$O.b.C.other", payload=b"x"))
        assert tries == [1, 6, 15, 32]
        fake.log.clear()
        # One that is right ends that.
        store._bucket.recent._pause = 0
        store._bucket.recent.stored(fake.last_seq)
        store.put("right", b"data")
        assert fake.log == ["chunk", "meta"]
        assert store._bucket.recent._next_pause == 4


@pytest.mark.parametrize("is_put_first", [True, False])
def test_other_who_comes_between_is_replaced_in_his_turn(is_put_first: bool) -> None:
    """Between chunk and meta, or before both: he is not passed over, nor are his chunks."""

    def come_between(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if not others:
            for kind in ("C.otherother0123456789AB", f"M.{TOKEN}"):
                payload = META.encode() if kind[0] == "M" else b"other"
                fake.store(Command("HPUB", f"$O.b.{kind}", payload=payload))
            others.append(True)
        go_on()

    others: list[bool] = [True]
    kind = "chunk" if is_put_first else "meta"
    fake = FakeBucket(level=LEVEL, **{kind: come_between})
    with FakeServer(fake) as server, fake.open(server) as store:
        store.put("first", b"1")
        others.clear()
        info = store.put("a", b"mine")
        assert store.get_info("a").revision == info.revision
        assert store.get_bytes("a") == b"mine"
        chunks = [m.subject for m in fake.messages if ".C." in m.subject]
        assert chunks[1:] == [f"$O.b.C.{info.nuid}"]


def test_meta_is_not_stored_in_place_of_another_chunk() -> None:
    """The chunk is refused, and somebody else's message has its place."""

    def take_its_place(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count["chunk"] == 2:
            fake.store(Command("HPUB", "$O.b.C.otherother0123456789AB", payload=b"other"))
        else:
            go_on()

    fake = FakeBucket(level=LEVEL, chunk=take_its_place)
    with FakeServer(fake) as server, fake.open(server) as store:
        store.put("first", b"1")
        store.put("a", b"mine")
        assert fake.log[-5:] == ["chunk", "meta", "get", "chunk", "meta"]
        assert store.get_bytes("a") == b"mine"


TOKEN = "YQ=="  # of the name a
META = '{"name":"a","bucket":"b","nuid":"otherother0123456789AB","size":5,"chunks":1,"digest":""}'


def test_two_who_put_new_names_at_the_same_time(server: LocalServer, once: ObjectStore) -> None:
    """Whoever comes last is there, whole; and who asked for a new name knows whether it was."""
    names = [f"name-{number}" for number in range(200)]
    barrier = threading.Barrier(2, timeout=60)

    def put(store: ObjectStore, data: bytes, *, if_absent: bool) -> list[str]:
        lost = []
        for name in names:
            store._bucket.recent._pause = 0
            barrier.wait()
            try:
                store.put(name, data, if_absent=if_absent)
            except PreconditionFailedError:
                lost.append(name)
        return lost

    with Client(server.url) as client, ThreadPoolExecutor(2) as pool:
        other = client.object_store(once.bucket)
        both = [pool.submit(put, once, b"always", if_absent=False)]
        both.append(pool.submit(put, other, b"if absent", if_absent=True))
        won, lost = (one.result(120) for one in both)
    assert not won
    found = {name: once.get_bytes(name) for name in names}
    assert set(found.values()) <= {b"always", b"if absent"}
    assert all(found[name] == b"always" for name in lost)


# Refusals


def test_full_bucket_is_told_and_nothing_is_left(client: Client, server: LocalServer) -> None:
    bucket = f"full-{next_nuid()}"
    store = client.create_object_store(bucket, max_bytes=100_000)
    raw = RawBucket(store._bucket.js.connection, bucket)
    store.put("first", bytes(50_000))
    with pytest.raises(BucketFullError):
        store.put("a", bytes(60_000))
    check_clean(store, raw)
    store.put("b", bytes(1000))
    check_clean(store, raw)
    client.delete_object_store(bucket)


def test_bucket_that_is_sealed_or_gone_is_told(client: Client, once: ObjectStore) -> None:
    client.object_store(once.bucket).seal()
    with pytest.raises(BucketSealedError):
        once.put("a", b"data")
    client.delete_object_store(once.bucket)
    once._bucket.recent._pause = 0
    with pytest.raises(BucketNotFoundError):
        once.put("a", b"data")


@pytest.mark.parametrize("denied", ["C", "M"])
def test_denied_publish_is_told(make_server: Callable[..., LocalServer], denied: str) -> None:
    config = (
        "authorization { users: [{user: a, password: a}, {user: b, password: b, permissions: "
        f'{{publish: {{deny: "$O.*.{denied}.>"}}}}}}] }}'
    )
    server = make_server(config=config)
    with Client(server.url, user="a", password="a") as client:
        client.create_object_store("b").put("first", b"1")
    with Client(server.url, user="b", password="b") as client:
        store = client.object_store("b")
        raw = RawBucket(store._bucket.js.connection, "b")
        store._bucket.recent.stored(raw.state["last_seq"])
        with pytest.raises(PermissionsViolationError, match=rf"\.{denied}\."):
            store.put("a", b"data")
        check_clean(store, raw)


def test_headers_that_do_not_fit_beside_the_chunk_take_two_round_trips() -> None:
    """A long name stands in the chunk's condition, too."""
    fake = FakeBucket(level=LEVEL)
    with FakeServer(fake, info={"max_payload": 4096}) as server, fake.open(server) as store:
        store.put("first", b"1")
        data = bytes(store._bucket.max_chunk_size(Deadline(1.0)))
        store.put("n" * 200, data)
        assert fake.log[-4:] == ["meta", "get", "chunk", "meta"]
        assert store.get_bytes("n" * 200) == data


# What is lost


@contextlib.contextmanager
def behind_proxy(server: LocalServer, store: ObjectStore) -> Iterator[tuple[Proxy, ObjectStore]]:
    """A store that knows where its stream ends, through a proxy."""
    with Proxy(server.port) as proxy, Client(proxy.url) as client:
        far = client.object_store(store.bucket)
        far.put("first", b"1")
        yield proxy, far


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("what", ["C", "M"])
@pytest.mark.parametrize("is_sent", [True, False])
def test_put_whose_connection_breaks_is_made_once(
    server: LocalServer, store: ObjectStore, raw: RawBucket, size: int, what: str, is_sent: bool
) -> None:
    """Before or after the server has the chunk, or the meta."""
    data = pattern(size)
    command = f"HPUB $O.{store.bucket}.{what}.".encode()

    def cut() -> None:
        proxy.cut()
        proxy.release_s2c()

    with behind_proxy(server, store) as (proxy, far):
        if is_sent:
            proxy.on(command, proxy.hold_s2c, before=True)
        fired = proxy.on(command, cut, before=not is_sent)
        info = far.put("a", data)
        assert fired.wait(10) and proxy.connections == 2
    assert store.get_info("a").nuid == info.nuid and store.get_bytes("a") == data
    assert raw.subjects(f"$O.{store.bucket}.M.>")[raw.meta_subject("a")] == 1
    check_clean(store, raw)


def test_put_that_finds_no_server_again(
    server: LocalServer, store: ObjectStore, raw: RawBucket
) -> None:
    """Of unknown outcome once it was sent, and not before that."""
    with behind_proxy(server, store) as (proxy, far):
        proxy.on(
            f"HPUB $O.{store.bucket}.M.".encode(),
            lambda: (proxy.refuse(), proxy.cut()),
            before=True,
        )
        with pytest.raises(OutcomeUnknownError):
            far.put("a", b"data", timeout=0.3)
        with pytest.raises(ConnectionLostError):
            far.put("b", b"data", timeout=0.3)
    assert "b" not in store


@pytest.mark.parametrize("is_stored", [True, False])
@pytest.mark.parametrize("what", ["chunk", "meta"])
def test_silence_is_no_answer(monkeypatch: pytest.MonkeyPatch, what: str, is_stored: bool) -> None:
    def lose(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count[what] != 2:
            go_on()
        elif is_stored and fake.is_expected(command):
            fake.store(command)

    monkeypatch.setattr(module, "ACK_TIMEOUT", 0.05)
    fake = FakeBucket(level=LEVEL, **{what: lose})
    with FakeServer(fake) as server, fake.open(server) as store:
        store.put("first", b"1")
        info = store.put("a", b"data")
        assert store.get_info("a").nuid == info.nuid and store.get_bytes("a") == b"data"
        assert len(fake.find("$O.b.>", 0)) == 4


def test_version_of_long_ago_has_not_replaced_what_was_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Though it tells nothing of what came before it."""

    def lose(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count["meta"] != 2:
            go_on()

    monkeypatch.setattr(module, "ACK_TIMEOUT", 0.05)
    fake = FakeBucket(level=LEVEL, meta=lose)
    headers = {"Nats-Rollup": ["sub"], "Nats-Expected-Last-Subject-Sequence": ["9"]}
    fake.store(Command("HPUB", f"$O.b.M.{TOKEN}", headers=headers, payload=META.encode()))
    with FakeServer(fake) as server, fake.open(server) as store:
        store.put("first", b"1")
        info = store.put("a", b"mine")
        assert store.get_info("a").revision == info.revision
        assert store.get_bytes("a") == b"mine"


def test_chunk_that_is_sent_after_its_purge_is_purged_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ours was stored, and another has replaced it before we came to ask."""

    def lose(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count["meta"] != 2:
            go_on()
            return
        assert fake.is_expected(command)
        fake.store(command)
        own = command.headers["Nats-Msg-Id"][0]
        headers = {
            "Nats-Rollup": ["sub"],
            "Nats-Expected-Last-Subject-Sequence": [str(fake.last_seq)],
            "Nats-Msg-Id": [f"another.{fake.last_seq}"],
            "Objstore-Lineage": [own],
        }
        subject = f"$O.b.M.{TOKEN}"
        fake.store(Command("HPUB", subject, headers=headers, payload=META.encode()))
        fake.messages = [m for m in fake.messages if not m.subject.endswith(nuid_of(command))]
        fake._ids.clear()

    def nuid_of(command: Command) -> str:
        return str(command.json["nuid"])

    monkeypatch.setattr(module, "ACK_TIMEOUT", 0.05)
    fake = FakeBucket(level=LEVEL, meta=lose)
    with FakeServer(fake) as server, fake.open(server) as store:
        store.put("first", b"1")
        info = store.put("a", b"mine")
        assert info.revision == 0
        assert not fake.find(f"$O.b.C.{info.nuid}", 0)
        assert fake.find(f"$O.b.M.{TOKEN}", 0)[-1].payload == META.encode()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("owner", "where"),
    [
        (Exchange, "tell"),
        (Exchange, "add"),
        (Exchange, "send"),
        (Exchange, "answers"),
        (commit_module, "encode_info"),
        (commit_module, "parse_ack"),
    ],
)
def test_interrupted_put_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
    once: ObjectStore,
    raw: RawBucket,
    size: int,
    owner: object,
    where: str,
) -> None:
    interrupt(monkeypatch, owner, where)
    with pytest.raises(Interruption):
        once.put("a", pattern(size))
    check_clean(once, raw)
    once.put("b", b"data")
    assert once.get_bytes("b") == b"data"
