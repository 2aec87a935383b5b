"""Memory: an object of any size passes through a few MiB."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.helpers import pattern

MIB = 1 << 20
SIZE = 256

#: Prints by how many KiB the largest memory that was ever used has grown.
PROGRAM = """
import resource, sys
import objstore

def peak():
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage // 1024 if sys.platform == "darwin" else usage

url, bucket, path = sys.argv[1:]
with objstore.connect(url) as client:
    store = client.object_store(bucket)
    # What every transfer needs, and no more of it for a large one.
    store.put("warm", bytes(1 << 20))
    store.get_file("warm", path)
    before = peak()
    store.put("a", sys.stdin.buffer)
    put = peak()
    store.get_file("a", path)
    print(put - before, peak() - put)
"""


@pytest.mark.slow
def test_large_object_needs_little_memory(
    server: LocalServer, store: ObjectStore, tmp_path: Path
) -> None:
    """From a pipe into the bucket, and from there into a file."""
    path = tmp_path / "a"
    block = pattern(MIB)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, server.url, store.bucket, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for _ in range(SIZE):
            process.stdin.write(block)
        process.stdin.close()
        output = process.stdout.read()
    assert process.returncode == 0
    assert path.stat().st_size == SIZE * MIB
    put, get = (int(number) // 1024 for number in output.split())
    assert put <= 32 and get <= 32, f"put needed {put} MiB, get {get} MiB"
