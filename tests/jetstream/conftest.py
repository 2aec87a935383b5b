"""What the tests of this floor share: the API of the run's server, and a stream."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from objstore.core.connection import Connection
from objstore.core.deadline import Deadline
from objstore.core.options import make_options
from objstore.jetstream.api import JetStream
from objstore.server import LocalServer

__all__: list[str] = []

TIMEOUT = 10.0

_counter = itertools.count(1)


@pytest.fixture
def connection(server: LocalServer) -> Iterator[Connection]:
    """A connection to the run's server."""
    connection = Connection(make_options(server.url))
    yield connection
    connection.close()


@pytest.fixture
def js(connection: Connection) -> JetStream:
    """JetStream behind that connection."""
    return JetStream(connection)


@pytest.fixture
def stream(js: JetStream) -> Iterator[str]:
    """The name of an empty stream, which stores what is published below that name."""
    name = f"STREAM-{next(_counter)}"
    config = {
        "name": name,
        "subjects": [f"{name}.>"],
        "storage": "memory",
        "allow_direct": True,
        "allow_rollup_hdrs": True,
    }
    js.create_stream(config, Deadline(TIMEOUT))
    yield name
    if name in js.stream_names(f"{name}.>"):
        js.delete_stream(name, Deadline(TIMEOUT))
