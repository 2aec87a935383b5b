"""The peers of one run, and the matrix of what they read of each other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from objstore.client import Client
from objstore.server import LocalServer
from tests.interop.matrix import Matrix
from tests.interop.process import start_peers

__all__: list[str] = []


@pytest.fixture(scope="session")
def interop_server() -> Iterator[LocalServer]:
    """A server for the peers alone, so that nobody else minds what they do."""
    with LocalServer() as server:
        yield server


@pytest.fixture(scope="session")
def matrix(
    interop_server: LocalServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Matrix]:
    """Every case, run when a test asks for it."""
    directory = tmp_path_factory.mktemp("peers")
    url = interop_server.url
    with start_peers(url, directory) as peers, Client(url) as client:
        yield Matrix(client, peers, directory)
