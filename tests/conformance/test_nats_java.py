"""What nats.java asserts: `ObjectStoreTests.java` and `ObjectStoreApiTests.java`."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from objstore.client import Client
from objstore.config import ObjectStoreConfig, Placement
from objstore.errors import (
    BucketLinkError,
    BucketNotFoundError,
    BucketSealedError,
    InvalidNameError,
    LinkNotAllowedError,
    LinkToDeletedError,
    LinkToLinkError,
    ObjectAlreadyExistsError,
    ObjectNotFoundError,
)
from objstore.models import ObjectInfo, ObjectLink, ObjectMeta
from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.conformance.helpers import (
    is_recent,
    random_bytes,
    server_version,
    take,
    take_initial,
)
from tests.raw_bucket import RawBucket, digest_of

MakeStore = Callable[..., ObjectStore]
MakeServer = Callable[..., LocalServer]


def test_workflow(client: Client, make_store: MakeStore, tmp_path: Path) -> None:
    """The life of a bucket and of its objects, from the first put to the last delete."""
    with pytest.raises(BucketNotFoundError):
        client.object_store("workflow")
    store = make_store(
        "workflow", description="put workflow", ttl=24 * 3600, storage="memory", metadata={"a": "b"}
    )
    status = store.status()
    assert (status.bucket, status.description, status.ttl) == ("workflow", "put workflow", 86400)
    assert (status.storage, status.sealed, status.size) == ("memory", False, 0)

    for call in (store.get, store.get_info, store.delete):
        with pytest.raises(ObjectNotFoundError):
            call("object")
    with pytest.raises(ObjectNotFoundError):
        store.update_meta("object", description="none")

    data = random_bytes(4096 * 10 + 7)
    meta = ObjectMeta("object", "a description", {"key": ["one", "two"]}, {"k": "v"}, 4096)
    first = store.put(meta, io.BytesIO(data))
    assert (first.chunks, first.chunk_size, first.size) == (11, 4096, len(data))
    assert store.get_info("object").meta == meta
    assert store.get_bytes("object") == data

    second = store.put(meta, data[:4096])
    assert (second.chunks, second.size) == (1, 4096)
    assert second.nuid != first.nuid
    assert store.get_bytes("object") == data[:4096]

    store.update_meta("object", new_name="renamed", description="changed", headers={"new": "h"})
    info = store.get_info("renamed")
    assert (info.description, info.headers, info.nuid) == ("changed", {"new": ["h"]}, second.nuid)
    with pytest.raises(ObjectNotFoundError):
        store.get_info("object")

    store.put("other", b"other")
    with pytest.raises(ObjectAlreadyExistsError):
        store.update_meta("renamed", new_name="other")
    store.delete("other")
    store.delete("other")  # twice is fine
    with pytest.raises(ObjectNotFoundError):
        store.update_meta("other", description="none")
    store.update_meta("renamed", new_name="other")  # onto a deleted one
    assert store.get_bytes("other") == data[:4096]

    # The other ways to put.
    path = tmp_path / "file"
    path.write_bytes(data)
    ways = [
        store.put("stream", io.BytesIO(data)),
        store.put("bytes", data),
        store.put("path", path),
        store.put_bytes("put_bytes", data),
        store.put_file(path),
    ]
    assert {info.digest for info in ways} == {digest_of(data)}
    assert [info.name for info in ways] == ["stream", "bytes", "path", "put_bytes", "file"]

    client.delete_object_store("workflow")
    with pytest.raises(BucketNotFoundError):
        store.status()


def test_manage_get_bucket_names_statuses(client: Client, make_store: MakeStore) -> None:
    """Names and statuses of all buckets, on disk or in memory."""
    first = make_store(description="first", storage="memory")
    second = make_store(description="second")
    names = {first.bucket, second.bucket}
    assert names <= set(client.object_store_names())
    found = {status.bucket: status for status in client.object_stores()}
    assert (found[first.bucket].description, found[first.bucket].storage) == ("first", "memory")
    assert (found[second.bucket].description, found[second.bucket].storage) == ("second", "file")
    client.delete_object_store(first.bucket)
    assert first.bucket not in client.object_store_names()


def test_object_store_options_builder_coverage() -> None:
    """The prefix of the API: of a domain, or any; but not both."""
    url = "nats://127.0.0.1:4222"
    assert Client(url)._js.subject("STREAM.NAMES") == "$JS.API.STREAM.NAMES"
    assert Client(url, domain="hub")._js.subject("STREAM.NAMES") == "$JS.hub.API.STREAM.NAMES"
    assert Client(url, api_prefix="my.api")._js.subject("STREAM.NAMES") == "my.api.STREAM.NAMES"
    with pytest.raises(TypeError):
        Client(url, domain="hub", api_prefix="my.api")
    for wrong in ("my api", "my.*", "my.>", ".", "my."):
        with pytest.raises(InvalidNameError):
            Client(url, api_prefix=wrong)


def test_object_links(make_store: MakeStore) -> None:
    """A link may stand where nothing, a deleted object or a link was: the rules of ADR-20."""
    store, other = make_store(), make_store()
    target = store.put("target", b"1")
    live = store.put("live", b"2")
    store.put("deleted", b"3")
    store.delete("deleted")

    for name in ("missing", "deleted", "missing"):  # the third time it is a link
        store.add_link(name, target)
        assert store.get_bytes(name) == b"1"
    store.add_bucket_link("missing", other)
    with pytest.raises(BucketLinkError):
        store.get("missing")
    with pytest.raises(ObjectAlreadyExistsError):
        store.add_link("live", target)
    with pytest.raises(ObjectAlreadyExistsError):
        store.add_bucket_link("live", other)
    assert store.get_bytes("live") == b"2"

    with pytest.raises(LinkToLinkError):
        store.add_link("to link", store.get_info("missing"))
    other.add_link("crossed", live)
    assert other.get_info("crossed").link == ObjectLink(store.bucket, "live")
    assert other.get_bytes("crossed") == b"2"

    store.delete("target")
    with pytest.raises(LinkToDeletedError):
        store.add_link("to deleted", store.get_info("target", show_deleted=True))
    with pytest.raises(ObjectNotFoundError):
        store.get("deleted")  # the link to it
    with pytest.raises(LinkNotAllowedError):
        store.put(store.get_info("missing"), b"none")

    # A link is deleted, changed and overwritten as any object; its target stays.
    other.update_meta("crossed", new_name="renamed", description="a link")
    assert other.get_info("renamed").link == ObjectLink(store.bucket, "live")
    assert other.get_bytes("renamed") == b"2"
    other.put("renamed", b"no link any more")
    assert not other.get_info("renamed").is_link
    store.delete("missing")
    assert "missing" not in store
    assert store.get_bytes("live") == b"2"


def test_list(store: ObjectStore) -> None:
    """Four of five: one is deleted; a link counts."""
    for number in range(1, 5):
        store.put(f"name{number}", b"data")
    store.delete("name2")
    store.add_link("link", store.get_info("name1"))
    assert [info.name for info in store.list()] == ["name1", "name3", "name4", "link"]


def test_seal(store: ObjectStore) -> None:
    """In a sealed bucket nothing is put, changed, linked or deleted; all is read."""
    info = store.put("name", b"data")
    store.seal()
    for call in (
        lambda: store.put("another", b"data"),
        lambda: store.update_meta("name", description="none"),
        lambda: store.update_meta("name", new_name="renamed"),
        lambda: store.add_link("link", info),
        lambda: store.delete("name"),
        lambda: store.put_many({"a": b"a", "b": b"b"}),
    ):
        with pytest.raises(BucketSealedError):
            call()
    assert [info.name for info in store.list()] == ["name"]
    assert store.get_bytes("name") == b"data"


def test_compression(client: Client, make_store: MakeStore) -> None:
    """A compressed bucket takes less room, and gives back the same bytes."""
    compressed, plain = make_store(compression=True), make_store()
    data = b"0123456789" * 100_000
    for store in (compressed, plain):
        store.put("obj", data)
        assert store.get_bytes("obj") == data
    if server_version(client) >= (2, 10):
        config = compressed.status().stream_info["config"]
        assert config["compression"] == "s2"
    assert compressed.status().is_compressed is (server_version(client) >= (2, 10))


def test_overwrite(store: ObjectStore, raw: RawBucket) -> None:
    """The same put again takes the room of the old one, and that of some ids."""
    data = random_bytes(1000)
    sizes = set()
    for _ in range(4):  # so few that the numbers in headers stay of one digit
        store.put("name", data)
        sizes.add(raw.state["bytes"])
        assert raw.state["messages"] == 2
    assert max(sizes) - min(sizes) <= 4 * 40


@pytest.mark.parametrize("ignore_deletes", [False, True])
@pytest.mark.parametrize("before", [False, True])
def test_watch(store: ObjectStore, *, before: bool, ignore_deletes: bool) -> None:
    """Begun before the changes or after, with deletes or without; one marker each time."""

    changes: list[Callable[[], object]] = [
        lambda: store.put("A", b"A"),
        lambda: store.put("B", b"B"),
        lambda: store.delete("A"),
    ]
    seen: list[ObjectInfo | None] = []
    if not before:
        for change in changes:
            change()
    with store.watch(ignore_deletes=ignore_deletes) as watcher:
        seen += [*take_initial(watcher), None]
        if before:
            for number, change in enumerate(changes):
                change()
                if number < 2 or not ignore_deletes:
                    seen += take(watcher, 1)
        store.put("end", b"")
        assert take(watcher, 1) == [store.get_info("end")], "and no second marker"
    expected = [("B", False), ("A", True)]
    if before:
        expected.insert(0, ("A", False))
    if ignore_deletes:
        expected.remove(("A", True))
    assert [(info.name, info.deleted) for info in seen if info] == expected
    assert seen.index(None) == (0 if before else len(expected))


def test_object_store_domains(domains: tuple[Client, Client, Client]) -> None:
    """Through a leaf node, in the hub's domain: put, get, watch, list and delete."""
    at_hub, at_leaf, through = domains
    data = random_bytes(1_000_000)
    store = through.create_object_store("hubs")
    with store.watch() as watcher:
        assert take(watcher, 1) == [None]
        store.put("obj", data)
        assert take(watcher, 1) == [store.get_info("obj")]
    assert store.get_bytes("obj") == data
    assert at_hub.object_store("hubs").get_bytes("obj") == data
    assert [info.name for info in store.list()] == ["obj"]
    store.delete("obj")
    assert at_hub.object_store("hubs").list() == []
    with pytest.raises(BucketNotFoundError):
        at_leaf.object_store("hubs")
    assert list(through.object_store_names()) == ["hubs"]


