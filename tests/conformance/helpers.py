"""Small things that the conformance tests share."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone

from objstore.client import Client
from objstore.models import ObjectInfo
from objstore.watcher import ObjectWatcher

__all__ = [
    "KIB",
    "MIB",
    "assert_quiet",
    "is_recent",
    "random_bytes",
    "server_version",
    "take",
    "take_initial",
]

KIB = 1 << 10
MIB = 1 << 20

#: Seconds to wait for what has to come, and for what must not come.
PATIENCE = 10.0
QUIET = 0.1


def random_bytes(size: int, seed: int = 0) -> bytes:
    """Bytes without a pattern, the same ones in every run."""
    return random.Random(seed).randbytes(size)


def server_version(client: Client) -> tuple[int, int]:
    """The version of the server, as far as it decides what the server can do."""
    major, minor, *_ = client.server_info["version"].split(".")
    return int(major), int(minor)


def is_recent(moment: datetime) -> bool:
    """Whether this is the time of a test that is running."""
    return abs(datetime.now(timezone.utc) - moment) < timedelta(minutes=1)


def take(watcher: ObjectWatcher, count: int) -> list[ObjectInfo | None]:
    """The next entries of a watch."""
    return [watcher.next(PATIENCE) for _ in range(count)]


def take_initial(watcher: ObjectWatcher) -> list[ObjectInfo]:
    """The entries of a watch up to the marker."""
    return list(iter(lambda: watcher.next(PATIENCE), None))


def assert_quiet(watcher: ObjectWatcher) -> None:
    """Nothing comes."""
    try:
        info = watcher.next(QUIET)
    except TimeoutError:
        return
    raise AssertionError(f"unexpected: {info}")
