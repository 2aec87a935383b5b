"""
A process that has one client in it, and measures what it does.

`python -m tests.benchmarks.worker CLIENT DESCRIPTOR` is what `Worker` starts. A URL and an
authority come first; then a `Job` is answered by a sample, a dict of numbers:

    seconds     of all calls, or what they returned as their time
    cpu         seconds of CPU of this process
    server_cpu  of the server
    memory      MiB by which the peak has grown
    others      share of the machine's CPU that other programs have used meanwhile
    wakeups     how often a thread of this process went to sleep and was woken up
    failures    calls that raised; `error` is what the first one raised
    calls ...   system calls by name, if asked for
    copied      bytes copied in this process, where they are counted

and what the client's operation has to say beside that.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from tests.benchmarks import usage
from tests.benchmarks.clients.base import Job

__all__ = ["Worker"]

ROOT = Path(__file__).parents[2]
#: Seconds for one job; for connecting; and for a worker to end.
JOB_TIMEOUT = 300.0
START_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0


class Worker:
    """
    A worker process.

    Args:
        client: Module of `tests.benchmarks.clients`.
        preload: Library for `LD_PRELOAD`.
    """

    def __init__(
        self,
        client: str,
        url: str,
        ca: Path | None,
        server_pid: int,
        preload: Path | None = None,
    ) -> None:
        self._pipe, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, client, str(theirs.fileno())],
                cwd=ROOT,
                env={**os.environ, **({"LD_PRELOAD": str(preload)} if preload else {})},
                pass_fds=[theirs.fileno()],
            )
        try:
            self._ask((url, ca, server_pid), START_TIMEOUT)
        except BaseException:
            self.stop()
            raise

    def measure(self, job: Job) -> dict[str, Any]:
        """Do a job; return the sample."""
        sample = self._ask(job, JOB_TIMEOUT)
        assert isinstance(sample, dict)
        return sample

    def _ask(self, question: object, timeout: float) -> object:
        self._pipe.send(question)
        if not self._pipe.poll(timeout):
            raise TimeoutError(f"no answer from the worker for {timeout} s")
        try:
            answer = self._pipe.recv()
        except EOFError:
            raise RuntimeError(f"the worker died (status {self._process.wait()})") from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def stop(self) -> None:
        """End the process."""
        self._pipe.close()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main(name: str, descriptor: int) -> None:
    """Answer until nobody asks."""
    logging.disable()  # what goes wrong is in the samples
    with Connection(descriptor) as pipe:
        url, ca, server_pid = pipe.recv()
        try:
            client = importlib.import_module(f"tests.benchmarks.clients.{name}").Client(url, ca)
            client.start()
        except Exception as error:
            pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))
            return
        pipe.send(None)
        with contextlib.suppress(EOFError):
            while True:
                job = pipe.recv()
                try:
                    pipe.send(_measure(client, job, server_pid))
                except Exception as error:
                    pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))
        client.stop()


def _measure(client: Any, job: Job, server_pid: int) -> dict[str, Any]:
    client.prepare(job)
    with usage.system_calls() if job.trace else contextlib.nullcontext({}) as calls:
        with _busy() if job.busy else contextlib.nullcontext():
            copied = usage.copied_bytes()
            server = usage.cpu_of(server_pid)
            machine = usage.cpu_of_machine()
            usage.forget_peak()
            before = usage.own_usage()
            start = time.perf_counter()
            results = client.run()
            seconds = time.perf_counter() - start
            after = usage.own_usage()
            server = usage.cpu_of(server_pid) - server
            machine = usage.cpu_of_machine() - machine
            if copied is not None:
                copied = (usage.copied_bytes() or 0) - copied
    client.finish()
    failures = [result for result in results if isinstance(result, Exception)]
    own = [result for result in results if isinstance(result, float)]
    used = {key: after[key] - before[key] for key in after}
    others = (machine - server - used["cpu"]) / (seconds * (os.cpu_count() or 1))
    sample: dict[str, Any] = {
        "seconds": sum(own) if own else seconds,
        **used,
        "others": max(0.0, others),
        "server_cpu": server,
        "failures": len(failures),
        **client.figures,
    }
    if failures:
        sample["error"] = f"{type(failures[0]).__name__}: {failures[0]}"
    if job.trace:
        sample["calls"] = calls
    if copied is not None:
        sample["copied"] = copied
    return sample


@contextlib.contextmanager
def _busy() -> Iterator[None]:
    """A thread that computes all the while."""
    done: list[bool] = []

    def compute() -> None:
        while not done:
            pass

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        yield
    finally:
        done.append(True)
        thread.join()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
    os._exit(0)  # threads of natsrpy panic when Python ends under them
