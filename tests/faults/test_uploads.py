"""Uploads to three replicas: whatever happens to their leader, the caller notices nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from objstore.client import Client
from objstore.errors import NoRespondersError, PreconditionFailedError, RequestTimeoutError
from objstore.models import ObjectInfo
from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.cluster import Cluster
from tests.faults.tiers import by_tier
from tests.helpers import pattern, wait_until
from tests.raw_bucket import RawBucket

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="needs signals"),
]

DATA = pattern(24 << 20)


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three servers for one test, which may stop or pause them."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def store(cluster: Cluster) -> Iterator[ObjectStore]:
    """A bucket with three replicas and an object `a`."""
    with Client(cluster.url) as client:
        store = client.create_object_store("b", replicas=3)
        store.put("a", b"the old one")
        yield store


def leader(cluster: Cluster, raw: RawBucket) -> LocalServer:
    name = raw.call("STREAM.INFO.%")["cluster"]["leader"]
    return cluster.nodes[int(name.rpartition("-")[2])]


def put_and(store: ObjectStore, *actions: Callable[[], object]) -> ObjectInfo:
    """Put the data, with actions on the way."""
    places = {len(DATA) * n // (len(actions) + 1): action for n, action in enumerate(actions, 1)}
    done = 0

    def act(size: int) -> None:
        nonlocal done
        done += size
        for place in [place for place in places if place <= done]:
            places.pop(place)()

    info = store.put("a", DATA, callback=act)
    assert not places
    return info


def check(store: ObjectStore, info: ObjectInfo) -> None:
    """Wait until the data is stored, once and in order, and nothing else is."""
    raw = RawBucket(store._bucket.js.connection, "b")

    def is_stored() -> bool:
        try:
            data = b"".join(message["data"] for message in raw.chunk_messages(info.nuid))
            return raw.chunks == {info.nuid: info.chunks} and data == DATA
        except (KeyError, NoRespondersError, RequestTimeoutError):
            return False

    # A leader that was paused goes on answering for a moment, with what it knows.
    wait_until(is_stored)
    assert raw.meta("a")["nuid"] == info.nuid


def test_leader_that_steps_down(store: ObjectStore, cluster: Cluster) -> None:
    def step_down() -> None:
        assert raw.call("STREAM.LEADER.STEPDOWN.%", {})["success"]

    with Client(cluster.url) as admin:
        raw = RawBucket(admin._connection, "b")
        info = put_and(store, step_down, step_down, step_down)
    check(store, info)


@pytest.mark.parametrize("is_near", [True, False])
def test_leader_that_is_killed(cluster: Cluster, store: ObjectStore, is_near: bool) -> None:
    """The one that the client is connected to, or another."""
    killed, client = near(cluster, store, is_near=is_near)
    with client:
        info = put_and(client.object_store("b"), lambda: os.kill(killed.pid, signal.SIGKILL))
        check(client.object_store("b"), info)


@pytest.mark.parametrize("is_near", [True, False])
def test_leader_that_is_paused(cluster: Cluster, store: ObjectStore, is_near: bool) -> None:
    """When it goes on, it does with what was sent to it before."""
    paused, client = near(cluster, store, is_near=is_near)
    wake = threading.Timer(7.0, os.kill, (paused.pid, signal.SIGCONT))

    def pause() -> None:
        os.kill(paused.pid, signal.SIGSTOP)
        wake.start()

    try:
        with client:
            info = put_and(client.object_store("b"), pause)
    finally:
        wake.join()
    check(store, info)


@pytest.mark.timeout(by_tier(60, 600))
def test_one_of_eight_wins_while_leaders_step_down(cluster: Cluster, store: ObjectStore) -> None:
    """Each time exactly one, who knows it, and nothing is left of the others."""
    barrier = threading.Barrier(9, timeout=60)
    raw = RawBucket(store._bucket.js.connection, "b")

    def put(there: ObjectStore, name: str, number: int) -> ObjectInfo | None:
        barrier.wait()
        try:
            return there.put(name, pattern(10_000 + number), chunk_size=1000, if_absent=True)
        except PreconditionFailedError:
            return None

    def step_down() -> None:
        barrier.wait()
        with contextlib.suppress(NoRespondersError, RequestTimeoutError):
            raw.call("STREAM.LEADER.STEPDOWN.%", {})

    with ExitStack() as stack, ThreadPoolExecutor(8) as pool:
        clients = [stack.enter_context(Client(cluster.nodes[n % 3].url)) for n in range(8)]
        stores = [client.object_store("b") for client in clients]
        for turn in range(by_tier(5, 200)):
            name = f"contest-{turn}"
            puts = [pool.submit(put, there, name, n) for n, there in enumerate(stores)]
            step_down()
            infos = [one.result(60) for one in puts]
            ((number, winner),) = [(n, info) for n, info in enumerate(infos) if info is not None]
            assert store.get_info(name).nuid == winner.nuid
            assert store.get_bytes(name) == pattern(10_000 + number)
    wait_until(lambda: set(raw.chunks) == {info.nuid for info in store.list()})


def near(cluster: Cluster, store: ObjectStore, *, is_near: bool) -> tuple[LocalServer, Client]:
    """The leader of the bucket, and a client that is connected to it, or to another server."""
    first = leader(cluster, RawBucket(store._bucket.js.connection, "b"))
    nodes = sorted(cluster.nodes, key=lambda node: (node is first) != is_near)
    client = Client(",".join(node.url for node in nodes))
    client.connect()
    assert client.server_info["port"] == nodes[0].port
    return first, client
