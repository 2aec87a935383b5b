"""What nats.go asserts: `jetstream/test/object_test.go`, and its suite for all clients."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from objstore.client import Client
from objstore.config import ObjectStoreConfig, Placement
from objstore.digest import format_digest, parse_digest
from objstore.errors import (
    BucketExistsError,
    BucketLinkError,
    BucketNotFoundError,
    BucketSealedError,
    DigestMismatchError,
    InvalidNameError,
    JetStreamError,
    LinkNotAllowedError,
    LinkToDeletedError,
    LinkToLinkError,
    NoRespondersError,
    ObjectAlreadyExistsError,
    ObjectNotFoundError,
    PermissionsViolationError,
    RequestTimeoutError,
)
from objstore.jetstream.api import encode_body, parse_json
from objstore.models import ObjectLink, ObjectMeta
from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.cluster import Cluster
from tests.conformance.conftest import REPLICAS
from tests.conformance.helpers import (
    KIB,
    MIB,
    assert_quiet,
    is_recent,
    random_bytes,
    server_version,
    take,
    take_initial,
)
from tests.helpers import wait_until
from tests.proxy import Proxy
from tests.raw_bucket import RawBucket, digest_of

MakeStore = Callable[..., ObjectStore]
MakeServer = Callable[..., LocalServer]
Deny = Callable[[str], list[Client]]


# Objects


def test_object_basics(client: Client, make_store: MakeStore) -> None:
    """Put, get, seal and delete; and each with a name that is wrong, or of nothing."""
    with pytest.raises(InvalidNameError):
        client.create_object_store("notok!")
    store = make_store("OBJS", description="testing", ttl=3600)
    data = random_bytes(16 * MIB + 22)
    info = store.put("BLOB", data, description="a blob")
    assert (info.bucket, info.name, info.size) == ("OBJS", "BLOB", len(data))
    assert (info.description, info.digest) == ("a blob", digest_of(data))
    assert len(info.nuid) == 22 and not info.deleted
    assert is_recent(info.mtime) and is_recent(store.get_info("BLOB").mtime)

    status = store.status()
    assert (status.bucket, status.description, status.ttl) == ("OBJS", "testing", 3600)
    assert (status.storage, status.replicas, status.sealed) == ("file", REPLICAS, False)
    assert status.size > len(data)

    with store.get("BLOB") as reader:
        assert reader.info == store.get_info("BLOB")
        assert reader.read() == data
    for missing in (store.get, store.get_info):
        with pytest.raises(ObjectNotFoundError):
            missing("FOO")
        with pytest.raises(InvalidNameError):
            missing("")
    with pytest.raises(InvalidNameError):
        store.put("", b"data")

    store.seal()
    assert store.status().sealed
    with pytest.raises(BucketSealedError):
        store.put("FOO", b"data")
    assert store.get_bytes("BLOB") == data

    client.delete_object_store("OBJS")
    with pytest.raises(BucketNotFoundError):
        client.object_store("OBJS")


def test_get_object_digest_mismatch(store: ObjectStore, raw: RawBucket) -> None:
    """A chunk too many, published by hand: the read fails, and every read after it."""
    data = random_bytes(3 * 128 * KIB + 17)
    info = store.put("obj", data)
    raw.put_chunk(info.nuid, b"more")
    with store.get("obj") as reader:
        with pytest.raises(DigestMismatchError) as caught:
            reader.read()
        assert caught.value.expected == info.digest != caught.value.actual
        with pytest.raises(DigestMismatchError):
            reader.read(1)
        assert not reader.verified
    assert reader.closed, "otherwise than theirs, close() does not raise"


def test_object_file_basics(store: ObjectStore, tmp_path: Path) -> None:
    """A file put and got is equal."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(random_bytes(8 * MIB + 33))
    info = store.put_file(source)
    assert (info.name, info.size) == ("source", 8 * MIB + 33), "the base name, not the path"
    store.get_file("source", target)
    assert target.read_bytes() == source.read_bytes()


