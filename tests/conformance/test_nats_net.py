"""What nats.net asserts: `tests/NATS.Client.ObjectStore.Tests/`."""

from __future__ import annotations

import contextlib
import io
import json
import queue
import random
import threading
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path

import pytest

from objstore.client import Client
from objstore.errors import (
    BadObjectMetaError,
    BucketLinkError,
    BucketNotFoundError,
    BucketSealedError,
    InvalidNameError,
    JetStreamError,
    ObjectNotFoundError,
)
from objstore.models import ObjectInfo, ObjectLink
from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.conformance.helpers import (
    KIB,
    MIB,
    assert_quiet,
    random_bytes,
    server_version,
    take,
    take_initial,
)
from tests.helpers import wait_until
from tests.raw_bucket import RawBucket, digest_of

MakeStore = Callable[..., ObjectStore]
MakeServer = Callable[..., LocalServer]


# ObjectStoreTest


def test_create_delete_object_store(client: Client, make_store: MakeStore) -> None:
    """A bucket is a stream of its name; deleted, it is none."""
    store = make_store("b1")
    raw = RawBucket(client._connection, "b1")
    assert raw.config["name"] == "OBJ_b1"
    client.delete_object_store("b1")
    assert raw.call("STREAM.INFO.%")["error"]["err_code"] == 10059
    with pytest.raises(BucketNotFoundError):
        store.status()


