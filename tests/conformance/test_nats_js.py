"""What nats.js asserts: `obj/tests/objectstore_test.ts` and the tests of its codecs."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable

import pytest

from objstore.client import Client
from objstore.digest import format_digest, new_hash, parse_digest
from objstore.errors import (
    BucketLinkError,
    BucketNotFoundError,
    DigestMismatchError,
    InvalidNameError,
    JetStreamError,
    LinkNotAllowedError,
    LinkToDeletedError,
    LinkToLinkError,
    NoRespondersError,
    ObjectAlreadyExistsError,
    ObjectNotFoundError,
    PreconditionFailedError,
)
from objstore.models import ObjectLink, ObjectMeta
from objstore.naming import meta_subject
from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.conformance.conftest import REPLICAS
from tests.conformance.helpers import (
    KIB,
    is_recent,
    random_bytes,
    server_version,
    take,
    take_initial,
)
from tests.conformance.test_nats_go import DIGESTS
from tests.fake_server import FakeConnection, FakeServer
from tests.raw_bucket import RawBucket, digest_of

MakeStore = Callable[..., ObjectStore]
MakeServer = Callable[..., LocalServer]


# Buckets


def test_list_stores(make_server: MakeServer) -> None:
    """Only buckets are listed, not other streams."""
    with Client(make_server().url) as client:
        stream = RawBucket(client._connection, "none")
        stream.call("STREAM.CREATE.A", {"name": "A", "subjects": ["a"]})
        assert list(client.object_store_names()) == []
        assert list(client.object_stores()) == []
        client.create_object_store("store1")
        assert [status.bucket for status in client.object_stores()] == ["store1"]
        client.create_object_store("store2")
        assert sorted(client.object_store_names()) == ["store1", "store2"]


def test_objm_open(client: Client, make_store: MakeStore) -> None:
    """A bucket that does not exist is not opened; made, it is."""
    with pytest.raises(BucketNotFoundError):
        client.object_store("hello")
    make_store("hello")
    assert client.object_store("hello").put("hello", b"").name == "hello"


def test_no_store(client: Client, store: ObjectStore) -> None:
    """Errors about an object that is deleted or missing; and when the bucket was deleted."""
    store.put("test", b"")
    store.delete("test")
    deleted = store.get_info("test", show_deleted=True)
    with pytest.raises(LinkToDeletedError):
        store.add_link("bar", deleted)
    with pytest.raises(ObjectNotFoundError):
        store.delete("foo")
    store.delete("foo", missing_ok=True)  # theirs: nothing was purged, and no error
    with pytest.raises(ObjectNotFoundError):
        store.update_meta("baz", ObjectMeta("baz"))

    client.delete_object_store(store.bucket)
    for call in (
        store.seal,
        store.status,
        store.list,
        store.watch,
        lambda: store.put("foo", b""),
        lambda: store.put("foo", b"data"),
        lambda: store.get("foo"),
        lambda: store.get_info("foo"),
        lambda: store.delete("foo"),
        lambda: store.update_meta("foo", description="none"),
        lambda: store.add_bucket_link("foo", store),
    ):
        with pytest.raises(BucketNotFoundError):
            call()


def test_basics(client: Client, make_store: MakeStore) -> None:
    """Create, put, info, get, seal, status, destroy."""
    data = random_bytes(64 * KIB)
    store = make_store(description="testing")
    status = store.status()
    assert (status.description, status.ttl, status.replicas) == ("testing", None, REPLICAS)
    info = store.put("BLOB", data, description="myblob")
    assert (info.bucket, info.name, len(info.nuid)) == (store.bucket, "BLOB", 22)
    assert (info.digest, info.description, info.deleted) == (digest_of(data), "myblob", False)
    assert is_recent(info.mtime)
    store.seal()
    status = store.status()
    assert (status.sealed, status.storage, status.description) == (True, "file", "testing")
    assert status.size > len(data)
    with pytest.raises(ObjectNotFoundError):  # theirs: null
        store.get("foo")
    assert store.get_bytes("BLOB") == data
    client.delete_object_store(store.bucket)
    with pytest.raises(BucketNotFoundError):
        store.status()


def test_default_status(store: ObjectStore) -> None:
    """The status names the bucket, its stream and what it is made of."""
    store.put("BLOB", random_bytes(64 * KIB))
    status = store.status()
    assert (status.backing_store, status.bucket) == ("JetStream", store.bucket)
    assert status.stream_info["config"]["name"] == f"OBJ_{store.bucket}"


def test_ttl(make_store: MakeStore) -> None:
    """The time to live reaches the stream."""
    store = make_store(ttl=60)
    assert store.status().ttl == 60
    assert store.status().stream_info["config"]["max_age"] == 60_000_000_000


def test_allow_direct(store: ObjectStore) -> None:
    """Buckets allow direct gets."""
    assert store.status().stream_info["config"]["allow_direct"] is True


def test_allow_direct_off(client: Client, store: ObjectStore, raw: RawBucket) -> None:
    """Without direct gets everything is as with them; also if they are turned off meanwhile."""
    updated = raw.call("STREAM.UPDATE.%", {**raw.config, "allow_direct": False})
    assert not updated["config"]["allow_direct"]
    bound = client.object_store(store.bucket)
    data = random_bytes(300 * KIB)
    bound.put("many", data)
    bound.put("one", b"1")
    assert bound.get_bytes("many") == data
    assert bound.get_bytes("one") == b"1"
    assert dict(bound.get_many(["one", "many"])) == {"one": b"1", "many": data}
    assert [info.name for info in bound.list()] == ["many", "one"]
    with bound.get("many", offset=200_000) as reader:
        assert reader.read() == data[200_000:]
    assert store.get_bytes("many") == data


def test_stream_metadata_and_entry_metadata(client: Client, make_store: MakeStore) -> None:
    """Metadata of the bucket and of an object are kept."""
    store = make_store(description="testing", metadata={"hello": "world"})
    # nats-server 2.9 has no metadata of streams; an object's is all in the object.
    stored = {"hello": "world"} if server_version(client) >= (2, 10) else {}
    assert store.status().metadata == stored, "and nothing of the server's own"
    info = store.put("hello", b"", metadata={"world": "hello"})
    assert info.metadata == store.get_info("hello").metadata == {"world": "hello"}


def test_compression(client: Client, make_store: MakeStore) -> None:
    """The status says whether a bucket is compressed."""
    compressed, plain = make_store(compression=True), make_store(compression=False)
    assert compressed.status().is_compressed is (server_version(client) >= (2, 10))
    assert plain.status().is_compressed is False


def test_rejects_in_older_servers(caplog: pytest.LogCaptureFixture) -> None:
    """
    Theirs refuses servers by their version; here what a server answers counts.

    What an old server does not understand it drops without a word: that is logged.
    """

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        for command in conn:
            if command.subject == "$JS.API.STREAM.CREATE.OBJ_hello":
                new = {"compression", "metadata", "allow_atomic", "allow_msg_ttl"}
                config = {key: command.json[key] for key in command.json if key not in new}
                conn.reply(command, {"config": config, "state": {}})

    with FakeServer(script, info={"version": "2.6.2"}) as server, Client(server.url) as client:
        client.create_object_store(
            "hello", compression=True, metadata={"k": "v"}, atomic=True, object_ttl=True
        )
        (record,) = caplog.records
        message = record.getMessage()
        assert "too old" in message
        for option in ("compression", "metadata", "atomic", "object_ttl"):
            assert option in message
        caplog.clear()
        client.create_object_store("hello")
        assert not caplog.records


def test_jetstream_is_not_enabled(make_server: MakeServer) -> None:
    """An account, or a domain, without JetStream has no buckets, and says so at once."""
    config = """
        accounts {
            PLAIN: { users: [ { user: plain, password: secret } ] }
            STORE: { jetstream: enabled, users: [ { user: store, password: secret } ] }
        }
    """
    server = make_server(config)
    with (
        Client(server.url, user="plain", password="secret") as client,
        Client(server.url, user="store", password="secret", domain="nowhere") as nowhere,
    ):
        for name in ("create_object_store", "object_store", "delete_object_store"):
            with pytest.raises(JetStreamError) as caught:
                getattr(client, name)("hello")
            assert caught.value.err_code == 10039
            with pytest.raises(NoRespondersError, match="JetStream does not answer"):
                getattr(nowhere, name)("hello")


def test_right_number_of_replicas(replicated_store: ObjectStore) -> None:
    """A bucket has as many replicas as it was made with; and what is put is got."""
    store = replicated_store
    status = store.status()
    assert status.replicas == 3
    assert len(status.stream_info["cluster"]["replicas"]) == 2
    data = random_bytes(1_000_000)
    store.put("obj", data)
    assert store.get_bytes("obj") == data
    assert [info.name for info in store.list()] == ["obj"]


# Objects


def test_chunked_content(store: ObjectStore, client: Client) -> None:
    """Chunks as large as the server takes, with their headers."""
    limit = client.server_info["max_payload"]
    data = random_bytes(limit * 3)
    info = store.put("blob", data, chunk_size=limit)
    assert (info.chunks, info.digest) == (4, digest_of(data))
    assert store.get_bytes("blob") == data


def test_multi_content(store: ObjectStore) -> None:
    """Objects of the smallest and the largest chunks beside each other."""
    a, b = random_bytes(128), b"hello world from object store"
    store.put("a.js", a, chunk_size=1)
    store.put("b.js", b, chunk_size=1 << 20)
    assert store.get_info("a.js").chunks == 128
    assert (store.get_bytes("a.js"), store.get_bytes("b.js")) == (a, b)


def test_delete_markers(store: ObjectStore, raw: RawBucket) -> None:
    """A delete purges all chunks, and the marker says deleted."""
    store.put("a", random_bytes(128), chunk_size=10)
    assert list(raw.chunks.values()) == [13]
    store.delete("a")
    assert raw.chunks == {}
    assert store.get_info("a", show_deleted=True).deleted


def test_get_on_deleted(store: ObjectStore) -> None:
    """A deleted object cannot be got; nor, otherwise than theirs, does info show it unasked."""
    store.put("a", random_bytes(128), chunk_size=10)
    store.delete("a")
    with pytest.raises(ObjectNotFoundError):  # theirs: null
        store.get("a")
    with pytest.raises(ObjectNotFoundError):
        store.get_info("a")


def test_multi_with_delete(store: ObjectStore, raw: RawBucket) -> None:
    """Only the marker is left of an object that came and went."""
    store.put("a", b"a!")
    before = raw.state["messages"]
    store.put("b", b"b!")
    assert store.get_bytes("b") == b"b!"
    store.delete("b")
    assert raw.state["messages"] == before + 1


def test_object_names(store: ObjectStore) -> None:
    """Names that would be wildcards or blanks are fine, an empty one is not."""
    for name in ("blob.txt", "foo bar", " ", "*", ">"):
        store.put_string(name, "A")
        assert store.get_string(name) == "A"
    with pytest.raises(InvalidNameError):
        store.put_string("", "A")


def test_metadata(store: ObjectStore) -> None:
    """Rename, then headers: what is not given stays as it was."""
    store.put("a", b"A", description="kept")
    assert store.update_meta("a", new_name="b").name == "b"
    store.update_meta("b", headers={"color": "red"})
    info = store.get_info("b")
    assert (info.name, info.headers) == ("b", {"color": ["red"]})
    assert info.description == "kept"


def test_meta_update_errors(store: ObjectStore) -> None:
    """Neither missing nor deleted objects can be updated, nor renamed onto another."""
    with pytest.raises(ObjectNotFoundError):
        store.update_meta("A", new_name="B")
    store.put("D", b"D")
    store.delete("D")
    with pytest.raises(ObjectNotFoundError):
        store.update_meta("D", new_name="DD")
    store.put("A", b"A")
    store.put("B", b"B")
    with pytest.raises(ObjectAlreadyExistsError):
        store.update_meta("A", new_name="B")
    assert (store.get_bytes("A"), store.get_bytes("B")) == (b"A", b"B")


def test_cannot_put_links(store: ObjectStore) -> None:
    """put takes no link."""
    link = store.add_link("ref", store.put("a", b"a"))
    with pytest.raises(LinkNotAllowedError):
        store.put(link, b"a")
    assert store.get_info("ref").is_link, "what was there is untouched"


def test_empty_entry(store: ObjectStore, raw: RawBucket) -> None:
    """An empty object has the digest of nothing, and no chunk."""
    info = store.put("empty", b"")
    assert (info.size, info.chunks, len(info.nuid)) == (0, 0, 22)
    assert info.digest == "SHA-256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU="
    assert store.get_bytes("empty") == b""
    assert raw.state["messages"] == 1


def test_list(store: ObjectStore) -> None:
    """Nothing, one object, and nothing again when it is deleted."""
    assert store.list() == []
    store.put("a", b"")
    assert [info.name for info in store.list()] == ["a"]
    store.delete("a")
    assert store.list() == []


def test_list_no_updates(store: ObjectStore) -> None:
    """What is put after a listing is not in it."""
    store.put("a", b"")
    listed = store.list()
    store.put("b", b"")
    assert [info.name for info in listed] == ["a"]
    assert [info.name for info in store.list()] == ["a", "b"]


def test_watch_is_update(store: ObjectStore) -> None:
    """What is there is no update, what comes is; here the marker stands between them."""
    store.put("a", b"")
    with store.watch() as watcher:
        assert [info.name for info in take_initial(watcher)] == ["a"]
        store.put("b", b"")
        (update,) = take(watcher, 1)
        assert update is not None and update.name == "b"


def test_watch_initially_empty(store: ObjectStore) -> None:
    """Of an empty bucket the marker comes first; then every version."""
    with store.watch(include_history=True) as watcher:
        assert take(watcher, 1) == [None]
        for name, data in (("a", b"a"), ("a", b"aa"), ("b", b"b")):
            store.put(name, data)
            (info,) = take(watcher, 1)
            assert info is not None and (info.name, info.size) == (name, len(data))


def test_watch_skip_history(store: ObjectStore) -> None:
    """Without history only what comes is seen."""
    store.put("a", b"a")
    store.put("a", b"aa")
    with store.watch(updates_only=True) as watcher:
        store.put("c", b"c")
        (info,) = take(watcher, 1)
        assert info is not None and (info.name, info.size) == ("c", 1)


def test_watch_history(store: ObjectStore) -> None:
    """With history: what is stored, which is the last version of each, then what comes."""
    store.put("a", b"a")
    store.put("a", b"aa")
    with store.watch(include_history=True) as watcher:
        assert [(info.name, info.size) for info in take_initial(watcher)] == [("a", 2)]
        store.put("c", b"c")
        (info,) = take(watcher, 1)
        assert info is not None and (info.name, info.size) == ("c", 1)


def test_same_store_link(store: ObjectStore) -> None:
    """A link is listed beside the object that it leads to."""
    link = store.add_link("ref", store.put("a", b"a"))
    assert link.link == ObjectLink(store.bucket, "a")
    assert [info.name for info in store.list()] == ["a", "ref"]
    assert store.get_bytes("ref") == b"a"


def test_link_of_link_rejected(store: ObjectStore) -> None:
    """A link leads to no link."""
    link = store.add_link("ref", store.put("a", b"a"))
    with pytest.raises(LinkToLinkError):
        store.add_link("ref2", link)
    assert "ref2" not in store


def test_external_link(make_store: MakeStore) -> None:
    """A link leads into another bucket."""
    store, another = make_store(), make_store()
    link = another.add_link("ref", store.put("a", b"a"))
    assert link.link == ObjectLink(store.bucket, "a")
    assert another.get_bytes("ref") == b"a"


def test_external_link_into_a_bucket_that_is_gone(client: Client, make_store: MakeStore) -> None:
    """Theirs makes the missing bucket anew, and finds it empty; here it stays missing."""
    store, another = make_store(), make_store()
    another.add_link("ref", store.put("a", b"a"))
    client.delete_object_store(store.bucket)
    with pytest.raises(BucketNotFoundError):
        another.get("ref")
    assert store.bucket not in client.object_store_names()


def test_store_link(make_store: MakeStore) -> None:
    """A link to a bucket names it, and is not read."""
    store, another = make_store(), make_store()
    link = another.add_bucket_link("src", store)
    assert link.link == ObjectLink(store.bucket)
    with pytest.raises(BucketLinkError):
        another.get("src")


def test_max_chunk_is_max_payload(make_server: MakeServer) -> None:
    """Chunks are no larger than the server takes, and the info says how large they are."""
    with Client(make_server("max_payload: 8192").url) as client:
        store = client.create_object_store("small")
        data = random_bytes(32 * KIB)
        for chunk_size in (None, 1 << 20):
            info = store.put("t", io.BytesIO(data), chunk_size=chunk_size)
            assert (info.size, info.chunks) == (32 * KIB, 5)
            assert 7 * KIB < info.chunk_size < 8 * KIB  # headers count, too
            assert store.get_bytes("t") == data
        assert client.is_connected


def test_default_chunk_is_128k(store: ObjectStore) -> None:
    """Chunks are of 128 KiB if nobody says otherwise."""
    info = store.put("t", random_bytes(129 * KIB))
    assert (info.size, info.chunks, info.chunk_size) == (129 * KIB, 2, 128 * KIB)
    assert store.get_info("t").chunk_size == 128 * KIB


def test_sanitize(store: ObjectStore, raw: RawBucket) -> None:
    """Dots and spaces of names do not show in the subjects of metas."""
    names = ["has.dots.here", "the spaces are here"]
    for name in names:
        store.put(name, b"1")
    encoded = [base64.urlsafe_b64encode(name.encode()).decode() for name in names]
    expected = {f"$O.{store.bucket}.M.{text}": 1 for text in encoded}
    assert raw.subjects("*.*.M.>") == expected


def test_partials(store: ObjectStore, raw: RawBucket) -> None:
    """Seven bytes in chunks of two are four chunks, the last one short."""
    info = store.put("test", iter([b"aaa", b"", b"aaaa"]), chunk_size=2)
    assert (info.chunks, info.digest) == (4, digest_of(b"aaaaaaa"))
    assert [len(chunk["data"]) for chunk in raw.chunk_messages(info.nuid)] == [2, 2, 2, 1]
    assert store.get_bytes("test") == b"aaaaaaa"


@pytest.mark.parametrize("size", [100, 1000, 10_000, 100_000])
def test_hashtests(store: ObjectStore, size: int) -> None:
    """The digest does not depend on how the bytes come: in chunks of 9, from a stream."""
    data = random_bytes(size, size)
    info = store.put("obj", iter([data[:7], data[7:]]), chunk_size=9)
    assert (info.digest, info.chunks) == (digest_of(data), -(-size // 9))
    assert store.get_bytes("obj") == data


def test_put_purges_old_entries(store: ObjectStore, raw: RawBucket) -> None:
    """Nine chunks and a meta: the stream holds those of the last put and no others."""
    for first, last in ((1, 10), (11, 20)):
        info = store.put("BLOB", random_bytes(9, first), description="myblob", chunk_size=1)
        assert info.revision == last
        assert (raw.state["first_seq"], raw.state["last_seq"]) == (first, last)


def test_put_previous_sequences(store: ObjectStore, raw: RawBucket) -> None:
    """A put on a condition succeeds if it holds, and changes nothing if it does not."""
    assert store.put("A", random_bytes(9), chunk_size=1, if_revision=0).revision == 10
    assert store.put("B", random_bytes(3), chunk_size=1, if_revision=0).revision == 14
    assert store.put("A", random_bytes(3), chunk_size=1, if_revision=10).revision == 18
    assert store.put("A", b"", chunk_size=1, if_revision=18).revision == 19
    before = raw.subjects()
    for wrong in (0, 10, 18, 20):
        with pytest.raises(PreconditionFailedError) as caught:
            store.put("A", b"other", if_revision=wrong)
        assert caught.value.revision == 19
    assert raw.subjects() == before


def test_put_get_blob(store: ObjectStore) -> None:
    """Bytes in, bytes out."""
    store.put(ObjectMeta("A", chunk_size=1), iter([bytes(9)]), if_revision=0)
    assert store.get_bytes("A") == bytes(9)
    store.put_bytes("B", bytes(9))
    assert store.get_bytes("B") == bytes(9)


@pytest.mark.parametrize("chunks", [1, 3])
def test_get_detects_corrupt_digest(store: ObjectStore, raw: RawBucket, chunks: int) -> None:
    """Bytes that are not those of the digest are not handed out to the end."""
    data = [random_bytes(1000, seed) for seed in range(chunks)]
    raw.put_object("A", data, digest=digest_of(b"something else"))
    with pytest.raises(DigestMismatchError):
        store.get_bytes("A")
    with pytest.raises(DigestMismatchError):
        dict(store.get_many(["A"]))
    with store.get("A", verify=False) as reader:
        assert reader.read() == b"".join(data)


# Codecs: `b64_test.ts`, `sha256_test.ts`, `sha_digest_test.ts`


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        ("a", "YQ=="),
        ("ab", "YWI="),
        ("abc", "YWJj"),
        ("é", "w6k="),
        ("my?file~", "bXk_ZmlsZX4="),
        (">>>", "Pj4-"),
        (" ", "IA=="),
        ("日本語", "5pel5pys6Kqe"),
    ],
)
def test_b64(name: str, encoded: str) -> None:
    """Names are encoded URL-safe and padded; theirs knows no names beyond Latin-1."""
    assert meta_subject("bucket", name) == f"$O.bucket.M.{encoded}"


def test_sha256() -> None:
    """The hash is the same in one piece and in many."""
    data = random_bytes(100_000)
    hasher = new_hash()
    for start in range(0, len(data), 777):
        hasher.update(data[start : start + 777])
    assert hasher.digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("digest", DIGESTS)
def test_sha_digest(digest: str) -> None:
    """A digest is read in every form in which clients have written it."""
    raw = parse_digest(digest)
    text = digest.removeprefix("SHA-256=")
    standard = text.replace("-", "+").replace("_", "/")
    for form in (text.rstrip("="), standard, standard.rstrip("="), raw.hex(), raw.hex().upper()):
        assert parse_digest(f"sha-256={form}") == raw
        assert format_digest(parse_digest(f"SHA-256={form}")) == digest
