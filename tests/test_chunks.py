"""Chunks from any position on: whatever their sizes, wherever they are, whoever serves them."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from objstore import chunks as chunks_module
from objstore.client import Client
from objstore.core.connection import State
from objstore.errors import (
    BucketNotFoundError,
    ConnectionLostError,
    JetStreamError,
    NoRespondersError,
    ObjectChangedError,
    RequestTimeoutError,
    TruncatedObjectError,
)
from objstore.jetstream import consumer as consumer_module
from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.conftest import Traffic
from tests.fake_bucket import FakeBucket
from tests.fake_server import Command, FakeConnection, FakeServer
from tests.helpers import pattern, wait_until
from tests.proxy import Proxy
from tests.raw_bucket import RawBucket

TIMEOUT = 10.0
MIB = 1 << 20
CHUNK = 128 << 10

#: Sizes of chunks as other clients cut them: by reads of a socket, with an empty one behind.
CUTS = {
    "one": [10],
    "short ones": [3, 10, 1, 10, 7],
    "short last": [10, 10, 4],
    "full": [10, 10, 10],
    "ragged full": [10, 1, 9, 10],
    "trailing empty": [10, 10, 0],
    "one and trailing empty": [10, 0],
    "empty within": [4, 0, 0, 6, 3],
    "empty first": [0, 5, 5],
    "single bytes": [1] * 30,
}


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    chunks, start = [], 0
    for size in sizes:
        chunks.append(data[start : start + size])
        start += size
    assert start == len(data)
    return chunks


# Foreign chunks


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "no-direct"])
@pytest.mark.parametrize("sizes", CUTS.values(), ids=CUTS)
def test_foreign_chunks_are_read_from_every_position(
    client: Client, store: ObjectStore, raw: RawBucket, sizes: list[int], direct: bool
) -> None:
    """Other clients' chunks are uneven, empty, and not always counted in the meta."""
    if not direct:
        raw.call("STREAM.UPDATE.%", {**raw.config, "allow_direct": False})
        store = client.object_store(store.bucket)
    data = pattern(sum(sizes))
    counted = len([size for size in sizes if size])
    raw.put_object("a", cut(data, sizes), chunks=counted, options={"max_chunk_size": 10})
    with store.get("a") as reader:
        assert reader.read() == data
        assert reader.verified
    for place in range(len(data)):
        with store.get("a") as reader:
            reader.seek(place)
            assert reader.read(3) == data[place : place + 3]
    with store.get("a") as reader:
        for place in random.Random(1).choices(range(len(data)), k=20):
            reader.seek(place)
            assert reader.read(5) == data[place : place + 5]


@pytest.mark.parametrize("chunks", [0, 1, 2, 7, 2**32 - 1])
def test_number_of_chunks_in_a_meta_is_only_a_hint(
    store: ObjectStore, raw: RawBucket, chunks: int
) -> None:
    """What decides is the size, and the digest."""
    data = pattern(30)
    raw.put_object("a", cut(data, [10, 10, 10]), chunks=chunks, options={"max_chunk_size": 10})
    assert store.get_bytes("a") == data
    with store.get("a") as reader:
        reader.seek(15)
        assert reader.read(10) == data[15:25]


@pytest.mark.parametrize(
    "options", [None, {}, {"max_chunk_size": 4}, {"max_chunk_size": 2**32 - 1}]
)
def test_chunk_size_in_a_meta_is_only_a_hint(
    store: ObjectStore, raw: RawBucket, options: dict[str, int] | None
) -> None:
    data = pattern(30)
    raw.put_object("a", cut(data, [10, 10, 10]), options=options)
    assert store.get_bytes("a") == data
    with store.get("a") as reader:
        reader.seek(25)
        assert reader.read() == data[25:]
        reader.seek(5)
        assert reader.read(10) == data[5:15]


