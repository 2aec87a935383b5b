"""`ObjectStore`: what each method takes, does and refuses."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from objstore.client import Client
from objstore.core.nuid import next_nuid
from objstore.errors import (
    BadObjectMetaError,
    BucketFullError,
    BucketLinkError,
    BucketNotFoundError,
    BucketSealedError,
    InvalidNameError,
    LinkNotAllowedError,
    LinkToDeletedError,
    LinkToLinkError,
    ObjectAlreadyExistsError,
    ObjectChangedError,
    ObjectNotFoundError,
    PreconditionFailedError,
    RequestTimeoutError,
)
from objstore.models import ObjectInfo, ObjectLink, ObjectMeta
from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.fake_bucket import FakeBucket
from tests.fake_server import FakeServer
from tests.helpers import pattern
from tests.raw_bucket import RawBucket, digest_of
from tests.test_naming import ODD_NAMES

TIMEOUT = 20.0
CHUNK = 128 << 10
TIME = datetime(2026, 1, 2, tzinfo=timezone.utc)

#: A link, or its target, that nobody has stored.
TARGET = ObjectInfo("b", "t", "0123456789abcdefABCDEF", 0, 0, "", TIME)


@pytest.fixture
def silent() -> Iterator[ObjectStore]:
    """A bucket of a server that must not hear a word about it."""
    bucket = FakeBucket()
    with FakeServer(bucket) as server:
        with bucket.open(server) as store:
            bucket.log.clear()
            yield store
        assert bucket.log == []


# What is stored


def test_put_stores_an_object_as_specified(store: ObjectStore, raw: RawBucket) -> None:
    """Chunks under one subject, each with an id; then a meta that replaces the one before."""
    for data in (b"first", b"aaaabbbbc"):
        info = store.put(
            "my?file~",
            data,
            description="d",
            headers={"k": "v"},
            metadata={"m": "n"},
            chunk_size=4,
        )
    subject = f"$O.{store.bucket}.M.bXk_ZmlsZX4="
    chunks = f"$O.{store.bucket}.C.{info.nuid}"
    assert raw.subjects() == {subject: 1, chunks: 3}
    messages = raw.chunk_messages(info.nuid)
    assert [m["data"] for m in messages] == [b"aaaa", b"bbbb", b"c"]
    for number, m in enumerate(messages):
        assert m["hdrs"] == f"NATS/1.0\r\nNats-Msg-Id: {info.nuid}.{number}\r\n\r\n".encode()
    message = raw.message(last_by_subj=subject)
    assert message is not None
    assert message["seq"] == info.revision > messages[-1]["seq"]
    assert b"\r\nNats-Rollup: sub\r\n" in message["hdrs"]
    assert b"\r\nNats-Expected-Last-Subject-Sequence: " in message["hdrs"]
    assert message["data"] == (
        b'{"name":"my?file~","description":"d","headers":{"k":["v"]},"metadata":{"m":"n"},'
        b'"options":{"max_chunk_size":4},"bucket":"%s","nuid":"%s","size":9,"chunks":3,'
        b'"digest":"%s"}'
        % (store.bucket.encode(), info.nuid.encode(), digest_of(b"aaaabbbbc").encode())
    )


def test_put_returns_what_is_stored(store: ObjectStore) -> None:
    before = datetime.now(timezone.utc) - timedelta(seconds=5)
    info = store.put("a", b"data", description="d", headers={"k": ["v", "w"]}, metadata={"m": "n"})
    stored = store.get_info("a")
    assert replace(stored, mtime=info.mtime) == info
    assert info.bucket == store.bucket
    for mtime in (info.mtime, stored.mtime):
        assert mtime.tzinfo is timezone.utc and before < mtime < before + timedelta(seconds=30)
    assert (info.size, info.chunks, info.digest) == (4, 1, digest_of(b"data"))
    assert (info.chunk_size, info.deleted, info.is_link) == (CHUNK, False, False)
    assert info.revision > 0 and len(info.nuid) == 22


def test_digest_is_the_one_that_other_clients_have_for_these_bytes(store: ObjectStore) -> None:
    info = store.put("a", b"A" * (1024 * 1024 + 33))
    assert info.digest == "SHA-256=mhT1pLyi9JlIaqwVmvt0wQp2x09kor_80Lirl4SDblA="
    assert info.chunks == 9


def test_overwriting_leaves_one_version(store: ObjectStore, raw: RawBucket) -> None:
    """With an id and a revision of its own."""
    infos = [store.put("a", pattern(10), chunk_size=4) for _ in range(5)]
    assert len({info.nuid for info in infos}) == 5
    assert sorted(infos, key=lambda info: info.revision) == infos
    assert raw.chunks == {infos[-1].nuid: 3}
    assert raw.state["messages"] == 4


def test_put_takes_a_meta(store: ObjectStore) -> None:
    """And keywords change single fields of it."""
    meta = ObjectMeta("a", "d", {"k": ["v"]}, {"m": "n"}, 4)
    info = store.put(meta, b"12345")
    assert info.meta == meta and info.chunks == 2
    info = store.put(meta, b"12345", description="e", headers={}, chunk_size=5)
    assert info.meta == ObjectMeta("a", "e", {}, {"m": "n"}, 5)
    # What was learnt of one object describes another as well.
    info = store.put(info, b"1")
    assert info.meta == ObjectMeta("a", "e", {}, {"m": "n"}, 5) and info.size == 1


def test_chunks_are_cut_to_what_the_server_takes(make_server: Callable[..., LocalServer]) -> None:
    """With their headers; and the meta says how large they really are."""
    server = make_server("max_payload: 8KB")
    size_taken = 8192 - 128
    with Client(server.url) as client:
        store = client.create_object_store("b")
        data = pattern(30_000)
        for size in (None, 100_000):
            info = store.put("a", data, chunk_size=size)
            assert (info.chunk_size, info.chunks) == (size_taken, 4)
            assert store.get_bytes("a") == data
        for info in store.put_many({"b": data, "c": b"small"}):
            assert info.chunk_size == size_taken
        assert store.get_bytes("b") == data
        with pytest.raises(ValueError, match="max_payload"):
            store.put("a", b"", description="d" * 10_000)
        with pytest.raises(ValueError, match="max_payload"):
            store.update_meta("a", description="d" * 10_000)
        assert store.get_bytes("a") == data


@pytest.mark.parametrize("field", ["description", "headers", "metadata"])
def test_meta_that_is_too_large_is_refused_before_a_byte_is_sent(
    store: ObjectStore, raw: RawBucket, field: str
) -> None:
    value: Any = {"k": "x" * 1_100_000}
    value = value["k"] if field == "description" else value
    for put in (
        lambda: store.put("a", bytes(3_000_000), **{field: value}),
        lambda: store.put_many([(ObjectMeta("a", **{field: value}), b"data")]),
    ):
        with pytest.raises(ValueError, match="max_payload"):
            put()
    assert raw.state["messages"] == 0
    assert store.put("a", b"data").size == 4


def test_put_in_other_words(store: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(b"file")
    assert store.put_bytes("bytes", bytearray(b"bytes")).size == 5
    assert store.put_string("text", "ä").size == 2
    assert store.put_file(path).name == "file.txt"
    assert store.put_file(str(path), "dir/other").name == "dir/other"
    assert store.get_bytes("bytes") == b"bytes"
    assert store.get_string("text") == "ä"
    assert store.get_bytes("file.txt") == store.get_bytes("dir/other") == b"file"
    store.put("bytes", b"\xff")
    with pytest.raises(UnicodeDecodeError):
        store.get_string("bytes")
    for wrong in (lambda: store.put_string("a", b"x"), lambda: store.put_bytes("a", "x")):  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            wrong()


# Opening


@pytest.mark.parametrize("mode", ["r", "rt", "rb"])
def test_open_reads(store: ObjectStore, mode: str) -> None:
    store.put("a", "ä\r\nb".encode())
    with store.open("a", mode) as file:
        assert file.read() == ("ä\r\nb".encode() if mode == "rb" else "ä\nb")
    with store.open("a") as file:
        assert file.read(1) == b"\xc3"


def test_open_reads_text_in_any_form(store: ObjectStore) -> None:
    store.put("a", "ä\r\nb".encode("latin-1"))
    with store.open("a", "r", encoding="latin-1", newline="") as file:
        assert file.readlines() == ["ä\r\n", "b"]
    with store.open("a", "r", errors="replace") as file:
        assert file.read() == "\ufffd\nb"


@pytest.mark.parametrize("mode", ["w", "wt", "wb", "x", "xt", "xb"])
def test_open_writes(store: ObjectStore, mode: str) -> None:
    with store.open("a", mode) as file:
        file.write(b"data" if "b" in mode else "data")
    assert store.get_bytes("a") == b"data"


def test_open_x_makes_only_what_is_not_there(store: ObjectStore, raw: RawBucket) -> None:
    """Whether it is there when the file is opened, or comes while it is written."""
    late = store.open("a", "xb")
    late.write(bytes(2_000_000))
    with store.open("a", "x") as file:
        file.write("first")
    with pytest.raises(ObjectAlreadyExistsError):
        store.open("a", "xb")
    with pytest.raises(FileExistsError):
        store.open("a", "x")
    with pytest.raises((ObjectAlreadyExistsError, PreconditionFailedError)):
        late.close()
    assert store.get_bytes("a") == b"first"
    assert len(raw.chunks) == 1
    store.delete("a")
    with store.open("a", "x") as file:
        file.write("again")
    assert store.get_bytes("a") == b"again"


def test_open_buffers_if_asked(store: ObjectStore) -> None:
    """The reader is buffered already, so that takes a size."""
    store.put("a", b"data")
    with store.open("a", "rb", 300) as file:
        assert type(file) is io.BufferedReader and file.read() == b"data"
    for buffering in (0, -1):
        with store.open("a", "rb", buffering) as file:
            assert file is not None and not isinstance(file, io.BufferedReader)


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        *((mode, io.UnsupportedOperation) for mode in ("a", "ab", "r+", "rb+", "w+b")),
        *((mode, ValueError) for mode in ("", "b", "t", "rw", "rbt", "U", "rr", "br", "wx")),
        *((mode, TypeError) for mode in (None, 0, b"r")),
    ],
)
def test_open_in_other_modes_is_refused(silent: ObjectStore, mode: Any, error: Any) -> None:
    with pytest.raises(error):
        silent.open("a", mode)


@pytest.mark.parametrize("option", ["encoding", "errors", "newline"])
def test_open_of_bytes_takes_nothing_for_text(silent: ObjectStore, option: str) -> None:
    for mode in ("rb", "wb", "xb"):
        with pytest.raises(ValueError):
            silent.open("a", mode, **{option: "utf-8"})


def test_open_of_what_is_not_there_is_a_missing_file(store: ObjectStore) -> None:
    for mode in ("r", "rb"):
        with pytest.raises(FileNotFoundError) as caught:
            store.open("a", mode)
        assert caught.value.filename == f"{store.bucket}/a"


# Names


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_names(store: ObjectStore, tmp_path: Path, name: str) -> None:
    """Everywhere, and they never become paths."""
    store.put(name, b"data", description=name)
    assert name in store
    assert store.get_bytes(name) == store[name] == b"data"
    assert store.get_file(name, tmp_path / "file").name == name
    assert [info.name for info in store.list()] == list(store) == [name]
    assert store.update_meta(name, description="").description == ""
    assert store.add_link("link", store.get_info(name)).link == ObjectLink(store.bucket, name)
    assert store.get_bytes("link") == b"data"
    store.update_meta(name, new_name=name + "2")
    store.update_meta(name + "2", new_name=name)
    store.delete(name)
    assert name not in store


def test_two_forms_of_one_text_are_two_names(store: ObjectStore) -> None:
    """Nothing is normalised."""
    store.put("\u00e9", b"composed")
    store.put("e\u0301", b"decomposed")
    assert store.get_bytes("\u00e9") == b"composed"
    assert sorted(store) == ["e\u0301", "\u00e9"]


@pytest.mark.parametrize("character", ["n", "é", "😀"])
def test_longest_names_are_names(store: ObjectStore, raw: RawBucket, character: str) -> None:
    """The server takes them, and the connection survives what is refused."""
    name = character * (2985 // len(character.encode()))
    store.put(name, b"data", if_absent=True)
    assert store.get_bytes(name) == b"data"
    store.update_meta(name, description="d")
    assert dict(store.get_many([name])) == {name: b"data"}
    store.put_many({name: b"more"})
    assert [info.name for info in store.list()] == [name]
    store.delete(name, purge=True)
    with pytest.raises(InvalidNameError):
        store.put(character * (3040 // len(character.encode())), b"data")
    assert store.put("a", b"data").size == 4


CALLS: dict[str, Callable[[ObjectStore, Any], object]] = {
    "put": lambda store, name: store.put(name, b"data"),
    "put of a file": lambda store, name: store.put(name, io.BytesIO(b"data")),
    "put without data": lambda store, name: store.put(name),
    "put_bytes": lambda store, name: store.put_bytes(name, b"data"),
    "put_string": lambda store, name: store.put_string(name, "data"),
    "put_file": lambda store, name: store.put_file(__file__, "" if name is None else name),
    "put_many": lambda store, name: store.put_many([(name, b"data")]),
    "open to write": lambda store, name: store.open(name, "wb"),
    "open to read": lambda store, name: store.open(name),
    "get": lambda store, name: store.get(name),
    "get_bytes": lambda store, name: store.get_bytes(name),
    "get_string": lambda store, name: store.get_string(name),
    "get_file": lambda store, name: store.get_file(name, "never made"),
    "get_many": lambda store, name: list(store.get_many([name])),
    "get_info": lambda store, name: store.get_info(name),
    "update_meta": lambda store, name: store.update_meta(name, description="d"),
    "update_meta by a name": lambda store, name: store.update_meta(name, ObjectMeta("a")),
    "rename": lambda store, name: store.update_meta(name, new_name="a"),
    "rename to": lambda store, name: store.update_meta("a", new_name=name),
    "delete": lambda store, name: store.delete(name),
    "add_link": lambda store, name: store.add_link(name, TARGET),
    "add_link to": lambda store, name: store.add_link("a", replace(TARGET, name=name)),
    "add_bucket_link": lambda store, name: store.add_bucket_link(name, "b"),
    "copy": lambda store, name: store.copy(name, "a"),
    "copy to": lambda store, name: store.copy("a", name),
    "[]": lambda store, name: store[name],
    "[] =": lambda store, name: store.__setitem__(name, b"data"),
    "del []": lambda store, name: store.__delitem__(name),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "name", ["", "\ud800", "n" * 3040, "é" * 1520, None, b"a", 5, Path("a"), ["a"]]
)
def test_name_that_cannot_be_is_refused_before_a_byte_is_sent(
    silent: ObjectStore, call: str, name: Any
) -> None:
    if name is None and call in ("put_file", "rename to"):
        name = ""  # None means another thing there
    with pytest.raises(InvalidNameError if isinstance(name, str) else TypeError) as caught:
        CALLS[call](silent, name)
    assert len(str(caught.value)) < 250


def test_nothing_has_a_name_that_cannot_be(silent: ObjectStore) -> None:
    """To ask whether it is there is no error."""
    for name in ("", "\ud800", "n" * 3040, None, b"a", 5):
        assert name not in silent


# Numbers


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        *(({"chunk_size": value}, ValueError) for value in (0, -1, 2**32, 2**40)),
        *(({"chunk_size": value}, TypeError) for value in (1.5, True, "1", [1])),
        *(({"if_revision": value}, ValueError) for value in (-1, 2**63)),
        *(({"if_revision": value}, TypeError) for value in (True, "1", 1.0)),
        *(({"timeout": value}, ValueError) for value in (-1, float("nan"))),
        *(({"timeout": value}, TypeError) for value in ("5", True, [])),
        ({"if_absent": True, "if_revision": 1}, ValueError),
        ({"callback": 5}, TypeError),
        ({"description": 5}, TypeError),
        ({"description": "\ud800"}, ValueError),
        ({"headers": {"k": 5}}, TypeError),
        ({"headers": "k"}, TypeError),
        ({"metadata": {"k": 5}}, TypeError),
        ({"metadata": {5: "k"}}, TypeError),
    ],
)
def test_put_with_nonsense_is_refused_before_a_byte_is_sent(
    silent: ObjectStore, arguments: dict[str, Any], error: type[Exception]
) -> None:
    for data in ((b"data",), (), (io.BytesIO(b"data"),)):
        with pytest.raises(error):
            silent.put("a", *data, **arguments)


@pytest.mark.parametrize("timeout", [-1, float("nan"), "5", True, -float("inf")])
@pytest.mark.parametrize(
    "call",
    [
        lambda store, timeout: store.get("a", timeout=timeout),
        lambda store, timeout: store.get_bytes("a", timeout=timeout),
        lambda store, timeout: store.get_info("a", timeout=timeout),
        lambda store, timeout: store.get_many(["a"], timeout=timeout),
        lambda store, timeout: store.put_many({"a": b"x"}, timeout=timeout),
        lambda store, timeout: store.update_meta("a", description="d", timeout=timeout),
        lambda store, timeout: store.delete("a", timeout=timeout),
        lambda store, timeout: store.add_link("a", TARGET, timeout=timeout),
        lambda store, timeout: store.add_bucket_link("a", "b", timeout=timeout),
        lambda store, timeout: store.list(timeout=timeout),
        lambda store, timeout: store.watch(timeout=timeout),
        lambda store, timeout: store.status(timeout=timeout),
        lambda store, timeout: store.seal(timeout=timeout),
        lambda store, timeout: store.copy("a", "b", timeout=timeout),
        lambda store, timeout: store.open("a", timeout=timeout),
    ],
)
def test_timeout_of_nonsense_is_refused_before_a_byte_is_sent(
    silent: ObjectStore, call: Callable[..., object], timeout: Any
) -> None:
    with pytest.raises((TypeError, ValueError), match="timeout"):
        call(silent, timeout)


@pytest.mark.parametrize("timeout", [None, float("inf"), 10**12, 3])
def test_any_timeout_from_zero_on_is_fine(store: ObjectStore, timeout: Any) -> None:
    """None and infinity wait for ever."""
    store.put("a", b"data", timeout=timeout)
    assert store.get_bytes("a", timeout=timeout) == b"data"
    store.delete("a", timeout=timeout)
    assert store.list(timeout=timeout) == []


def test_timeout_zero_does_not_wait() -> None:
    def silence(*_: Any) -> None:
        pass

    bucket = FakeBucket(get=silence)
    with FakeServer(bucket) as server, bucket.open(server) as store:
        with pytest.raises(RequestTimeoutError):
            store.get_info("a", timeout=0)


# Info, and what is not there


def test_missing_object_is_a_missing_file_and_a_missing_key(store: ObjectStore) -> None:
    """For whoever knows either."""
    for call in (store.get, store.get_bytes, store.get_info, store.open, store.__getitem__):
        for expected in (ObjectNotFoundError, FileNotFoundError, KeyError):
            with pytest.raises(expected) as caught:
                call("a")
            assert (caught.value.bucket, caught.value.name) == (store.bucket, "a")  # type: ignore[union-attr]
    for call in (store.delete, store.__delitem__):
        with pytest.raises(ObjectNotFoundError):
            call("a")
    with pytest.raises(ObjectNotFoundError):
        store.update_meta("a", description="d")


def test_deleted_object_is_shown_if_asked_for(store: ObjectStore) -> None:
    """As it was, but for its bytes."""
    info = store.put("a", b"data", description="d", metadata={"k": "v"})
    store.delete("a")
    for call in (store.get, store.get_info):
        with pytest.raises(ObjectNotFoundError, match="deleted"):
            call("a")
    tombstone = store.get_info("a", show_deleted=True)
    assert tombstone.deleted and tombstone.revision > info.revision
    assert (tombstone.size, tombstone.chunks, tombstone.digest) == (0, 0, "")
    assert (tombstone.nuid, tombstone.description) == (info.nuid, "d")
    assert tombstone.metadata == {"k": "v"}
    with store.get("a", show_deleted=True) as reader:
        assert reader.read() == b"" and reader.info == tombstone


def test_store_that_is_gone_is_named(client: Client, store: ObjectStore) -> None:
    """By every method, at once."""
    store.put("a", b"data")
    info = store.get_info("a")
    client.delete_object_store(store.bucket)
    for call in (
        lambda: store.put("a", b"data"),
        lambda: store.put("a", bytes(3_000_000)),
        lambda: store.put("a", b"data", if_absent=True),
        lambda: store.put_many({"a": b"data"}),
        lambda: list(store.get_many(["a"])),
        lambda: store.get_bytes("a"),
        lambda: store.get_info("a"),
        lambda: store.update_meta("a", description="d"),
        lambda: store.delete("a"),
        lambda: store.delete("a", missing_ok=True),
        lambda: store.add_link("l", info),
        lambda: store.list(),
        lambda: list(store),
        lambda: "a" in store,
        lambda: store.watch(),
        lambda: store.status(),
        lambda: store.seal(),
    ):
        with pytest.raises(BucketNotFoundError):
            call()


# Unusable metas

HOSTILE: dict[str, Any] = {
    "not JSON": b"{",
    "empty": b"",
    "null": b"null",
    "list": b"[]",
    "nested": b"[" * 100_000,
    "no id": {"name": "a", "size": 5},
    "id >": {"name": "a", "nuid": ">", "size": 5, "chunks": 1},
    "id *": {"name": "a", "nuid": "*", "size": 5, "chunks": 1},
    "id with dots": {"name": "a", "nuid": "a.b", "size": 5, "chunks": 1},
    "id with a command": {"name": "a", "nuid": "x 0\r\n\r\nPUB pwned 0\r\n\r\n", "size": 5},
    "size -1": {"name": "a", "nuid": next_nuid(), "size": -1},
}


@pytest.mark.parametrize("meta", HOSTILE)
def test_unusable_meta_harms_nobody(
    store: ObjectStore,
    raw: RawBucket,
    caplog: pytest.LogCaptureFixture,
    meta: str,
) -> None:
    """It is one kind of error, left out of listings, replaced by a put; nothing is purged by it."""
    victim = store.put("victim", b"victim")
    raw.put_meta("a", HOSTILE[meta])
    for call in (
        lambda: store.get("a"),
        lambda: store.get_info("a"),
        lambda: store.delete("a"),
        lambda: store.update_meta("a", description="d"),
        lambda: store.update_meta("victim", new_name="a"),
        lambda: store.copy("a", "b"),
        lambda: list(store.get_many(["a"])),
    ):
        with pytest.raises(BadObjectMetaError):
            call()
    assert [info.name for info in store.list()] == ["victim"]
    assert "skipped" in caplog.text
    with store.watch() as watcher:
        assert [watcher.next(TIMEOUT), watcher.next(TIMEOUT)] == [store.get_info("victim"), None]
    store.put("a", b"mended")
    assert store.get_bytes("a") == b"mended"
    raw.put_meta("a", HOSTILE[meta])
    store.put_many({"a": b"mended"})
    assert store.get_bytes("a") == b"mended"
    assert store.get_bytes("victim") == b"victim"
    assert raw.chunks[victim.nuid] == 1


# Conditions


def test_put_if_absent(store: ObjectStore, raw: RawBucket) -> None:
    """A deleted object is absent; of what is refused nothing is left."""
    info = store.put("a", b"one", if_absent=True)
    for data in (b"two", bytes(3_000_000), io.BytesIO(b"two"), b""):
        with pytest.raises(PreconditionFailedError) as caught:
            store.put("a", data, if_absent=True)
        assert caught.value.revision == info.revision
    assert raw.chunks == {info.nuid: 1}
    store.delete("a")
    assert store.put("a", b"two", if_absent=True).size == 3
    store.delete("a", purge=True)
    assert store.put("a", b"three", if_absent=True).size == 5


def test_put_if_revision(store: ObjectStore, raw: RawBucket) -> None:
    """Zero is for a name that was never used; a tombstone has a revision as well."""
    with pytest.raises(PreconditionFailedError) as caught:
        store.put("a", b"x", if_revision=5)
    assert caught.value.revision == 0
    one = store.put("a", b"one", if_revision=0)
    two = store.put("a", b"two", if_revision=one.revision)
    for revision in (0, one.revision, two.revision + 1):
        with pytest.raises(PreconditionFailedError) as caught:
            store.put("a", bytes(3_000_000), if_revision=revision)
        assert caught.value.revision == two.revision
    store.delete("a")
    with pytest.raises(PreconditionFailedError):
        store.put("a", b"three", if_revision=two.revision)
    tombstone = store.get_info("a", show_deleted=True)
    store.put("a", b"three", if_revision=tombstone.revision)
    assert store.get_bytes("a") == b"three"
    assert len(raw.chunks) == 1


def test_condition_is_checked_when_the_writer_is_opened_and_closed(
    store: ObjectStore, raw: RawBucket
) -> None:
    writer = store.put("a", if_absent=True)
    writer.write(bytes(2_000_000))
    info = store.put("a", b"meanwhile")
    with pytest.raises(PreconditionFailedError):
        store.put("a", if_absent=True)
    with pytest.raises(PreconditionFailedError) as caught:
        writer.close()
    assert caught.value.revision == info.revision
    assert raw.chunks == {info.nuid: 1}


def test_change_if_revision(store: ObjectStore) -> None:
    one = store.put("a", b"one")
    two = store.put("a", b"two")
    for call in (
        lambda revision: store.delete("a", if_revision=revision),
        lambda revision: store.update_meta("a", description="d", if_revision=revision),
        lambda revision: store.update_meta("a", new_name="b", if_revision=revision),
    ):
        with pytest.raises(PreconditionFailedError) as caught:
            call(one.revision)
        assert caught.value.revision == two.revision
        for wrong in (-1, 2**63, True, "1"):
            with pytest.raises((TypeError, ValueError)):
                call(wrong)
    three = store.update_meta("a", description="d", if_revision=two.revision)
    four = store.update_meta("a", new_name="b", if_revision=three.revision)
    store.delete("b", if_revision=four.revision)
    assert store.list() == []


# Metas


def test_update_meta_changes_what_is_given(store: ObjectStore, raw: RawBucket) -> None:
    """And keeps bytes, id and the rest."""
    info = store.put("a", b"data", description="d", headers={"k": "v"}, metadata={"m": "n"})
    changed = store.update_meta("a", description="e")
    assert (changed.description, changed.headers, changed.metadata) == (
        "e",
        {"k": ["v"]},
        {"m": "n"},
    )
    changed = store.update_meta("a", headers={"x": ["y", "z"]}, metadata={})
    assert (changed.description, changed.headers, changed.metadata) == (
        "e",
        {"x": ["y", "z"]},
        {},
    )
    changed = store.update_meta("a", description="")
    assert changed.description == "" and changed.headers == {"x": ["y", "z"]}
    for field in ("nuid", "size", "chunks", "digest", "chunk_size"):
        assert getattr(changed, field) == getattr(info, field)
    stored = store.get_info("a")
    assert replace(stored, mtime=changed.mtime) == changed
    assert stored.revision > info.revision
    assert store.get_bytes("a") == b"data"
    assert raw.state["messages"] == 2


def test_update_meta_by_a_meta_replaces_all_of_it(store: ObjectStore) -> None:
    store.put("a", b"data", description="d", headers={"k": "v"}, metadata={"m": "n"})
    info = store.update_meta("a", ObjectMeta("a", headers={"x": "y"}))
    assert info.meta == ObjectMeta("a", headers={"x": "y"}, chunk_size=CHUNK)
    info = store.update_meta("a", ObjectMeta("b"))
    assert info.meta == ObjectMeta("b", chunk_size=CHUNK)
    assert list(store) == ["b"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, ValueError),
        ({"meta": ObjectMeta("a"), "description": "d"}, ValueError),
        ({"meta": ObjectMeta("a"), "new_name": "b"}, ValueError),
        ({"meta": "a"}, TypeError),
        ({"meta": {"name": "a"}}, TypeError),
        ({"description": 5}, TypeError),
        ({"headers": {"k": 5}}, TypeError),
        ({"metadata": {"k": 5}}, TypeError),
        ({"description": "\ud800"}, ValueError),
        ({"description": "d", "if_revision": -1}, ValueError),
    ],
)
def test_update_meta_with_nonsense_is_refused_before_a_byte_is_sent(
    silent: ObjectStore, arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        silent.update_meta("a", **arguments)


def test_rename(store: ObjectStore, raw: RawBucket) -> None:
    """The bytes stay where they are; the old name is as if it had never been."""
    info = store.put("a", b"data", description="d")
    renamed = store.update_meta("a", new_name="b", metadata={"k": "v"})
    assert (renamed.name, renamed.nuid, renamed.description) == ("b", info.nuid, "d")
    assert renamed.metadata == {"k": "v"}
    assert store.get_bytes("b") == b"data"
    with pytest.raises(ObjectNotFoundError):
        store.get_info("a", show_deleted=True)
    assert raw.state["messages"] == 2
    assert store.update_meta("b", new_name="b").nuid == info.nuid


def test_rename_takes_only_a_free_name(store: ObjectStore) -> None:
    """A live object or link is in the way, a deleted one is not."""
    store.put("a", b"data")
    store.put("b", b"other")
    store.add_link("l", store.get_info("b"))
    for name in ("b", "l"):
        with pytest.raises(ObjectAlreadyExistsError):
            store.update_meta("a", new_name=name)
    store.delete("b")
    store.update_meta("a", new_name="b")
    assert store.get_bytes("b") == b"data"


def test_rename_of_a_link(store: ObjectStore) -> None:
    """It leads where it led."""
    store.put("a", b"data")
    link = store.add_link("l", store.get_info("a"))
    renamed = store.update_meta("l", new_name="m", description="d")
    assert (renamed.link, renamed.nuid) == (link.link, link.nuid)
    assert store.get_bytes("m") == b"data"


def test_deleted_object_cannot_be_changed(store: ObjectStore) -> None:
    store.put("a", b"data")
    store.delete("a")
    for arguments in ({"description": "d"}, {"new_name": "b"}):
        with pytest.raises(ObjectNotFoundError):
            store.update_meta("a", **arguments)  # type: ignore[arg-type]


# Removal


def test_delete_leaves_a_tombstone(store: ObjectStore, raw: RawBucket) -> None:
    info = store.put("a", pattern(10), chunk_size=4)
    store.delete("a")
    assert raw.chunks == {}
    assert raw.meta("a") == {
        "name": "a",
        "options": {"max_chunk_size": 4},
        "bucket": store.bucket,
        "nuid": info.nuid,
        "size": 0,
        "chunks": 0,
        "deleted": True,
    }
    message = raw.meta_message("a")
    assert message is not None and b"Nats-Rollup: sub" in message["hdrs"]


def test_delete_twice_is_fine(store: ObjectStore, raw: RawBucket) -> None:
    """And writes nothing the second time."""
    store.put("a", b"data")
    store.delete("a")
    last = raw.state["last_seq"]
    store.delete("a")
    assert raw.state["last_seq"] == last


def test_delete_of_what_never_was(store: ObjectStore, raw: RawBucket) -> None:
    store.delete("a", missing_ok=True)
    with pytest.raises(ObjectNotFoundError):
        store.delete("a")
    assert raw.state["last_seq"] == 0


def test_purge_leaves_nothing(store: ObjectStore, raw: RawBucket) -> None:
    """Of an object, and of one that was deleted before."""
    store.put("b", b"other")
    for _ in range(2):
        store.put("a", b"data")
        store.delete("a", purge=True)
        with pytest.raises(ObjectNotFoundError):
            store.get_info("a", show_deleted=True)
    store.put("a", b"data")
    store.delete("a")
    store.delete("a", purge=True)
    assert raw.state["messages"] == 2
    assert store.get_bytes("b") == b"other"


@pytest.mark.parametrize("kind", ["object", "link"])
def test_delete_on_a_full_bucket(client: Client, bucket: str, kind: str) -> None:
    """There is no room for a tombstone: the object goes all the same, and makes room."""
    store = client.create_object_store(bucket, max_bytes=100_000)
    store.put("a", bytes(50_000))
    if kind == "link":
        store.add_link("l", store.get_info("a"))
    name = "a" if kind == "object" else "l"
    fill(store)
    store.delete(name)
    assert name not in store
    if kind == "object":
        store.put("a", bytes(40_000))
        assert store.get_bytes("a") == bytes(40_000)
    else:
        assert store.get_bytes("a") == bytes(50_000)
    client.delete_object_store(bucket)


def fill(store: ObjectStore) -> None:
    """Fill a bucket to the last byte."""
    number = 0
    size = 10_000
    while True:
        try:
            store.put(f"fill-{number}", bytes(size))
        except BucketFullError:
            if not size:
                return
            size //= 2
        number += 1


def test_full_bucket_takes_nothing_and_loses_nothing(client: Client, bucket: str) -> None:
    """Whether the chunks do not fit or only the meta; what was sent goes."""
    store = client.create_object_store(bucket, max_bytes=300_000)
    info = store.put("a", pattern(100_000))
    state = store.status().stream_info["state"]
    for size in (300_000, 1_000_000, 5_000_000):
        for name in ("a", "b"):
            with pytest.raises(BucketFullError) as caught:
                store.put(name, bytes(size))
            assert isinstance(caught.value, OSError) and caught.value.bucket == bucket
    # So that only the meta does not fit.
    room = 300_000 - state["bytes"]
    with pytest.raises(BucketFullError):
        store.put("b", bytes(room - 150))
    assert store.get_info("a") == replace(info, mtime=store.get_info("a").mtime)
    assert store.get_bytes("a") == pattern(100_000)
    after = store.status().stream_info["state"]
    assert (after["bytes"], after["messages"]) == (state["bytes"], state["messages"])
    client.delete_object_store(bucket)


# Links


def test_link_leads_to_an_object(store: ObjectStore, raw: RawBucket) -> None:
    """Which is read through it; the link has an info of its own."""
    target = store.put("a", b"data")
    link = store.add_link("l", store.get_info("a"))
    assert link.link == ObjectLink(store.bucket, "a")
    assert (link.size, link.chunks, link.digest, link.is_link) == (0, 0, "", True)
    assert link.nuid != target.nuid
    stored = store.get_info("l")
    assert replace(stored, mtime=link.mtime) == link
    assert store.get_bytes("l") == store["l"] == b"data"
    with store.get("l") as reader:
        assert (reader.name, reader.info.name, reader.info.nuid) == ("l", "a", target.nuid)
    assert raw.meta("l") == {
        "name": "l",
        "options": {"link": {"bucket": store.bucket, "name": "a"}},
        "bucket": store.bucket,
        "nuid": link.nuid,
        "size": 0,
        "chunks": 0,
    }


def test_link_leads_into_another_bucket(client: Client, store: ObjectStore) -> None:
    other = client.create_object_store(f"{store.bucket}-other")
    other.put("a", pattern(300_000))
    store.add_link("l", other.get_info("a"))
    assert store.get_bytes("l") == pattern(300_000)
    assert list(store.get_many(["l"])) == [("l", pattern(300_000))]
    client.delete_object_store(other.bucket)
    with pytest.raises(BucketNotFoundError):
        store.get("l")
    assert other.bucket not in client.object_store_names()


def test_link_to_a_bucket(client: Client, store: ObjectStore, raw: RawBucket) -> None:
    """Is shown, and cannot be read."""
    for target in (store, store.bucket):
        link = store.add_bucket_link("l", target)
        assert link.link == ObjectLink(store.bucket)
        assert raw.meta("l")["options"] == {"link": {"bucket": store.bucket}}
    with pytest.raises(BucketLinkError):
        store.get("l")
    for wrong in ("a.b", "", None, 5):
        with pytest.raises((InvalidNameError, TypeError)):
            store.add_bucket_link("l", wrong)  # type: ignore[arg-type]


def test_link_takes_the_place_of_a_link_or_of_nothing(store: ObjectStore) -> None:
    """Not that of a live object; deleted ones are nothing."""
    target = store.put("a", b"a")
    other = store.put("b", b"b")
    store.add_link("l", target)
    store.add_link("l", other)
    assert store.get_bytes("l") == b"b"
    store.add_bucket_link("l", store)
    store.add_link("l", target)
    store.delete("l")
    store.add_link("l", target)
    store.put("gone", b"gone")
    store.delete("gone")
    store.add_link("gone", target)
    assert store.get_bytes("gone") == b"a"
    for add in (lambda: store.add_link("b", target), lambda: store.add_bucket_link("b", store)):
        with pytest.raises(ObjectAlreadyExistsError):
            add()
    assert store.get_bytes("b") == b"b"


def test_link_to_what_cannot_be_a_target_is_refused(silent: ObjectStore) -> None:
    with pytest.raises(LinkToDeletedError):
        silent.add_link("l", replace(TARGET, deleted=True))
    with pytest.raises(LinkToLinkError):
        silent.add_link("l", replace(TARGET, link=ObjectLink("b", "x")))
    with pytest.raises(InvalidNameError):
        silent.add_link("l", replace(TARGET, bucket="a.b"))
    for wrong in (None, "a", ObjectMeta("a"), ObjectLink("b", "a")):
        with pytest.raises(TypeError, match="get_info"):
            silent.add_link("l", wrong)  # type: ignore[arg-type]


def test_put_of_a_link_is_refused(store: ObjectStore) -> None:
    """Over a link it is fine, and makes it an object."""
    target = store.put("a", b"data")
    link = store.add_link("l", target)
    with pytest.raises(LinkNotAllowedError):
        store.put(link, b"data")
    store.put("l", b"object now")
    assert not store.get_info("l").is_link
    assert store.get_bytes("l") == b"object now"
    assert store.get_bytes("a") == b"data"


def test_deleting_a_link_deletes_the_link(store: ObjectStore) -> None:
    store.put("a", b"data")
    store.add_link("l", store.get_info("a"))
    store.delete("l")
    with pytest.raises(ObjectNotFoundError):
        store.get("l")
    assert store.get_bytes("a") == b"data"


@pytest.mark.parametrize("gone", ["deleted", "purged"])
def test_link_to_what_is_gone_is_a_missing_object(store: ObjectStore, gone: str) -> None:
    store.put("a", b"data")
    store.add_link("l", store.get_info("a"))
    store.delete("a", purge=gone == "purged")
    with pytest.raises(ObjectNotFoundError) as caught:
        store.get("l")
    assert caught.value.name == "a"
    assert store.get_info("l").is_link


# An info in place of a name


def test_info_is_read_as_the_version_that_it_is(store: ObjectStore) -> None:
    store.put("a", b"one")
    info = store.get_info("a")
    assert store.get_bytes(info) == b"one"
    store.put("a", b"two")
    with pytest.raises(ObjectChangedError):
        store.get_bytes(info)


# The bucket


def test_status(client: Client, bucket: str) -> None:
    store = client.create_object_store(
        bucket, description="d", ttl=3600, metadata={"k": "v"}, compression=True
    )
    store.put("a", b"x" * 10_000)
    status = store.status()
    assert (status.bucket, status.description, status.ttl) == (bucket, "d", 3600)
    assert (status.storage, status.replicas, status.sealed) == ("file", 1, False)
    assert status.metadata == {"k": "v"}
    assert status.is_compressed and status.backing_store == "JetStream"
    assert status.size > 0
    assert status.stream_info["config"]["name"] == f"OBJ_{bucket}"
    client.delete_object_store(bucket)


def test_sealed_bucket_changes_no_more(client: Client, store: ObjectStore) -> None:
    """It is read as before, and deleted as a whole."""
    store.put("a", b"data")
    info = store.get_info("a")
    store.add_link("l", info)
    store.seal()
    assert store.status().sealed
    for call in (
        lambda: store.put("a", b"more"),
        lambda: store.put("b", b""),
        lambda: store.put("b", bytes(3_000_000)),
        lambda: store.put_many({"b": b"x"}),
        lambda: store.delete("a"),
        lambda: store.update_meta("a", description="d"),
        lambda: store.update_meta("a", new_name="b"),
        lambda: store.add_link("m", info),
    ):
        with pytest.raises(BucketSealedError) as caught:
            call()
        assert isinstance(caught.value, PermissionError)
    store.seal()
    assert store.get_info("a") == info
    assert store.get_bytes("l") == b"data"
    assert [info.name for info in store.list()] == ["a", "l"]
    client.delete_object_store(store.bucket)


def test_copy(client: Client, store: ObjectStore) -> None:
    """With its meta, within a bucket and into another; a link is followed."""
    store.put("a", pattern(300_000), description="d", metadata={"k": "v"}, chunk_size=1000)
    other = client.create_object_store(f"{store.bucket}-other")
    store.add_link("l", store.get_info("a"))
    for name, target in (("a", None), ("a", other), ("l", other)):
        info = store.copy(name, "b", store=target)
        place = target or store
        assert replace(place.get_info("b"), mtime=info.mtime) == info
        assert (info.name, info.description, info.metadata) == ("b", "d", {"k": "v"})
        assert info.chunk_size == 1000
        assert place.get_bytes("b") == pattern(300_000)
    store.copy("a", "a")
    assert store.get_bytes("a") == pattern(300_000)
    with pytest.raises(ObjectNotFoundError):
        store.copy("missing", "b")
    client.delete_object_store(other.bucket)


def test_store_is_a_dict_of_bytes(store: ObjectStore) -> None:
    store["a"] = b"one"
    store["b"] = io.BytesIO(b"two")
    assert "a" in store and "c" not in store
    assert store["b"] == b"two"
    assert list(store) == ["a", "b"]
    del store["a"]
    for missing in ("a", "c"):
        with pytest.raises(KeyError):
            store[missing]
        with pytest.raises(KeyError):
            del store[missing]
    assert list(store) == ["b"]


def test_store_is_true_and_has_no_length(store: ObjectStore) -> None:
    """An empty one too: it is there."""
    assert store
    with pytest.raises(TypeError):
        len(store)  # type: ignore[arg-type]
    assert store.bucket in repr(store)


# Many at a time


@pytest.mark.slow
def test_many_threads_share_a_store(store: ObjectStore, raw: RawBucket) -> None:
    """Each has its own objects and one that all of them write."""

    def work(number: int) -> None:
        for turn in range(100):
            name = f"{number}-{turn % 7}"
            data = f"{number}-{turn}".encode() * (1 + turn)
            store.put(name, data)
            assert store.get_bytes(name) == data
        store.put("shared", bytes([number]) * 1000)

    with ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(work, number) for number in range(16)]:
            done.result(TIMEOUT)
    assert len(store.list()) == 16 * 7 + 1
    assert len(set(store.get_bytes("shared"))) == 1
    assert len(raw.chunks) == 16 * 7 + 1


@pytest.mark.parametrize("way", ["put", "writer", "put_many"])
@pytest.mark.slow
def test_last_of_concurrent_puts_stays(store: ObjectStore, raw: RawBucket, way: str) -> None:
    """Whole, and without a chunk of the others."""
    barrier = threading.Barrier(8)

    def put(number: int) -> ObjectInfo:
        data = bytes([number]) * 10_000
        barrier.wait(TIMEOUT)
        if way == "put":
            return store.put("a", data, chunk_size=1000)
        if way == "put_many":
            return store.put_many({"a": data, f"b{number}": data})[0]
        with store.put("a", chunk_size=1000) as writer:
            writer.write(data)
        return writer.info

    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            infos = [future.result(TIMEOUT) for future in [pool.submit(put, n) for n in range(8)]]
            current = store.get_info("a")
            assert current.revision == max(info.revision for info in infos)
            assert current.nuid in {info.nuid for info in infos}
            assert len(set(store.get_bytes("a"))) == 1
            live = {info.nuid for info in store.list()}
            assert set(raw.chunks) == live


@pytest.mark.slow
def test_one_of_concurrent_conditional_puts_wins(store: ObjectStore, raw: RawBucket) -> None:
    barrier = threading.Barrier(8)

    def put(arguments: dict[str, Any]) -> ObjectInfo | None:
        barrier.wait(TIMEOUT)
        try:
            return store.put("a", bytes(10_000), chunk_size=1000, **arguments)
        except PreconditionFailedError:
            return None

    with ThreadPoolExecutor(8) as pool:
        arguments: dict[str, Any] = {"if_absent": True}
        for _ in range(5):
            infos = [f.result(TIMEOUT) for f in [pool.submit(put, arguments) for _ in range(8)]]
            (winner,) = [info for info in infos if info is not None]
            assert store.get_info("a").nuid == winner.nuid
            assert raw.chunks == {winner.nuid: 10}
            arguments = {"if_revision": winner.revision}
