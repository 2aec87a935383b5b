"""
The judges see what they are there for: a client that does it as most do is convicted.

And ours, in the very same circumstances, is not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from objstore.client import Client
from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.faults.bench import sweep
from tests.faults.history import FAILED, OK, History, Operation
from tests.faults.linearize import check_history
from tests.faults.naive import NaiveStore
from tests.faults.soak import TIMEOUT, Soak
from tests.helpers import pattern
from tests.node import Node
from tests.proxy import Proxy
from tests.raw_bucket import RawBucket

__all__: list[str] = []

MakeStore = Callable[[Client, str], Any]

STORES: dict[str, MakeStore] = {
    "naive": NaiveStore,
    "ours": lambda client, bucket: client.object_store(bucket),
}

store_kinds = pytest.mark.parametrize("kind", STORES)


def _judge(history: History, raw: RawBucket, store: ObjectStore) -> tuple[list[str], list[str]]:
    """Look again at every name, with a client of its own; then judge, inside and outside."""
    looking = history.client(store, timeout=10)
    for name in history.by_name():
        looking.get_info(name)
    return check_history(history), sweep(raw).problems


@store_kinds
def test_ack_of_a_meta_that_is_lost(
    kind: str, server: LocalServer, store: ObjectStore, raw: RawBucket
) -> None:
    """The object is live, and a client that purges its chunks has destroyed it."""
    history = History()
    with Proxy(server.port) as proxy, Client(proxy.url) as client:
        recorder = history.client(STORES[kind](client, store.bucket), timeout=10)
        recorder.put("n", pattern(2500))
        meta = f"HPUB $O.{store.bucket}.M.".encode()

        def cut_before_the_ack() -> None:
            proxy.on(b'"seq"', proxy.cut, direction="s2c", before=True)

        fired = proxy.on(meta, cut_before_the_ack, before=True)
        recorder.put("n", pattern(3500))
        assert fired.is_set()
        told, found = _judge(history, raw, store)
    if kind == "ours":
        assert (told, found) == ([], [])
    else:
        assert any("failed write was read" in problem for problem in told), told
        assert any("cannot be read" in problem for problem in found), found


@store_kinds
def test_puts_of_one_name_at_once(
    kind: str, server: LocalServer, store: ObjectStore, raw: RawBucket
) -> None:
    """Each replaces what it saw, and so leaves the chunks of those that it did not see."""
    history = History()
    first, second = threading.Event(), threading.Event()
    with Proxy(server.port) as proxy, Client(proxy.url) as client:
        slow = history.client(STORES[kind](client, store.bucket), timeout=10)
        fast = history.client(store, timeout=10)
        slow.put("n", pattern(2500))
        meta = f"HPUB $O.{store.bucket}.M.".encode()
        proxy.on(meta, lambda: (first.set(), second.wait(10)), before=True)
        thread = threading.Thread(target=slow.put, args=("n", pattern(3500)))
        thread.start()
        assert first.wait(10)
        fast.put("n", pattern(4500))
        second.set()
        thread.join()
        told, found = _judge(history, raw, store)
    assert told == []
    assert (found == []) == (kind == "ours"), found


@store_kinds
def test_delete_that_meets_a_put(
    kind: str, server: LocalServer, store: ObjectStore, raw: RawBucket
) -> None:
    """A put that was acknowledged meanwhile stands, or is deleted with all of its chunks."""
    history = History()
    first, second = threading.Event(), threading.Event()
    with Proxy(server.port) as proxy, Client(proxy.url) as client:
        slow = history.client(STORES[kind](client, store.bucket), timeout=10)
        fast = history.client(store, timeout=10)
        slow.put("n", pattern(2500))
        meta = f"PUB $O.{store.bucket}.M.".encode()
        proxy.on(meta, lambda: (first.set(), second.wait(10)), before=True)
        thread = threading.Thread(target=slow.delete, args=("n",))
        thread.start()
        assert first.wait(10)
        fast.put("n", pattern(4500))
        second.set()
        thread.join()
        told, found = _judge(history, raw, store)
    assert told == []
    assert (found == []) == (kind == "ours"), found


def test_unreadable_objects_and_orphans_are_seen(raw: RawBucket) -> None:
    """What no client of ours does."""
    nuids = [raw.put_object(name, [b"one", b"two"]) for name in "abcd"]
    assert sweep(raw).problems == [] and set(sweep(raw).objects) == set("abcd")
    raw.purge(raw.chunk_subject(nuids[0]))
    raw.remove(raw.chunk_messages(nuids[1])[0]["seq"])
    raw.put_object("c", [b"one", b"two"], digest="SHA-256=")
    raw.put_meta("d", {**raw.meta("d"), "deleted": True})
    found = sweep(raw)
    assert found.unreadable.keys() == {"a", "b", "c"}
    assert found.orphans == {nuids[2]: 2, nuids[3]: 2}


def test_broken_protocol_is_seen(tmp_path: Any) -> None:
    """In the log of the server, also after a restart."""
    with Node(tmp_path) as node:
        with Client(node.url) as client:
            client.create_object_store("b").put("n", b"")
            assert node.complaints == []
            link = client._connection._link
            assert link is not None
            gone = threading.Event()
            link.transport.try_send(b"PUB half a fra\r\n")
            client.reconnect()
            gone.set()
        node.kill()
        node.start()
        assert len(node.complaints) == 1


def test_halted_stream_is_seen(tmp_path: Any) -> None:
    """A line as replicas write it, which hold a message back whose condition did not hold."""
    with Node(tmp_path) as node:
        with node.log_path.open("a", encoding="utf-8") as log:
            log.write(
                "[1] 2026/01/01 00:00:00.000000 [ERR] JetStream stream '$G > OBJ_b' "
                'critical write error: last msgid mismatch: "a" vs "b"\n'
            )
        assert len(node.complaints) == 1


def test_standstill_is_seen() -> None:
    """No call has succeeded for long, although calls are made."""
    soak = Soak([], None, 100, 1)
    limit = 3 * TIMEOUT
    write = Operation(1, "write", "n", "", outcome=OK, returned=5.0)
    failed = Operation(1, "write", "n", "", outcome=FAILED, returned=4.0 + limit)
    soak.history.operations += [write, failed]
    assert not soak.stands_still(now=4.0 + limit)
    assert soak.stands_still(now=6.0 + limit)
    assert not soak.take() and len(soak.problems) == 1
