"""
What happens to the process: interrupts, kills, exits, collections, hostile files, clocks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import io
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from objstore.client import Client
from objstore.core.deadline import Deadline
from objstore.core.transport import TCPTransport
from objstore.errors import ConnectionLostError, ObjStoreError
from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.faults.bench import longest, sweep
from tests.faults.grid import INTERRUPT_TIMEOUT, Run
from tests.faults.injections import WriterKilled
from tests.faults.operations import BY_KEY, CHUNK, Point
from tests.faults.tiers import by_tier
from tests.helpers import pattern, wait_until
from tests.node import Node
from tests.proxy import Proxy
from tests.raw_bucket import RawBucket

__all__: list[str] = []

TIMEOUT = 20.0
MIB = 1 << 20

needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A server of its own, whose log is read."""
    with Node(tmp_path / "server") as node:
        yield node
        assert node.complaints == []


# Signals


@pytest.mark.slow
@pytest.mark.timeout(by_tier(60, 600))
@pytest.mark.parametrize("name", ["SIGINT", "SIGALRM"])
def test_interrupts_at_random_moments(node: Node, name: str) -> None:
    """The next operation works, and the server never saw half a command."""
    rounds = by_tier(20, 500)
    with Client(node.url) as client:
        client.create_object_store("b")
        command = ["-X", "dev", "-W", "error", "-m", "tests.faults.interrupts"]
        run = subprocess.run(
            [sys.executable, *command, node.url, "b", str(rounds), "1", name],
            capture_output=True,
            timeout=by_tier(50, 500),
            check=False,
        )
        assert run.returncode == 0, run.stderr.decode()
        result = json.loads(run.stdout)
        assert result["interrupted"] >= rounds // 4, result
        assert result["longest"] < longest(INTERRUPT_TIMEOUT), result
        with contextlib.closing(client._connection):
            found = sweep(RawBucket(client._connection, "b"))
    assert not found.unreadable and found.objects.keys() == {"n", "after"}
    # An interrupt may come when chunks can no longer be purged in time.
    assert len(found.orphans) <= result["interrupted"]


@pytest.mark.slow
@pytest.mark.timeout(by_tier(60, 300))
@pytest.mark.parametrize("nth", by_tier((1, 67), range(1, 101, 7)))
def test_writer_killed_at_a_chunk(nth: int, tmp_path: Path) -> None:
    """The object stays what it was; what is left is one set of chunks."""
    operation = dataclasses.replace(
        BY_KEY["put-large"], points=(Point(CHUNK, nth, before=bool(nth % 2)),)
    )
    with Node(tmp_path / "server") as node:
        run = Run([node], WriterKilled, [operation], 0, tmp_path)
        problems = run.judge()
    assert not problems, "\n".join(problems)
    assert run.struck_cells


# The end

EXIT = """
import atexit, sys, threading, time
# Runs last: other threads get the time to see what ends before the interpreter does.
atexit.register(time.sleep, 0.2)
import objstore

class Endless:
    def read(self, size):
        started.set()
        return bytes(size)

url, bucket = sys.argv[1:]
started = threading.Event()
client = objstore.connect(url)
store = client.object_store(bucket)
readers = [store.get("n") for _ in range(5)]
for reader in readers[:3]:
    reader.read(100_000)
watcher = iter(store.watch())
next(watcher)
threading.Thread(target=store.put, args=("m", Endless()), daemon=True).start()
started.wait()
print("over")
"""


