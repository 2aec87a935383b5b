"""Buckets that are elsewhere: in another account, behind a leaf node, in a mirror."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from objstore.client import Client
from objstore.errors import BucketNotFoundError, ObjStoreError
from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.conformance.conftest import REPLICAS
from tests.conformance.helpers import MIB, random_bytes, take
from tests.helpers import wait_until
from tests.raw_bucket import RawBucket

MakeServer = Callable[..., LocalServer]

#: Account A keeps buckets; B reaches its API under another name, and stores through `$O.`.
_ACCOUNTS = """
accounts {
    A {
        jetstream: enabled
        users: [ { user: a, password: secret } ]
        exports: [ { service: "$JS.API.>", response_type: stream }, { service: "$O.>" } ]
    }
    B {
        users: [ { user: b, password: secret } ]
        imports: [
            { service: { account: A, subject: "$JS.API.>" }, to: "JS.A.API.>" }
            { service: { account: A, subject: "$O.>" } }
        ]
    }
}
"""


def check_everything(store: ObjectStore) -> None:
    """Write, read, change, watch, list and delete, by every path there is."""
    data = random_bytes(3 * MIB + 1)
    small = store.put("small", b"data")
    store.put("large", data)
    assert store.get_bytes("small") == b"data"
    assert store.get_bytes("large") == data
    with store.get("large") as reader:
        reader.seek(2 * MIB)
        assert reader.read(100) == data[2 * MIB :][:100]
    store.add_link("link", small)
    assert store.get_bytes("link") == b"data"
    store.update_meta("small", new_name="renamed", description="d")
    store.delete("link")
    assert [info.name for info in store.list()] == ["large", "renamed"]
    with store.watch() as watcher:
        assert [info and info.name for info in take(watcher, 4)] == [
            "large",
            "renamed",
            "link",
            None,
        ]
        store.put("renamed", b"again")
        assert take(watcher, 1) == [store.get_info("renamed")]
    names = [f"{number}" for number in range(1100)]  # more than a snapshot holds
    store.put_many((name, name.encode()) for name in names)
    assert list(store) == ["large", "renamed", *names]
    assert dict(store.get_many(names[:200])) == {name: name.encode() for name in names[:200]}
    assert store.status().size > len(data)


@pytest.mark.slow
def test_another_account_by_a_prefix_of_the_api(make_server: MakeServer) -> None:
    """`api_prefix` is all that it takes, where the API is exported with streams of answers."""
    server = make_server(_ACCOUNTS)
    with (
        Client(server.url, user="a", password="secret") as owner,
        Client(server.url, user="b", password="secret", api_prefix="JS.A.API") as guest,
    ):
        check_everything(guest.create_object_store("photos", description="d"))
        assert list(guest.object_store_names()) == ["photos"]
        guest.update_object_store("photos", description="changed")
        (status,) = owner.object_stores()
        assert status.description == "changed"
        assert owner.object_store("photos").list() == guest.object_store("photos").list()
        assert status.stream_info["state"]["consumer_count"] == 0
        guest.delete_object_store("photos")
        with pytest.raises(BucketNotFoundError):
            owner.object_store("photos")


def test_another_account_without_its_prefix(make_server: MakeServer) -> None:
    """The account has no JetStream of its own, and that is said at once."""
    server = make_server(_ACCOUNTS)
    with Client(server.url, user="b", password="secret") as guest:
        with pytest.raises(ObjStoreError):
            guest.create_object_store("photos", timeout=5)


# Leaf nodes


@pytest.mark.slow
def test_domain_through_a_leaf_node(domains: tuple[Client, Client, Client]) -> None:
    """The hub's buckets are all there, and none of the leaf's."""
    at_hub, at_leaf, through = domains
    check_everything(through.create_object_store("photos"))
    assert at_hub.object_store("photos").list() == through.object_store("photos").list()
    with pytest.raises(BucketNotFoundError):
        at_leaf.object_store("photos")


@pytest.mark.slow
def test_mirror_of_the_same_name_at_a_leaf_node(domains: tuple[Client, Client, Client]) -> None:
    """What is put at the hub is read at the leaf."""
    at_hub, at_leaf, through = domains
    data = random_bytes(MIB)
    store = at_hub.create_object_store("photos")
    store.put("a", data)
    make_mirror(at_leaf, "photos", {"name": "OBJ_photos", "external": {"api": "$JS.hub.API"}})
    mirror = at_leaf.object_store("photos")
    wait_until(lambda: "a" in mirror, 30)
    assert mirror.get_bytes("a") == through.object_store("photos").get_bytes("a") == data
    assert mirror.list() == store.list()
    with mirror.watch() as watcher:
        assert take(watcher, 2) == [store.get_info("a"), None]


# Mirrors beside the bucket


def make_mirror(
    client: Client, bucket: str, source: dict[str, object], *, replicas: int = 1
) -> None:
    """Make a mirror that answers direct gets for what it mirrors."""
    config = {
        "name": f"OBJ_{bucket}",
        "mirror": source,
        "mirror_direct": True,
        "allow_direct": True,
        "allow_rollup_hdrs": True,
        "num_replicas": replicas,
    }
    answer = RawBucket(client._connection, bucket).call("STREAM.CREATE.%", config)
    assert "error" not in answer, answer


@pytest.mark.slow
def test_mirror_that_answers_for_a_bucket_hides_nothing(client: Client, store: ObjectStore) -> None:
    """Whoever answers, every read shows what was written just before."""
    data = random_bytes(300_000)
    store.put("first", data)
    copy = f"{store.bucket}-copy"
    make_mirror(client, copy, {"name": f"OBJ_{store.bucket}"}, replicas=REPLICAS)
    mirror = RawBucket(client._connection, copy)
    wait_until(lambda: mirror.state["messages"] == 4, 30)
    for number in range(20):
        name = f"{number}"
        store.put(name, b"old")
        assert store.get_bytes(name) == b"old"
        store.put(name, data)
        assert [info.name for info in store.list()] == ["first", name]
        assert store.get_bytes(name) == data
        assert dict(store.get_many([name, "first"])) == {name: data, "first": data}
        with store.watch() as watcher:
            assert name in [info.name for info in take(watcher, number + 2) if info]
        with store.get(name) as reader:
            reader.seek(200_000)
            assert reader.read(5) == data[200_000:200_005]
        store.delete(name)
        assert [info.name for info in store.list()] == ["first"]
    client.delete_object_store(copy)
