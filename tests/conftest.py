"""
What every test may ask for: a server, a client, a bucket, and proof that threads end.

One server serves the whole run. Tests that stop, pause or configure a server make their
own with `make_server`. Tests of pure code ask for nothing and start nothing.
"""

from __future__ import annotations

import importlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest

from objstore.client import Client
from objstore.core.connection import Connection
from objstore.core.options import make_options
from objstore.core.protocol import Message
from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.raw_bucket import RawBucket

__all__: list[str] = []

#: Seconds that a thread of ours gets to end after the test that started it.
THREAD_END_TIMEOUT = 5.0

_counter = itertools.count(1)

# What is said to the `nats` tool on this machine is not said to these tests.
for _name in [name for name in os.environ if name.startswith("NATS_")]:
    if _name != "NATS_SERVER_BIN":
        del os.environ[_name]
os.environ["XDG_CONFIG_HOME"] = os.devnull

# The same examples in every run, however slow the machine is.
hypothesis.settings.register_profile("ours", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("ours")


@pytest.fixture(autouse=True)
def _no_thread_survives() -> Iterator[None]:
    """Fail a test that leaves one of the package's threads running."""
    before = set(threading.enumerate())
    yield
    ours = [t for t in threading.enumerate() if t.name.startswith("objstore-")]
    for thread in set(ours) - before:
        thread.join(THREAD_END_TIMEOUT)
        assert not thread.is_alive(), f"{thread.name} is still running"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A server for the whole run: do not stop or pause it."""
    with LocalServer(tmp_path_factory.mktemp("server")) as server:
        with Client(server.url) as client:
            # Deleting its last stream, a server removes the folder in which it may just be
            # making the next one (err_code 10049): so there always is one.
            client.request("$JS.API.STREAM.CREATE.keep", payload=b'{"name":"keep"}')
        yield server


@pytest.fixture
def make_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., LocalServer]]:
    """
    A function that starts a server for one test, which may stop it whenever it likes.

    Its first argument is the text of a configuration file; keywords go to `LocalServer`.
    """
    servers: list[LocalServer] = []

    def make(config: str = "", **options: Any) -> LocalServer:
        directory = tmp_path_factory.mktemp("server")
        options.setdefault("directory", directory)
        if config:
            options["config"] = directory / "nats-server.conf"
            options["config"].write_text(config, encoding="utf-8")
        servers.append(LocalServer(**options))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def client(server: LocalServer) -> Iterator[Client]:
    """A connected client of the run's server."""
    with Client(server.url) as client:
        yield client


@pytest.fixture
def bucket() -> str:
    """The name of a bucket that no other test uses and that does not exist yet."""
    return f"bucket-{next(_counter)}"


@pytest.fixture
def store(client: Client, bucket: str) -> Iterator[ObjectStore]:
    """An empty object store of its own."""
    yield client.create_object_store(bucket)
    # Keeps the shared server small; a test may have deleted the bucket itself.
    if bucket in client.object_store_names():
        client.delete_object_store(bucket)


@pytest.fixture
def raw(server: LocalServer, store: ObjectStore) -> Iterator[RawBucket]:
    """The messages of the store's bucket, over a connection of their own."""
    connection = Connection(make_options(server.url))
    yield RawBucket(connection, store.bucket)
    connection.close()


@pytest.fixture
def filesystem(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A filesystem of the run's server, which `$NATS_URL` names."""
    pytest.importorskip("fsspec")
    module = importlib.import_module("objstore.contrib.fsspec")
    monkeypatch.setenv("NATS_URL", server.url)
    yield module.ObjectStoreFileSystem()
    # fsspec and its users keep filesystems for ever, and those their clients.
    module.ObjectStoreFileSystem.clear_instance_cache()
    while module._clients:
        module._clients.popitem()[1].close()


class Traffic:
    """What a client has received since `start`: numbers of messages, and their bytes."""

    def __init__(self, client: Client) -> None:
        self._connection: Any = client._connection
        self._route = self._connection.route
        self._connection.route = self._count
        self.start()

    def start(self) -> None:
        """Count from zero."""
        self.payloads: list[int] = []

    def _count(self, messages: list[Message]) -> None:
        self.payloads += [len(message.payload) for message in messages]
        self._route(messages)

    @property
    def bytes(self) -> int:
        """Bytes of all payloads."""
        return sum(self.payloads)

    def chunks(self, size: int) -> int:
        """Number of messages that have this many bytes."""
        return self.payloads.count(size)


@pytest.fixture
def traffic(client: Client) -> Traffic:
    """What the client receives."""
    return Traffic(client)