def test_object_multi(store: ObjectStore, tmp_path: Path) -> None:
    """All files of a folder are put, the bucket is sealed, and one is fetched."""
    for number in range(12):
        (tmp_path / f"file-{number}").write_bytes(random_bytes(number * 50 * KIB, number))
    for path in tmp_path.iterdir():
        store.put(path.name, path)
    store.seal()
    assert sorted(store) == sorted(path.name for path in tmp_path.iterdir())
    assert store.get_bytes("file-7") == (tmp_path / "file-7").read_bytes()


def test_object_delete_markers(store: ObjectStore, raw: RawBucket) -> None:
    """After a delete one message is left, which shows only if asked for."""
    info = store.put("A", random_bytes(300 * KIB))
    store.delete("A")
    assert raw.state["messages"] == 1
    with pytest.raises(ObjectNotFoundError):
        store.get("A")
    with pytest.raises(ObjectNotFoundError):
        store.get_info("A")
    marker = store.get_info("A", show_deleted=True)
    assert (marker.deleted, marker.size, marker.chunks, marker.digest) == (True, 0, 0, "")
    assert (marker.name, marker.nuid) == ("A", info.nuid) and is_recent(marker.mtime)
    with store.get("A", show_deleted=True) as reader:
        assert reader.info == marker
        assert reader.read() == b""


def test_object_multi_with_delete(store: ObjectStore, raw: RawBucket) -> None:
    """Of a big object that was deleted one message is left, of the other one everything."""
    store.put("A", random_bytes(2 * MIB))
    before = raw.state["messages"]
    store.put("B", random_bytes(2 * MIB, 1))
    store.delete("B")
    assert raw.state["messages"] == before + 1


def test_object_names(store: ObjectStore) -> None:
    """Any name is fine but an empty one."""
    for name in ("BLOB.txt", "foo bar", '.*<>:"/\\|?&'):
        store.put_string(name, name)
        assert store.get_string(name) == name
    with pytest.raises(InvalidNameError):
        store.put_string("", "A")
    with pytest.raises(InvalidNameError):
        store.update_meta("BLOB.txt", new_name="")


def test_object_metadata(client: Client, make_store: MakeStore) -> None:
    """Metadata of the bucket and of objects; what update_meta changes, and refuses."""
    store = make_store(metadata={"foo": "boo", "baz": "boz"})
    # nats-server 2.9 drops a bucket's metadata without a word.
    stored = {"foo": "boo", "baz": "boz"} if server_version(client) >= (2, 10) else {}
    assert store.status().metadata == stored
    info = store.put("A", b"A", metadata={"foo": "bar", "baz": "qux"})
    assert info.metadata == store.get_info("A").metadata == {"foo": "bar", "baz": "qux"}

    headers = {"color": ["blue", "red"]}
    store.update_meta("A", ObjectMeta("A", "descA", headers, {"version": "0.1"}))
    changed = store.get_info("A")
    assert (changed.description, changed.headers) == ("descA", headers)
    assert changed.metadata == {"version": "0.1"}
    assert (changed.nuid, changed.digest, changed.size) == (info.nuid, info.digest, 1)

    store.put("B", b"B")
    store.put("X", b"X")
    store.delete("X")
    with pytest.raises(ObjectAlreadyExistsError):
        store.update_meta("A", new_name="B")
    store.update_meta("A", new_name="X")
    with pytest.raises(ObjectNotFoundError):
        store.get_info("A")
    assert store.get_bytes("X") == b"A"

    store.delete("B")
    for name in ("B", "never"):
        with pytest.raises(ObjectNotFoundError):
            store.update_meta(name, description="no")
    link = store.add_link("L", store.get_info("X"))
    with pytest.raises(LinkNotAllowedError):
        store.put(replace(link, name="C"), b"C")


def test_object_history(store: ObjectStore, raw: RawBucket) -> None:
    """An overwrite leaves one chunk and one meta."""
    store.put("A", b"one")
    store.put("A", b"another")
    assert list(raw.subjects().values()) == [1, 1]
    assert store.get_bytes("A") == b"another"


