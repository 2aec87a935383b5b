"""
A bucket on the bench: one client behind a proxy, another beside it, and a look from outside.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from objstore.client import Client
from objstore.core.connection import Connection
from objstore.core.options import make_options
from objstore.errors import ObjStoreError
from objstore.store import ObjectStore
from tests.helpers import wait_until
from tests.node import Node
from tests.proxy import Proxy
from tests.raw_bucket import RawBucket, digest_of

__all__ = ["CHUNK_SIZE", "Bench", "Sweep", "longest", "sweep"]

#: Bytes of a chunk of the large objects.
CHUNK_SIZE = 96 << 10

#: Seconds between signs of life on the client's connection: a dead one is noticed soon.
PING_INTERVAL = 0.5

#: Seconds that a busy machine may add to a call.
_SLACK = 1.0


def longest(timeout: float) -> float:
    """Return the seconds that a call may take: its timeout, a tenth more, and some slack."""
    return timeout * 1.1 + _SLACK


class Bench:
    """
    A bucket, and everything that is needed to break what happens to it. Context manager.

    Attributes:
        nodes: The servers; one, or those of a cluster.
        bucket: Name of the bucket.
        proxies: One before each node. The client under test knows only these.
        url: Where they are.
        other: The bucket, for a client that nothing stands in the way of.
        raw: The bucket's messages.
    """

    def __init__(
        self, nodes: Sequence[Node], bucket: str, directory: Path, *, proxied: int = 0
    ) -> None:
        self.nodes = nodes
        self.bucket = bucket
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._stack = contextlib.ExitStack()
        direct = ",".join(node.url for node in nodes)
        try:
            first = list(nodes[proxied:]) + list(nodes[:proxied])
            self.proxies = [self._stack.enter_context(Proxy(node.port)) for node in first]
            self.url = ",".join(proxy.url for proxy in self.proxies)
            beside = self._stack.enter_context(Client(direct))
            self.other = beside.create_object_store(bucket, replicas=len(nodes))
            connection = Connection(make_options(direct))
            self._stack.callback(connection.close)
            self.raw = RawBucket(connection, bucket)
            if len(nodes) > 1:
                # Who leads it tells the others a moment later.
                wait_until(self._is_reachable)
        except BaseException:
            self._stack.close()
            raise
        self._client: Client | None = None
        self._store: ObjectStore | None = None

    @property
    def client(self) -> Client:
        """The client under test; connects at first use."""
        if self._client is None:
            self._client = Client(self.url, ping_interval=PING_INTERVAL)
            self._stack.push(self._client)
        return self._client

    @property
    def store(self) -> ObjectStore:
        """The bucket, for the client under test."""
        if self._store is None:
            self._store = self.client.object_store(self.bucket)
        return self._store

    @property
    def stream(self) -> str:
        return f"OBJ_{self.bucket}"

    def _is_reachable(self) -> bool:
        """Whether a publish finds the bucket; it is refused for another reason."""
        subject = self.raw.chunk_subject("probe")
        try:
            self.raw.publish(subject, b"", {"Nats-Expected-Stream": "none"})
        except AssertionError:
            return True
        except ObjStoreError:
            pass
        return False

    def fill(self, name: str, data: bytes) -> None:
        """Store an object, chunk by chunk."""
        size = CHUNK_SIZE
        self.raw.put_object(name, [data[at : at + size] for at in range(0, len(data), size)])

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Bench:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@dataclass
class Sweep:
    """
    What is really in a bucket.

    Attributes:
        objects: Digest of the bytes of each live object; absent ones are left out.
        unreadable: What is wrong with those whose bytes are not what their meta says.
        orphans: Ids that have chunks and belong to nothing, and how many chunks.
    """

    objects: dict[str, str]
    unreadable: dict[str, str]
    orphans: dict[str, int]

    @property
    def problems(self) -> list[str]:
        lost = [f"{name!r} cannot be read: {why}" for name, why in self.unreadable.items()]
        return lost + [
            f"{count} chunks of {nuid} are orphans" for nuid, count in self.orphans.items()
        ]


def sweep(raw: RawBucket) -> Sweep:
    """Read all of a bucket, message by message, without any code of the object store."""
    objects: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    live: set[str] = set()
    for subject in raw.subjects(f"$O.{raw.name}.M.>"):
        message = raw.message(last_by_subj=subject)
        if message is None:
            continue  # purged meanwhile
        try:
            meta = json.loads(message["data"])
        except ValueError:
            unreadable[subject] = "its meta is no JSON"
            continue
        if meta.get("deleted"):
            continue
        name = meta["name"]
        live.add(meta["nuid"])
        chunks = [each["data"] for each in raw.chunk_messages(meta["nuid"])]
        objects[name] = digest_of(b"".join(chunks))
        if (len(chunks), sum(map(len, chunks))) != (meta.get("chunks"), meta.get("size")):
            unreadable[name] = (
                f"{len(chunks)} of {meta.get('chunks')} chunks, "
                f"{sum(map(len, chunks))} of {meta.get('size')} bytes"
            )
        elif objects[name] != meta.get("digest"):
            unreadable[name] = "its digest is another"
    orphans = {nuid: count for nuid, count in raw.chunks.items() if nuid not in live}
    return Sweep(objects, unreadable, orphans)
