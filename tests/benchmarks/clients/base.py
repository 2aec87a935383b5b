"""What clients have in common: several calls, one after the other or side by side."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.clients.data import pattern

__all__ = ["AsyncioClient", "BlockingClient", "Job"]


@dataclass
class Job:
    """
    What a worker is to do and to measure.

    Attributes:
        operation: A method of the client.
        calls: What it is called with, one after the other: a name or a list of names.
        size: Bytes of an object.
        workers: Threads, or tasks, that share the calls.
        apart: Whether each of them has a connection of its own.
        source, target: A file of `size` bytes, and where one may be written.
        busy: Whether a thread computes all the while.
        trace: Whether to count system calls.
    """

    operation: str
    calls: list[Any]
    bucket: str = ""
    size: int = 0
    workers: int = 1
    apart: bool = False
    source: Path = Path()
    target: Path = Path()
    busy: bool = False
    trace: bool = False
    parts: list[list[Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.parts = [self.calls[start :: self.workers] for start in range(self.workers)]


class _Client:
    """
    Attributes:
        package: What a user imports.
        job: What is being done.
        figures: What an operation has to say beside its time.
    """

    package = ""

    def __init__(self, url: str, ca: Path | None) -> None:
        self.url = url
        self.ca = ca
        self.job = Job("", [])
        self.hands: list[Any] = [self]
        self.figures: dict[str, float] = {}

    def warm_up(self, job: Job) -> None:
        """Let there be what is put."""
        self.job = job
        if job.operation.startswith("put"):
            pattern(job.size if job.operation in ("put_bytes", "put_many") else 1)

    @property
    def data(self) -> bytes:
        """The bytes of an object."""
        return pattern(self.job.size)


def import_seconds(package: str) -> float:
    """
    Import a package into a fresh Python; return how long that took.

    It is compiled before, as installers do it.
    """
    program = f"import time; t = time.perf_counter(); import {package}; t -= time.perf_counter()"
    with tempfile.TemporaryDirectory() as directory:
        env = {**os.environ, "PYTHONPYCACHEPREFIX": directory}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        for _ in range(2):
            run = subprocess.run(
                [sys.executable, "-c", f"{program}; print(-t)"],
                check=True,
                capture_output=True,
                env=env,
            )
    return float(run.stdout)


class BlockingClient(_Client):
    """
    Calls that return when all is done; side by side in threads.

    Attributes:
        shared: Whether threads share a connection.
    """

    shared = True

    def start(self) -> None:
        """Connect."""
        raise NotImplementedError

    def stop(self) -> None:
        """Disconnect."""
        raise NotImplementedError

    def bind(self) -> None:
        """Open the job's bucket."""

    def prepare(self, job: Job) -> None:
        """Make everything ready that is not to be measured."""
        apart = job.workers > 1 and (job.apart or not self.shared)
        others = [type(self)(self.url, self.ca) if apart else self for _ in range(1, job.workers)]
        self.hands = [self, *others]
        self.figures = {}
        self.warm_up(job)
        for hand in dict.fromkeys(self.hands):
            if hand is not self:
                hand.start()
            hand.job = job
            if job.bucket:
                hand.bind()

    def run(self) -> list[Any]:
        """Do the job; return what each call returned or raised."""
        if len(self.hands) == 1:
            return self._work(self, self.job.calls)
        with ThreadPoolExecutor(len(self.hands)) as pool:
            results = list(pool.map(self._work, self.hands, self.job.parts))
        return [result for part in results for result in part]

    def _work(self, hand: Any, calls: list[Any]) -> list[Any]:
        operation = getattr(hand, self.job.operation)
        results: list[Any] = []
        for call in calls:
            try:
                results.append(operation(call))
            except Exception as error:
                results.append(error)
        return results

    def finish(self) -> None:
        """Give back what `prepare` made."""
        for hand in self.hands:
            if hand is not self:
                hand.stop()
        self.hands = [self]

    def import_(self, _: str) -> float:
        return import_seconds(self.package)


class AsyncioClient(_Client):
    """The same for clients of asyncio: one loop, and tasks side by side."""

    def __init__(self, url: str, ca: Path | None) -> None:
        super().__init__(url, ca)
        self.loop = asyncio.new_event_loop()

    async def open(self) -> None:
        """Connect."""
        raise NotImplementedError

    async def shut(self) -> None:
        """Disconnect."""
        raise NotImplementedError

    async def bind(self) -> None:
        """Open the job's bucket."""

    def start(self) -> None:
        self.loop.run_until_complete(self.open())

    def stop(self) -> None:
        self.loop.run_until_complete(self.shut())
        self.loop.close()

    def prepare(self, job: Job) -> None:
        self.loop.run_until_complete(self._prepare(job))

    async def _prepare(self, job: Job) -> None:
        apart = job.workers > 1 and job.apart
        others = [type(self)(self.url, self.ca) if apart else self for _ in range(1, job.workers)]
        self.hands = [self, *others]
        self.figures = {}
        self.warm_up(job)
        for hand in dict.fromkeys(self.hands):
            if hand is not self:
                hand.loop.close()
                await hand.open()
            hand.job = job
            if job.bucket:
                await hand.bind()

    def run(self) -> list[Any]:
        return self.loop.run_until_complete(self._run())

    async def _run(self) -> list[Any]:
        if len(self.hands) == 1:
            return await self._work(self, self.job.calls)
        results = await asyncio.gather(*map(self._work, self.hands, self.job.parts))
        return [result for part in results for result in part]

    async def _work(self, hand: Any, calls: list[Any]) -> list[Any]:
        operation = getattr(hand, self.job.operation)
        results: list[Any] = []
        for call in calls:
            try:
                results.append(await operation(call))
            except Exception as error:
                results.append(error)
        return results

    def finish(self) -> None:
        self.loop.run_until_complete(self._finish())

    async def _finish(self) -> None:
        for hand in self.hands:
            if hand is not self:
                await hand.shut()
        self.hands = [self]

    async def import_(self, _: str) -> float:
        return import_seconds(self.package)