def test_object_watch(store: ObjectStore) -> None:
    """By default: the marker, as the bucket is empty, then every change; stop ends it."""
    watcher = store.watch()
    assert take(watcher, 1) == [None]
    store.put("A", b"A")
    store.put("B", b"B")
    assert take(watcher, 2) == [store.get_info("A"), store.get_info("B")]
    store.delete("A")
    (deleted,) = take(watcher, 1)
    assert deleted == store.get_info("A", show_deleted=True)
    assert deleted is not None and deleted.deleted
    with pytest.raises(ObjectNotFoundError):
        store.update_meta("A", description="is gone")
    store.update_meta("B", description="changed")
    (changed,) = take(watcher, 1)
    assert changed is not None and changed.description == "changed"
    watcher.stop()
    assert list(watcher) == []
    with pytest.raises(ValueError, match="stopped"):
        watcher.next(0)


def test_object_watch_updates_only(store: ObjectStore) -> None:
    """With updates only: nothing at first, not even the marker; then changes."""
    store.put("A", b"A")
    with store.watch(updates_only=True) as watcher:
        assert_quiet(watcher)
        store.put("B", b"B")
        assert take(watcher, 1) == [store.get_info("B")]
        store.delete("A")
        assert take(watcher, 1) == [store.get_info("A", show_deleted=True)]
        store.update_meta("B", description="changed")
        assert take(watcher, 1) == [store.get_info("B")]
        assert_quiet(watcher)


