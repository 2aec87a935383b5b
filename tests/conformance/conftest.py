"""Buckets to test with: on one server, or on a cluster if `OBJSTORE_TEST_REPLICAS` says so."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from objstore.client import Client
from objstore.errors import BucketNotFoundError, ObjStoreError
from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.cluster import Cluster
from tests.helpers import wait_until
from tests.raw_bucket import RawBucket

__all__: list[str] = []

#: Replicas of a bucket for which a test does not choose.
REPLICAS = int(os.environ.get("OBJSTORE_TEST_REPLICAS", "1"))

_counter = itertools.count(1)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three servers for the whole run: do not stop or pause one."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        with Client(cluster.url) as client:
            # Stays: a server may fail to make a stream while it deletes its last one.
            client.create_object_store("keep", replicas=3)
        yield cluster


@pytest.fixture(scope="session")
def server(server: LocalServer, request: pytest.FixtureRequest) -> LocalServer:
    """The server of the run; for buckets with replicas, one of the cluster's."""
    if REPLICAS == 1:
        return server
    cluster: Cluster = request.getfixturevalue("cluster")
    return cluster.nodes[0]


@pytest.fixture
def make_store(client: Client) -> Iterator[Callable[..., ObjectStore]]:
    """
    A function that makes a bucket, and deletes it after the test.

    Its arguments are those of `create_object_store`; a name of its own is the default.
    """
    made: list[str] = []

    def make(bucket: str | None = None, **config: Any) -> ObjectStore:
        made.append(bucket or f"conformance-{next(_counter)}")
        return client.create_object_store(made[-1], **{"replicas": REPLICAS, **config})

    yield make
    for bucket in made:
        with contextlib.suppress(BucketNotFoundError):  # a test may have deleted it itself
            client.delete_object_store(bucket)


@pytest.fixture
def store(make_store: Callable[..., ObjectStore]) -> ObjectStore:
    """An empty bucket."""
    return make_store()


@pytest.fixture
def replicated_store(cluster: Cluster) -> Iterator[ObjectStore]:
    """An empty bucket with three replicas, whatever the environment says."""
    with Client(cluster.url) as client:
        store = client.create_object_store(f"replicated-{next(_counter)}", replicas=3)
        yield store
        client.delete_object_store(store.bucket)


@pytest.fixture
def raw(client: Client, store: ObjectStore) -> RawBucket:
    """The messages in `store`."""
    return RawBucket(client._connection, store.bucket)


@pytest.fixture
def deny(make_server: Callable[..., LocalServer]) -> Iterator[Callable[[str], list[Client]]]:
    """A function that returns an owner and a guest, who may not publish to some subjects."""
    with contextlib.ExitStack() as clients:

        def deny(subjects: str) -> list[Client]:
            publish = f'{{ publish: {{ deny: "{subjects}" }} }}'
            server = make_server(
                f"""
                authorization {{ users: [
                    {{ user: owner, password: secret }}
                    {{ user: guest, password: secret, permissions: {publish} }}
                ] }}
                """
            )
            return [
                clients.enter_context(Client(server.url, user=user, password="secret"))
                for user in ("owner", "guest")
            ]

        yield deny


@pytest.fixture
def domains(make_server: Callable[..., LocalServer]) -> Iterator[tuple[Client, Client, Client]]:
    """Clients at a hub, at its leaf node, and at the leaf node for the hub's domain."""
    hub = make_server(
        """
        server_name: hub
        jetstream { domain: hub }
        leafnodes { listen: "127.0.0.1:-1" }
        """
    )
    log = hub.log_path.read_text(encoding="utf-8")
    (port,) = re.findall(r"leafnode connections on 127\.0\.0\.1:(\d+)", log)
    leaf = make_server(
        f"""
        server_name: leaf
        jetstream {{ domain: leaf }}
        leafnodes {{ remotes: [ {{ url: "nats-leaf://127.0.0.1:{port}" }} ] }}
        """
    )
    with (
        Client(hub.url) as at_hub,
        Client(leaf.url) as at_leaf,
        Client(leaf.url, domain="hub") as through,
    ):
        wait_until(lambda: _answers(through))
        yield at_hub, at_leaf, through


def _answers(client: Client) -> bool:
    """Whether the domain can be reached already."""
    try:
        list(client.object_store_names(timeout=0.5))
    except ObjStoreError:
        return False
    return True