def test_chunks_between_those_of_others_are_found(store: ObjectStore, raw: RawBucket) -> None:
    """Two writers at a time: the chunks of neither are neighbours in the stream."""
    first, second = pattern(4000), bytes(4000)
    one, two = store.put("one", chunk_size=100), store.put("two", chunk_size=100)
    with one, two:
        # A block is what goes out at once: these go out in turns.
        one._block_size = two._block_size = 100
        for start in range(0, 4000, 100):
            one.write(first[start : start + 100])
            two.write(second[start : start + 100])
    sequences = [message["seq"] for message in raw.chunk_messages(one.info.nuid)]
    assert sequences[-1] - sequences[0] > len(sequences)  # else this test shows nothing
    with store.get("one") as reader:
        for place in (3950, 50, 1234, 150, 3999, 0):
            reader.seek(place)
            assert reader.read(120) == first[place : place + 120]
    assert store.get_bytes("one") == first and store.get_bytes("two") == second


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "no-direct"])
@pytest.mark.parametrize("lost", range(5))
@pytest.mark.slow
def test_lost_chunk_is_never_read_over(
    client: Client, store: ObjectStore, raw: RawBucket, lost: int, direct: bool
) -> None:
    """A range cannot be verified, so what lies behind a gap must not be taken for it."""
    if not direct:
        raw.call("STREAM.UPDATE.%", {**raw.config, "allow_direct": False})
        store = client.object_store(store.bucket)
    data = pattern(50)
    for sizes in ([10] * 5, [10, 7, 10, 13, 10]):
        nuid = raw.put_object("a", cut(data, sizes), options={"max_chunk_size": 13})
        raw.remove(raw.chunk_messages(nuid)[lost]["seq"])
        for place in range(50):
            with store.get("a", offset=place, length=3) as reader:
                with contextlib.suppress(TruncatedObjectError):
                    assert reader.read() == data[place : place + 3]
        start = sum(sizes[:lost])
        with store.get("a", offset=start, length=sizes[lost]) as reader:
            with pytest.raises(TruncatedObjectError):
                reader.read()


# How they come


def test_object_of_one_chunk_costs_one_message(store: ObjectStore, traffic: Traffic) -> None:
    reader = store.get(store.put("a", b"data"))
    traffic.start()
    assert reader.read() == b"data"
    assert traffic.payloads == [4]


@pytest.mark.slow
@pytest.mark.parametrize("direct", [True, False], ids=["direct", "no-direct"])
@pytest.mark.parametrize("size", [CHUNK, 3 * CHUNK + 5, 5 * MIB, 15 * MIB])
def test_every_chunk_comes_once(
    client: Client,
    store: ObjectStore,
    raw: RawBucket,
    traffic: Traffic,
    size: int,
    direct: bool,
) -> None:
    """By whatever mixture of batches and consumers, and none is left behind."""
    if not direct:
        raw.call("STREAM.UPDATE.%", {**raw.config, "allow_direct": False})
        store = client.object_store(store.bucket)
    data = pattern(size)
    with store.get(store.put("a", data)) as reader:
        traffic.start()
        assert reader.read() == data
        assert traffic.chunks(CHUNK) == size // CHUNK
    wait_until(lambda: raw.consumers == 0)


@pytest.mark.slow
def test_reader_that_takes_nothing_is_sent_no_more_than_its_window(
    store: ObjectStore, traffic: Traffic
) -> None:
    """A stalled reader holds a few MiB, not the object, and stops nobody else."""
    store.put("a", bytes(24 * MIB))
    store.put("b", b"small")
    with store.get("a") as reader:
        reader.read(6 * MIB)  # by now a consumer serves it
        taken = traffic.bytes
        assert store.get_bytes("b") == b"small"
        wait_for_silence(traffic)
        assert traffic.bytes - 6 * MIB <= 8 * MIB + 2 * CHUNK
        assert taken >= 6 * MIB
        assert reader.read() == bytes(18 * MIB)


def wait_for_silence(traffic: Traffic) -> None:
    """Return when nothing has come for a while."""
    pause = threading.Event()
    seen = -1
    while seen != len(traffic.payloads):
        seen = len(traffic.payloads)
        pause.wait(0.1)


# Lost connections


@contextlib.contextmanager
def behind_proxy(server: LocalServer, bucket: str) -> Iterator[tuple[Proxy, ObjectStore]]:
    """The bucket, through a proxy."""
    with Proxy(server.port) as proxy, Client(proxy.url) as client:
        yield proxy, client.object_store(bucket)


