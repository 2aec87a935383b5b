"""
Shows that a killed nats-server brings back what it had confirmed to be purged.

    python -m tests.faults.undone

Five connections publish a few messages to a subject of their own, purge it, and go on with
the next; then the server is killed and started again. Bare requests, no object store.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
import threading
import time
from pathlib import Path

from objstore.core.connection import Connection
from objstore.core.options import make_options
from objstore.errors import ObjStoreError
from tests.node import Node
from tests.raw_bucket import RawBucket

__all__: list[str] = []

ROUNDS = 6
SECONDS = 0.7


def _work(url: str, prefix: str, confirmed: set[str]) -> None:
    """Publish and purge until the server is gone."""
    rng = random.Random(prefix)
    connection = Connection(make_options(url))
    raw = RawBucket(connection, "b")
    with contextlib.suppress(ObjStoreError, AssertionError, KeyError):
        for number in range(1_000_000):
            name = f"{prefix}x{number}"
            for _ in range(rng.choice((1, 1, 2, 4))):
                raw.put_chunk(name, bytes(rng.choice((10, 2000, 150_000))))
            raw.purge(raw.chunk_subject(name))
            confirmed.add(name)
    connection.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, Node(Path(directory)) as node:
        connection = Connection(make_options(node.url))
        raw = RawBucket(connection, "b")
        raw.call("STREAM.CREATE.%", {"name": "OBJ_b", "subjects": ["$O.b.>"]})
        confirmed: set[str] = set()
        for kill in range(1, ROUNDS + 1):
            threads = [
                threading.Thread(target=_work, args=(node.url, f"{kill}n{number}", confirmed))
                for number in range(5)
            ]
            for thread in threads:
                thread.start()
            time.sleep(SECONDS)
            node.kill()
            for thread in threads:
                # The connection is closed by its own thread, when it finds nobody.
                thread.join(40)
            node.start()
            back = confirmed & raw.chunks.keys()
            print(f"kill {kill}: {len(confirmed)} purges confirmed, {len(back)} undone")
        connection.close()


if __name__ == "__main__":
    main()