# The JSON of the API


def test_object_info(store: ObjectStore, raw: RawBucket) -> None:
    """Every field of a meta is read, and written again when something else changes."""
    nuid = raw.put_object(
        "object name",
        [b"data"],
        description="object desc",
        headers={"key1": ["foo"], "key2": ["bar", "baz"]},
        metadata={"k1": "v1", "k2": "v2"},
        options={"max_chunk_size": 8196, "future": True},
        chunks=1,
        mtime="2021-08-25T20:41:31.9990001Z",
        deleted=False,
        revision=12,
    )
    info = store.get_info("object name")
    assert info == ObjectInfo(
        bucket=store.bucket,
        name="object name",
        nuid=nuid,
        size=4,
        chunks=1,
        digest=digest_of(b"data"),
        mtime=info.mtime,
        description="object desc",
        headers={"key1": ["foo"], "key2": ["bar", "baz"]},
        metadata={"k1": "v1", "k2": "v2"},
        chunk_size=8196,
        revision=2,
    )
    assert is_recent(info.mtime), "that of the message, whatever the JSON says"
    before = raw.meta("object name")
    store.update_meta("object name", description="changed")
    after = raw.meta("object name")
    # A time that is stored is not the truth, and false is the default.
    for field in ("mtime", "deleted"):
        assert field in before and field not in after
    expected = {key: before[key] for key in before if key not in ("mtime", "deleted")}
    assert after == {**expected, "description": "changed"}