@pytest.mark.slow
@pytest.mark.timeout(by_tier(60, 600))
def test_exit_with_everything_open(server: LocalServer, store: ObjectStore) -> None:
    """Readers open, one watcher waiting, one upload running: it ends at once and silently."""
    store.put("n", pattern(20 * MIB))
    for _ in range(by_tier(3, 100)):
        began = time.monotonic()
        run = subprocess.run(
            [sys.executable, "-c", EXIT, server.url, store.bucket],
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert (run.returncode, run.stdout, run.stderr) == (0, b"over\n", b"")
        assert time.monotonic() - began < 10  # a hang, not a matter of speed


# The collector


@pytest.mark.slow
def test_collector_runs_all_the_time(store: ObjectStore, raw: RawBucket) -> None:
    """Whatever it finds, in whichever thread: nobody waits for a lock that it holds."""
    store.put("n", pattern(300_000))
    threshold = gc.get_threshold()

    def work(_: int) -> None:
        for _ in range(by_tier(8, 300)):
            cycle: list[Any] = [store.get("n")]
            cycle.append(cycle)
            cycle[0].read(10)
            wrapper = io.BufferedReader(store.get("n"))
            wrapper.peek(1)
            wrapper.itself = wrapper  # type: ignore[attr-defined]
            del cycle, wrapper
            store.put(f"x{threading.get_ident()}", b"x")

    gc.set_threshold(1)
    try:
        with ThreadPoolExecutor(3) as workers:
            for done in [workers.submit(work, number) for number in range(3)]:
                done.result(TIMEOUT * by_tier(1, 10))
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    store.put("last", b"")
    wait_until(lambda: raw.consumers == 0)
    assert sweep(raw).problems == []


# close()


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["put", "get"])
def test_close_in_the_middle(operation: str, server: LocalServer, store: ObjectStore) -> None:
    """From another thread, three times at once: the call ends, and so does close."""
    data = pattern(12 * MIB)
    store.put("n", data)
    with Proxy(server.port) as proxy, ThreadPoolExecutor(4) as workers:
        client = Client(proxy.url)
        closings: list[Any] = []

        def close() -> None:
            closings.extend(workers.submit(client.close) for _ in range(3))
            wait_until(client._connection.closing.is_set)

        there = client.object_store(store.bucket)
        direction = {"put": "c2s", "get": "s2c"}[operation]
        fired = proxy.on(b"$O.", close, nth=30, direction=direction)  # type: ignore[arg-type]
        calls: dict[str, Callable[[], object]] = {
            "put": lambda: there.put("n", pattern(12 * MIB + 1)),
            "get": lambda: there.get_bytes("n"),
        }
        with pytest.raises((ConnectionLostError, ValueError), match="closed"):
            calls[operation]()
        assert fired.wait(TIMEOUT)
        for closing in closings:
            closing.result(TIMEOUT)
    assert store.get_bytes("n") == data


# Files and callbacks


class Hostile(io.RawIOBase):
    """A source that does something else each time it is asked."""

    def __init__(self, act: Callable[[], object], times: int = 20) -> None:
        self._act = act
        self._left = times

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            return 0
        self._left -= 1
        self._act()
        buffer[:] = bytes(len(buffer))
        return len(buffer)


@pytest.mark.slow
def test_source_and_callback_that_use_the_client(store: ObjectStore, raw: RawBucket) -> None:
    """Each reads, writes and lists in the same store, in the middle of a put and a get."""
    store.put("other", pattern(300_000))

    def meddle(*_: object) -> None:
        assert store.get_bytes("other") == pattern(300_000)
        store.put("inner", b"inner")
        assert {"other", "inner"} <= {info.name for info in store.list()}

    store.put("n", Hostile(meddle), callback=meddle)
    reader = store.get("n", callback=meddle)
    target = io.BytesIO()
    with reader:
        while piece := reader.read(4 * MIB):
            meddle()
            target.write(piece)
    assert target.getvalue() == bytes(store.get_info("n").size)
    assert sweep(raw).problems == []


@pytest.mark.parametrize("error", [OSError("no disk"), KeyboardInterrupt(), GeneratorExit()])
@pytest.mark.parametrize("where", ["source", "callback of put", "callback of get"])
def test_error_of_the_callers_own_code_comes_out_unchanged(
    where: str, error: BaseException, store: ObjectStore, raw: RawBucket, tmp_path: Path
) -> None:
    """And leaves the old object, no chunk, no half file, and a client that works."""
    store.put("n", pattern(3 * MIB))

    def fail(*_: object) -> None:
        raise error

    calls: dict[str, Callable[[], object]] = {
        "source": lambda: store.put("n", Hostile(fail)),
        "callback of put": lambda: store.put("n", Hostile(int), callback=fail),
        "callback of get": lambda: store.get_file("n", tmp_path / "n", callback=fail),
    }
    with pytest.raises(type(error)) as caught:
        calls[where]()
    assert caught.value is error
    assert store.get_bytes("n") == pattern(3 * MIB)
    assert sweep(raw).problems == []
    assert list(tmp_path.iterdir()) == []