@pytest.mark.parametrize("size", [3 * MIB, 15 * MIB], ids=["batches", "consumer"])
@pytest.mark.parametrize("place", [1, 2, 7, 20])
@pytest.mark.slow
def test_lost_connection_costs_no_byte(
    server: LocalServer, store: ObjectStore, raw: RawBucket, size: int, place: int
) -> None:
    """Reading goes on behind the last chunk that came, none twice and none missing."""
    data = pattern(size)
    store.put("a", data)
    with behind_proxy(server, store.bucket) as (proxy, far):
        cut_off = proxy.on(
            b"$O." + store.bucket.encode() + b".C.",
            proxy.cut,
            direction="s2c",
            nth=place,
            before=True,
        )
        with far.get("a") as reader:
            assert reader.read() == data
            assert reader.verified
        assert cut_off.wait(TIMEOUT) and proxy.connections == 2


@pytest.mark.slow
def test_reading_goes_on_when_its_consumer_is_deleted(store: ObjectStore, raw: RawBucket) -> None:
    """The server forgets a consumer, the reader does not forget where it was."""
    data = pattern(20 * MIB)
    store.put("a", data)
    with store.get("a") as reader:
        first = reader.read(6 * MIB)
        assert raw.delete_consumers() == 1
        assert first + reader.read() == data
        assert reader.verified
    wait_until(lambda: raw.consumers == 0)


def test_closed_client_ends_a_reader(server: LocalServer, store: ObjectStore) -> None:
    store.put("a", bytes(3 * MIB))
    with Client(server.url) as client:
        reader = client.object_store(store.bucket).get("a")
        reader.read(1)
    for _ in range(2):
        with pytest.raises(ConnectionLostError):
            reader.read()
    reader.close()


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.slow
def test_restarted_server_costs_no_byte(
    make_server: Callable[..., LocalServer], tmp_path: Path, signal_number: int
) -> None:
    """It has forgotten its consumers, and may not be up yet when it is asked again."""
    data = pattern(20 * MIB)
    server = make_server(directory=tmp_path)
    with Client(server.url) as client:
        client.create_object_store("b").put("a", data)
        with client.object_store("b").get("a") as reader:
            first = reader.read(6 * MIB)
            os.kill(server.pid, signal_number)
            server.stop()
            make_server(directory=tmp_path, port=server.port)
            assert first + reader.read() == data
            assert reader.verified


# What is missing


@pytest.mark.parametrize("size", [3 * CHUNK, 20 * MIB], ids=["batches", "consumer"])
@pytest.mark.parametrize("gone", ["bucket", "object"])
@pytest.mark.slow
def test_what_is_gone_is_named(client: Client, store: ObjectStore, gone: str, size: int) -> None:
    """At once: not after a timeout."""
    store.put("a", bytes(size))
    reader = store.get("a")
    reader.read(6 * MIB if size > 6 * MIB else 0)
    if gone == "bucket":
        client.delete_object_store(store.bucket)
    else:
        store.delete("a")
    with pytest.raises(BucketNotFoundError if gone == "bucket" else ObjectChangedError):
        reader.read()


def test_bucket_made_again_is_another(client: Client, store: ObjectStore) -> None:
    """Its bytes are never taken for those of the first."""
    store.put("a", bytes(3 * CHUNK))
    reader = store.get("a")
    client.delete_object_store(store.bucket)
    client.create_object_store(store.bucket).put("a", b"\1" * 3 * CHUNK)
    with pytest.raises(ObjectChangedError):
        reader.read()


@pytest.mark.slow
def test_expired_chunks_are_missing(client: Client, bucket: str) -> None:
    """They are older than their meta by the time of the upload."""
    store = client.create_object_store(bucket, ttl=0.5)
    writer = store.put("a")
    writer.write(bytes(writer._block_size))  # goes out at once
    pause = threading.Event()
    pause.wait(0.4)
    writer.write(bytes(CHUNK))
    writer.close()
    reader = store.get("a")
    wait_until(lambda: store.status().stream_info["state"]["messages"] <= 2)
    with pytest.raises((TruncatedObjectError, ObjectChangedError)):
        reader.read()


