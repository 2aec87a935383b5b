"""`ObjectWriter`: nothing is visible before `close()`, and then all of it."""

from __future__ import annotations

import bz2
import csv
import gc
import gzip
import io
import json
import os
import pickle
import shutil
import sys
import tarfile
import threading
import time
import wave
import weakref
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from objstore import commit as commit_module
from objstore.client import Client
from objstore.core.deadline import Deadline
from objstore.errors import (
    BucketFullError,
    BucketNotFoundError,
    BucketSealedError,
    ConnectionLostError,
    JetStreamError,
    ObjectNotFoundError,
    ObjStoreError,
    ProtocolError,
    RequestTimeoutError,
)
from objstore.jetstream import publisher as publisher_module
from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.fake_bucket import FakeBucket
from tests.fake_server import Command, FakeConnection, FakeServer
from tests.helpers import Interruption, interrupt, pattern, wait_until
from tests.io_checks import check_raw_writer
from tests.proxy import Proxy
from tests.raw_bucket import RawBucket, digest_of

MIB = 1 << 20
CHUNK = 128 << 10
TIMEOUT = 10.0

#: Seconds to wait for what must not happen.
SHORT = 0.1


# A file


def test_writer_keeps_the_rules_of_io(store: ObjectStore) -> None:
    check_raw_writer(lambda: store.put("a"))
    assert store.get_bytes("a") == b"1234567" + bytes([1, 0, 0, 0, 2, 0, 0, 0]) + b"bcdxyz"


def test_writer_says_what_it_is(store: ObjectStore) -> None:
    with store.put("dir/a.txt") as writer:
        assert (writer.name, writer.mode) == ("dir/a.txt", "wb")
        writer.write(b"12345")
        assert store.bucket in repr(writer) and "5 bytes" in repr(writer)
    assert "committed" in repr(writer)


def test_object_appears_when_the_writer_is_closed(store: ObjectStore) -> None:
    """Not before, and then with its info."""
    writer = store.put("a")
    writer.write(b"data")
    assert "a" not in store
    with pytest.raises(ValueError, match="not committed"):
        _ = writer.info
    writer.close()
    assert store.get_bytes("a") == b"data"
    assert writer.info.nuid == store.get_info("a").nuid
    assert writer.info.revision == store.get_info("a").revision
    writer.close()


def test_empty_object_is_an_object(store: ObjectStore, raw: RawBucket) -> None:
    """With the digest of nothing, and without a chunk."""
    with store.put("a"):
        pass
    info = store.get_info("a")
    assert (info.size, info.chunks) == (0, 0)
    assert info.digest == "SHA-256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU="
    assert store.get_bytes("a") == b""
    assert raw.chunks == {}


