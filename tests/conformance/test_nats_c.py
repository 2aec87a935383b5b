"""What nats.c asserts: the tests `ObjectStore_*` of `test/test.c`."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from objstore.client import Client
from objstore.config import ObjectStoreConfig
from objstore.errors import (
    BucketExistsError,
    BucketFullError,
    BucketLinkError,
    BucketNotFoundError,
    BucketSealedError,
    InvalidNameError,
    JetStreamError,
    LinkToDeletedError,
    LinkToLinkError,
    ObjectAlreadyExistsError,
    ObjectNotFoundError,
    ObjStoreError,
)
from objstore.models import ObjectLink, ObjectMeta
from objstore.store import ObjectStore
from tests.conformance.conftest import REPLICAS
from tests.conformance.helpers import (
    KIB,
    MIB,
    assert_quiet,
    random_bytes,
    server_version,
    take,
    take_initial,
)
from tests.raw_bucket import RawBucket, digest_of

MakeStore = Callable[..., ObjectStore]


# ObjectStore_GlobalMgt


def test_global_mgt_create(client: Client, make_store: MakeStore) -> None:
    """Names that are refused; the same bucket again; and another configuration."""
    for wrong in ("", "bad.name", "bad name", "bad*", "bad>", "bad/name", "bad\n"):
        with pytest.raises(InvalidNameError):
            client.create_object_store(wrong)
    with pytest.raises(TypeError):
        client.create_object_store(None)  # type: ignore[arg-type]
    store = make_store("TEST", description="first", max_bytes=MIB)
    make_store("TEST", description="first", max_bytes=MIB)
    with pytest.raises(BucketExistsError, match="max_bytes"):
        make_store("TEST", description="first", max_bytes=2 * MIB)
    assert store.status().stream_info["config"]["max_bytes"] == MIB


def test_global_mgt_update(client: Client, make_store: MakeStore) -> None:
    """What is given changes, what is not stays; the storage cannot change."""
    store = make_store("TEST", description="first", max_bytes=MIB, metadata={"k": "v"})
    store.put("obj", b"data")
    updated = client.update_object_store("TEST", description="second", ttl=60)
    status = updated.status()
    # Servers before 2.10 have no metadata.
    metadata = {"k": "v"} if server_version(client) >= (2, 10) else {}
    assert (status.description, status.ttl, status.metadata) == ("second", 60, metadata)
    assert status.stream_info["config"]["max_bytes"] == MIB
    assert updated.get_bytes("obj") == b"data"
    with pytest.raises(JetStreamError):
        client.update_object_store("TEST", storage="memory")
    # A whole configuration sets every field.
    config = ObjectStoreConfig("TEST", replicas=REPLICAS)
    client.update_object_store(config)
    status = store.status()
    assert (status.description, status.ttl, status.metadata) == ("", None, {})
    # For the server it is then the same bucket as one that was made so.
    raw = RawBucket(client._connection, "TEST")
    assert "error" not in raw.call("STREAM.CREATE.%", config.to_stream())
    with pytest.raises(BucketNotFoundError):
        client.update_object_store("missing", description="none")


def test_global_mgt_bind_and_delete(client: Client, make_store: MakeStore) -> None:
    """Bind to what exists; delete it, and neither works any more."""
    for call in (client.object_store, client.delete_object_store):
        with pytest.raises(BucketNotFoundError):
            call("missing")
        with pytest.raises(InvalidNameError):
            call("bad.name")
    store = make_store()
    assert client.object_store(store.bucket).bucket == store.bucket
    store.seal()
    client.delete_object_store(store.bucket)  # sealed or not
    for call in (client.object_store, client.delete_object_store):
        with pytest.raises(BucketNotFoundError):
            call(store.bucket)


def test_global_mgt_names_and_statuses(client: Client, make_store: MakeStore) -> None:
    """Every bucket is listed once, by name and by status."""
    made = sorted(make_store(storage="memory").bucket for _ in range(5))
    assert [name for name in sorted(client.object_store_names()) if name in made] == made
    listed = [status.bucket for status in client.object_stores()]
    assert [name for name in sorted(listed) if name in made] == made


# ObjectStore_PutAndGet


def test_put_and_get_strings(store: ObjectStore) -> None:
    """Text, an empty one too; nothing at all is no text and no data."""
    store.put_string("text", "some text")
    assert store.get_string("text") == "some text"
    info = store.put_string("text", "")
    assert (info.size, info.chunks) == (0, 0)
    assert store.get_string("text") == ""
    with pytest.raises(TypeError):
        store.put_string("text", None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        store.put("text", None)  # type: ignore[call-overload]
    assert store.get_string("text") == ""


def test_put_and_get_bytes(store: ObjectStore) -> None:
    """No bytes, one byte, and bytes that are zero."""
    for data in (b"", b"\0", b"a\0b\0\0c"):
        assert store.put("bytes", data).size == len(data)
        assert store.get_bytes("bytes") == data


def test_put_and_get_file(store: ObjectStore, tmp_path: Path) -> None:
    """A file, and one that does not exist."""
    source, target = tmp_path / "source", tmp_path / "target"
    with pytest.raises(FileNotFoundError):
        store.put_file(source)
    assert store.list() == []
    source.write_bytes(random_bytes(2 * MIB + 1))
    store.put_file(source, "name")
    store.get_file("name", target)
    assert target.read_bytes() == source.read_bytes()
    target.write_bytes(b"as before")
    with pytest.raises(ObjectNotFoundError):
        store.get_file("missing", target)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["source", "target"]
    assert target.read_bytes() == b"as before"


def test_put_and_get_streamed(store: ObjectStore, raw: RawBucket) -> None:
    """Written and read piece by piece, in small chunks; a read after the end is empty."""
    with store.put(ObjectMeta("stream", chunk_size=10)) as writer:
        for piece in (b"abc", b"", b"defghijklm", b"nopqrstuvwxyz"):
            writer.write(piece)
        assert "stream" not in store, "it is there when it is complete"
    assert writer.info.chunks == 3
    with store.get("stream") as reader:
        assert [reader.read(5) for _ in range(7)] == [
            b"abcde",
            b"fghij",
            b"klmno",
            b"pqrst",
            b"uvwxy",
            b"z",
            b"",
        ]
        assert reader.read() == b""
        assert reader.info.digest == digest_of(b"abcdefghijklmnopqrstuvwxyz")
    with pytest.raises(ValueError, match="closed"):
        reader.read()
    with pytest.raises(ValueError, match="closed"):
        writer.write(b"more")
    with store.put("stream") as writer:
        writer.write(random_bytes(3 * MIB))
        writer.abort()
    assert sum(raw.chunks.values()) == 3, "what was sent is taken back"
    assert store.get_info("stream").chunks == 3


def test_put_into_a_bucket_that_is_too_small(make_store: MakeStore, client: Client) -> None:
    """A put for which there is no room fails, and its chunks are purged."""
    store = make_store(max_bytes=300 * KIB)
    raw = RawBucket(client._connection, store.bucket)
    store.put("fits", random_bytes(100 * KIB))
    before = raw.subjects()
    for data in (random_bytes(1 * MIB), iter([random_bytes(100 * KIB)] * 20)):
        with pytest.raises(BucketFullError) as caught:
            store.put("too large", data)
        assert isinstance(caught.value, OSError)
        assert raw.subjects() == before
    assert store.get_bytes("fits") == random_bytes(100 * KIB)
    store.delete("fits")  # and then there is room
    store.put("too large", random_bytes(200 * KIB))


# ObjectStore_StoreMgt


def test_store_mgt_encoding(store: ObjectStore, raw: RawBucket) -> None:
    """The subject of a meta is padded, URL-safe base64; theirs once was not padded."""
    for name, encoded in [("a", "YQ=="), ("????", "Pz8_Pw=="), ("~~~", "fn5-")]:
        store.put(name, b"data")
        assert f"$O.{store.bucket}.M.{encoded}" in raw.subjects()
        assert store.get_bytes(name) == b"data"


def test_store_mgt_update_meta(store: ObjectStore) -> None:
    """Description, headers, metadata and name change; size and bytes do not."""
    meta = ObjectMeta("obj", "description", {"h": ["1", "2"]}, {"k": "v"})
    put = store.put(meta, b"data")
    # theirs loses the headers of a put
    assert store.get_info("obj").headers == {"h": ["1", "2"]}
    updated = store.update_meta("obj", ObjectMeta("renamed", "other", {"h2": ["3"]}, {"k2": "v2"}))
    info = store.get_info("renamed")
    assert updated.meta == info.meta
    assert (info.description, info.headers, info.metadata) == ("other", {"h2": ["3"]}, {"k2": "v2"})
    assert (info.nuid, info.size, info.digest, info.chunk_size) == (
        put.nuid,
        4,
        put.digest,
        128 * KIB,
    )
    # A meta says everything: what it does not have is cleared.
    store.update_meta("renamed", ObjectMeta("renamed"))
    info = store.get_info("renamed")
    assert (info.description, info.headers, info.metadata) == ("", {}, {})
    store.put("taken", b"data")
    with pytest.raises(ObjectAlreadyExistsError):
        store.update_meta("renamed", new_name="taken")
    with pytest.raises(ValueError):
        store.update_meta("renamed")
    with pytest.raises(ValueError):
        store.update_meta("renamed", ObjectMeta("a"), description="b")


def test_store_mgt_delete_of_deleted(store: ObjectStore, raw: RawBucket) -> None:
    """A second delete is fine, as ADR-20 has it; theirs says not found."""
    with pytest.raises(ObjectNotFoundError):
        store.delete("obj")
    store.put("obj", b"data")
    store.delete("obj")
    before = raw.state["last_seq"]
    store.delete("obj")
    assert raw.state["last_seq"] == before
    with pytest.raises(ObjectNotFoundError):
        store.update_meta("obj", description="none")


def test_store_mgt_seal(store: ObjectStore) -> None:
    """A sealed bucket refuses, whichever way; theirs reports some of these as done."""
    info = store.put("obj", b"data")
    store.seal()
    for call in (
        lambda: store.put("obj", b"data"),
        lambda: store.put("obj", b""),
        lambda: store.delete("obj"),
        lambda: store.update_meta("obj", description="none"),
        lambda: store.add_link("link", info),
        lambda: store.add_bucket_link("link", store),
    ):
        with pytest.raises(BucketSealedError):
            call()
    assert store.list() == [store.get_info("obj")]


# ObjectStore_StoreMgtLinks


def test_store_mgt_links(client: Client, make_store: MakeStore) -> None:
    """Links to objects and buckets, over everything that may be in the way."""
    store, other = make_store(), make_store()
    a, b = store.put("a", b"A"), store.put("b", b"B")
    link = store.add_link("link", a)
    assert link.link == ObjectLink(store.bucket, "a")
    assert store.get_bytes("link") == b"A"
    assert store.get_info("link").name == "link", "info is of the link itself"
    store.add_link("link", b)
    assert store.get_bytes("link") == b"B"
    for wrong in (link, store.get_info("link")):
        with pytest.raises(LinkToLinkError):
            store.add_link("another", wrong)
    with pytest.raises(ObjectAlreadyExistsError):
        store.add_link("a", b)
    store.delete("a")
    with pytest.raises(LinkToDeletedError):
        store.add_link("another", store.get_info("a", show_deleted=True))
    store.add_link("a", b)  # where a deleted object was; theirs refuses
    assert store.get_bytes("a") == b"B"

    other.add_link("crossed", b)
    assert other.get_bytes("crossed") == b"B"
    other.add_bucket_link("bucket", store.bucket)
    with pytest.raises(BucketLinkError):
        other.get("bucket")
    client.delete_object_store(store.bucket)
    with pytest.raises(BucketNotFoundError):
        other.get("crossed")
    other.delete("crossed")
    with pytest.raises(ObjectNotFoundError):
        other.get("crossed")


# ObjectStore_StoreMgtWatchAndList


def test_store_mgt_list(store: ObjectStore) -> None:
    """Nothing, everything, with the deleted, and by the beginning of the name."""
    assert store.list() == []  # theirs says not found
    for name in ("dir/a", "dir/b", "other"):
        store.put(name, name.encode())
    store.delete("dir/b")
    assert [info.name for info in store.list()] == ["dir/a", "other"]
    assert [info.name for info in store.list(show_deleted=True)] == ["dir/a", "other", "dir/b"]
    assert [info.name for info in store.list(prefix="dir/")] == ["dir/a"]
    shown = store.list(prefix="dir/", show_deleted=True)
    assert [info.name for info in shown] == ["dir/a", "dir/b"]


def test_store_mgt_watch(client: Client, store: ObjectStore) -> None:
    """What is there, the marker, changes; silence is a time-out; it ends with the bucket."""
    store.put("a", b"A")
    with store.watch() as watcher, store.watch(prefix="b") as only_b:
        assert [info.name for info in take_initial(watcher)] == ["a"]
        assert take(only_b, 1) == [None]
        store.put("a", b"AA")
        store.put("b", b"B")
        assert take(watcher, 2) == [store.get_info("a"), store.get_info("b")]
        assert take(only_b, 1) == [store.get_info("b")]
        assert_quiet(watcher)
        watcher.stop()
        watcher.stop()
        client.delete_object_store(store.bucket)
        with pytest.raises(ObjStoreError):
            only_b.next(timeout=10)


def test_store_mgt_watch_reads_what_was_put_by_others(store: ObjectStore, raw: RawBucket) -> None:
    """An entry that nobody can read ends neither a watch nor a listing."""
    raw.put_object("theirs", [b"data"])
    raw.put_meta("broken", b"{ not JSON")
    with store.watch() as watcher:
        assert [info.name for info in take_initial(watcher)] == ["theirs"]
        raw.put_meta("broken", b"[]")
        raw.put_object("again", [io.BytesIO(b"data").getvalue()])
        assert [info.name for info in take(watcher, 1) if info] == ["again"]
    assert [info.name for info in store.list()] == ["theirs", "again"]
