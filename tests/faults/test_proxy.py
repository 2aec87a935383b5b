"""The proxy: it does what it is told, at the moment that it is told."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.helpers import pattern
from tests.proxy import Proxy

__all__: list[str] = []

TIMEOUT = 10.0


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(sock: socket.socket) -> None:
        with sock:
            while data := sock.recv(65536):
                sock.sendall(data)

    def accept() -> None:
        threads = []
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                break
            threads.append(threading.Thread(target=serve, args=(sock,), daemon=True))
            threads[-1].start()
        for thread in threads:
            thread.join(TIMEOUT)

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    yield int(listener.getsockname()[1])
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    acceptor.join(TIMEOUT)


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    with Proxy(echo) as proxy:
        yield proxy


@pytest.fixture
def sock(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT) as sock:
        yield sock


def take(sock: socket.socket, size: int) -> bytes:
    """Receive so many bytes, or what comes before the end."""
    data = b""
    while len(data) < size:
        try:
            piece = sock.recv(size - len(data))
        except ConnectionResetError:
            break
        if not piece:
            break
        data += piece
    return data


def test_passes_bytes_on(sock: socket.socket) -> None:
    sock.sendall(pattern(100_000))
    assert take(sock, 100_000) == pattern(100_000)


@pytest.mark.parametrize("direction", ["c2s", "s2c"])
@pytest.mark.parametrize("offset", [0, 7, 99])
def test_flips_one_bit_of_one_byte(
    direction: str, offset: int, proxy: Proxy, sock: socket.socket
) -> None:
    proxy.flip(direction, offset)  # type: ignore[arg-type]
    sent, received = bytes(100), b""
    for start in range(0, 100, 10):
        sock.sendall(sent[start : start + 10])
        received += take(sock, 10)
    assert received == bytes(offset) + b"\x01" + bytes(99 - offset)


@pytest.mark.parametrize("size", [0, 7, 20])
def test_cuts_after_some_bytes(size: int, proxy: Proxy, sock: socket.socket) -> None:
    proxy.drop_after("s2c", size)
    sock.sendall(bytes(20))
    assert take(sock, 21) == bytes(size)


def test_is_as_slow_as_it_is_told(proxy: Proxy, sock: socket.socket) -> None:
    """At least as slow."""
    proxy.rate(100_000)
    began = time.monotonic()
    sock.sendall(bytes(20_000))
    assert take(sock, 20_000) == bytes(20_000)
    assert time.monotonic() - began >= 0.2
    proxy.heal()
    proxy.delay(0.1)
    began = time.monotonic()
    sock.sendall(b"x")
    assert take(sock, 1) == b"x"
    assert time.monotonic() - began >= 0.2  # there and back


def test_heals(proxy: Proxy, sock: socket.socket) -> None:
    """Of everything, and forgets what it was waiting for."""
    fired = proxy.on(b"x", proxy.cut)
    proxy.flip("c2s", 0)
    proxy.drop_after("c2s", 1)
    proxy.hold_s2c()
    proxy.refuse()
    proxy.heal()
    sock.sendall(b"x" * 10)
    assert take(sock, 10) == b"x" * 10
    assert not fired.is_set()
    with socket.create_connection(("127.0.0.1", proxy.port), TIMEOUT) as other:
        other.sendall(b"y")
        assert take(other, 1) == b"y"


@pytest.mark.parametrize("before", [True, False])
def test_acts_when_its_pattern_is_there(before: bool, proxy: Proxy, sock: socket.socket) -> None:
    """Once, at the nth, also when it comes in pieces; what is held back comes later."""
    go_on = threading.Event()
    acted: list[bool] = []

    def act() -> None:
        acted.append(True)
        assert go_on.wait(TIMEOUT)

    fired = proxy.on(b"needle", act, nth=2, before=before)
    sock.sendall(b"a needle, another nee")
    assert take(sock, 18) == b"a needle, another "
    sock.sendall(b"dle, and a needle")
    if not before:
        assert take(sock, 20) == b"needle, and a needle"
    go_on.set()
    if before:
        assert take(sock, 20) == b"needle, and a needle"
    assert fired.wait(TIMEOUT) and acted == [True]