@pytest.mark.parametrize("pieces", [[1] * 500, [97] * 10, [96, 98, 1, 300], [5000], [0, 7, 0]])
def test_chunks_are_full_whatever_the_pieces(
    store: ObjectStore, raw: RawBucket, pieces: list[int]
) -> None:
    """All but the last, so that others can seek by arithmetic."""
    data = pattern(sum(pieces))
    with store.put("a", chunk_size=97) as writer:
        place = 0
        for size in pieces:
            writer.write(data[place : place + size])
            place += size
    chunks = [message["data"] for message in raw.chunk_messages(writer.info.nuid)]
    assert b"".join(chunks) == data
    assert all(len(chunk) == 97 for chunk in chunks[:-1])
    assert writer.info.chunks == len(chunks) == -(-len(data) // 97)
    assert writer.info.digest == digest_of(data)


def test_caller_may_change_its_buffer_after_a_write(store: ObjectStore) -> None:
    """Bytes in flight are ours: a buffer that is used again does not reach into them."""
    buffer = bytearray(CHUNK)
    expected = b""
    with store.put("a") as writer:
        for number in range(40):
            buffer[:] = bytes([number]) * CHUNK
            expected += buffer
            writer.write(buffer)
    assert store.get_bytes("a") == expected


def test_callback_counts_every_byte_once(store: ObjectStore) -> None:
    """With the increment, in this thread."""
    threads = set()
    steps = []

    def count(size: int) -> None:
        threads.add(threading.current_thread())
        steps.append(size)

    with store.put("a", callback=count) as writer:
        writer.write(pattern(3_000_000))
        writer.write(bytearray(1000))
    assert sum(steps) == 3_001_000
    assert threads == {threading.current_thread()}


# Producers


def write_zip(writer: Any) -> None:
    with zipfile.ZipFile(writer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one", b"1" * 5000)


def read_zip(data: bytes) -> bool:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read("one") == b"1" * 5000


def write_tar(writer: Any) -> None:
    with tarfile.open(fileobj=writer, mode="w|gz") as tar:
        member = tarfile.TarInfo("one")
        member.size = 5000
        tar.addfile(member, io.BytesIO(b"1" * 5000))


def read_tar(data: bytes) -> bool:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        file = tar.extractfile("one")
        return file is not None and file.read() == b"1" * 5000


def write_gzip(writer: Any) -> None:
    with gzip.open(writer, "wb") as file:
        file.write(b"1" * 5000)


def write_bz2(writer: Any) -> None:
    with bz2.open(writer, "wb") as file:
        file.write(b"1" * 5000)


def write_wave(writer: Any) -> None:
    with wave.open(writer, "wb") as sound:
        sound.setparams((1, 1, 8000, 5000, "NONE", ""))
        sound.writeframesraw(b"1" * 5000)


def read_wave(data: bytes) -> bool:
    with wave.open(io.BytesIO(data)) as sound:
        return sound.readframes(5000) == b"1" * 5000


def write_buffered(writer: Any) -> None:
    buffered = io.BufferedWriter(writer, 300)
    buffered.write(b"1" * 5000)
    buffered.detach()  # which flushes; to close it would close the writer


PRODUCERS: dict[str, tuple[Callable[[Any], object], Callable[[bytes], object]]] = {
    "zip": (write_zip, read_zip),
    "tar": (write_tar, read_tar),
    "gzip": (write_gzip, lambda data: gzip.decompress(data) == b"1" * 5000),
    "bz2": (write_bz2, lambda data: bz2.decompress(data) == b"1" * 5000),
    "wave": (write_wave, read_wave),
    "pickle": (lambda w: pickle.dump([1] * 5000, w), lambda data: pickle.loads(data) == [1] * 5000),
    "copyfileobj": (
        lambda writer: shutil.copyfileobj(io.BytesIO(b"1" * 5000), writer),
        lambda data: data == b"1" * 5000,
    ),
    "buffered": (write_buffered, lambda data: data == b"1" * 5000),
}


@pytest.mark.parametrize("producer", PRODUCERS)
def test_standard_library_writes_an_object(store: ObjectStore, producer: str) -> None:
    """What writes to a file that cannot seek writes to an object."""
    write, is_right = PRODUCERS[producer]
    with store.open("a", "wb") as writer:
        write(writer)
    assert is_right(store.get_bytes("a"))


def test_text_is_written(store: ObjectStore) -> None:
    """UTF-8 unless something else is asked for, on every system."""
    with store.open("a", "w") as writer:
        json.dump({"é": 1}, writer, ensure_ascii=False)
    assert store.get_bytes("a") == '{"é": 1}'.encode()
    with store.open("b", "w", encoding="utf-16-le", newline="") as writer:
        csv.writer(writer).writerow(["ä", "b"])
    assert store.get_bytes("b") == "ä,b\r\n".encode("utf-16-le")
    with store.open("c", "w", errors="replace", encoding="ascii", newline="\r\n") as writer:
        writer.write("ä\n")
    assert store.get_bytes("c") == b"?\r\n"


# Giving up


@pytest.fixture
def old(store: ObjectStore, raw: RawBucket) -> dict[str, int]:
    """An object `a` that stands there; its chunks."""
    store.put("a", b"the old one")
    return raw.chunks


def check_old(store: ObjectStore, raw: RawBucket, old: dict[str, int]) -> None:
    """The object is as it was, and no chunk of another is left."""
    assert store.get_bytes("a") == b"the old one"
    assert raw.chunks == old


@pytest.mark.parametrize("error", [ZeroDivisionError, Interruption])
@pytest.mark.parametrize("mode", ["wb", "w"])
def test_exception_in_the_block_commits_nothing(
    store: ObjectStore, raw: RawBucket, old: dict[str, int], mode: str, error: type[BaseException]
) -> None:
    """The object stays as it was, and the chunks that were sent go."""
    data: Any = "x" * 3_000_000 if mode == "w" else bytes(3_000_000)
    writer = store.open("a", mode)
    with pytest.raises(error):
        write_and_raise(writer, data, error, lambda: len(raw.chunks) == 2)
    assert writer.closed
    check_old(store, raw, old)


def write_and_raise(
    writer: Any,
    data: Any,
    error: type[BaseException],
    was_sent: Callable[[], bool] = lambda: True,
) -> None:
    with writer:
        writer.write(data)
        assert was_sent()  # else the test shows nothing
        raise error


def compress_and_raise(writer: Any) -> None:
    with writer, gzip.open(writer, "wb") as file:
        file.write(pattern(3_000_000))
        raise ZeroDivisionError


def test_exception_under_a_compressor_commits_nothing(
    store: ObjectStore, raw: RawBucket, old: dict[str, int]
) -> None:
    """With both of them in the `with`, as the documentation has it."""
    with pytest.raises(ZeroDivisionError):
        compress_and_raise(store.open("a", "wb"))
    check_old(store, raw, old)


def test_abort_commits_nothing(store: ObjectStore, raw: RawBucket, old: dict[str, int]) -> None:
    writer = store.put("a")
    writer.write(bytes(3_000_000))
    for _ in range(2):
        writer.abort()
        assert writer.closed
    writer.close()
    with pytest.raises(ValueError):
        writer.write(b"x")
    with pytest.raises(ValueError):
        _ = writer.info
    check_old(store, raw, old)


def test_abort_of_text_commits_nothing(
    store: ObjectStore, raw: RawBucket, old: dict[str, int]
) -> None:
    writer = store.open("a", "w")
    writer.write("x")
    writer.abort()
    assert writer.closed
    check_old(store, raw, old)


def test_text_that_cannot_be_encoded_commits_nothing(
    store: ObjectStore, raw: RawBucket, old: dict[str, int]
) -> None:
    writer = store.open("a", "w", encoding="ascii")
    writer.write("x" * 100_000)
    with pytest.raises(UnicodeEncodeError):
        write_and_raise(writer, "ä", AssertionError)
    check_old(store, raw, old)


def test_abort_after_close_changes_nothing(store: ObjectStore) -> None:
    with store.put("a") as writer:
        writer.write(b"data")
    writer.abort()
    assert store.get_bytes("a") == b"data"


@pytest.mark.parametrize("mode", ["wb", "w"])
def test_dropped_writer_commits_nothing_and_warns(
    store: ObjectStore, raw: RawBucket, old: dict[str, int], mode: str
) -> None:
    """Its chunks are never visible; they wait for a sweep."""
    writer: Any = store.open("a", mode)
    writer.write("x" * 3_000_000 if mode == "w" else bytes(3_000_000))
    held = [writer]
    del writer
    with pytest.warns(ResourceWarning, match=f"unclosed .*'a' in {store.bucket}.*abandoned"):
        held.clear()
    assert store.get_bytes("a") == b"the old one"
    assert old.items() <= raw.chunks.items()


def test_dropped_writer_in_a_cycle_is_collected(store: ObjectStore, raw: RawBucket) -> None:
    """The collector may run anywhere: nothing is locked, sent or waited for."""
    writer: Any = store.put("a")
    writer.write(bytes(3_000_000))
    writer.itself = writer
    reference = weakref.ref(writer)
    del writer
    with pytest.warns(ResourceWarning):
        gc.collect()
    assert reference() is None
    assert "a" not in store


def test_wrapper_of_the_callers_closes_and_so_commits(store: ObjectStore) -> None:
    """What the documentation warns of: an `io.TextIOWrapper` does not tell us of an exception."""
    with pytest.raises(ZeroDivisionError):
        write_and_raise(io.TextIOWrapper(store.put("a")), "half", ZeroDivisionError)
    assert store.get_bytes("a") == b"half"


def test_writer_outlives_the_variable_of_its_client(server: LocalServer, bucket: str) -> None:
    """Who holds a writer need not hold what it came from."""
    writer = Client(server.url).create_object_store(bucket).put("a")
    gc.collect()
    with writer:
        writer.write(b"data")
    assert writer.info.size == 4


# Order


def test_meta_goes_out_when_every_chunk_is_acked() -> None:
    """Not one ack earlier: the meta replaces what stood there."""
    held: list[tuple[FakeConnection, Command]] = []

    def hold(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        if bucket.count["chunk"] == 2:
            held.append((conn, command))
        else:
            go_on()

    bucket = FakeBucket(chunk=hold)
    with FakeServer(bucket) as server, bucket.open(server) as store, ThreadPoolExecutor() as pool:
        putting = pool.submit(store.put, "a", b"1122334", chunk_size=2)
        bucket.wait_for("chunk", 4)
        with pytest.raises(AssertionError):
            wait_until(lambda: bucket.count["meta"], SHORT)
        # Stored where it belongs, between its neighbours.
        (conn, command) = held[0]
        conn.reply(command, {"stream": "OBJ_b", "seq": 2})
        # The fake numbers what it stores: the ones after it are 2 and 3, out of order.
        with pytest.raises(ProtocolError):
            putting.result(TIMEOUT)
        bucket.wait_for("purge")
    assert "meta" not in bucket.log


def test_meta_is_published_after_the_last_ack() -> None:
    held: list[tuple[FakeConnection, Command]] = []

    def hold_last(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        if bucket.count["chunk"] == 4:
            held.append((conn, command))
        else:
            go_on()

    bucket = FakeBucket(chunk=hold_last)
    with FakeServer(bucket) as server, bucket.open(server) as store, ThreadPoolExecutor() as pool:
        putting = pool.submit(store.put, "a", b"1122334", chunk_size=2)
        bucket.wait_for("chunk", 4)
        with pytest.raises(AssertionError):
            wait_until(lambda: bucket.count["meta"], SHORT)
        ((conn, command),) = held
        bucket.do_chunk(conn, command)
        assert putting.result(TIMEOUT).size == 7
        assert store.get_bytes("a") == b"1122334"
    assert bucket.log[:6] == ["info", "get", *["chunk"] * 4]


def test_abort_purges_when_the_last_chunk_has_landed() -> None:
    """A chunk that is stored after the purge would stay for ever."""
    held: list[tuple[FakeConnection, Command]] = []

    def hold_last(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        if bucket.count["chunk"] == 4:
            held.append((conn, command))
        else:
            go_on()

    bucket = FakeBucket(chunk=hold_last)
    with FakeServer(bucket) as server, bucket.open(server) as store, ThreadPoolExecutor() as pool:
        writer = store.put("a", chunk_size=MIB)
        writer.write(bytes(4 * MIB))
        bucket.wait_for("chunk", 4)
        aborting = pool.submit(writer.abort)
        with pytest.raises(AssertionError):
            wait_until(lambda: bucket.count["purge"], SHORT)
        bucket.do_chunk(*held[0])
        aborting.result(TIMEOUT)
        assert bucket.log[-1] == "purge" and bucket.messages == []


def test_acks_may_come_in_any_order() -> None:
    """What counts is where the messages are."""
    held: list[tuple[FakeConnection, Command]] = []

    def shuffle(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        held.append((conn, command))
        if len(held) == 4:
            acks = [{"stream": "OBJ_b", "seq": bucket.store(command)} for _, command in held]
            for number in (2, 0, 3, 1):
                held[number][0].reply(held[number][1], acks[number])

    bucket = FakeBucket(chunk=shuffle)
    with FakeServer(bucket) as server, bucket.open(server) as store:
        store.put("a", b"1122334", chunk_size=2, timeout=TIMEOUT)
        assert store.get_bytes("a") == b"1122334"


# What goes wrong with a chunk

#: Answers to the second of three chunks, and what they lead to.
BAD_ACKS: dict[str, tuple[Any, type[Exception]]] = {
    "full": (
        {"error": {"code": 503, "err_code": 10077, "description": "maximum bytes exceeded"}},
        BucketFullError,
    ),
    "sealed": (
        {"error": {"code": 400, "err_code": 10109, "description": "sealed"}},
        BucketSealedError,
    ),
    "refused": (
        {"error": {"code": 400, "err_code": 10054, "description": "too large"}},
        JetStreamError,
    ),
    "error without a code": ({"error": {"description": "no"}}, JetStreamError),
    "error of another shape": ({"error": "no"}, ProtocolError),
    "stream is another": ({"stream": "OBJ_c", "seq": 2}, ProtocolError),
    "no stream": ({"seq": 2}, ProtocolError),
    "sequence 0": ({"stream": "OBJ_b", "seq": 0}, ProtocolError),
    "no sequence": ({"stream": "OBJ_b"}, ProtocolError),
    "sequence is a text": ({"stream": "OBJ_b", "seq": "2"}, ProtocolError),
    "sequence of an earlier one": ({"stream": "OBJ_b", "seq": 1}, ProtocolError),
    "not JSON": (b"{", ProtocolError),
    "no object": ([], ProtocolError),
    "empty": (b"", ProtocolError),
    "huge": (b"[" * 900_000, ProtocolError),
}


@pytest.mark.parametrize("answer", BAD_ACKS)
def test_bad_ack_is_never_success(answer: str) -> None:
    """The meta stays unsent, the chunks go, and the object is as it was."""
    reply, error = BAD_ACKS[answer]

    def refuse(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        if bucket.count["chunk"] == 2:
            bucket.store(command)
            conn.reply(command, reply)
        else:
            go_on()

    bucket = FakeBucket(chunk=refuse)
    with FakeServer(bucket) as server, bucket.open(server) as store:
        with pytest.raises(error) as caught:
            store.put("a", b"112233", chunk_size=2)
        assert isinstance(caught.value, ObjStoreError)
        assert "meta" not in bucket.log and bucket.messages == []
        # The connection is of use.
        assert store.put("b", b"x").size == 1
        assert "a" not in store
    assert bucket.log[bucket.log.index("purge") - 1] != "purge"


@pytest.mark.parametrize("status", ["503", "503 No Responders", "429 Too Many Requests"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_chunk_that_nobody_takes_for_a_moment_is_sent_again(status: str, nth: int) -> None:
    """One status for a stream without a leader, another for a full queue."""

    def refuse(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        if bucket.count["chunk"] == nth:
            conn.reply(command, headers=f"NATS/1.0 {status}\r\n\r\n".encode())
        else:
            go_on()

    bucket = FakeBucket(chunk=refuse)
    with FakeServer(bucket) as server, bucket.open(server) as store:
        store.put("a", b"112233", chunk_size=2)
        chunks = [m.payload for m in bucket.messages if ".C." in m.subject]
        assert chunks == [b"11", b"22", b"33"]


@pytest.mark.slow
@pytest.mark.parametrize("silent", [["chunk"], ["chunk", "probe"], ["chunk", "probe", "purge"]])
def test_silent_server_is_a_timeout_in_time(silent: list[str]) -> None:
    """A tenth of it more for cleaning up, whatever else does not answer."""

    def drop(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        if silent[0] != "chunk" or bucket.count["chunk"] > 1:
            return
        go_on()

    bucket = FakeBucket(**dict.fromkeys(silent, drop))
    with FakeServer(bucket) as server, bucket.open(server) as store:
        start = time.monotonic()
        with pytest.raises(RequestTimeoutError):
            store.put("a", b"112233", chunk_size=2, timeout=1.0)
        assert time.monotonic() - start < 1.0 + 0.1 + 0.2
        assert "meta" not in bucket.log
        bucket.wait_for("purge")


@pytest.mark.slow
def test_slow_acks_are_no_timeout() -> None:
    """Each ack is progress."""
    pause = threading.Event()

    def slow(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        pause.wait(0.04)
        go_on()

    bucket = FakeBucket(chunk=slow)
    with FakeServer(bucket) as server, bucket.open(server) as store:
        assert store.put("a", b"1" * 20, chunk_size=1, timeout=0.6).chunks == 20


def test_bucket_that_is_gone_is_named(client: Client, store: ObjectStore) -> None:
    client.delete_object_store(store.bucket)
    for data in (b"", b"data", bytes(3_000_000)):
        with pytest.raises(BucketNotFoundError):
            store.put("a", data)


# Lost connections


@pytest.mark.parametrize("nth", range(1, 25))
def test_connection_lost_in_an_upload_is_not_noticed(
    server: LocalServer, store: ObjectStore, raw: RawBucket, nth: int
) -> None:
    """At any chunk: what was not acked is sent again, and nothing is stored twice."""
    store.put("a", b"the old one")
    chunk = b"HPUB $O." + store.bucket.encode() + b".C."
    data = pattern(24 * CHUNK)
    with Proxy(server.port) as proxy, Client(proxy.url) as client:
        far = client.object_store(store.bucket)
        cut = proxy.on(chunk, proxy.cut, nth=nth, before=nth % 2 == 0)
        info = far.put("a", data)
        assert cut.wait(TIMEOUT) and proxy.connections == 2
    assert raw.chunks == {info.nuid: 24}
    assert store.get_bytes("a") == data


def test_acks_lost_with_the_connection_are_not_noticed(
    server: LocalServer, store: ObjectStore, raw: RawBucket
) -> None:
    """The server has what the client does not know that it has."""
    data = pattern(24 * CHUNK)
    with Proxy(server.port) as proxy, Client(proxy.url) as client:
        far = client.object_store(store.bucket)
        chunk = b"HPUB $O." + store.bucket.encode() + b".C."

        def cut() -> None:
            wait_until(lambda: sum(raw.chunks.values()) >= 12)
            proxy.cut()
            proxy.release_s2c()

        proxy.on(chunk, proxy.hold_s2c, nth=10, before=True)
        lost = proxy.on(chunk, cut, nth=16)
        info = far.put("a", data)
        assert lost.wait(TIMEOUT) and proxy.connections == 2
    assert raw.chunks == {info.nuid: 24}
    assert store.get_bytes("a") == data


def test_server_that_restarts_in_an_upload_is_not_noticed(
    make_server: Callable[..., LocalServer], tmp_path: Path
) -> None:
    """What it has acked it has kept; what it knows of ids, too."""
    data = pattern(48 * CHUNK)
    server = make_server(directory=tmp_path)
    with Client(server.url) as client:
        store = client.create_object_store("b")
        store.put("a", b"the old one")
        with store.put("a") as writer:
            writer.write(data[: 20 * CHUNK])
            server.stop()
            again = make_server(directory=tmp_path, port=server.port)
            writer.write(data[20 * CHUNK :])
        assert RawBucket(client._connection, "b").chunks == {writer.info.nuid: 48}
        assert store.get_bytes("a") == data
    again.stop()


def test_bucket_made_anew_in_an_upload_gets_no_half_object(
    server: LocalServer,
    client: Client,
    store: ObjectStore,
    raw: RawBucket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its chunks went with the bucket that they were sent to."""
    monkeypatch.setattr(publisher_module, "_COUNT_PATIENCE", 0.1)
    with Proxy(server.port) as proxy, Client(proxy.url) as other:
        writer = other.object_store(store.bucket).put("a")
        writer.write(pattern(16 * CHUNK))
        proxy.cut()
        client.delete_object_store(store.bucket)
        client.create_object_store(store.bucket)
        with pytest.raises((ProtocolError, BucketNotFoundError)):
            write_all_and_close(writer, pattern(16 * CHUNK))
    assert raw.state["messages"] == 0


def write_all_and_close(writer: Any, data: bytes) -> None:
    with writer:
        writer.write(data)


def test_server_that_takes_less_gets_smaller_chunks() -> None:
    """From the next chunk on; what has to be sent again in one piece cannot be sent at all."""

    def lose(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        if losing.is_set():
            conn.close()
            raise ConnectionResetError
        go_on()

    losing = threading.Event()
    bucket = FakeBucket(chunk=lose)
    large, small = FakeServer(bucket), FakeServer(bucket, info={"max_payload": 8192})
    with large, small, Proxy(large.port) as proxy, Client(proxy.url) as client:
        store = client.object_store("b")
        writer = store.put("a")
        writer.write(pattern(MIB))
        writer._publisher.finish(Deadline(TIMEOUT))
        proxy.target_port = small.port
        proxy.cut()
        wait_until(lambda: client.server_info.get("max_payload") == 8192)
        with writer:
            writer.write(pattern(MIB))
        sizes = [len(m.payload) for m in bucket.messages if ".C." in m.subject]
        assert sizes[:8] == [CHUNK] * 8 and max(sizes[8:]) == 8192 - 128
        assert writer.info.chunks == len(sizes)
        assert store.get_bytes("a") == pattern(MIB) * 2
        proxy.target_port = large.port
        proxy.cut()
        wait_until(lambda: client.server_info.get("max_payload") == MIB)
        losing.set()
        proxy.target_port = small.port
        with pytest.raises(ProtocolError, match="takes 8064 bytes"):
            store.put("a", pattern(MIB + 1))
        assert store.get_bytes("a") == pattern(MIB) * 2


def test_writer_that_waited_for_long_survives_a_reconnect(
    server: LocalServer, store: ObjectStore
) -> None:
    """Nothing was sent on the connection that broke, so nothing was lost with it."""
    with Proxy(server.port) as proxy, Client(proxy.url) as client:
        writer = client.object_store(store.bucket).put("a")
        writer.write(b"data")
        proxy.cut()
        wait_until(lambda: proxy.connections == 2 and client.is_connected)
        writer.close()
    assert store.get_bytes("a") == b"data"


def test_closed_client_fails_a_writer(server: LocalServer, store: ObjectStore) -> None:
    with Client(server.url) as client:
        writer = client.object_store(store.bucket).put("a")
        writer.write(bytes(3_000_000))
    with pytest.raises(ConnectionLostError):
        writer.close()
    assert writer.closed
    with pytest.raises(ObjectNotFoundError):
        store.get_info("a")


# The process


def test_interrupt_while_the_fate_of_chunks_is_awaited_purges_them(
    store: ObjectStore,
    raw: RawBucket,
    old: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who presses Ctrl-C twice gets no less."""

    writer = store.put("a")
    writer.write(bytes(3_000_000))
    wait_until(lambda: 16 in raw.chunks.values())  # one that comes after the purge would stay
    interrupt(monkeypatch, publisher_module.Publisher, "settle")
    with pytest.raises(Interruption):
        writer.abort()
    assert writer.closed
    check_old(store, raw, old)


def test_interrupt_when_the_meta_may_be_stored_leaves_nothing_behind(
    store: ObjectStore, raw: RawBucket, old: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the object is the new one, and the chunks of the old one are gone."""

    interrupt(monkeypatch, commit_module, "parse_ack")
    with pytest.raises(Interruption):
        store.put("a", b"the new one")
    assert store.get_bytes("a") == b"the new one"
    assert raw.chunks == {store.get_info("a").nuid: 1} != old


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("begun", [0, 1000])
def test_unsent_upload_stays_in_the_process_that_began_it(store: ObjectStore, begun: int) -> None:
    """What a child committed under the same id, its parent would purge."""
    writer = store.put("a")
    writer.write(bytes(begun))
    child = os.fork()
    if child == 0:
        try:
            writer.close()
        except ConnectionLostError:
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status == 0
    writer.close()
    assert store.get_bytes("a") == bytes(begun)


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_upload_stays_in_the_process_that_began_it(store: ObjectStore, raw: RawBucket) -> None:
    """A forked child can neither go on with it nor purge its chunks."""
    writer = store.put("a")
    writer.write(pattern(3 * MIB))
    child = os.fork()
    if child == 0:
        try:
            writer.write(pattern(3 * MIB))
            writer.close()
        except ConnectionLostError:
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status == 0
    writer.write(pattern(3 * MIB))
    writer.close()
    assert store.get_bytes("a") == pattern(3 * MIB) * 2
    assert raw.chunks == {writer.info.nuid: 48}
