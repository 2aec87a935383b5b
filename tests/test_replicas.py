"""
Three servers, of which the leader is paused: nobody notices but by the clock.

And when it goes on, and answers as if it still led, it is not believed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from objstore.client import Client
from objstore.core.deadline import Deadline
from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.cluster import Cluster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="needs SIGSTOP"),
]

#: Questions that wait in the socket of the paused leader.
QUEUED = 32


@contextmanager
def paused(server: LocalServer) -> Iterator[None]:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def leader_of(cluster: Cluster, store: ObjectStore) -> LocalServer:
    name = store.status().stream_info["cluster"]["leader"]
    return cluster.nodes[int(name.rpartition("-")[2])]


def first_of_watch(store: ObjectStore) -> object:
    with store.watch() as watcher:
        return watcher.next(20.0)


ACTS: dict[str, Callable[[ObjectStore], object]] = {
    "get_info": lambda store: store.get_info("a"),
    "get_bytes": lambda store: store.get_bytes("a"),
    "get_many": lambda store: list(store.get_many(["a", "b"])),
    "list": lambda store: store.list(),
    "status": lambda store: store.status(),
    "watch": first_of_watch,
    "update_meta": lambda store: store.update_meta("b", description="d"),
    "rename": lambda store: store.update_meta("c", new_name="renamed"),
    "delete": lambda store: store.delete("d"),
    "add_link": lambda store: store.add_bucket_link("l", store),
}


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


def test_paused_leader(cluster: Cluster) -> None:
    with ExitStack() as stack:
        main = stack.enter_context(Client(cluster.url))
        store = main.create_object_store("b", replicas=3)
        store.put_many({name: name.encode() for name in "abcd"})
        leader = leader_of(cluster, store)
        others = ",".join(node.url for node in cluster.nodes if node is not leader)

        def open_at(url: str) -> ObjectStore:
            return stack.enter_context(Client(url)).object_store("b")

        stores = {name: open_at(others) for name in ACTS}
        late, writer = open_at(leader.url), open_at(others)
        old = writer.get_info("a")
        pool = stack.enter_context(ThreadPoolExecutor(len(ACTS) + 1))
        with paused(leader):
            results = {name: pool.submit(act, stores[name]) for name, act in ACTS.items()}
            for result in results.values():
                result.result()
            info = writer.put("a", b"new")
            # What one store has seen, however it is connected.
            late._bucket.session = writer._bucket.session
            asked = [late._bucket.ask_meta("a", Deadline(None)) for _ in range(QUEUED)]
            reads: list[Future[object]] = [
                pool.submit(late.get_info, "a"),
                pool.submit(late.list),
            ]
        for request in asked:
            seen = late._bucket.take_meta("a", request, Deadline(30.0))
            assert seen is not None
            assert seen.revision == info.revision > old.revision
        assert reads[0].result() == writer.get_info("a")
        listed = reads[1].result()
        assert isinstance(listed, list)
        assert {i.name for i in listed} == {"a", "b", "renamed", "l"}
        report = store.check(read_data=True)
        assert report
        assert report.warnings == ()


def test_writer_and_reader_on_followers_that_lag(cluster: Cluster) -> None:
    """Right after a write, whoever else keeps the replicas busy, it is read and listed."""
    stop = threading.Event()
    with Client(cluster.url) as busy, ExitStack() as stack:
        store = busy.create_object_store("b", replicas=3)
        stores = [stack.enter_context(Client(node.url)).object_store("b") for node in cluster.nodes]

        def load() -> None:
            data = bytes(2 << 20)
            while not stop.is_set():
                store.put("load", data)

        with ThreadPoolExecutor(1) as pool:
            loading = pool.submit(load)
            try:
                for number in range(30):
                    mine = stores[number % len(stores)]
                    info = mine.put(f"{number % 7}", b"%d" % number)
                    assert mine.get_info(info.name).revision == info.revision
                    assert mine.get_bytes(info.name) == b"%d" % number
                    listed = {i.name: i.revision for i in mine.list()}
                    assert listed[info.name] == info.revision
            finally:
                stop.set()
            loading.result()
