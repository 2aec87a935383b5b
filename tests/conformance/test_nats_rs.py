"""What nats.rs asserts: `async-nats/tests/object_store.rs`, and of the old crate the rest."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone

import pytest

from objstore.digest import format_digest, parse_digest
from objstore.errors import (
    BucketLinkError,
    BucketSealedError,
    InvalidNameError,
    LinkToLinkError,
    ObjectAlreadyExistsError,
    ObjectNotFoundError,
)
from objstore.models import ObjectLink, ObjectMeta
from objstore.store import ObjectStore
from tests.conformance.helpers import (
    KIB,
    MIB,
    assert_quiet,
    is_recent,
    random_bytes,
    take,
    take_initial,
)
from tests.conformance.test_nats_go import DIGESTS
from tests.raw_bucket import RawBucket, digest_of

MakeStore = Callable[..., ObjectStore]


def test_get_and_put(store: ObjectStore) -> None:
    """Small reads of a big object give its bytes and digest, through a link too."""
    data = random_bytes(1 * MIB + 22)
    assert store.put("FOO", data).digest == digest_of(data)
    store.add_link("bar", store.get_info("FOO"))
    for name in ("FOO", "bar"):
        with store.get(name) as reader:
            assert b"".join(iter(lambda reader=reader: reader.read(1000), b"")) == data  # type: ignore[misc]
            assert reader.verified
    info = store.put("BLOB", data, chunk_size=64 * KIB)
    assert (info.chunk_size, info.chunks) == (64 * KIB, 17)
    assert store.get_info("BLOB").chunk_size == 64 * KIB
    assert store.get_bytes("BLOB") == data


def test_purge_existing_object_on_put(store: ObjectStore, raw: RawBucket) -> None:
    """The chunks of the object that is replaced are gone."""
    old = store.put("FOO", random_bytes(500 * KIB))
    assert raw.chunks == {old.nuid: 4}
    new = store.put("FOO", random_bytes(200 * KIB, 1))
    assert raw.chunks == {new.nuid: 2}


def test_watch(store: ObjectStore) -> None:
    """New changes only, deletes among them."""
    store.put("before", b"data")
    # Theirs is this without a word; here what is there comes first unless it is left out.
    with store.watch(updates_only=True) as watcher:
        store.put("FOO", b"1")
        store.put("BAR", b"2")
        assert take(watcher, 2) == [store.get_info("FOO"), store.get_info("BAR")]
        store.delete("BAR")
        assert take(watcher, 1) == [store.get_info("BAR", show_deleted=True)]


def test_watch_with_history(store: ObjectStore) -> None:
    """The last version of each object, and then changes."""
    for size in (1, 2, 3):
        store.put("FOO", b"x" * size)
    store.put("BAR", b"y")
    with store.watch() as watcher:
        assert [(info.name, info.size) for info in take_initial(watcher)] == [
            ("FOO", 3),
            ("BAR", 1),
        ]
        store.delete("BAR")
        (deleted,) = take(watcher, 1)
        assert deleted is not None and (deleted.name, deleted.deleted) == ("BAR", True)


def test_info(store: ObjectStore) -> None:
    """Metadata and headers of an object are kept, and it has an id."""
    meta = ObjectMeta("FOO", "foo desc", {"h": ["1", "2"]}, {"k": "v"})
    put = store.put(meta, b"Tell me, Muse")
    info = store.get_info("FOO")
    assert (info.description, info.headers, info.metadata) == (
        "foo desc",
        {"h": ["1", "2"]},
        {"k": "v"},
    )
    assert info.nuid == put.nuid and len(info.nuid) == 22
    assert info.meta == ObjectMeta("FOO", "foo desc", {"h": ["1", "2"]}, {"k": "v"}, 128 * KIB)


def test_delete(store: ObjectStore) -> None:
    """A deleted object says so, is empty, and cannot be got."""
    store.put("FOO", random_bytes(300 * KIB))
    store.delete("FOO")
    info = store.get_info("FOO", show_deleted=True)
    assert (info.deleted, info.size, info.chunks) == (True, 0, 0)
    assert info.digest == "", "theirs keeps it"
    with pytest.raises(ObjectNotFoundError):
        store.get("FOO")


def test_seal(store: ObjectStore) -> None:
    """Nothing can be put into a sealed bucket."""
    store.put("FOO", b"data")
    store.seal()
    with pytest.raises(BucketSealedError):
        store.put("BAR", b"data")
    with pytest.raises(BucketSealedError):
        store.delete("FOO")
    assert store.status().stream_info["config"]["sealed"]
    assert store.status().sealed
    store.seal()  # again


def test_digest(store: ObjectStore) -> None:
    """The four digests of nats.client.deps, as in Go; and what is put is got, with its digest."""
    for digest in DIGESTS:
        assert format_digest(parse_digest(digest)) == digest
    for size in (100, 1000, 10_000, 100_000):
        data = random_bytes(size, size)
        assert store.put(f"{size}", data).digest == digest_of(data)
        assert store.get_bytes(f"{size}") == data


def test_list(store: ObjectStore) -> None:
    """Deleted objects are left out; the order is that of the last change."""
    assert store.list() == []
    for name in ("Foo", "Bar", "Baz"):
        store.put(name, name.encode())
    store.delete("Bar")
    store.put("Foo", b"again")
    assert [info.name for info in store.list()] == ["Baz", "Foo"]
    assert list(store) == ["Baz", "Foo"]


def test_stack_overflow(store: ObjectStore, raw: RawBucket) -> None:
    """Overwritten five times, an object is as it was put last."""
    for number in range(5):
        info = store.put("FOO", random_bytes(300 * KIB, number))
    assert store.get_bytes("FOO") == random_bytes(300 * KIB, 4)
    assert raw.chunks == {info.nuid: 3}


def test_update_metadata(store: ObjectStore, raw: RawBucket) -> None:
    """A renamed object has its new name, description and headers, and the old name is gone."""
    put = store.put("old_object", b"data")
    changed = ObjectMeta("new_object", "new desc", {"h": "v"}, {"k": "v"})
    returned = store.update_meta("old_object", changed)
    info = store.get_info("new_object")
    assert (info.name, info.description) == ("new_object", "new desc")
    assert (info.headers, info.metadata) == ({"h": ["v"]}, {"k": "v"})
    assert (info.nuid, info.digest, info.chunks) == (put.nuid, put.digest, 1)
    assert returned.revision == info.revision > put.revision
    assert list(raw.subjects("*.*.M.>")) == [raw.meta_subject("new_object")]
    with pytest.raises(ObjectNotFoundError):
        store.get_info("old_object", show_deleted=True)


def test_add_link(make_store: MakeStore) -> None:
    """The stored fields of links, and the links that are refused."""
    store, other = make_store(), make_store()
    foo = store.put("foo", b"foo")
    store.put("taken", b"taken")
    link = store.add_link("link", foo)
    assert replace(link, mtime=store.get_info("link").mtime) == store.get_info("link")
    assert (link.name, link.bucket, link.link) == (
        "link",
        store.bucket,
        ObjectLink(store.bucket, "foo"),
    )
    assert (link.digest, link.size, link.chunks, link.chunk_size) == ("", 0, 0, 0)
    assert other.add_link("link", foo).link == ObjectLink(store.bucket, "foo")
    with pytest.raises(ObjectAlreadyExistsError):
        store.add_link("taken", foo)
    with pytest.raises(InvalidNameError):
        store.add_link("", foo)
    with pytest.raises(LinkToLinkError):
        store.add_link("link to link", link)


def test_add_bucket_link(make_store: MakeStore) -> None:
    """A link to a bucket has no name of an object; it cannot be read."""
    store, other = make_store(), make_store()
    store.put("taken", b"taken")
    store.add_bucket_link("link", other.bucket)
    info = store.get_info("link")
    assert info.link == ObjectLink(other.bucket, None) and info.is_link
    assert len(info.nuid) == 22
    with pytest.raises(BucketLinkError):
        store.get("link")
    with pytest.raises(ObjectAlreadyExistsError):
        store.add_bucket_link("taken", other.bucket)
    with pytest.raises(InvalidNameError):
        store.add_bucket_link("", other.bucket)
    with pytest.raises(InvalidNameError):
        store.add_bucket_link("nowhere", "no bucket's name")


def test_get_empty_object(store: ObjectStore, raw: RawBucket) -> None:
    """An empty object is zero bytes at once, without a consumer."""
    store.put("empty", b"")
    with store.get("empty", timeout=5) as reader:
        assert reader.read() == b""
        assert reader.verified and reader.size == 0
        assert raw.consumers == 0
    assert raw.chunks == {}


def test_object_info_header_backward_compatibility(store: ObjectStore, raw: RawBucket) -> None:
    """Headers that old versions wrapped in `inner`, and fields that are null, are read."""
    headers = {"inner": {"foo": ["bar", "baz"]}}
    raw.put_object("old", [b"data"], headers=headers, options={"link": None}, deleted=False)
    info = store.get_info("old")
    assert info.headers == {"foo": ["bar", "baz"]}
    assert not info.is_link
    assert store.get_bytes("old") == b"data"
    meta = raw.meta("old")
    meta.update(description=None, headers=None, metadata=None, mtime=None)
    raw.put_meta("old", meta)
    info = store.get_info("old")
    assert (info.description, info.headers, info.metadata) == ("", {}, {})
    assert is_recent(info.mtime)


# The old crate: `nats/tests/object_store.rs`


def test_object_random(store: ObjectStore) -> None:
    """Objects of random sizes, put by random pieces, are read as they were written."""
    sizes = random.Random(1)
    for number in range(20):
        data = random_bytes(sizes.randrange(1, 1 * MIB), number)
        with store.put("random") as writer:
            source = io.BytesIO(data)
            while piece := source.read(sizes.randrange(1, 100 * KIB)):
                writer.write(piece)
        assert writer.info.size == len(data)
        with store.get("random") as reader:
            pieces = iter(lambda reader=reader: reader.read(sizes.randrange(1, 100 * KIB)), b"")  # type: ignore[misc]
            assert b"".join(pieces) == data


def test_object_sealed(make_store: MakeStore) -> None:
    """A sealed bucket says so, refuses a writer, and is read."""
    store = make_store(description="to be sealed")
    store.put("FOO", b"data")
    store.seal()
    with pytest.raises(BucketSealedError), store.open("FOO", "wb") as writer:
        writer.write(b"other")
    assert store.status().sealed
    assert store.get_bytes("FOO") == b"data"


def test_object_delete(store: ObjectStore, raw: RawBucket) -> None:
    """One message is left of a deleted object; its info says that it is deleted."""
    store.put("A", random_bytes(200 * KIB))
    store.delete("A")
    assert raw.state["messages"] == 1
    assert store.get_info("A", show_deleted=True).deleted
    assert "A" not in store
    store.delete("A")
    assert raw.state["messages"] == 1, "a second delete stores nothing"


def test_object_multiple_delete(store: ObjectStore, raw: RawBucket) -> None:
    """Of two objects the one that was not deleted is whole."""
    data = random_bytes(1 * MIB)
    store.put("A", data)
    before = raw.state["messages"]
    store.put("B", random_bytes(1 * MIB, 1))
    store.delete("B")
    assert raw.state["messages"] == before + 1
    assert store.get_bytes("A") == data


def test_object_names(store: ObjectStore) -> None:
    """Any name that is not empty can be used."""
    for name in ("foo", "foo bar", "foo.bar", "Ångström", '.*<>:"/\\|?&', "\n", " ", "💾"):
        store.put(name, name.encode())
        assert store.get_string(name) == name
    with pytest.raises(InvalidNameError):
        store.put("", b"")


def test_object_info_modified(store: ObjectStore) -> None:
    """The time of modification is that of the put, with a zone."""
    before = datetime.now(timezone.utc)
    store.put("A", b"data")
    info = store.get_info("A")
    assert info.mtime.tzinfo is timezone.utc
    assert is_recent(info.mtime)
    store.put("A", b"data")
    assert store.get_info("A").mtime > info.mtime
    assert abs((info.mtime - before).total_seconds()) < 60


def test_object_watch(make_store: MakeStore) -> None:
    """An empty bucket is quiet; then each put and delete is seen, once and in order."""
    store = make_store(storage="memory")
    with store.watch() as watcher:
        assert take(watcher, 1) == [None]
        assert_quiet(watcher)
        store.put("foo", b"1")
        store.put("bar", b"22")
        assert take(watcher, 2) == [store.get_info("foo"), store.get_info("bar")]
        store.put("foo", b"333")
        store.delete("bar")
        assert take(watcher, 2) == store.list(show_deleted=True)
        assert_quiet(watcher)
