"""
Sixty names, overwritten two thousand times a second by another process.

Each of them is there all the time: so every listing has it, once, and so has everything
that a watcher shows before its None.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from objstore.client import Client
from objstore.core.connection import Connection
from objstore.core.options import make_options
from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.faults.tiers import by_tier
from tests.helpers import wait_until
from tests.proxy import Proxy
from tests.raw_bucket import RawBucket

pytestmark = pytest.mark.slow

NAMES = [f"{number}" for number in range(60)]
RATE = 2000
LISTS = by_tier(100, 5000)
EVENTS = 800
TIMEOUT = 20.0


def overwrite(url: str, bucket: str) -> None:
    """Store one meta after the other, for ever."""
    connection = Connection(make_options(url))
    raw = RawBucket(connection, bucket)
    begin = time.monotonic()
    for number in itertools.count(1):
        name = NAMES[number % len(NAMES)]
        payload = json.dumps(meta_of(name)).encode()
        connection.publish(raw.meta_subject(name), payload, headers={"Nats-Rollup": "sub"})
        time.sleep(max(0.0, begin + number / RATE - time.monotonic() - 0.01))


def meta_of(name: str) -> dict[str, object]:
    return {"name": name, "nuid": "0" * 22, "size": 0, "chunks": 0}


@pytest.fixture
def overwritten(server: LocalServer, store: ObjectStore, raw: RawBucket) -> Iterator[ObjectStore]:
    """The bucket with the names, while the other process writes."""
    for name in NAMES:
        raw.put_meta(name, meta_of(name))
    words = [sys.executable, "-m", "tests.test_overwrites", server.url, store.bucket]
    with subprocess.Popen(words) as process:
        try:
            before = raw.state["last_seq"]
            wait_until(lambda: raw.state["last_seq"] > before, TIMEOUT)
            yield store
            assert process.poll() is None
        finally:
            process.kill()


@pytest.mark.timeout(by_tier(60, 900))
@pytest.mark.parametrize("allow_direct", [True, False])
def test_no_listing_misses_a_name(
    client: Client, overwritten: ObjectStore, raw: RawBucket, allow_direct: bool
) -> None:
    raw.call("STREAM.UPDATE.%", {**raw.config, "allow_direct": allow_direct})
    store = client.object_store(overwritten.bucket)
    before = raw.state["last_seq"]
    for _ in range(LISTS):
        names = [info.name for info in store.list()]
        assert len(names) == len(NAMES)
        assert set(names) == set(NAMES)
    assert raw.state["last_seq"] > before + 100  # else this test shows nothing


def test_no_watch_misses_or_repeats(server: LocalServer, overwritten: ObjectStore) -> None:
    """Nor when its connection is cut, in the beginning and later."""
    with Proxy(server.port) as proxy, Client(proxy.url) as client:
        store = client.object_store(overwritten.bucket)
        for turn in range(4):
            last: dict[str, int] = {}
            marks = 0
            with store.watch() as watcher:
                for number in range(EVENTS):
                    if number % 300 == 20 * turn:
                        proxy.cut()
                    info = watcher.next(TIMEOUT)
                    if info is None:
                        assert set(last) == set(NAMES)
                        marks += 1
                    else:
                        assert info.revision > last.get(info.name, 0)
                        last[info.name] = info.revision
            assert marks == 1


if __name__ == "__main__":
    overwrite(*sys.argv[1:])
