"""`put_many` and `get_many`: as `put` and `get`, with many in flight."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from objstore import batch as batch_module
from objstore import bucket as bucket_module
from objstore import commit as commit_module
from objstore.client import Client
from objstore.core.deadline import DEFAULT_TIMEOUT, Deadline
from objstore.errors import (
    BucketFullError,
    BucketLinkError,
    DigestMismatchError,
    JetStreamError,
    LinkNotAllowedError,
    ObjectChangedError,
    ObjectNotFoundError,
    ProtocolError,
    RequestTimeoutError,
    TruncatedObjectError,
)
from objstore.exchange import Exchange
from objstore.many import windows
from objstore.models import ObjectInfo, ObjectMeta
from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.conftest import Traffic
from tests.fake_bucket import FakeBucket
from tests.fake_server import Command, FakeConnection, FakeServer
from tests.helpers import Interruption, interrupt, pattern
from tests.proxy import Proxy
from tests.raw_bucket import RawBucket

GoOn = Callable[[], None]
CHUNK = 128 << 10


# Windows


def test_windows_are_bounded_in_number_and_size() -> None:
    assert [len(window) for window in windows(range(300), lambda item: 1)] == [128, 128, 44]
    assert [len(window) for window in windows(range(9), lambda item: 1 << 20)] == [4, 4, 1]
    assert [len(window) for window in windows([1], lambda item: 1 << 40)] == [1]
    assert list(windows([], lambda item: 1)) == []


def test_no_name_is_in_a_window_twice() -> None:
    found = windows("abcadabb", lambda item: 1, lambda item: item)
    assert ["".join(window) for window in found] == ["abc", "ad", "ab", "b"]


def test_windows_take_no_more_than_they_need() -> None:
    """The items may come from a generator that has no end."""
    taken: list[int] = []

    def items() -> Iterator[int]:
        while True:
            taken.append(len(taken))
            yield taken[-1]

    assert next(windows(items(), lambda item: 1))[-1] == 127
    assert len(taken) <= 129


# Put


def test_many_are_stored_as_by_put(store: ObjectStore, raw: RawBucket) -> None:
    """Every field of every meta, and in this order."""
    items = {f"{number}": pattern(number * 50) for number in range(300)}
    infos = store.put_many(items)
    assert [info.name for info in infos] == list(items)
    assert [info.name for info in store.list()] == list(items)
    for info in infos:
        stored = store.get_info(info.name)
        assert replace(stored, mtime=info.mtime) == info
        assert store.get_bytes(info.name) == items[info.name]
    single = store.put("0", items["7"])
    (many,) = store.put_many({"0": items["7"]})
    for field in ("size", "chunks", "digest", "chunk_size", "bucket"):
        assert getattr(single, field) == getattr(many, field)
    assert set(raw.chunks) == {info.nuid for info in store.list() if info.size}


def test_many_replace_what_stands_there(store: ObjectStore, raw: RawBucket) -> None:
    """Objects, large ones, links and deleted ones; the chunks of what is replaced go."""
    names = [f"{number}" for number in range(40)]
    store.put_many((name, b"old") for name in names)
    store.put("3", pattern(1_000_000))
    store.delete("4")
    store.add_link("link", store.get_info("5"))
    infos = store.put_many([*((name, b"new") for name in names), ("link", b"no link")])
    assert set(raw.chunks) == {info.nuid for info in infos}
    assert dict(store.get_many([*names, "link"])) == {
        **dict.fromkeys(names, b"new"),
        "link": b"no link",
    }


def test_last_of_one_name_stays(store: ObjectStore, raw: RawBucket) -> None:
    infos = store.put_many((f"{number % 3}", f"{number}".encode()) for number in range(20))
    assert len(infos) == 20
    assert [store.get_bytes(name) for name in "012"] == [b"18", b"19", b"17"]
    assert len(raw.chunks) == 3


def test_items_may_be_of_any_kind(store: ObjectStore, tmp_path: Path) -> None:
    """Large ones among small ones, files, paths, iterables; metas for names."""
    path = tmp_path / "path"
    path.write_bytes(b"path")
    large = pattern(3 * CHUNK + 1)
    infos = store.put_many(
        [
            ("small", b"small"),
            ("large", large),
            (ObjectMeta("meta", description="d", chunk_size=2), b"meta"),
            ("bytearray", bytearray(b"bytearray")),
            ("memoryview", memoryview(b"memoryview")),
            ("file", io.BytesIO(b"file")),
            ("path", path),
            ("iterable", [b"iter", b"able"]),
            ("empty", b""),
            (store.put("info", b"x", metadata={"k": "v"}), b"info"),
            ("chunk", large[:CHUNK]),
            ("more", large[: CHUNK + 1]),
        ]
    )
    assert store.get_bytes("large") == large
    for name in ("small", "meta", "bytearray", "memoryview", "file", "path", "iterable", "info"):
        assert store.get_bytes(name) == name.encode()
    assert store.get_bytes("empty") == b""
    assert store.get_bytes("more") == large[: CHUNK + 1]
    found = {info.name: info for info in infos}
    assert (found["meta"].description, found["meta"].chunks) == ("d", 2)
    assert found["info"].metadata == {"k": "v"}
    assert (found["chunk"].chunks, found["more"].chunks) == (1, 2)


def test_mutable_data_may_change_afterwards(store: ObjectStore) -> None:
    """Also while the items are still being made."""

    def items() -> Iterator[tuple[str, bytearray]]:
        buffer = bytearray(10)
        for number in range(20):
            buffer[:] = bytes([number]) * 10
            yield f"{number}", buffer

    store.put_many(items())
    for number in range(20):
        assert store.get_bytes(f"{number}") == bytes([number]) * 10


def test_nothing_is_nothing(store: ObjectStore) -> None:
    assert store.put_many({}) == store.put_many([]) == []
    assert list(store.get_many([])) == []


@pytest.mark.parametrize(
    ("item", "error"),
    [
        (("", b"x"), ValueError),
        ((None, b"x"), TypeError),
        (("a", "text"), TypeError),
        (("a", None), TypeError),
        (("a", {"b": b"c"}), TypeError),
    ],
)
def test_nonsense_is_refused_before_a_byte_of_its_window_is_sent(
    store: ObjectStore, raw: RawBucket, item: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        store.put_many([("before", b"x"), item])
    assert raw.state["messages"] == 0


def test_link_is_refused(store: ObjectStore) -> None:
    store.put("a", b"data")
    link = store.add_link("l", store.get_info("a"))
    with pytest.raises(LinkNotAllowedError):
        store.put_many([(link, b"x")])


def test_error_of_the_items_comes_out_unchanged(store: ObjectStore, raw: RawBucket) -> None:
    """What was given before may be stored, wholly."""

    def items() -> Iterator[tuple[str, bytes]]:
        yield from ((f"{number}", b"x") for number in range(200))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.put_many(items())
    infos = store.list()
    assert set(raw.chunks) == {info.nuid for info in infos}
    assert all(store.get_bytes(info) == b"x" for info in infos)


def test_full_bucket_takes_no_half_objects(client: Client, bucket: str) -> None:
    """Those that fit are stored or not; of the others no chunk stays."""
    store = client.create_object_store(bucket, max_bytes=60_000)
    store.put("a", b"old")
    with pytest.raises(BucketFullError):
        store.put_many((f"{number}", bytes(3_000)) for number in range(60))
    state = store.status().stream_info["state"]
    live = store.list()
    assert state["messages"] == 2 * len(live)
    for info in live:
        store.get_bytes(info)
    assert store.get_bytes("a") == b"old"
    client.delete_object_store(bucket)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"error": {"code": 400, "err_code": 10054, "description": "no"}}, JetStreamError),
        ({"stream": "OBJ_c", "seq": 1}, ProtocolError),
        ({"stream": "OBJ_b", "seq": 0}, ProtocolError),
        (b"", ProtocolError),
        (None, RequestTimeoutError),
    ],
)
@pytest.mark.slow
def test_bad_ack_of_a_chunk_is_no_success(answer: Any, error: type[Exception]) -> None:
    """No meta of that window goes out, and its chunks are purged."""

    def refuse(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if bucket.count["chunk"] != 3:
            go_on()
        elif answer is not None:
            conn.reply(command, answer)

    bucket = FakeBucket(chunk=refuse)
    with FakeServer(bucket) as server, bucket.open(server) as store:
        with pytest.raises(error):
            store.put_many(((f"{number}", b"x") for number in range(5)), timeout=0.3)
        assert "meta" not in bucket.log
        assert bucket.messages == []


def test_refused_meta_is_no_success() -> None:
    """The others of its window are stored; its chunk goes."""

    def refuse(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if command.json["name"] == "2":
            bucket.refuse(conn, command, 503, 10077)
        else:
            go_on()

    bucket = FakeBucket(meta=refuse)
    with FakeServer(bucket) as server, bucket.open(server) as store:
        with pytest.raises(BucketFullError):
            store.put_many((f"{number}", b"x") for number in range(5))
        assert [store.get_bytes(f"{number}") for number in (0, 1, 3, 4)] == [b"x"] * 4
        assert len(bucket.messages) == 8


#: Refusals that pass, and no answer at all.
PASSING: list[int | str] = ["503", "429 Full", 10008, 10167, ""]


@pytest.mark.parametrize(
    ("kind", "answer"),
    [(kind, answer) for kind in ("get", "chunk", "meta", "purge") for answer in PASSING],
)
def test_what_is_refused_for_the_moment_is_sent_again(
    monkeypatch: pytest.MonkeyPatch, kind: str, answer: int | str
) -> None:
    """Each object is stored once, and what it replaces goes."""

    def refuse(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if bucket.count[kind] not in (2, 3):
            go_on()
        elif isinstance(answer, int):
            bucket.refuse(conn, command, 503, answer)
        elif answer:
            conn.reply(command, headers=f"NATS/1.0 {answer}\r\n\r\n".encode())

    if kind in ("get", "purge") and answer == "429 Full":
        answer = "503"  # only streams say the other

    for module in (batch_module, commit_module):
        monkeypatch.setattr(module, "ACK_TIMEOUT", 0.1)
    monkeypatch.setattr(bucket_module, "REPEAT_INTERVAL", 0.1)
    bucket = FakeBucket()
    with FakeServer(bucket) as server, bucket.open(server) as store:
        store.put_many((f"{number}", b"old") for number in range(5))
        bucket._handlers[kind] = refuse
        bucket.count.clear()
        store.put_many((f"{number}", b"new") for number in range(5))
        assert bucket.count[kind] > 5
        assert sorted(m.payload for m in bucket.messages if ".C." in m.subject) == [b"new"] * 5
        assert [store.get_bytes(f"{number}") for number in range(5)] == [b"new"] * 5


@pytest.mark.slow
def test_nobody_waits_for_a_leader_that_is_gone() -> None:
    """The chunk is refused, and the question what it replaces is not answered at all."""

    def refuse(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if bucket.count["get"] > 4:
            go_on()
        elif "Nats-Msg-Id" in command.headers:
            conn.reply(command, headers=b"NATS/1.0 503\r\n\r\n")

    bucket = FakeBucket(chunk=refuse, get=refuse)
    with FakeServer(bucket) as server, bucket.open(server) as store:
        store.put_many({"a": b"a", "b": b"b"}, timeout=2)
        assert bucket.count["chunk"] == 6


@pytest.mark.parametrize("by_id", [True, False])
def test_chunk_whose_ack_is_lost_is_stored_once(
    monkeypatch: pytest.MonkeyPatch, by_id: bool
) -> None:
    """By its id; and should the stream have forgotten that, by being the only one."""

    def lose(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if bucket.count["chunk"] == 2:
            bucket.store(command)
            if not by_id:
                bucket._ids.clear()
        else:
            go_on()

    monkeypatch.setattr(batch_module, "ACK_TIMEOUT", 0.1)
    bucket = FakeBucket(chunk=lose)
    with FakeServer(bucket) as server, bucket.open(server) as store:
        store.put_many((f"{number}", b"x") for number in range(5))
        assert bucket.count["chunk"] == 6 and len(bucket.messages) == 10


@pytest.mark.parametrize("nth", [1, 5, 40])
def test_connection_lost_in_a_window_is_not_noticed(
    server: LocalServer, store: ObjectStore, raw: RawBucket, nth: int
) -> None:
    store.put_many((f"{number}", b"old") for number in range(40))
    with Proxy(server.port) as proxy, Client(proxy.url) as client:
        cut = proxy.on(b"HPUB $O." + store.bucket.encode() + b".C.", proxy.cut, nth=nth)
        client.object_store(store.bucket).put_many((f"{n}", b"new") for n in range(40))
        assert cut.wait(10) and proxy.connections == 2
    assert raw.chunks == {info.nuid: 1 for info in store.list()}
    assert {store.get_bytes(f"{number}") for number in range(40)} == {b"new"}


def test_failure_of_one_leaves_nothing_of_what_the_others_replaced() -> None:
    """They are stored: what was there before is nobody's."""

    def refuse(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if command.json["name"] == "2":
            bucket.refuse(conn, command, 503, 10077)
        else:
            go_on()

    bucket = FakeBucket()
    with FakeServer(bucket) as server, bucket.open(server) as store:
        store.put_many((f"{number}", b"old") for number in range(5))
        bucket._handlers["meta"] = refuse
        with pytest.raises(BucketFullError):
            store.put_many((f"{number}", b"new") for number in range(5))
        assert len(bucket.messages) == 10
        found = [store.get_bytes(f"{number}") for number in range(5)]
        assert found == [b"new", b"new", b"old", b"new", b"new"]


@pytest.mark.parametrize(
    ("owner", "where"),
    [
        (batch_module, "read_previous"),
        (commit_module, "parse_ack"),
        (ObjectInfo, "with_fields"),
    ],
)
def test_interrupted_window_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, store: ObjectStore, raw: RawBucket, owner: object, where: str
) -> None:
    """Each of the objects is the old one or the new one, and nobody else's chunks stay."""

    store.put_many((f"{number}", b"old") for number in range(20))
    interrupt(monkeypatch, owner, where)
    with pytest.raises(Interruption):
        store.put_many((f"{number}", b"new") for number in range(20))
    assert raw.chunks == {info.nuid: 1 for info in store.list()}
    assert {store.get_bytes(f"{number}") for number in range(20)} <= {b"old", b"new"}


