"""
The grid: operations under faults, and what must hold afterwards.

One run is one fault and one point of each operation, all side by side: each operation has
a bucket, a client and a proxy of its own. A fault of the whole server strikes when every
operation is at its point; one of the network when the operation gets there. Beside them
two clients put, get and delete, and what they see must be linearizable.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from objstore.client import Client
from objstore.errors import ObjStoreError, OutcomeUnknownError, PreconditionFailedError
from tests.faults.bench import Bench, Sweep, longest, sweep
from tests.faults.history import ABSENT, History
from tests.faults.injections import Injection, ProcessInjection
from tests.faults.linearize import check_history
from tests.faults.operations import Operation, Point, Seen
from tests.helpers import pattern
from tests.node import Node
from tests.raw_bucket import digest_of

__all__ = ["Cell", "Run"]

#: Seconds for operations to get to their points.
POINT_TIMEOUT = 5.0
#: Seconds from an interrupt to the end of the call, which first removes what it has sent.
INTERRUPT_TIMEOUT = 1.0


class Cell:
    """One operation under one fault."""

    def __init__(self, run: Run, operation: Operation, point: Point, bench: Bench) -> None:
        self.run = run
        self.operation = operation
        self.point = point
        self.bench = bench
        self.injection = run.make_injection(operation)
        self.struck = threading.Event()
        self.seen: Seen = {}
        self.error: BaseException | None = None
        self.kind = ""  # of the error
        self.seconds = 0.0
        self.ended = threading.Event()
        self.ended_at = 0.0
        self.struck_at = 0.0
        self.problems: list[str] = []
        self._thread: threading.Thread | None = None

    def __str__(self) -> str:
        return f"{self.injection.key} x {self.operation.key} {self.point}"

    def begin(self) -> None:
        for name, data in self.operation.before.items():
            self.bench.fill(name, data)
        self._connect()
        self.injection.prepare(self.bench)
        word = self.point.bytes(self.bench.bucket)
        for proxy in self.bench.proxies:
            proxy.on(
                word,
                self._strike,
                direction=self.point.direction,
                nth=self.point.nth,
                before=self.point.before,
            )
        self._thread = threading.Thread(target=self._work, name=str(self), daemon=True)
        self._thread.start()

    def _connect(self) -> None:
        self.bench.store.status()

    def _strike(self) -> None:
        if self.struck.is_set():
            return
        self.struck_at = time.monotonic()
        self.struck.set()
        if self.injection.shared:
            self.run.struck.wait(POINT_TIMEOUT + 30)
        else:
            self.injection.act(self.bench)

    def _work(self) -> None:
        began = time.monotonic()
        try:
            self._operate()
        except BaseException as error:  # whatever it is, it is judged below
            self.error, self.kind = error, type(error).__name__
        finally:
            self.ended_at = time.monotonic()
            self.seconds = self.ended_at - began
            self.ended.set()

    def _operate(self) -> None:
        bench = self.bench
        self.seen = self.operation.run(
            bench.client, bench.store, bench.directory, self.injection.timeout
        )

    # The verdict

    def finish(self) -> None:
        """Wait for the call, at most as long as it may take."""
        lasting = self.injection.lasting or 0.0
        limit = longest(self.injection.timeout * self.operation.calls) + lasting
        began = self.struck_at or time.monotonic()
        if not self.ended.wait(max(0.0, began + limit - time.monotonic())):
            self.problems.append(f"still running {limit:.1f} s after the fault")
            self.ended.wait(30)
        assert self._thread is not None
        if self.ended.is_set():
            self._thread.join()

    def probe(self) -> None:
        """The client must still work."""
        if not self.ended.is_set():
            return
        store = self.bench.store
        if self.injection.key == "S12":
            return  # there is no bucket
        if self.injection.garbles:
            self.bench.client.reconnect()  # what was damaged may still be on its way
        try:
            store.put("probe", b"probe", timeout=15)
            assert store.get_bytes("probe", timeout=15) == b"probe"
            store.delete("probe", purge=True, timeout=15)
        except (ObjStoreError, AssertionError) as error:
            self.problems.append(f"the client does not work any more: {error!r}")

    def judge(self) -> None:
        """Compare what is there, and what was seen, with what may be."""
        error, injection, operation = self.error, self.injection, self.operation
        if error is not None and not isinstance(error, (ObjStoreError, KeyboardInterrupt)):
            self.problems.append(f"raised {error!r}")
        survives = injection.survived
        if injection.contends and isinstance(error, PreconditionFailedError):
            survives = False
        if survives and error is not None:
            self.problems.append(f"was to succeed and raised {error!r}")
        before = {name: digest_of(data) for name, data in operation.before.items()}
        after = before
        if operation.after is not None:
            after = {name: digest_of(data) for name, data in operation.after.items()}
        between = [
            {name: digest_of(data) for name, data in state.items()} for state in operation.between
        ]
        self._judge_reads(before)
        found = self._sweep()
        if found is None:
            return
        if not injection.damages:
            self.problems += [f"{name!r}: {why}" for name, why in found.unreadable.items()]
        if not injection.litters:
            self.problems += found.problems[len(found.unreadable) :]
        elif isinstance(injection, ProcessInjection) and len(found.orphans) > 1:
            self.problems.append(f"{len(found.orphans)} sets of orphans for one kill")
        if found.orphans and isinstance(injection, ProcessInjection):
            self.bench.other.sweep(min_age=0, dry_run=False)
            if sweep(self.bench.raw).orphans:
                self.problems.append("a sweep leaves orphans")
        if error is None:
            allowed = [after]
        elif isinstance(error, (OutcomeUnknownError, KeyboardInterrupt)):
            allowed = [before, after, *between]
        else:
            allowed = [before, *between]
        self._judge_state(found, allowed)

    def _judge_reads(self, before: Mapping[str, str]) -> None:
        for name, digest in self.seen.items():
            if digest not in {before.get(name, ABSENT), *self.injection.theirs(name)}:
                self.problems.append(f"read {digest} of {name!r}, which was never there")
        whole = self.error is None and not self.injection.damages
        missing = before.keys() - self.seen.keys()
        if self.operation.key == "list" and whole and missing:
            self.problems.append(f"the list lacks {missing}")

    def _sweep(self) -> Sweep | None:
        if "error" in self.bench.raw.call("STREAM.INFO.%"):
            if self.injection.key != "S12":
                self.problems.append("the bucket is gone")
            return None
        return sweep(self.bench.raw)

    def _judge_state(self, found: Sweep, allowed: Sequence[Mapping[str, str]]) -> None:
        injection = self.injection
        readable = {
            name: digest for name, digest in found.objects.items() if name not in found.unreadable
        }
        if injection.damages:
            written = {digest for state in allowed for digest in state.values()}
            for name, digest in readable.items():
                if digest not in written | injection.theirs(name):
                    self.problems.append(f"{name!r} has become {digest}")
            return
        names = set(readable).union(*allowed)
        for name in names:
            digest = readable.get(name, ABSENT)
            fitting = {state.get(name, ABSENT) for state in allowed} | injection.theirs(name)
            if name == "moved" and injection.key == "C4":
                continue
            if digest not in fitting:
                self.problems.append(
                    f"after {self.kind or 'success'} {name!r} is {digest[8:16] or 'absent'}"
                )


class ProcessCell(Cell):
    """One whose operation runs in a process of its own."""

    injection: ProcessInjection

    def _connect(self) -> None:
        bench = self.bench
        command = [sys.executable, "-X", "dev", "-m", "tests.faults.worker"]
        self._process = subprocess.Popen(
            [
                *command,
                bench.url,
                bench.bucket,
                self.operation.key,
                str(bench.directory),
                str(self.injection.timeout),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def _strike(self) -> None:
        if not self.struck.is_set():
            self.struck_at = time.monotonic()
            self.struck.set()
            self._process.send_signal(self.injection.number)

    def _operate(self) -> None:
        try:
            output, errors = self._process.communicate("go\n", timeout=40)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            self.problems.append("hangs")
            return
        if self._process.returncode == -9:
            self.error, self.kind = OutcomeUnknownError("", "", ""), "its end"
            return
        if self._process.returncode or errors:
            self.problems.append(f"exit status {self._process.returncode}: {errors[-2000:]}")
            return
        answer = json.loads(output)
        self.seen = answer["seen"]
        self.kind = answer["kind"]
        if self.kind == "KeyboardInterrupt":
            self.error = KeyboardInterrupt()
            seconds = answer["ended"] - self.struck_at
            if seconds > longest(INTERRUPT_TIMEOUT):
                self.problems.append(f"ended {seconds:.1f} s after the interrupt")
        elif self.kind == "OutcomeUnknownError":
            self.error = OutcomeUnknownError("", "", answer["error"])
        elif self.kind:
            self.error = ObjStoreError(answer["error"])
        if any(answer["children"]):
            self.problems.append(f"its children ended with {answer['children']}")
        if not answer["probe"]:
            self.problems.append("the client does not work any more")

    def probe(self) -> None:
        pass  # it has tried itself


class Run:
    """
    One fault, one point of each operation.

    Args:
        nodes: The servers; the clients are connected to the first.
        make: Makes the injection.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        make: Any,
        operations: Sequence[Operation],
        number: int,
        directory: Path,
    ) -> None:
        self.nodes = nodes
        self._make = make
        self._directory = directory
        self.struck = threading.Event()
        self.cells: list[Cell] = []
        self._operations = operations
        self._number = number
        self._stack = contextlib.ExitStack()
        self._shared: Injection | None = None

    def make_injection(self, operation: Operation) -> Injection:
        injection: Injection = self._make(hash_of(operation.key) + self._number)
        if injection.shared:
            self._shared = self._shared or injection
            return self._shared
        return injection

    def judge(self) -> list[str]:
        """Do it; return everything that is wrong."""
        problems: list[str] = []
        before = _resources()
        with self._stack:
            load = _Load(self._stack.enter_context(self._bench("load")))
            for position, operation in enumerate(self._operations):
                points = operation.points
                # The number chooses the point; the seed sees to it that they differ.
                point = points[(self._number + position) % len(points)]
                bench = self._stack.enter_context(self._bench(operation.key))
                self.cells.append(self._cell(operation, point, bench))
            load.begin()
            for cell in self.cells:
                cell.begin()
            self._strike_and_heal()
            problems += load.end()
            for cell in self.cells:
                cell.probe()
                cell.judge()
                problems += [f"{cell}: {problem}" for problem in cell.problems]
            problems += load.judge(litters=self.cells[0].injection.litters)
            if not any(cell.injection.garbles for cell in self.cells):
                for node in self.nodes:
                    problems += [f"the server complains: {line}" for line in node.complaints]
        if (after := _resources()) != before:
            problems.append(f"threads and descriptors before {before}, after {after}")
        return problems

    def _bench(self, name: str) -> Bench:
        return Bench(self.nodes, f"{name}-{next(_buckets)}", self._directory / name)

    def _cell(self, operation: Operation, point: Point, bench: Bench) -> Cell:
        kind = type(self._make(0))
        return (ProcessCell if issubclass(kind, ProcessInjection) else Cell)(
            self, operation, point, bench
        )

    def _strike_and_heal(self) -> None:
        # All at their points, or over without having come to it.
        deadline = time.monotonic() + POINT_TIMEOUT
        for cell in self.cells:
            while not (cell.struck.is_set() or cell.ended.is_set()):
                if time.monotonic() > deadline:
                    break
                cell.struck.wait(0.01)
        injection = self.cells[0].injection
        if self._shared is not None:
            self._shared.act(self.cells[0].bench)
            for cell in self.cells:
                cell.struck_at = time.monotonic()
            self.struck.set()
        if injection.lasting is not None:
            deadline = time.monotonic() + injection.lasting
            for cell in self.cells:
                # Nothing to wait for when nobody is hurt any more.
                cell.ended.wait(max(0.0, deadline - time.monotonic()))
        else:
            for cell in self.cells:
                cell.finish()
        if self._shared is not None:
            self._shared.heal(self.cells[0].bench)
        else:
            for cell in self.cells:
                cell.injection.heal(cell.bench)
        for cell in self.cells:
            cell.finish()

    @property
    def struck_cells(self) -> list[Cell]:
        """Those whose moment came: only these count."""
        return [cell for cell in self.cells if cell.struck.is_set()]


