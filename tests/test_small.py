"""The short way of one small object, and that what goes wrong on it goes right on another."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import objstore.batch as batch_module
import objstore.commit as commit_module
import objstore.small as module
from objstore import (
    BucketFullError,
    DigestMismatchError,
    ObjectNotFoundError,
    ObjectStore,
    RequestTimeoutError,
    TruncatedObjectError,
)
from objstore.exchange import Exchange
from objstore.models import DEFAULT_CHUNK_SIZE
from tests.fake_bucket import FakeBucket
from tests.fake_server import Command, FakeConnection, FakeServer
from tests.helpers import Interruption, interrupt, pattern
from tests.raw_bucket import RawBucket

GoOn = Callable[[], None]


@pytest.mark.parametrize("size", [1, 1024, DEFAULT_CHUNK_SIZE])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_put_takes_two_round_trips(size: int, kind: type) -> None:
    """The chunk goes out with the question what it replaces; then the meta, then a purge."""
    data = pattern(size)
    bucket = FakeBucket()
    with FakeServer(bucket) as server, bucket.open(server) as store:
        bucket.log.clear()
        store.put("a", kind(data))
        assert bucket.log == ["get", "chunk", "meta"]
        store.put("a", kind(data))
        assert bucket.log == ["get", "chunk", "meta"] * 2 + ["purge"]
        assert store.get_bytes("a") == data


def test_what_others_need_takes_the_long_way(store: ObjectStore) -> None:
    """A condition, a callback, several chunks: nothing of them is lost."""
    seen: list[int] = []
    assert store.put("a", b"x", if_absent=True).revision
    assert store.put("b", b"xyz", callback=seen.append).size == sum(seen) == 3
    assert store.put("c", b"xyz", chunk_size=2).chunks == 2
    assert store.put("d", pattern(DEFAULT_CHUNK_SIZE + 1)).chunks == 2
    assert store.put("e", b"").chunks == 0
    assert [len(store.get_bytes(name)) for name in "abcde"] == [1, 3, 3, DEFAULT_CHUNK_SIZE + 1, 0]


@pytest.mark.parametrize("is_stored", [True, False])
def test_chunk_without_an_answer_is_stored_once(
    monkeypatch: pytest.MonkeyPatch, is_stored: bool
) -> None:
    def lose(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if bucket.count["chunk"] > 1:
            go_on()
        elif is_stored:
            bucket.store(command)

    monkeypatch.setattr(batch_module, "ACK_TIMEOUT", 0.05)
    bucket = FakeBucket(chunk=lose)
    with FakeServer(bucket) as server, bucket.open(server) as store:
        store.put("a", b"data")
        assert bucket.count["chunk"] == 2 and len(bucket.messages) == 2
        assert store.get_bytes("a") == b"data"


def test_refused_chunk_is_told() -> None:
    def refuse(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        bucket.refuse(conn, command, 503, 10077)

    bucket = FakeBucket(chunk=refuse)
    with FakeServer(bucket) as server, bucket.open(server) as store:
        with pytest.raises(BucketFullError):
            store.put("a", b"data")
        assert "meta" not in bucket.log and bucket.log[-1] == "purge"


def test_silent_server_is_told_in_time() -> None:
    """The short way and the long one share one timeout."""

    def say_nothing(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        pass

    bucket = FakeBucket()
    with FakeServer(bucket) as server, bucket.open(server) as store:
        store.put("a", b"data")
        for kind in ("get", "direct", "chunk", "info"):
            bucket._handlers[kind] = say_nothing
        with pytest.raises(RequestTimeoutError):
            store.get_bytes("a", timeout=0.1)
        with pytest.raises(RequestTimeoutError):
            store.put("a", b"data", timeout=0.1)


@pytest.mark.parametrize(
    ("owner", "where"),
    [
        (Exchange, "answers"),
        (batch_module, "read_previous"),
        (batch_module, "parse_ack"),
        (commit_module, "parse_ack"),
    ],
)
def test_interrupted_put_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, store: ObjectStore, raw: RawBucket, owner: object, where: str
) -> None:
    store.put("a", b"old")
    interrupt(monkeypatch, owner, where)
    with pytest.raises(Interruption):
        store.put("a", b"new")
    assert raw.chunks == {store.get_info("a").nuid: 1}
    assert store.get_bytes("a") in (b"old", b"new")


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"DATA", DigestMismatchError),
        (b"dat", TruncatedObjectError),
        (b"data!", DigestMismatchError),
    ],
)
def test_damaged_chunk_is_told(payload: bytes, error: type[Exception]) -> None:
    bucket = FakeBucket()
    with FakeServer(bucket) as server, bucket.open(server) as store:
        store.put("a", b"data")
        bucket.messages = [
            m._replace(payload=payload) if ".C." in m.subject else m for m in bucket.messages
        ]
        with pytest.raises(error):
            store.get_bytes("a")


def test_chunk_that_does_not_come_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if bucket.count["direct"] > 1:
            go_on()

    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    bucket = FakeBucket()
    with FakeServer(bucket) as server, bucket.open(server) as store:
        store.put("a", b"data")
        bucket._handlers["direct"] = lose
        assert store.get_bytes("a") == b"data"
        assert bucket.count["direct"] == 2


def test_missing_deleted_and_linked_objects(store: ObjectStore) -> None:
    target = store.put("target", b"data")
    store.add_link("link", target)
    assert store.get_bytes("link") == b"data"
    store.delete("target")
    for name in ("target", "missing"):
        with pytest.raises(ObjectNotFoundError):
            store.get_bytes(name)


def test_name_that_is_larger_than_a_message_keeps_the_connection() -> None:
    bucket = FakeBucket()
    with FakeServer(bucket, info={"max_payload": 1024}) as server, bucket.open(server) as store:
        for call in (store.get_bytes, store.get_info):
            with pytest.raises(ValueError, match="max_payload"):
                call("x" * 1000)
        assert store._bucket.js.connection.info["max_payload"] == 1024
        with pytest.raises(ObjectNotFoundError):
            store.get_bytes("a")
