"""The fixtures that users' tests get, in runs of pytest of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TESTS = """
def test_fresh(object_store, objstore_client, objstore_server):
    assert objstore_client.is_connected
    assert object_store.list() == []
    object_store["a"] = b"1"
    with open("buckets", "a") as file:
        print(object_store.bucket, objstore_server.url, objstore_server.pid, file=file)

def test_fresh_again(object_store, objstore_server):
    test_fresh(object_store, object_store._bucket.owner, objstore_server)

def test_that_deletes_it(object_store, objstore_client):
    objstore_client.delete_object_store(object_store.bucket)
"""


def run(directory: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a directory with the plugin, installed or not."""
    command = [sys.executable, "-W", "error", "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    path = os.pathsep.join([str(ROOT), *sys.path])
    return subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": path, "PYTEST_ADDOPTS": "", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


#: An installed distribution announces it, a checkout does not.
INSTALLED = any(entry.name == "objstore" for entry in entry_points(group="pytest11"))
PLUGIN = () if INSTALLED else ("-p", "objstore.contrib.pytest")


@pytest.mark.slow
def test_fixtures(tmp_path: Path) -> None:
    """One server for the run, a bucket for each test, and nothing left."""
    (tmp_path / "test_it.py").write_text(TESTS)
    result = run(tmp_path, *PLUGIN)
    assert "3 passed" in result.stdout, result.stdout
    buckets, urls, pids = zip(*map(str.split, (tmp_path / "buckets").read_text().splitlines()))
    assert len(set(buckets)) == 2
    assert len(set(urls)) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(int(pids[0]), 0)


@pytest.mark.slow
def test_workers_have_servers_of_their_own(tmp_path: Path) -> None:
    """As with pytest-xdist, whose workers are processes that share a basetemp."""
    pytest.importorskip("xdist")
    (tmp_path / "test_it.py").write_text(TESTS)
    result = run(tmp_path, *PLUGIN, "-p", "xdist", "-n", "2", "--dist", "each")
    assert "6 passed" in result.stdout, result.stdout
    urls = {line.split()[1] for line in (tmp_path / "buckets").read_text().splitlines()}
    assert len(urls) == 2


def test_harmless_where_nobody_asks(tmp_path: Path) -> None:
    """It loads in every run of its users: without a server program, too, and without a thread."""
    (tmp_path / "test_it.py").write_text(
        "import threading\ndef test_it():\n    assert threading.active_count() == 1\n"
    )
    result = run(tmp_path, *PLUGIN, NATS_SERVER_BIN="/nowhere", PATH="")
    assert "1 passed" in result.stdout, result.stdout + result.stderr


def test_missing_program_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(object_store): pass\n")
    result = run(tmp_path, *PLUGIN, NATS_SERVER_BIN="/nowhere")
    assert "1 error" in result.stdout
    assert "/nowhere" in result.stdout
