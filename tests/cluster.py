"""
Three nats-servers on this machine, as one cluster.

    with Cluster(directory) as cluster, Client(cluster.url) as client:
        client.create_object_store("photos", replicas=3)

A cluster is ready when it can make a bucket with as many replicas as it has servers.
"""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path
from types import TracebackType

from objstore.client import Client
from objstore.errors import JetStreamError, NoRespondersError, RequestTimeoutError
from tests.helpers import wait_until
from tests.node import Node

__all__ = ["Cluster"]

#: Seconds until the servers have found each other and elected a leader.
READY_TIMEOUT = 30.0

#: Seconds to wait for an answer: a cluster without a leader does not answer at all.
ANSWER_TIMEOUT = 0.5

_CONFIG = """
server_name: {name}-{number}
server_tags: ["disk:ssd", "node:{number}"]
cluster {{
    name: {name}, listen: "127.0.0.1:{port}", routes: [{routes}], no_advertise: {silent}
}}
"""


class Cluster:
    """
    Context manager; leaving it stops all servers.

    Args:
        directory: Where the servers keep their data.
        size: Number of servers.
        advertise: Whether the servers tell clients of each other. Who has a proxy before
            each of them does not want that.

    Attributes:
        name: Name of the cluster, for `Placement`. Its servers have the tag `disk:ssd`, and
            each has one of its own: `node:0`, `node:1`, …
        nodes: The servers.
        url: The addresses of all of them.
    """

    def __init__(self, directory: Path, *, size: int = 3, advertise: bool = True) -> None:
        self.name = "objstore"
        self.nodes: list[Node] = []
        try:
            self._start(directory, size, advertise)
            wait_until(self._is_ready, READY_TIMEOUT)
        except BaseException:
            self.stop()
            raise

    def _start(self, directory: Path, size: int, advertise: bool) -> None:
        with contextlib.ExitStack() as reservations:
            ports = [_reserve_port(reservations) for _ in range(size)]
            routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
            for number, port in enumerate(ports):
                config = _CONFIG.format(
                    name=self.name,
                    number=number,
                    port=port,
                    routes=routes,
                    silent=str(not advertise).lower(),
                )
                self.nodes.append(Node(directory / f"node-{number}", config))

    def _is_ready(self) -> bool:
        with Client(self.url) as client:
            try:
                client.create_object_store(
                    "ready", storage="memory", replicas=len(self.nodes), timeout=ANSWER_TIMEOUT
                )
                client.delete_object_store("ready", timeout=ANSWER_TIMEOUT)
            except (JetStreamError, NoRespondersError, RequestTimeoutError):
                return False
        return True

    @property
    def url(self) -> str:
        """The addresses of all servers."""
        return ",".join(node.url for node in self.nodes)

    def leader(self, client: Client, stream: str) -> Node | None:
        """Return the node that leads a stream; None while nobody does."""
        try:
            answer = client.request(f"$JS.API.STREAM.INFO.{stream}", timeout=ANSWER_TIMEOUT)
        except (NoRespondersError, RequestTimeoutError):
            return None
        name = json.loads(answer.payload).get("cluster", {}).get("leader", "")
        number = name.rpartition("-")[2]
        return self.nodes[int(number)] if number else None

    def wait_for_leader(self, client: Client, stream: str, *others: Node) -> Node:
        """Return the node that leads a stream, as soon as there is one; not one of `others`."""
        found: list[Node] = []

        def ask() -> bool:
            node = self.leader(client, stream)
            if node is not None and node not in others:
                found.append(node)
            return bool(found)

        wait_until(ask, READY_TIMEOUT)
        return found[0]

    def heal(self) -> None:
        """Have all servers run again, and wait until they work together."""
        for node in self.nodes:
            node.resume()
            node.start()
        wait_until(self._is_ready, READY_TIMEOUT)

    def stop(self) -> None:
        """Stop all servers."""
        for node in self.nodes:
            node.stop()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _reserve_port(reservations: contextlib.ExitStack) -> int:
    """
    Return a port that nobody gets by chance.

    Each server has to know the others' ports before any of them runs. The socket is bound
    and never listens, so that a server, which shares the address as servers do, may.
    """
    sock = reservations.enter_context(socket.socket())
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    return int(sock.getsockname()[1])