def test_source_that_blocks_holds_up_nobody_else(store: ObjectStore) -> None:
    """Not even another thread with the same client."""
    blocked, let_go = threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        assert let_go.wait(TIMEOUT)

    with ThreadPoolExecutor(1) as workers:
        putting = workers.submit(store.put, "n", Hostile(block, times=1))
        assert blocked.wait(TIMEOUT)
        store.put("other", pattern(3 * MIB))
        assert store.get_bytes("other") == pattern(3 * MIB)
        let_go.set()
        assert putting.result(TIMEOUT).size == store.get_info("n").size


# Threads, clocks, memory


@pytest.mark.slow
def test_fifty_threads_on_one_client(store: ObjectStore, raw: RawBucket) -> None:
    """Each gets its own bytes back; nobody is starved."""
    turns: list[int] = []

    def work(number: int) -> None:
        for turn in range(by_tier(4, 40)):
            size = (1000, 200_000)[turn % 2]
            data = pattern(size + number)
            store.put(f"{number}", data)
            assert store.get_bytes(f"{number}") == data
            store.put("shared", data)
            turns.append(number)

    with ThreadPoolExecutor(50) as workers:
        for done in [workers.submit(work, number) for number in range(50)]:
            done.result(TIMEOUT * by_tier(1, 5))
    found = sweep(raw)
    assert found.problems == [] and len(found.objects) == 51


@pytest.mark.parametrize("step", [86_400.0, -86_400.0])
def test_clock_steps(step: float, store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the monotonic clock counts."""
    real, offset = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + offset[0])

    def jump(*_: object) -> None:
        offset[0] += step

    deadline = Deadline(TIMEOUT)
    jump()
    assert not deadline.expired
    assert TIMEOUT / 2 < (deadline.remaining() or 0) <= TIMEOUT
    store.put("n", Hostile(jump, times=5), timeout=TIMEOUT)
    with store.get("n", callback=jump, timeout=TIMEOUT) as reader:
        assert len(reader.read()) == store.get_info("n").size
    jump()
    assert [info.name for info in store.list(timeout=TIMEOUT)] == ["n"]
    store.delete("n", timeout=TIMEOUT)


def test_memory_error_in_the_reader_thread(
    server: LocalServer, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is dropped whole; a get goes on, and the next operation works."""
    store.put("n", pattern(12 * MIB))
    receive = TCPTransport.receive
    left = [20]

    def fail_once(self: TCPTransport, buffer: memoryview, timeout: float | None) -> int | None:
        count = receive(self, buffer, timeout)
        left[0] -= 1
        if left[0] == 0:
            raise MemoryError
        return count

    with Client(server.url) as client:
        there = client.object_store(store.bucket)
        monkeypatch.setattr(TCPTransport, "receive", fail_once)
        with contextlib.suppress(ObjStoreError):
            assert there.get_bytes("n") == pattern(12 * MIB)
        assert left[0] <= 0
        assert there.get_bytes("n") == pattern(12 * MIB)


# Leaks


def _resident() -> int:
    """Return the bytes of memory in use."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@pytest.mark.slow
@needs_proc
def test_cycles_of_connect_put_get_close(server: LocalServer, store: ObjectStore) -> None:
    """No thread, no descriptor, and no memory stays behind."""
    data = pattern(300_000)

    def live() -> None:
        with Client(server.url) as client:
            there = client.object_store(store.bucket)
            there.put("n", data)
            assert there.get_bytes("n") == data

    def count() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    for _ in range(20):
        live()
    gc.collect()
    before, memory = count(), _resident()
    for _ in range(by_tier(100, 1000)):
        live()
    gc.collect()
    assert count() == before
    assert _resident() - memory <= 5 * MIB