def test_unanswered_meta_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its fate is unknown, so its chunk stays and it is asked for once more."""

    def lose(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if command.json["name"] == "2" and "2" not in seen:
            seen.append("2")
        else:
            go_on()

    monkeypatch.setattr(batch_module, "ACK_TIMEOUT", 0.1)
    seen: list[str] = []
    bucket = FakeBucket(meta=lose)
    with FakeServer(bucket) as server, bucket.open(server) as store:
        infos = store.put_many((f"{number}", b"x") for number in range(5))
        assert len(infos) == 5 and seen == ["2"]
        assert [store.get_bytes(f"{number}") for number in range(5)] == [b"x"] * 5


def test_window_is_a_few_round_trips() -> None:
    """All questions, then all chunks and metas: nobody waits for each answer alone."""
    bucket = FakeBucket()
    with FakeServer(bucket) as server, bucket.open(server) as store:
        bucket.log.clear()
        store.put_many((f"{number}", b"x") for number in range(100))
        assert sorted(bucket.log) == ["chunk"] * 100 + ["get"] * 100 + ["meta"] * 100
        assert bucket.log[200:] == ["meta"] * 100


# Get


def test_many_are_read_in_the_order_asked_for(store: ObjectStore) -> None:
    """Small and large, empty, links, and the same one again."""
    store.put_many({f"{number}": pattern(number * 100) for number in range(200)})
    store.put("large", pattern(1_000_000))
    store.add_link("link", store.get_info("7"))
    store.add_link("large link", store.get_info("large"))
    names = ["3", "large", "0", "link", "3", "large link", *(f"{n}" for n in range(199, -1, -1))]
    found = list(store.get_many(names))
    assert [name for name, _ in found] == names
    sizes = {"large": 1_000_000, "link": 700, "large link": 1_000_000}
    for name, data in found:
        assert type(data) is bytes
        assert data == pattern(sizes[name] if name in sizes else int(name) * 100)


def test_names_are_taken_as_they_are_needed(store: ObjectStore) -> None:
    """From an iterable that may have no end."""
    store.put("a", b"x")

    def names() -> Iterator[str]:
        while True:
            yield "a"

    many = store.get_many(names())
    assert [next(many) for _ in range(300)] == [("a", b"x")] * 300


def test_missing_one_is_told_when_it_is_its_turn(store: ObjectStore) -> None:
    store.put_many({"a": b"1", "b": b"2"})
    store.delete("b")
    for missing in ("b", "c"):
        many = store.get_many(["a", missing, "a"])
        assert next(many) == ("a", b"1")
        with pytest.raises(ObjectNotFoundError) as caught:
            next(many)
        assert caught.value.name == missing


@pytest.mark.parametrize("names", ["abc", b"abc"])
def test_one_name_is_no_iterable_of_names(store: ObjectStore, names: Any) -> None:
    with pytest.raises(TypeError, match="iterable of names"):
        store.get_many(names)


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda raw, nuid: raw.purge(raw.chunk_subject(nuid)), TruncatedObjectError),
        (
            lambda raw, nuid: raw.put_chunk(nuid, b"data!"),
            (DigestMismatchError, TruncatedObjectError),
        ),
        (lambda raw, nuid: raw.put_chunk(nuid, b"atad"), DigestMismatchError),
    ],
)
def test_damaged_one_is_told(
    store: ObjectStore, raw: RawBucket, damage: Callable[..., object], error: Any
) -> None:
    """Its neighbours are read all the same."""
    store.put_many({"a": b"1", "b": b"data", "c": b"3"})
    damage(raw, store.get_info("b").nuid)
    many = store.get_many(["a", "c", "b"])
    assert [next(many), next(many)] == [("a", b"1"), ("c", b"3")]
    with pytest.raises(error):
        next(many)


def test_others_that_cannot_be_read_are_told(store: ObjectStore, raw: RawBucket) -> None:
    store.add_bucket_link("bucket", store)
    with pytest.raises(BucketLinkError):
        list(store.get_many(["bucket"]))
    raw.put_object("no digest", [b"x"], digest=None)
    with pytest.raises(ValueError):
        list(store.get_many(["no digest"]))


def test_foreign_objects_are_read(store: ObjectStore, raw: RawBucket) -> None:
    """In odd chunks, with odd numbers."""
    raw.put_object("a", [b"12", b"345"], chunks=1)
    raw.put_object("b", [b"12345", b""], chunks=1)
    raw.put_object("c", [b""], size=None, chunks=None)
    raw.put_object("d", [b"1", b"2", b"3"])
    assert dict(store.get_many(list("abcd"))) == {
        "a": b"12345",
        "b": b"12345",
        "c": b"",
        "d": b"123",
    }


def test_bucket_without_direct_gets_is_read_too(
    client: Client, store: ObjectStore, raw: RawBucket
) -> None:
    store.put_many({f"{number}": b"x" for number in range(20)})
    raw.call("STREAM.UPDATE.%", {**raw.config, "allow_direct": False})
    again = client.object_store(store.bucket)
    assert len(dict(again.get_many(f"{number}" for number in range(20)))) == 20


def test_many_small_ones_are_one_message_each(store: ObjectStore, traffic: Traffic) -> None:
    """Beside the meta; nothing comes twice."""
    store.put_many({f"{number}": bytes(1000) for number in range(100)})
    traffic.start()
    assert len(list(store.get_many(f"{number}" for number in range(100)))) == 100
    assert traffic.chunks(1000) == 100
    assert len(traffic.payloads) == 200


def test_object_that_changes_meanwhile_is_read_whole(store: ObjectStore) -> None:
    """One version or the other, or an error that says so."""
    store.put_many({f"{number}": b"old" * 100 for number in range(50)})
    many = store.get_many(f"{number % 50}" for number in range(200))
    for _ in range(200):
        try:
            name, data = next(many)
        except ObjectChangedError:
            break
        assert data in (b"old" * 100, b"new" * 200)
        store.put(name, b"new" * 200)


def test_exchange_refuses_what_the_server_would_not_take(store: ObjectStore) -> None:
    """Such a message would end the connection."""
    limit = store._bucket.js.connection.max_payload(Deadline(DEFAULT_TIMEOUT))
    with Exchange(store._bucket, Deadline(DEFAULT_TIMEOUT)) as exchange:
        with pytest.raises(ValueError, match=f"{limit + 1} bytes is larger"):
            exchange.add(0, "a", bytes(limit + 1))
        headers = {"A": "b"}
        with pytest.raises(ValueError, match="larger"):
            exchange.add(0, "a", bytes(limit), headers)
