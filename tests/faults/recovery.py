"""
How soon calls go on, once a server listens again or a stream has another leader.

    python -m tests.faults.recovery --rounds 100 --replicas 1

A putting and a getting client work all the time, with the defaults of every setting. Each
round kills the server (with three replicas: the leader), has it start again, and takes the
time from the first moment at which a stranger is served to the end of each client's next
call. Prints the longest of all rounds, and what 99 of 100 stay below; a call that fails
ends it.
"""

from __future__ import annotations

import argparse
import itertools
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from objstore.client import Client
from tests.cluster import Cluster
from tests.helpers import pattern, wait_until
from tests.node import Node

__all__ = ["main"]

BUCKET = "recovery"
TIMEOUT = 60.0
SIZE = 300_000


class _Worker:
    """A client that does the same call again and again, in a thread."""

    def __init__(self, url: str, operation: str) -> None:
        self.failure: BaseException | None = None
        self.ended_at: list[float] = []
        self._stop = threading.Event()
        self._url, self._operation = url, operation
        self._thread = threading.Thread(target=self._run, name=operation)
        self._thread.start()

    def _run(self) -> None:
        try:
            with Client(self._url) as client:
                store = client.object_store(BUCKET)
                for number in itertools.count():
                    if self._stop.is_set():
                        return
                    if self._operation == "put":
                        store.put("put", pattern(SIZE + number % 2))
                    else:
                        assert store.get_bytes("get") == pattern(SIZE)
                    self.ended_at.append(time.monotonic())
        except BaseException as error:
            self.failure = error

    def next_after(self, moment: float) -> float:
        """Wait for the first call that ends after `moment`; return how long after."""
        wait_until(lambda: self.failure or self.ended_at[-1:] > [moment], TIMEOUT)
        if self.failure is not None:
            raise self.failure
        return next(end for end in self.ended_at if end > moment) - moment

    def close(self) -> None:
        self._stop.set()
        self._thread.join(TIMEOUT)


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def _restart(node: Node) -> float:
    """Kill a server, start it again, and return the moment from which it listens."""
    node.kill()
    moment: list[float] = []

    def look() -> None:
        wait_until(lambda: _listens(node.port), TIMEOUT)
        moment.append(time.monotonic())

    looking = threading.Thread(target=look)
    looking.start()
    node.start()
    looking.join()
    return moment[0]


def _kill_leader(cluster: Cluster) -> float:
    """Kill the leader, and return the moment from which another answers."""
    stream = f"OBJ_{BUCKET}"
    with Client(cluster.url) as client:
        killed = cluster.wait_for_leader(client, stream)
        killed.kill()
        cluster.wait_for_leader(client, stream, killed)
    return time.monotonic()


def _measure(nodes: Sequence[Node], cluster: Cluster | None, rounds: int) -> dict[str, list[float]]:
    url = ",".join(node.url for node in nodes)
    with Client(url) as client:
        store = client.create_object_store(BUCKET, replicas=len(nodes))
        store.put("get", pattern(SIZE))
    seconds: dict[str, list[float]] = {"put": [], "get": []}
    with ExitStack() as stack:
        workers = {kind: stack.enter_context(closing(_Worker(url, kind))) for kind in seconds}
        for _ in range(rounds):
            for worker in workers.values():
                worker.next_after(time.monotonic())
            moment = _restart(nodes[0]) if cluster is None else _kill_leader(cluster)
            for kind, worker in workers.items():
                seconds[kind].append(worker.next_after(moment))
            if cluster is not None:
                cluster.heal()
    return seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return 0 if every call succeeded."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.recovery")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--replicas", type=int, choices=(1, 3), default=1)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        cluster = None
        if options.replicas == 3:
            cluster = stack.enter_context(Cluster(Path(directory)))
            nodes: Sequence[Node] = cluster.nodes
        else:
            nodes = [stack.enter_context(Node(Path(directory)))]
        for kind, seconds in _measure(nodes, cluster, options.rounds).items():
            seconds.sort()
            most = seconds[-1 - len(seconds) // 100]
            print(
                f"{kind}: goes on after {seconds[len(seconds) // 2]:.2f} s (median), "
                f"{most:.2f} s (99 of 100), {seconds[-1]:.2f} s (longest), in {len(seconds)} rounds"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