@pytest.mark.parametrize("size", [90, 95])
def test_put_chunks_and_get_chunks(store: ObjectStore, size: int) -> None:
    """All chunks full, or the last one short: size, chunks, digest and bytes."""
    data = b"".join(b"%02d-4567890" % number for number in range(10))[:size]
    store.put("k1", io.BytesIO(data), chunk_size=10)
    info = store.get_info("k1")
    assert (info.size, info.chunks, info.digest) == (size, -(-size // 10), digest_of(data))
    target = io.BytesIO()
    with store.get("k1") as reader:
        target.write(reader.read())
    assert target.getvalue() == data


def test_put_any_name(store: ObjectStore) -> None:
    """Any name is fine, but an empty one, or none."""
    name = "any name is fine '~#!$()*/\\,.?<>|{}[]`'\""
    store.put(name, bytes([42]))
    assert store.get_bytes(name) == bytes([42])
    with pytest.raises(InvalidNameError):
        store.put("", bytes([42]))
    with pytest.raises(TypeError):
        store.put(None, bytes([42]))  # type: ignore[call-overload]


def test_delete_object(store: ObjectStore) -> None:
    """Deleted, an object shows only if asked for; put again, it is there."""
    store.put("k1", b"ABC")
    assert store.get_info("k1").size == 3
    store.delete("k1")
    with pytest.raises(ObjectNotFoundError):
        store.get_info("k1")
    info = store.get_info("k1", show_deleted=True)
    assert (info.deleted, info.size, info.chunks, info.digest) == (True, 0, 0, "")
    store.put("k1", b"ABC")
    assert not store.get_info("k1", show_deleted=True).deleted
    assert store.get_bytes("k1") == b"ABC"


def test_put_and_get_large_file(store: ObjectStore, tmp_path: Path) -> None:
    """10 MiB from a file and into a file."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(random_bytes(10 * MIB))
    with source.open("rb") as file:
        store.put("my/random/data.bin", file)
        assert not file.closed, "theirs closes it"
    store.get_file("my/random/data.bin", target)
    assert target.read_bytes() == source.read_bytes()


def test_add_link(make_store: MakeStore) -> None:
    """A link to an object is followed; a link to a bucket names no object, unlike theirs."""
    store, other = make_store(), make_store()
    store.put("k1", bytes([42]))
    store.add_link("link1", store.get_info("k1"))
    info = store.get_info("link1")
    assert (info.name, info.bucket, info.link) == (
        "link1",
        store.bucket,
        ObjectLink(store.bucket, "k1"),
    )
    assert store.get_bytes("link1") == bytes([42])
    other.add_bucket_link("k1", store)
    info = other.get_info("k1")
    assert (info.name, info.bucket, info.link) == ("k1", other.bucket, ObjectLink(store.bucket))
    with pytest.raises(BucketLinkError):
        other.get("k1")


def test_seal_and_get_store_status(store: ObjectStore) -> None:
    """Sealed shows in the status; a put is refused by the server with 10109."""
    store.put("k1", bytes([42]))
    assert (store.status().bucket, store.status().sealed) == (store.bucket, False)
    store.seal()
    assert (store.status().bucket, store.status().sealed) == (store.bucket, True)
    with pytest.raises(BucketSealedError) as caught:
        store.put("k2", bytes([13]))
    cause = caught.value.__cause__
    assert isinstance(cause, JetStreamError)
    assert (cause.code, cause.err_code) == (400, 10109)
    assert cause.description == "invalid operation on sealed stream"


def test_list(store: ObjectStore) -> None:
    """Three live ones; the deleted one, too, if asked for."""
    for number in range(1, 5):
        store.put(f"k{number}", bytes([number]))
    store.delete("k4")
    assert [info.name for info in store.list()] == ["k1", "k2", "k3"]
    shown = [(info.name, info.deleted) for info in store.list(show_deleted=True)]
    assert shown == [("k1", False), ("k2", False), ("k3", False), ("k4", True)]


def test_list_empty_store_for_end_of_data(store: ObjectStore) -> None:
    """The end of what is there shows at once, though there is nothing."""
    assert store.list(timeout=5) == []  # theirs waits, unless given a callback for this
    with store.watch() as watcher:
        assert watcher.next(timeout=5) is None


def test_compressed_storage(client: Client, make_store: MakeStore) -> None:
    """Compression is off or s2 in the stream, as it was asked for."""
    plain, compressed = make_store(compression=False), make_store(compression=True)
    if server_version(client) >= (2, 10):
        assert plain.status().stream_info["config"]["compression"] == "none"
        assert compressed.status().stream_info["config"]["compression"] == "s2"
    else:
        assert not compressed.status().is_compressed


def test_rename_purges_old_meta(store: ObjectStore, raw: RawBucket) -> None:
    """After a rename there is one chunk and one meta, and that is the last message."""
    store.put("old", b"data")
    info = store.update_meta("old", new_name="new")
    assert sorted(raw.subjects()) == [
        f"$O.{store.bucket}.C.{info.nuid}",
        raw.meta_subject("new"),
    ]
    assert (raw.state["messages"], raw.state["last_seq"]) == (2, info.revision)
    assert raw.meta_message("old") is None


def test_metadata_field_types(store: ObjectStore, raw: RawBucket) -> None:
    """Sizes beyond 32 bits and counts up to 32 bits are read; what is no number is not."""
    huge = {"size": 2**63 - 1, "chunks": 2**32 - 1, "options": {"max_chunk_size": 2**32 - 1}}
    raw.put_object("huge", [b"not so huge"], **huge)
    info = store.get_info("huge")
    assert (info.size, info.chunks, info.chunk_size) == (2**63 - 1, 2**32 - 1, 2**32 - 1)
    assert store.list() == [info]
    for field, value in [("size", 2**64), ("chunks", 2**32), ("size", -1), ("size", "1")]:
        raw.put_object("bad", [], **{field: value})
        with pytest.raises(BadObjectMetaError):
            store.get_info("bad")
        assert store.list() == [info], "an entry that cannot be read is left out"


@pytest.mark.slow
def test_get_does_not_leak_handlers(make_server: MakeServer) -> None:
    """However an object is read, the server has no subscription or consumer left of it."""
    server = make_server('http: "127.0.0.1:-1"')
    with Client(server.url) as client:
        store = client.create_object_store("photos")
        raw = RawBucket(client._connection, "photos")
        store.put("big", random_bytes(20 * MIB))
        store.put("small", b"small")
        before = _subscriptions(server)
        for _ in range(5):
            assert len(store.get_bytes("big")) == 20 * MIB
            with store.get("big") as reader:
                reader.read(10 * MIB)
            with store.get("big", offset=19 * MIB) as reader:
                reader.read(1)
            store.get("big").close()
            assert store.get_bytes("small") == b"small"
            store.list()
            with store.watch() as watcher:
                take_initial(watcher)
        client.flush()
        wait_until(lambda: raw.consumers == 0)
        assert _subscriptions(server) == before


def _subscriptions(server: LocalServer) -> int:
    """How many subscriptions of its clients a server knows."""
    (ports_file,) = server.directory.glob("*.ports")
    ports = json.loads(ports_file.read_text(encoding="utf-8"))
    monitoring = HTTPConnection(ports["monitoring"][0].removeprefix("http://"), timeout=10)
    with contextlib.closing(monitoring):
        monitoring.request("GET", "/connz")
        connections = json.load(monitoring.getresponse())["connections"]
    return sum(connection["subscriptions"] for connection in connections)


# CompatTest


def test_headers_serialization(store: ObjectStore, raw: RawBucket) -> None:
    """Headers are lists of values in the JSON, of ours and of theirs."""
    store.put("o1", b"Hello, World!", headers={"a": "1"})
    assert raw.meta("o1")["headers"] == {"a": ["1"]}
    raw.put_object("o2", [b"Hello, World!\r\n"], headers={"b": ["2"]}, mtime="0001-01-01T00:00:00Z")
    assert store.get_info("o2").headers == {"b": ["2"]}
    assert store.get_info("o2").digest == "SHA-256=krdyOAo_jiepPlfm3uymwB2gf1qtzni7L7sg3hCmaSU="
    assert store.get_bytes("o2") == b"Hello, World!\r\n"


# SlowConsumerTest


@pytest.mark.slow
def test_slow_get_does_not_block_the_connection(client: Client, store: ObjectStore) -> None:
    """While one object is read slowly, others are put and got on the same connection."""
    slow, fast = random_bytes(32 * MIB), random_bytes(4 * MIB, 1)
    store.put("slow", slow)
    with store.get("slow", timeout=10) as reader:
        pieces = [reader.read(1)]
        for number in range(4):
            store.put("fast", fast, timeout=10)
            assert store.get_bytes("fast", timeout=10) == fast
            pieces.append(reader.read(number * MIB))
        pieces.append(reader.read())
        assert reader.verified
    assert b"".join(pieces) == slow
    assert client.is_connected


# WatcherTest


def test_watcher(store: ObjectStore) -> None:
    """What is there first, then changes as they come, in another thread."""
    store.put("k0", bytes(1))
    seen: queue.Queue[ObjectInfo | None] = queue.Queue()

    def follow() -> None:
        for info in watcher:
            seen.put(info)

    with store.watch() as watcher:
        thread = threading.Thread(target=follow)
        thread.start()
        assert seen.get(timeout=10) == store.get_info("k0")
        assert seen.get(timeout=10) is None
        for size in (2, 3):
            store.put("k1", bytes(size))
            assert seen.get(timeout=10) == store.get_info("k1")
    thread.join(10)
    assert not thread.is_alive()


def test_watcher_options(store: ObjectStore) -> None:
    """Ignore deletes, updates only, history: each leaves out, or adds, what it says."""
    store.put("a", b"1")
    store.put("b", b"2")
    store.delete("b")
    with store.watch() as watcher:
        assert [info.name for info in take_initial(watcher)] == ["a", "b"]
    with store.watch(ignore_deletes=True) as watcher:
        assert [info.name for info in take_initial(watcher)] == ["a"]
        store.delete("a")
        assert_quiet(watcher)
    with store.watch(updates_only=True, ignore_deletes=True) as watcher:
        store.put("c", b"3")
        assert take(watcher, 1) == [store.get_info("c")]
        store.delete("c")
        store.put("d", b"4")
        assert take(watcher, 1) == [store.get_info("d")]
    with store.watch(include_history=True) as watcher:
        seen = [(info.name, info.deleted) for info in take_initial(watcher)]
        assert seen == [("b", True), ("a", True), ("c", True), ("d", False)]
    with pytest.raises(ValueError, match="exclude each other"):
        store.watch(include_history=True, updates_only=True)


# NetStandardPutPathTest

CHUNK = 8 * KIB


class Trickle(io.RawIOBase):
    """A file that gives a few bytes at a time, cannot be sought, and does not know its length."""

    def __init__(self, data: bytes) -> None:
        self._source = io.BytesIO(data)
        self._random = random.Random(1234)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = self._source.read(min(len(buffer), self._random.randrange(1, 17)))
        buffer[: len(piece)] = piece
        return len(piece)


@pytest.mark.parametrize("make_file", [io.BytesIO, Trickle])
@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, CHUNK * 5 // 2, CHUNK * 4])
def test_put_and_get_round_trip_across_chunk_boundaries(
    store: ObjectStore, raw: RawBucket, size: int, make_file: Callable[[bytes], io.RawIOBase]
) -> None:
    """Every chunk but the last is full, however the bytes come; and no empty one follows."""
    data = random_bytes(size)
    info = store.put("obj", make_file(data), chunk_size=CHUNK)
    assert (info.size, info.chunks, info.digest) == (size, -(-size // CHUNK), digest_of(data))
    sizes = [len(chunk["data"]) for chunk in raw.chunk_messages(info.nuid)]
    assert sizes == [CHUNK] * (size // CHUNK) + [size % CHUNK] * bool(size % CHUNK)
    assert store.get_bytes("obj") == data