# Servers that do not do what is expected


def fill(bucket: FakeBucket, server: FakeServer, chunks: list[bytes]) -> None:
    """Put an object `a` of these chunks, full but for the last."""
    with bucket.open(server) as store:
        store.put("a", b"".join(chunks), chunk_size=len(chunks[0]))
    bucket.count.clear()


def test_chunk_that_a_replica_lacks_is_asked_of_the_leader() -> None:
    """A replica may lag behind; what it does not have is not missing."""

    def lag(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        conn.reply(command, headers=b"NATS/1.0 404 Message Not Found\r\n\r\n")

    bucket = FakeBucket(direct=lag)
    with FakeServer(bucket) as server:
        fill(bucket, server, [b"one1", b"two2", b"333"])
        with bucket.open(server) as store:
            assert store.get_bytes("a") == b"one1two2333"
        assert bucket.count["direct"] > 0 and bucket.count["get"] > 1


def test_batch_that_stops_halfway_is_asked_for_again() -> None:
    """The end of a batch is no end of the object."""

    def stingy(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        body = command.json
        found = bucket.find(body["next_by_subj"], body["seq"])
        bucket.send_direct(conn, command, found[0], pending=len(found) - 1)
        conn.reply(command, headers=b"NATS/1.0 204 EOB\r\n\r\n")

    bucket = FakeBucket(direct=stingy)
    with FakeServer(bucket) as server:
        fill(bucket, server, [b"one1", b"two2", b"333"])
        with bucket.open(server) as store:
            assert store.get_bytes("a") == b"one1two2333"
        assert bucket.count["direct"] == 3


def test_old_server_is_read_by_a_consumer() -> None:
    """One before 2.11 takes a batch for a request of one message, and does not say so."""

    def old(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        body = command.json
        found = bucket.find(body["next_by_subj"], body["seq"])
        bucket.send_direct(conn, command, found[0], pending=None)

    bucket = FakeBucket(direct=old)
    with FakeServer(bucket) as server:
        fill(bucket, server, [b"one1", b"two2", b"3333", b"44"])
        with bucket.open(server) as store:
            assert store.get_bytes("a") == b"one1two2333344"
        assert (bucket.count["direct"], bucket.count["create"]) == (1, 1)


def test_bucket_without_direct_gets_is_read_by_a_consumer() -> None:
    """Nobody answers a direct get there."""

    def nobody(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        conn.reply(command, headers=b"NATS/1.0 503\r\n\r\n")

    bucket = FakeBucket(direct=nobody)
    with FakeServer(bucket) as server:
        fill(bucket, server, [b"one1", b"two2", b"333"])
        with bucket.open(server) as store:
            assert store.get_bytes("a") == b"one1two2333"
            assert store.get_bytes("a") == b"one1two2333"


#: What a stream says that has no leader at the moment, in several ways to ask it.
NO_LEADER = {
    "503": lambda bucket, conn, command: conn.reply(command, headers=b"NATS/1.0 503\r\n\r\n"),
    "10008": lambda bucket, conn, command: bucket.refuse(conn, command, 503, 10008),
}


@pytest.mark.parametrize("answer", NO_LEADER)
@pytest.mark.parametrize("asked", ["create", "pull"])
@pytest.mark.slow
def test_stream_without_a_leader_is_waited_for(asked: str, answer: str) -> None:
    """An election takes seconds, and is no reason to fail."""

    def refuse(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        if bucket.count[asked] > 3:
            go_on()
        elif asked == "pull":
            conn.reply(command, headers=b"NATS/1.0 503\r\n\r\n")
        else:
            NO_LEADER[answer](bucket, conn, command)

    bucket = FakeBucket(allow_direct=False, **{asked: refuse})
    with FakeServer(bucket) as server:
        fill(bucket, server, [b"one1", b"two2", b"333"])
        with bucket.open(server) as store:
            assert store.get_bytes("a") == b"one1two2333"


@pytest.mark.parametrize("answer", NO_LEADER)
@pytest.mark.slow
def test_stream_that_gets_no_leader_is_an_error_at_the_deadline(answer: str) -> None:
    def refuse(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        NO_LEADER[answer](bucket, conn, command)

    bucket = FakeBucket(allow_direct=False, create=refuse)
    with FakeServer(bucket) as server:
        fill(bucket, server, [b"one1", b"two2", b"333"])
        with bucket.open(server) as store, store.get("a", timeout=0.3) as reader:
            with pytest.raises((NoRespondersError, JetStreamError)):
                reader.read()


@pytest.mark.parametrize("status", ["429 Too Many Requests", "500 Internal Error", "408 Bad"])
def test_refused_direct_get_is_no_failure(status: str) -> None:
    """There is another way to read."""

    def refuse(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        conn.reply(command, headers=f"NATS/1.0 {status}\r\n\r\n".encode())

    bucket = FakeBucket(direct=refuse)
    with FakeServer(bucket) as server:
        fill(bucket, server, [b"one1", b"two2", b"333"])
        with bucket.open(server) as store:
            assert store.get_bytes("a") == b"one1two2333"


@pytest.mark.parametrize("trouble", ["lost", "twice", "swapped"])
def test_consumer_that_stumbles_is_replaced(trouble: str) -> None:
    """A gap in its numbers: another goes on behind the last message that was in order."""
    stumbled: list[str] = []

    def stumble(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        if stumbled or bucket.consumer_seq:
            go_on()
            return
        stumbled.append(trouble)
        one, two, three = bucket.find(bucket.subject, 1)
        numbered = [(1, one), (2, two), (3, three)]
        if trouble == "lost":
            del numbered[1]
        elif trouble == "twice":
            numbered.insert(1, numbered[0])
        else:
            numbered[1], numbered[2] = numbered[2], numbered[1]
        for number, message in numbered:
            bucket.deliver_as(conn, command, message, number, 3 - number)

    bucket = FakeBucket(allow_direct=False, pull=stumble)
    with FakeServer(bucket) as server:
        fill(bucket, server, [b"one1", b"two2", b"333"])
        with bucket.open(server) as store:
            assert store.get_bytes("a") == b"one1two2333"
        assert bucket.count["create"] == 2 and bucket.count["delete"] == 2


# Replicas that lag, and what comes late


def behind_once(bucket: FakeBucket, pending: int = 0) -> dict[str, Any]:
    """A consumer at a replica that lags: it goes on when the leader has been asked."""
    first: list[Any] = []

    def lag(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        if not first:
            first.extend((conn, command))
            message = bucket.find(bucket.subject, bucket.next_seq)[0]
            bucket.deliver_as(conn, command, message, 1, pending)
            bucket.consumer_seq, bucket.next_seq = 1, message.seq + 1
        elif bucket.count["create"] > 1:
            go_on()

    def catch_up(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        go_on()
        if first and "next_by_subj" in command.json and bucket.count["create"] == 1:
            bucket.do_pull(conn, Command("PUB", "", payload=b'{"batch": 9}'))

    return {"pull": lag, "get": catch_up}


def behind_twice(bucket: FakeBucket) -> dict[str, Any]:
    """A consumer that is late with what follows, and a leader that has it at second sight."""
    handlers = behind_once(bucket, pending=3)
    asked: list[Command] = []

    def forgetful(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        if "next_by_subj" in command.json:
            asked.append(command)
        if len(asked) == 1:
            bucket.refuse(conn, command, 404, 10037)
            asked.append(command)
        else:
            handlers["get"](conn, command, go_on)

    return {**handlers, "get": forgetful}


def forgetful_batch(bucket: FakeBucket) -> dict[str, Any]:
    """Batches that begin with the chunk before the one that was asked for."""

    def early(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        body = command.json
        subject, seq = body["next_by_subj"], max(body["seq"] - 1, 1)
        one, *_ = found = bucket.find(subject, seq)
        for left, message in enumerate(found[:2], 1 - len(found)):
            before = 0 if message is one else one.seq
            bucket.send_direct(conn, command, message, pending=-left, before=before)
        conn.reply(command, headers=b"NATS/1.0 204 EOB\r\n\r\n")

    return {"direct": early}


def repeated_batch(bucket: FakeBucket) -> dict[str, Any]:
    """Batches in which each message comes twice."""

    def twice(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        body = command.json
        found = bucket.find(body["next_by_subj"], body["seq"])
        before = 0
        for left, message in enumerate(found, 1 - len(found)):
            for _ in range(2):
                bucket.send_direct(conn, command, message, pending=-left, before=before)
            before = message.seq
        conn.reply(command, headers=b"NATS/1.0 204 EOB\r\n\r\n")

    return {"direct": twice}


def holey_batch(bucket: FakeBucket) -> dict[str, Any]:
    """Batches whose second message is lost between two servers, or their first."""

    def lose(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        body = command.json
        found = bucket.find(body["next_by_subj"], body["seq"])
        before = 0
        lost = {1: 0, 2: 1}.get(bucket.count["direct"])
        for place, message in enumerate(found):
            if place != lost:
                left = len(found) - place - 1
                bucket.send_direct(conn, command, message, pending=left, before=before)
            before = message.seq
        conn.reply(command, headers=b"NATS/1.0 204 EOB\r\n\r\n")

    return {"direct": lose}


def late_consumer(bucket: FakeBucket) -> dict[str, Any]:
    """What a consumer has sent comes when another has taken its place."""
    old: list[int] = []

    def lose(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        if not old:
            old.append(max(conn.subscriptions))
            conn.reply(command, headers=b"NATS/1.0 409 Consumer Deleted\r\n\r\n")
        elif bucket.count["create"] > 1:
            for number, message in enumerate(bucket.find(bucket.subject, 1), 1):
                ack = f"$JS.ACK.OBJ_b.c.1.{message.seq}.{number}.1767323045678901234.0"
                conn.msg(old[0], message.subject, b"late", reply=ack)
            go_on()

    return {"pull": lose}


@pytest.mark.parametrize(
    ("trouble", "offset"),
    [
        (behind_once, 0),
        (behind_twice, 0),
        (late_consumer, 0),
        (forgetful_batch, 0),
        (repeated_batch, 0),
        (holey_batch, 0),
        (forgetful_batch, 2),
        (repeated_batch, 2),
        (holey_batch, 2),
    ],
)
def test_every_chunk_is_taken_once(
    trouble: Callable[[FakeBucket], dict[str, Any]], offset: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sends it again, or has lost one."""
    monkeypatch.setattr(chunks_module, "_DOUBT", 0.05)
    bucket = FakeBucket()
    with FakeServer(bucket) as server:
        fill(bucket, server, [b"one1", b"two2", b"3333", b"44"])
        handlers = trouble(bucket)
        bucket.serve(allow_direct="direct" in handlers, **handlers)
        with bucket.open(server) as store, store.get("a", offset=offset) as reader:
            assert reader.read() == b"one1two2333344"[offset:]


def test_leader_that_repeats_a_chunk_has_no_next_one() -> None:
    """It says nothing of those that follow."""

    def none(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        conn.reply(command, headers=b"NATS/1.0 404 Message Not Found\r\n\r\n")

    def repeat(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        if "next_by_subj" in command.json:
            body = {**command.json, "seq": 1}
            command = Command("PUB", reply=command.reply, payload=json.dumps(body).encode())
        bucket.do_get(conn, command)

    def empty(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        conn.reply(command, {"num_pending": 0, "delivered": {"stream_seq": 0}})

    bucket = FakeBucket(direct=none, create=empty, get=repeat)
    with FakeServer(bucket) as server:
        fill(bucket, server, [b"one1", b"two2"])
        with bucket.open(server) as store, store.get("a") as reader:
            with pytest.raises(TruncatedObjectError, match="4"):
                reader.read()


@pytest.mark.parametrize("knows", [True, False])
def test_leader_that_does_not_know_the_object_yet_has_lost_no_chunk(
    knows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was elected a moment ago; if it never learns, the time is up some day."""
    monkeypatch.setattr(chunks_module, "_LAG_TIMEOUT", TIMEOUT if knows else 0.2)

    def none(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        conn.reply(command, headers=b"NATS/1.0 404 Message Not Found\r\n\r\n")

    def lag(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        if "next_by_subj" not in command.json or (knows and bucket.count["info"] > 1):
            go_on()
        else:
            bucket.refuse(conn, command, 404, 10037)

    def old(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        if bucket.count["info"] == 1:
            go_on()
        else:
            conn.reply(command, {"config": {}, "state": {"last_seq": 1}})

    bucket = FakeBucket(replicas=3, direct=none, get=lag, info=old)
    with FakeServer(bucket) as server:
        fill(bucket, server, [b"one1", b"two2"])
        with bucket.open(server) as store, store.get("a") as reader:
            if knows:
                assert reader.read() == b"one1two2"
            else:
                with pytest.raises(TruncatedObjectError):
                    reader.read()


def test_replica_that_lags_for_long_has_lost_no_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a range begins is asked for again while the leader has more than a replica lists."""
    monkeypatch.setattr(chunks_module, "_LAG_TIMEOUT", 0)
    lists = 0

    def create(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        nonlocal lists
        lists += command.json["config"]["deliver_policy"] == "all"
        lag(conn, command, go_on)

    def lag(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        kept = bucket.messages
        if lists < 4:
            bucket.messages = kept[:1]
        go_on()
        bucket.messages = kept

    bucket = FakeBucket(replicas=3, create=create, pull=lag)
    with FakeServer(bucket) as server:
        fill(bucket, server, [b"one1", b"two2", b"3333", b"44"])
        with bucket.open(server) as store, store.get("a", offset=5) as reader:
            assert reader.read() == b"wo2333344"
    assert lists == 4


def test_silent_server_is_given_up_at_the_deadline() -> None:
    """No chunk, no word: a timeout, close to when it was asked for."""

    def silent(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        pass

    bucket = FakeBucket(direct=silent, pull=silent)
    with FakeServer(bucket) as server:
        fill(bucket, server, [b"one1", b"two2", b"333"])
        with bucket.open(server) as store, store.get("a", timeout=0.2) as reader:
            for _ in range(2):
                with pytest.raises(RequestTimeoutError):
                    reader.read()


def test_silent_consumer_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that has forgotten it says nothing at all, not even that it lives."""
    monkeypatch.setattr(consumer_module, "_SILENCE", 0.1)

    def silent(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        if bucket.count["create"] > 1:
            go_on()

    bucket = FakeBucket(allow_direct=False, pull=silent)
    with FakeServer(bucket) as server:
        fill(bucket, server, [b"one1", b"two2", b"333"])
        with bucket.open(server) as store:
            assert store.get_bytes("a") == b"one1two2333"
        assert bucket.count["create"] == 2


@pytest.mark.slow
def test_timeout_counts_from_the_last_progress() -> None:
    """A slow server is no silent one: many short waits make no timeout."""
    pause = threading.Event()

    def slow(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        body = command.json
        found = bucket.find(body["next_by_subj"], body["seq"])
        for left, message in enumerate(found, 1 - len(found)):
            pause.wait(0.04)
            bucket.send_direct(conn, command, message, pending=-left)
        conn.reply(command, headers=b"NATS/1.0 204 EOB\r\n\r\n")

    bucket = FakeBucket(direct=slow)
    with FakeServer(bucket) as server:
        fill(bucket, server, [b"1"] * 20)
        with bucket.open(server) as store, store.get("a", timeout=0.6) as reader:
            assert reader.read() == b"1" * 20


def test_connection_state_is_what_ends_a_read() -> None:
    """While the connection may come back the read waits for it; closed is closed."""
    connections: list[Any] = []

    def lose(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        if not connections:
            connections.append(conn)
            raise ConnectionResetError
        else:
            go_on()

    bucket = FakeBucket(direct=lose)
    with FakeServer(bucket) as server:
        fill(bucket, server, [b"one1", b"two2", b"333"])
        with bucket.open(server) as store:
            assert store.get_bytes("a") == b"one1two2333"
            assert store._bucket.js.connection.state is State.CONNECTED
        assert len(server.connections) == 3