#: Runs on one cluster share nothing.
_buckets = itertools.count(1)


class _Load:
    """Two clients in the background, each with its own thread."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._history = History()
        self._ended = threading.Event()
        self._ready = threading.Barrier(3, timeout=30)
        self._threads = [
            threading.Thread(target=self._work, args=(number,), daemon=True) for number in range(2)
        ]
        self._problems: list[str] = []

    def begin(self) -> None:
        for thread in self._threads:
            thread.start()
        self._ready.wait()

    def _work(self, number: int) -> None:
        try:
            with Client(",".join(node.url for node in self._bench.nodes)) as client:
                store = client.object_store(self._bench.bucket)
                recorder = self._history.client(store, timeout=15.0)
                self._ready.wait()
                turn = 0
                while not self._ended.wait(0.01):
                    turn += 1
                    name = f"load{turn % 2}"
                    recorder.put(name, pattern(1000) + f"{number} {turn}".encode())
                    recorder.get(name)
                    if turn % 5 == 0:
                        recorder.delete(name)
        except ObjStoreError as error:
            self._problems.append(f"the load ended early: {error!r}")
        except BaseException as error:
            self._problems.append(f"the load: {error!r}")

    def end(self) -> list[str]:
        self._ended.set()
        for thread in self._threads:
            thread.join(40)
            if thread.is_alive():
                self._problems.append("the load hangs")
        return self._problems

    def judge(self, *, litters: bool) -> list[str]:
        found = sweep(self._bench.raw)
        told = check_history(self._history)
        return told + [
            f"load: {each}" for each in (found.unreadable if litters else found.problems)
        ]


def _resources() -> tuple[int, int]:
    """Return the numbers of threads and of open files."""
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    return threading.active_count(), descriptors


def hash_of(text: str) -> int:
    """A number for a text, the same in every run."""
    return sum(ord(letter) * 31**place for place, letter in enumerate(text)) % 10_007
