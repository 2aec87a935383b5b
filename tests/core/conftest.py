"""What the tests of this floor share: threads, ports where nobody listens, certificates."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trustme

from objstore.core.connection import Connection
from objstore.core.lock import InterruptibleLock
from objstore.core.options import make_options

__all__: list[str] = []


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    """Threads to run calls in: `background.submit(function, ...).result(TIMEOUT)`."""
    with ThreadPoolExecutor(max_workers=50, thread_name_prefix="test") as executor:
        yield executor


@pytest.fixture
def taken(
    background: ThreadPoolExecutor,
) -> Callable[[InterruptibleLock], contextlib.AbstractContextManager[None]]:
    """A context in which another thread has a lock: `with taken(lock):`."""

    @contextlib.contextmanager
    def taken(lock: InterruptibleLock) -> Iterator[None]:
        has_it, done = threading.Event(), threading.Event()

        def hold() -> None:
            try:
                assert lock.acquire(None)
                has_it.set()
                assert done.wait(10)
            finally:
                lock.release()

        holding = background.submit(hold)
        try:
            assert has_it.wait(10)
            yield
        finally:
            done.set()
            holding.result(10)

    return taken


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses connections, and that nobody else gets."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port of 127.0.0.1 that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def make_connection(background: ThreadPoolExecutor) -> Iterator[Callable[..., Connection]]:
    """
    A function that makes a connection, not yet connected, and closes it after the test.

    Its arguments are those of `make_options`. Threads of `background` that still wait for
    something end with their connections.
    """
    connections: list[Connection] = []

    def make(servers: Any, **keywords: Any) -> Connection:
        connections.append(Connection(make_options(servers, **keywords)))
        return connections[-1]

    yield make
    for connection in connections:
        connection.close()


# Certificates


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """An authority that only these tests trust."""
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file for `tls_cacert`."""
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture(scope="session")
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    """The server's side of TLS, with a certificate for 127.0.0.1 and localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context