@pytest.mark.parametrize("link", [{"bucket": "another", "name": "target"}, {"bucket": "another"}])
def test_object_info_of_a_link(store: ObjectStore, raw: RawBucket, link: dict[str, str]) -> None:
    """A link to an object, and one to a bucket, and its own description beside it."""
    raw.put_object("link", [], options={"link": link}, digest=None, description="a link")
    info = store.get_info("link")
    assert info.link == ObjectLink("another", link.get("name"))
    assert (info.size, info.digest, info.description) == (0, "", "a link")
    store.update_meta("link", headers={"key": "value"})
    assert raw.meta("link")["options"] == {"link": link}


def test_object_store_configuration() -> None:
    """The configuration of a bucket as that of a stream, and every field that is refused."""
    config = ObjectStoreConfig(
        "bucket",
        "description",
        ttl=1.5,
        max_bytes=1000,
        storage="memory",
        replicas=3,
        placement=Placement("cluster", ["tag"]),
        compression=True,
        metadata={"k": "v"},
    )
    assert json.loads(json.dumps(config.to_stream())) == {
        "name": "OBJ_bucket",
        "subjects": ["$O.bucket.C.>", "$O.bucket.M.>"],
        "description": "description",
        "retention": "limits",
        "discard": "new",
        "max_age": 1_500_000_000,
        "max_bytes": 1000,
        "storage": "memory",
        "num_replicas": 3,
        "placement": {"cluster": "cluster", "tags": ["tag"]},
        "compression": "s2",
        "metadata": {"k": "v"},
        "allow_rollup_hdrs": True,
        "allow_direct": True,
    }
    refused: list[dict[str, Any]] = [
        {"bucket": "has.dots"},
        {"ttl": -1},
        {"ttl": 0.01},
        {"max_bytes": -2},
        {"storage": "tape"},
        {"replicas": 0},
        {"replicas": 6},
    ]
    for wrong in refused:
        with pytest.raises(ValueError):
            ObjectStoreConfig(**{"bucket": "bucket", **wrong})
