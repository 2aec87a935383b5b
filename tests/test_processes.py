"""Clients, stores and readers in other processes: forked, spawned, pickled."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import pickle
import ssl
import subprocess
import sys
from typing import Any

import pytest

from objstore.client import Client
from objstore.errors import DigestMismatchError
from objstore.reader import ObjectReader
from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.raw_bucket import RawBucket

DATA = bytes(range(256)) * 4096


def copy_of(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


# Pickles


def test_client(server: LocalServer, store: ObjectStore) -> None:
    """A copy is a client of its own, which has done nothing yet."""
    client = Client(server.url, name="original", timeout=3.0)
    copy = copy_of(client)
    assert not client.is_connected
    assert not copy.is_connected
    assert copy._options == client._options
    with copy:
        assert store.bucket in copy.object_store_names()
    assert not client.is_connected


def test_environment_is_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not said is not pickled: the other process has its own `NATS_URL`."""
    monkeypatch.setenv("NATS_URL", "nats://one:1")
    pickled = pickle.dumps(Client())
    monkeypatch.setenv("NATS_URL", "nats://two:2")
    assert str(pickle.loads(pickled)._options.servers[0]) == "nats://two:2"


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ({"user": "u", "password": "secret"}, "given password"),
        ({"token": "secret"}, "given token"),
        ({"servers": "nats://u:secret@localhost"}, "the URL's user"),
        ({"servers": ["nats://a", "nats://secret@localhost"]}, "the URL's user"),
        ({"tls": ssl.create_default_context()}, "SSLContext"),
    ],
)
def test_secrets_are_not_pickled(arguments: dict[str, Any], cause: str) -> None:
    """The error names the cure and no secret."""
    with pytest.raises(TypeError, match=cause) as raised:
        pickle.dumps(Client(**arguments))
    assert "secret@" not in str(raised.value)
    assert "file" in str(raised.value)


def test_store(store: ObjectStore) -> None:
    store["a"] = b"1"
    copy = copy_of(store)
    try:
        assert copy["a"] == b"1"
        assert copy.bucket == store.bucket
        copy["b"] = b"2"
        assert store["b"] == b"2"
    finally:
        copy._bucket.owner.close()


def test_stores_of_one_client_stay_together(store: ObjectStore) -> None:
    first, second = copy_of((store, store))
    assert first is second


def test_reader(store: ObjectStore) -> None:
    """A copy goes on where the original stood, in the same version."""
    store["a"] = DATA
    with store.get("a", offset=10, length=5000) as reader:
        reader.read(100)
        copy: ObjectReader = copy_of(reader)
        try:
            assert (copy.name, copy.size, copy.info) == ("a", 5000, reader.info)
            assert copy.read() == reader.read() == DATA[110:5010]
        finally:
            copy.close()
            copy._bucket.owner.close()
    with pytest.raises(ValueError, match="closed"):
        pickle.dumps(reader)


def test_copy_verifies_what_it_reads_from_the_beginning(store: ObjectStore, raw: RawBucket) -> None:
    store["a"] = DATA
    raw.put_meta("a", raw.meta("a") | {"digest": "SHA-256=" + "A" * 43 + "="})
    copy: ObjectReader = copy_of(store.get("a"))
    try:
        with pytest.raises(DigestMismatchError):
            copy.read()
    finally:
        copy.close()
        copy._bucket.owner.close()  # type: ignore[attr-defined]


# Processes


def read_in_child(store: ObjectStore, reader: ObjectReader) -> tuple[bytes, bytes, int]:
    """What a worker process does with what it is given."""
    store["child"] = b"written"
    data = reader.read()
    store._bucket.owner.close()  # type: ignore[attr-defined]
    reader._bucket.owner.close()  # type: ignore[attr-defined]
    return store.bucket.encode(), data, os.getpid()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_process_pool(store: ObjectStore, method: str) -> None:
    store["a"] = DATA
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        with store.get("a", offset=1) as reader:
            name, data, pid = pool.submit(read_in_child, store, reader).result(timeout=50)
    assert (name, data) == (store.bucket.encode(), DATA[1:])
    assert pid != os.getpid()
    assert store["child"] == b"written"


def run_python(code: str, *arguments: str, **environment: str) -> str:
    """Run a program; return what it prints, and fail if it fails or warns."""
    path = os.pathsep.join(sys.path)
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


PREFORK = """
import os, sys, threading, objstore
client = objstore.Client()
assert threading.active_count() == 1
pids = []
for number in range(3):
    pid = os.fork()
    if not pid:
        store = client.create_object_store(sys.argv[1])
        store[f"worker-{number}"] = store.get_info("a").digest.encode()
        client.close()
        os._exit(0)
    pids.append(pid)
assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
print(sorted(client.object_store(sys.argv[1])))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.slow
def test_prefork(server: LocalServer, store: ObjectStore) -> None:
    """As servers do that load the application first: a client that is only made has no thread."""
    store["a"] = b""
    printed = run_python(PREFORK, store.bucket, NATS_URL=server.url)
    assert printed == "['a', 'worker-0', 'worker-1', 'worker-2']\n"


GEVENT = """
from gevent import monkey; monkey.patch_all()
import sys, gevent, objstore
client = objstore.Client()
store = client.create_object_store(sys.argv[1])
data = bytes(range(256)) * 4096
def work(number):
    store.put(f"n{number}", data)
    return store.get_bytes(f"n{number}") == data
jobs = [gevent.spawn(work, number) for number in range(8)]
ticks = []
def tick():
    while not all(job.ready() for job in jobs):
        ticks.append(1)
        gevent.sleep(0)
gevent.joinall([*jobs, gevent.spawn(tick)], raise_error=True)
assert all(job.value for job in jobs)
assert len(ticks) > 1  # others ran meanwhile
client.close()
print(len(store.bucket))
"""


@pytest.mark.slow
def test_gevent(server: LocalServer, store: ObjectStore) -> None:
    """Under its patches threads are greenlets, and waiting for an answer lets the others run."""
    pytest.importorskip("gevent")
    code = "import warnings; warnings.simplefilter('ignore')\n" + GEVENT
    assert run_python(code, store.bucket, NATS_URL=server.url) == f"{len(store.bucket)}\n"