def test_object_links(make_store: MakeStore) -> None:
    """Which links can be made, what each leads to, and what it leads to no more."""
    store, other = make_store(), make_store()
    a = store.put("A", b"A")
    b = store.put("B", b"B")
    link = store.add_link("LA", a)
    assert (link.link, link.size, link.chunks) == (ObjectLink(store.bucket, "A"), 0, 0)
    assert link.nuid != a.nuid
    assert store.get_info("LA").link == link.link and is_recent(store.get_info("LA").mtime)
    with store.get("LA") as reader:
        assert reader.read() == b"A"
        assert reader.info.name == "A"
    with pytest.raises(LinkToLinkError):
        store.add_link("LLA", store.get_info("LA"))

    other.add_link("elsewhere", a)
    assert other.get_bytes("elsewhere") == b"A"
    bucket_link = other.add_bucket_link("bucket", store)
    assert bucket_link.link == ObjectLink(store.bucket, None)
    with pytest.raises(BucketLinkError):
        other.get("bucket")
    other.add_link("bucket", b)  # over a link
    assert other.get_bytes("bucket") == b"B"
    other.add_bucket_link("bucket", store)  # and back

    with pytest.raises(InvalidNameError):
        store.add_link("", a)
    with pytest.raises(InvalidNameError):
        store.add_bucket_link("", other)
    with pytest.raises(TypeError):
        store.add_link("no object", None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        store.add_bucket_link("no bucket", None)  # type: ignore[arg-type]
    for name in ("A", "B"):
        with pytest.raises(ObjectAlreadyExistsError):
            store.add_link(name, a)
        with pytest.raises(ObjectAlreadyExistsError):
            store.add_bucket_link(name, other)

    store.delete("A")
    with pytest.raises(LinkToDeletedError):
        store.add_link("LA2", store.get_info("A", show_deleted=True))
    store.add_link("stale", a)  # the info that is given decides, and it says nothing of that
    for dangling in ("LA", "stale"):
        with pytest.raises(ObjectNotFoundError):
            store.get(dangling)


def test_object_list(store: ObjectStore) -> None:
    """Live objects and links in the order of their last change; deleted ones if asked for."""
    # Theirs raises an error for an empty bucket.
    assert store.list() == []
    store.put("A", b"A")
    store.put("B", b"B")
    store.put("C", b"C")
    store.put("B", b"BB")
    store.add_link("b", store.get_info("B"))
    store.put("D", b"D")
    store.delete("D")
    live = store.list()
    assert [info.name for info in live] == ["A", "C", "B", "b"]
    assert live == [store.get_info(info.name) for info in live]
    everything = store.list(show_deleted=True)
    assert everything == [*live, store.get_info("D", show_deleted=True)]


def test_object_list_context(store: ObjectStore, server: LocalServer) -> None:
    """A listing that gets no answer ends in time."""
    with Proxy(server.port) as proxy, Client(proxy.url) as client:
        through = client.object_store(store.bucket)
        proxy.hold_s2c()
        with pytest.raises(RequestTimeoutError):
            through.list(timeout=0.2)
        proxy.release_s2c()


def test_get_object_context_timeout(store: ObjectStore, server: LocalServer) -> None:
    """A deadline that is hit within the object: the read fails, and every read after it."""
    store.put("obj", random_bytes(4 * MIB))
    with Proxy(server.port) as proxy, Client(proxy.url) as client:
        # Seconds without progress, not for the whole object as theirs.
        with client.object_store(store.bucket).get("obj", timeout=0.2) as reader:
            assert len(reader.read(10)) == 10
            proxy.hold_s2c()
            for _ in range(2):
                with pytest.raises(RequestTimeoutError):
                    reader.read()
        assert reader.closed, "otherwise than theirs, close() does not raise"
        proxy.release_s2c()


# Digests

# Of files in nats.client.deps, which are not here: they are read, and written again. What
# a digest is of is asserted in the next test but one.
DIGESTS = [
    "SHA-256=IdgP4UYMGt47rgecOqFoLrd24AXukHf5-SVzqQ5Psg8=",
    "SHA-256=DZj4RnBpuEukzFIY0ueZ-xjnHY4Rt9XWn4Dh8nkNfnI=",
    "SHA-256=RgaJ-VSJtjNvgXcujCKIvaheiX_6GRCcfdRYnAcVy38=",
    "SHA-256=yan7pwBVnC1yORqqgBfd64_qAw6q9fNA60_KRiMMooE=",
]


@pytest.mark.parametrize("digest", DIGESTS)
def test_decode_object_digest(digest: str) -> None:
    """A digest is read as 32 bytes, and those are written as the same digest."""
    assert len(parse_digest(digest)) == 32
    assert format_digest(parse_digest(digest)) == digest


@pytest.mark.parametrize("digest", ["", "SHA-256", "SHA-256=", "SHA-256=IdgP", DIGESTS[0][8:]])
def test_decode_object_digest_that_is_none(digest: str) -> None:
    """What is no digest is refused."""
    with pytest.raises(ValueError, match="digest"):
        parse_digest(digest)


@pytest.mark.parametrize(
    ("data", "sha256"),  # FIPS 180-4
    [
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (b"a" * 1_000_000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
    ],
)
def test_get_object_digest_value(store: ObjectStore, data: bytes, sha256: str) -> None:
    """The digest is the SHA-256 of the bytes, in padded, URL-safe base64."""
    info = store.put("obj", data, chunk_size=9999)
    assert info.digest == store.get_info("obj").digest == format_digest(bytes.fromhex(sha256))


# Buckets


def test_create_object_store(client: Client, make_store: MakeStore) -> None:
    """A name that is wrong is refused, and one that is taken by another configuration."""
    for name in ("", "test.", "test bucket", "test*", "test>", "té"):
        with pytest.raises(InvalidNameError):
            client.create_object_store(name)
    store = make_store("TEST", description="Test store")
    with pytest.raises(BucketExistsError):
        make_store("TEST", description="New store")
    again = make_store("TEST", description="Test store").status()
    assert again.stream_info["created"] == store.status().stream_info["created"]


def test_update_object_store(client: Client, make_store: MakeStore) -> None:
    """A bucket that exists changes; one that does not is not made."""
    with pytest.raises(BucketNotFoundError):
        client.update_object_store("missing", description="New store")
    make_store("TEST", description="Test store")
    updated = client.update_object_store("TEST", description="New store")
    assert updated.status().description == "New store"
    assert client.object_store("TEST").status().replicas == REPLICAS


def test_create_or_update_object_store(client: Client, make_store: MakeStore) -> None:
    """A bucket is made if it does not exist, and changed if it does."""
    config = ObjectStoreConfig("TEST", "Test store", replicas=REPLICAS)
    client.create_or_update_object_store(config)
    make_store("TEST", description="Test store")  # the same one, which is deleted in the end
    client.create_or_update_object_store(replace(config, description="New store"))
    assert client.object_store("TEST").status().description == "New store"


def test_default_object_status(store: ObjectStore) -> None:
    """What a bucket is by default."""
    status = store.status()
    assert status.backing_store == "JetStream"
    assert status.stream_info["config"]["name"] == f"OBJ_{store.bucket}"
    assert (status.description, status.ttl, status.metadata) == ("", None, {})
    assert (status.storage, status.sealed, status.is_compressed) == ("file", False, False)
    assert (status.replicas, status.size) == (REPLICAS, 0)


def test_object_max_bytes(make_store: MakeStore) -> None:
    """The limit reaches the stream."""
    config = make_store(max_bytes=1 * MIB).status().stream_info["config"]
    assert config["max_bytes"] == 1 * MIB
    assert make_store().status().stream_info["config"]["max_bytes"] == -1


@pytest.mark.parametrize("count", [5, pytest.param(1025, marks=pytest.mark.slow)])
def test_list_object_stores(make_server: MakeServer, count: int) -> None:
    """All buckets are listed, over several pages, and no other stream."""
    names = [f"bucket-{number:04}" for number in range(count)]
    with Client(make_server().url) as client:
        for name in names:
            client.create_object_store(name, storage="memory")
        bucket = RawBucket(client._connection, "FOREIGN")
        # The prefix without the subject of chunks, and the subject without the prefix.
        for stream, subject in (("OBJ_FOREIGN", "foreign.>"), ("FOREIGN", "$O.FOREIGN.C.>")):
            config = {"name": stream, "subjects": [subject], "storage": "memory"}
            assert "error" not in bucket.call(f"STREAM.CREATE.{stream}", config)
        assert sorted(client.object_store_names()) == names
        statuses = sorted(client.object_stores(), key=lambda status: status.bucket)
        assert [status.bucket for status in statuses] == names
        assert {status.storage for status in statuses} == {"memory"}


def test_object_store_compression(client: Client, make_store: MakeStore) -> None:
    """The stream is compressed with s2, and the status says so."""
    store = make_store(compression=True)
    status = store.status()
    if server_version(client) >= (2, 10):
        assert status.is_compressed and status.stream_info["config"]["compression"] == "s2"
    else:
        assert not status.is_compressed
    data = b"compressible " * 100_000
    store.put("obj", data)
    assert store.get_bytes("obj") == data


def test_object_store_delete_non_existent(client: Client) -> None:
    """A bucket that does not exist cannot be deleted."""
    with pytest.raises(BucketNotFoundError):
        client.delete_object_store("missing")


# Mirrors


@pytest.fixture
def mirror(client: Client, store: ObjectStore) -> Iterator[ObjectStore]:
    """A bucket that mirrors `store`, with its subjects under its own name."""
    name = f"{store.bucket}-mirror"
    raw = RawBucket(client._connection, name)
    transform = {"src": f"$O.{store.bucket}.>", "dest": f"$O.{name}.>"}
    config = {
        "name": f"OBJ_{name}",
        "mirror": {"name": f"OBJ_{store.bucket}", "subject_transforms": [transform]},
        "num_replicas": REPLICAS,
        "allow_rollup_hdrs": True,
    }
    assert "error" not in raw.call("STREAM.CREATE.%", config)
    yield client.object_store(name)
    client.delete_object_store(name)


def test_object_store_mirror(client: Client, store: ObjectStore, mirror: ObjectStore) -> None:
    """Get and watch work on a mirror."""
    data = random_bytes(1 * MIB + 3)
    info = store.put("A", data)
    if server_version(client) < (2, 10):
        # It cannot give subjects another name: what it holds is not the mirror's.
        assert mirror.list() == []
        return
    with mirror.watch() as watcher:
        initial = take_initial(watcher)
        (seen,) = initial or take(watcher, 1)
    assert seen is not None
    assert (seen.name, seen.nuid, seen.digest) == ("A", info.nuid, info.digest)
    assert seen.bucket == mirror.bucket, "the bucket that was asked, not what the meta says"
    assert mirror.get_bytes("A") == data
    assert mirror.list() == [mirror.get_info("A")]


def test_object_store_mirror_follows_and_is_read_only(
    client: Client, store: ObjectStore, mirror: ObjectStore
) -> None:
    """A mirror shows changes and deletes; it takes no object, and is not listed."""
    # One by one: a mirror of nats-server 2.10 stops for ever when it misses a version.
    for change in (
        lambda: store.put("A", b"one"),
        lambda: store.put("A", b"two"),
        lambda: store.put("B", b"B"),
        lambda: store.delete("B"),
    ):
        change()
        wait_until(lambda: _last_seq(mirror) == _last_seq(store))
    if server_version(client) < (2, 10):
        with pytest.raises(ObjectNotFoundError):
            mirror.get_info("A")
        return
    assert mirror.get_bytes("A") == b"two"
    assert [info.name for info in mirror.list()] == ["A"]
    assert mirror.get_info("B", show_deleted=True).deleted
    with pytest.raises(NoRespondersError):
        mirror.put("C", b"C", timeout=0.2)
    assert mirror.bucket not in client.object_store_names()


def _last_seq(store: ObjectStore) -> int:
    return int(store.status().stream_info["state"]["last_seq"])


# Permissions


@pytest.mark.parametrize("denied", ["$O.photos.C.>", "$O.photos.M.>"])
def test_object_put_permission_violation(deny: Deny, denied: str) -> None:
    """A put that may not publish fails, and leaves nothing; theirs takes the ack's time-out."""
    owner, guest = deny(denied)
    store = owner.create_object_store("photos")
    store.put("A", b"old")
    start = time.monotonic()
    with pytest.raises(PermissionsViolationError) as caught:
        guest.object_store("photos").put("A", random_bytes(1 * MIB), timeout=60)
    assert time.monotonic() - start < 10, "it did not wait for what cannot come"
    assert caught.value.subject.startswith(denied[:-1])
    assert store.get_bytes("A") == b"old"
    assert sum(RawBucket(owner._connection, "photos").chunks.values()) == 1


# The compatibility suite: what each client has to do the same


def test_compat_default_bucket(client: Client, make_store: MakeStore) -> None:
    """A bucket without options is exactly the stream that nats.go makes."""
    store = make_store("DEFAULT")
    config = RawBucket(client._connection, "DEFAULT").config
    expected = {
        "name": "OBJ_DEFAULT",
        "subjects": ["$O.DEFAULT.C.>", "$O.DEFAULT.M.>"],
        "retention": "limits",
        "discard": "new",
        "storage": "file",
        "num_replicas": REPLICAS,
        "max_consumers": -1,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "max_msg_size": -1,
        "max_bytes": -1,
        "max_age": 0,
        "allow_rollup_hdrs": True,
        "allow_direct": True,
        "mirror_direct": False,
        "sealed": False,
        "deny_delete": False,
        "deny_purge": False,
    }
    assert {key: config[key] for key in expected} == expected
    assert config.get("compression", "none") == "none"
    # nats.go's own "create" of it is no conflict.
    created = {key: expected[key] for key in list(expected)[:6]}
    created.update(
        max_bytes=-1, max_age=0, allow_rollup_hdrs=True, allow_direct=True, compression="none"
    )
    again = parse_json(
        client._connection.request("$JS.API.STREAM.CREATE.OBJ_DEFAULT", encode_body(created))
    )
    assert again["config"] == config
    assert again["created"] == store.status().stream_info["created"]


def test_compat_custom_bucket(cluster: Cluster) -> None:
    """Every option of a bucket reaches the stream."""
    placement = Placement(cluster=cluster.name, tags=["disk:ssd"])
    with Client(cluster.url) as client:
        client.create_object_store(
            "CUSTOM",
            description="a custom bucket",
            ttl=3600,
            max_bytes=12345,
            storage="memory",
            replicas=3,
            placement=placement,
            compression=True,
            metadata={"key": "value"},
        )
        config = RawBucket(client._connection, "CUSTOM").config
        assert config["description"] == "a custom bucket"
        assert config["max_age"] == 3600 * 10**9
        assert (config["max_bytes"], config["num_replicas"]) == (12345, 3)
        assert config["placement"] == {"cluster": cluster.name, "tags": ["disk:ssd"]}
        assert config["storage"] == "memory"
        if server_version(client) >= (2, 10):  # older ones have neither
            assert (config["metadata"]["key"], config["compression"]) == ("value", "s2")
        with pytest.raises(JetStreamError, match="no suitable peers"):
            client.create_object_store("NOWHERE", placement=Placement(tags=["disk:tape"]))
        client.delete_object_store("CUSTOM")


def test_compat_get_object(store: ObjectStore, raw: RawBucket) -> None:
    """What another client has stored is read, and has the SHA-256 that it should."""
    chunks = [random_bytes(100 * KIB, seed) for seed in range(5)]
    raw.put_object("theirs", chunks, mtime="0001-01-01T00:00:00Z")
    found = store.get_bytes("theirs")
    assert hashlib.sha256(found).digest() == hashlib.sha256(b"".join(chunks)).digest()
    assert store.get("theirs").info.digest == digest_of(found)


def test_compat_put_object(store: ObjectStore, raw: RawBucket) -> None:
    """What is stored has the description and headers that were given, where others look."""
    data = random_bytes(300 * KIB)
    store.put("ours", data, description="an object", headers={"color": ["red", "blue"]})
    meta = raw.meta("ours")
    nuid = meta.pop("nuid")
    assert meta == {
        "name": "ours",
        "description": "an object",
        "headers": {"color": ["red", "blue"]},
        "options": {"max_chunk_size": 128 * KIB},
        "bucket": store.bucket,
        "size": len(data),
        "chunks": 3,
        "digest": digest_of(data),
    }
    message = raw.meta_message("ours")
    assert message is not None and b"Nats-Rollup: sub\r\n" in message["hdrs"]
    assert b"".join(chunk["data"] for chunk in raw.chunk_messages(nuid)) == data


def test_compat_update_metadata(store: ObjectStore, raw: RawBucket) -> None:
    """Name, description and headers of another client's object change, and nothing else."""
    raw.put_object("theirs", [b"data"], description="old", unheard_of=[1, 2])
    before = raw.meta("theirs")
    store.update_meta("theirs", ObjectMeta("ours", "new", {"key": ["value"]}))
    after = raw.meta("ours")
    changed = {"name": "ours", "description": "new", "headers": {"key": ["value"]}}
    assert after == {**before, **changed}
    assert list(raw.subjects("*.*.M.>")) == [raw.meta_subject("ours")]
    assert store.get_bytes("ours") == b"data"


def test_compat_watch(store: ObjectStore) -> None:
    """Digests of what is there, the marker, and the digest of what comes."""
    first = store.put("A", b"first")
    with store.watch() as watcher:
        seen = take(watcher, 2)
        second = store.put("B", b"second")
        seen += take(watcher, 1)
    digests = [info and info.digest for info in seen]
    assert digests == [first.digest, None, second.digest]


def test_compat_watch_updates(store: ObjectStore) -> None:
    """With updates only, the digest of what comes and nothing before it."""
    store.put("A", b"first")
    with store.watch(updates_only=True) as watcher:
        second = store.put("B", b"second")
        (seen,) = take(watcher, 1)
        assert seen is not None and seen.digest == second.digest


def test_compat_get_link(store: ObjectStore, raw: RawBucket) -> None:
    """Another client's link leads to the object."""
    raw.put_object("A", [b"linked"])
    link = {"bucket": store.bucket, "name": "A"}
    raw.put_object("L", [], options={"link": link}, digest=None)
    assert store.get_bytes("L") == b"linked"


def test_compat_put_link(store: ObjectStore, raw: RawBucket) -> None:
    """A link is stored as others look for it."""
    link = store.add_link("L", store.put("A", b"linked"))
    assert raw.meta("L") == {
        "name": "L",
        "options": {"link": {"bucket": store.bucket, "name": "A"}},
        "bucket": store.bucket,
        "nuid": link.nuid,
        "size": 0,
        "chunks": 0,
    }
