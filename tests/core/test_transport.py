"""Byte streams over real sockets: waiting, sending in parts, both directions at once, the end."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from objstore.core import transport as module
from objstore.core.deadline import Deadline
from objstore.core.options import make_tls_context
from objstore.core.transport import TCPTransport, TLSTransport, Transport
from tests.helpers import pattern, wait_until
from tests.proxy import Proxy

#: Seconds to wait for what must happen.
TIMEOUT = 10.0
#: More bytes than the system buffers for one connection.
MUCH = 16 << 20


class Pair(NamedTuple):
    """Two ends of a stream: ours, and the peer's (a TLS socket if ours is TLS)."""

    transport: Transport
    peer: socket.socket
    #: The peer's end below TLS.
    raw_peer: socket.socket


@contextlib.contextmanager
def tcp_pair() -> Iterator[Pair]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        transport = TCPTransport.connect(*listener.getsockname(), Deadline(TIMEOUT))
        peer, _ = listener.accept()
    peer.settimeout(TIMEOUT)
    with peer, contextlib.closing(transport):
        yield Pair(transport, peer, peer)


@contextlib.contextmanager
def tls_pair(
    context: ssl.SSLContext, server_context: ssl.SSLContext, background: ThreadPoolExecutor
) -> Iterator[Pair]:
    with tcp_pair() as (tcp, peer, _):
        assert isinstance(tcp, TCPTransport)
        with peer.dup() as raw_peer:
            accepting = background.submit(server_context.wrap_socket, peer, server_side=True)
            transport = TLSTransport(tcp, context, "127.0.0.1")
            transport.hand_shake(Deadline(TIMEOUT))
            with accepting.result(TIMEOUT) as tls_peer:
                yield Pair(transport, tls_peer, raw_peer)


@pytest.fixture(params=["tcp", "tls"])
def pair(
    request: pytest.FixtureRequest,
    ca_file: Path,
    server_context: ssl.SSLContext,
    background: ThreadPoolExecutor,
) -> Iterator[Pair]:
    """A connected transport of each kind, and its peer."""
    if request.param == "tcp":
        with tcp_pair() as pair:
            yield pair
    else:
        with tls_pair(make_tls_context(ca=ca_file), server_context, background) as pair:
            yield pair


class CountingDeadline(Deadline):
    """A deadline that counts how often it was extended."""

    def __init__(self, timeout: float | None) -> None:
        super().__init__(timeout)
        self.extended = 0

    def extend(self) -> None:
        self.extended = getattr(self, "extended", 0) + 1
        super().extend()


def receive(transport: Transport, count: int) -> bytes:
    """Receive until there are `count` bytes, or the end."""
    data = bytearray(count)
    done = 0
    while done < count:
        got = transport.receive(memoryview(data)[done:], TIMEOUT)
        assert got is not None, "nothing came in time"
        if got == 0:
            break
        done += got
    return bytes(data[:done])


def read(peer: socket.socket, count: int) -> bytes:
    """Read exactly `count` bytes."""
    with peer.makefile("rb") as file:
        return file.read(count)


def fill(transport: Transport) -> bytes:
    """Send until the peer takes no more; return what was sent, in part not yet out."""
    sent = pattern(MUCH)
    assert not transport.try_send(sent)
    return sent


# Receiving


def test_receives_what_comes(pair: Pair) -> None:
    """As much as there is, without waiting for more."""
    pair.peer.sendall(b"hello")
    assert receive(pair.transport, 5) == b"hello"


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_nothing_in_time_is_none(pair: Pair, timeout: float) -> None:
    """Which is not the end: what comes later is received."""
    buffer = memoryview(bytearray(10))
    assert pair.transport.receive(buffer, timeout) is None
    pair.peer.sendall(b"late")
    assert receive(pair.transport, 4) == b"late"
    assert pair.transport.receive(buffer, timeout) is None


def test_full_buffer_does_not_mean_that_there_is_more(pair: Pair) -> None:
    """After a receive that filled its buffer, the next one waits as told."""
    pair.peer.sendall(b"0123456789")
    assert receive(pair.transport, 10) == b"0123456789"
    assert pair.transport.receive(memoryview(bytearray(10)), 0) is None
    pair.peer.sendall(b"more")
    assert receive(pair.transport, 4) == b"more"


def test_small_buffers_receive_everything(pair: Pair) -> None:
    """Nothing is lost between two receives, however small."""
    data = pattern(1000)
    pair.peer.sendall(data)
    assert b"".join(receive(pair.transport, 1) for _ in data) == data


def test_end_is_zero_for_ever(pair: Pair) -> None:
    """The peer closes in order: first all it has sent, then 0, as often as one asks."""
    pair.peer.sendall(b"last words")
    if isinstance(pair.peer, ssl.SSLSocket):
        pair.peer.setblocking(False)
        with contextlib.suppress(ssl.SSLWantReadError):
            pair.peer.unwrap()  # says that it ends, and does not wait for our answer
    pair.raw_peer.shutdown(socket.SHUT_RDWR)
    assert receive(pair.transport, 100) == b"last words"
    assert pair.transport.receive(memoryview(bytearray(10)), TIMEOUT) == 0
    assert pair.transport.receive(memoryview(bytearray(10)), TIMEOUT) == 0


def test_end_without_a_goodbye_is_zero(pair: Pair) -> None:
    """A TLS peer may end without saying so: frames have sizes, so nothing is cut unnoticed."""
    pair.peer.sendall(b"last words")
    pair.raw_peer.shutdown(socket.SHUT_RDWR)
    assert receive(pair.transport, 100) == b"last words"
    assert pair.transport.receive(memoryview(bytearray(10)), TIMEOUT) == 0


def test_reset_is_an_os_error(pair: Pair) -> None:
    """The peer is gone without order."""
    pair.raw_peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    pair.raw_peer.close()
    pair.peer.close()
    with pytest.raises(OSError):
        pair.transport.receive(memoryview(bytearray(10)), TIMEOUT)


def test_shut_down_wakes_who_receives(pair: Pair, background: ThreadPoolExecutor) -> None:
    """Another thread can end a wait that has no end of its own."""
    waiting = background.submit(pair.transport.receive, memoryview(bytearray(10)), None)
    assert not waiting.done()
    pair.transport.shut_down()
    with contextlib.suppress(ConnectionError):  # if the peer was just sending
        assert waiting.result(TIMEOUT) == 0


# Sending


@pytest.mark.parametrize(
    "buffers",
    [
        [b"hello"],
        [b"", b"a", b"", b"b", b""],
        [],
        [b""],
        [b"line\r\n", bytearray(b"block"), memoryview(b"payload"), b"\r\n"],
        [b"line\r\n", memoryview(pattern(300_000)), b"\r\n"],
        [pattern(1 << 18), b"x", pattern((1 << 18) + 1)],
        [b"x"] * 3000,
        [bytes([number % 256]) * 100 for number in range(3000)],
    ],
    ids=["one", "empty", "none", "nothing", "small", "large", "blocks", "many", "more"],
)
def test_sends_all_buffers_in_order(
    pair: Pair, buffers: list[Any], background: ThreadPoolExecutor
) -> None:
    """Any number of buffers of any size, also more than the system takes at once."""
    expected = b"".join(buffers)
    reading = background.submit(read, pair.peer, len(expected) + 1)
    pair.transport.send(buffers, Deadline(TIMEOUT))
    pair.transport.send([b"."], Deadline(TIMEOUT))
    assert reading.result(TIMEOUT) == expected + b"."


def test_send_waits_for_a_slow_peer(pair: Pair, background: ThreadPoolExecutor) -> None:
    """More than the system buffers goes out as the peer reads it."""
    data = pattern(MUCH)
    sending = background.submit(pair.transport.send, [data], Deadline(TIMEOUT))
    assert read(pair.peer, len(data)) == data
    sending.result(TIMEOUT)


def test_send_gives_up_when_the_peer_takes_nothing(pair: Pair) -> None:
    """The deadline is one without progress: it was extended for what went out."""
    deadline = Deadline(0.1)
    with pytest.raises(TimeoutError):
        pair.transport.send([bytes(MUCH)], deadline)
    assert deadline.expired


def test_send_extends_the_deadline_when_there_is_progress(
    pair: Pair, background: ThreadPoolExecutor
) -> None:
    """A slow peer is no dead one."""
    deadline = CountingDeadline(TIMEOUT)
    sending = background.submit(pair.transport.send, [bytes(MUCH)], deadline)
    read(pair.peer, MUCH)
    sending.result(TIMEOUT)
    assert deadline.extended >= 1


def test_send_without_time_sends_what_goes_out_at_once(pair: Pair) -> None:
    """A timeout of 0 does not wait, but it does send."""
    pair.transport.send([b"hello"], Deadline(0))
    assert read(pair.peer, 5) == b"hello"


def test_send_to_a_closed_peer_is_an_os_error(pair: Pair) -> None:
    """At the latest when its answer to the first bytes has come."""
    pair.raw_peer.close()
    pair.peer.close()
    with pytest.raises(OSError) as caught:
        pair.transport.send([bytes(MUCH)], Deadline(TIMEOUT))
    assert not isinstance(caught.value, TimeoutError)


def test_shut_down_wakes_who_sends(pair: Pair, background: ThreadPoolExecutor) -> None:
    """A send that is blocked ends with an error, not at its deadline."""
    sending = background.submit(pair.transport.send, [bytes(MUCH)], Deadline(None))
    assert select.select([pair.raw_peer], [], [], TIMEOUT)[0]
    pair.transport.shut_down()
    with pytest.raises(ConnectionError):
        sending.result(TIMEOUT)


def test_try_send_sends_at_once(pair: Pair) -> None:
    """When there is room."""
    assert pair.transport.try_send(b"hello")
    assert not pair.transport.has_unsent
    assert read(pair.peer, 5) == b"hello"


def test_try_send_does_not_wait(pair: Pair, background: ThreadPoolExecutor) -> None:
    """What does not go out is remembered, and goes before whatever is sent next."""
    sent = fill(pair.transport)
    assert pair.transport.has_unsent
    assert not pair.transport.try_send(b"PONG")
    reading = background.submit(read, pair.peer, len(sent) + 8)
    pair.transport.send([b"more"], Deadline(TIMEOUT))
    assert reading.result(TIMEOUT) == sent + b"PONG" + b"more"
    assert not pair.transport.has_unsent


def test_try_send_goes_on_with_what_was_left(pair: Pair, background: ThreadPoolExecutor) -> None:
    """Nothing new is needed to send the rest."""
    sent = fill(pair.transport)
    reading = background.submit(read, pair.peer, len(sent))
    wait_until(lambda: pair.transport.try_send(b""))
    assert reading.result(TIMEOUT) == sent


@pytest.mark.parametrize("pair", ["tls"], indirect=True)
def test_try_send_does_not_wait_for_who_decrypts(pair: Pair) -> None:
    """That may be its own thread: the collector runs in the middle of anything."""
    assert isinstance(pair.transport, TLSTransport)
    with pair.transport._tls_lock:
        assert not pair.transport.try_send(b"hello, ")
        assert pair.transport.has_unsent
    pair.transport.send([b"world"], Deadline(TIMEOUT))
    assert read(pair.peer, 12) == b"hello, world"
    assert not pair.transport.has_unsent


def test_sent_counts_what_the_system_took(pair: Pair, background: ThreadPoolExecutor) -> None:
    """It stands still while the peer reads nothing."""
    start = pair.transport.sent
    fill(pair.transport)
    stuck = pair.transport.sent
    assert start < stuck < start + MUCH
    assert not pair.transport.try_send(b"x")
    assert pair.transport.sent == stuck
    reading = background.submit(read, pair.peer, MUCH + 2)
    pair.transport.send([b"y"], Deadline(TIMEOUT))
    reading.result(TIMEOUT)
    assert pair.transport.sent >= start + MUCH + 1


# Both directions


def echo(peer: socket.socket) -> None:
    while data := peer.recv(1 << 16):
        peer.sendall(data)


def test_large_transfers_in_both_directions_at_once(
    pair: Pair, background: ThreadPoolExecutor
) -> None:
    """One thread sends while another receives, and neither waits for the other."""
    data = pattern(2 * MUCH)
    echoing = background.submit(echo, pair.peer)
    receiving = background.submit(receive, pair.transport, len(data))
    for start in range(0, len(data), 1_000_000):
        pair.transport.send([memoryview(data)[start : start + 1_000_000]], Deadline(TIMEOUT))
    assert receiving.result(TIMEOUT) == data
    pair.transport.shut_down()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        echoing.result(TIMEOUT)


def test_close_twice(pair: Pair) -> None:
    """Closing and shutting down, in any order and number, is fine."""
    pair.transport.shut_down()
    pair.transport.shut_down()
    pair.transport.close()
    pair.transport.close()
    pair.transport.shut_down()


def test_send_on_a_closed_transport_is_an_os_error(pair: Pair) -> None:
    """Not a ValueError about a negative file descriptor."""
    pair.transport.close()
    with pytest.raises(OSError):
        pair.transport.send([b"x"], Deadline(TIMEOUT))
    with pytest.raises(OSError):
        pair.transport.try_send(b"x")


# Connecting


def addresses(*ports: int) -> list[Any]:
    """Return what `getaddrinfo` says of a host with several addresses."""
    return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)) for port in ports]


def test_connect_refused_is_an_os_error(dead_port: int) -> None:
    """At once."""
    with pytest.raises(ConnectionRefusedError):
        TCPTransport.connect("127.0.0.1", dead_port, Deadline(TIMEOUT))


def test_connect_tries_every_address(dead_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host may have several, the first of them dead."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = addresses(dead_port, dead_port, listener.getsockname()[1])
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        TCPTransport.connect("demo", 4222, Deadline(TIMEOUT)).close()


@pytest.mark.parametrize("count", [1, 3])
def test_connect_fails_when_no_address_accepts(
    count: int, dead_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason of the last one."""
    found = addresses(*[dead_port] * count)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(ConnectionRefusedError):
        TCPTransport.connect("demo", 4222, Deadline(TIMEOUT))


def test_connect_to_a_host_without_addresses_is_an_os_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The message names the host."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])
    with pytest.raises(OSError, match="demo"):
        TCPTransport.connect("demo", 4222, Deadline(TIMEOUT))


def test_silent_address_does_not_use_up_the_time_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each gets its share of what is left."""
    timeouts: list[float] = []

    def connect(_: socket.socket, address: Any, deadline: Deadline) -> None:
        timeouts.append(deadline.timeout or 0)
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses(1, 2, 3))
    monkeypatch.setattr(module, "_connect", connect)
    with pytest.raises(TimeoutError):
        TCPTransport.connect("demo", 4222, Deadline(9))
    first, second, third = timeouts
    assert first <= 3 and first < second <= 4.5 and second < third <= 9


def test_connect_without_time_does_not_wait(deaf_port: int) -> None:
    """A timeout of 0 is over before it starts."""
    with pytest.raises(TimeoutError):
        TCPTransport.connect("127.0.0.1", deaf_port, Deadline(0))


def test_connect_over_ipv6() -> None:
    """An address with colons is as good as any."""
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with listener:
        TCPTransport.connect("::1", listener.getsockname()[1], Deadline(TIMEOUT)).close()


@pytest.mark.parametrize("keepalive", [False, True])
def test_socket_options(keepalive: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small messages go out at once; TCP's own keepalive is for who asks."""
    made: list[socket.socket] = []

    class RememberedSocket(socket.socket):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr(socket, "socket", RememberedSocket)
        transport = TCPTransport.connect(
            *listener.getsockname(), Deadline(TIMEOUT), keepalive=keepalive
        )
    (sock,) = made
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) == keepalive
    transport.close()


@pytest.mark.skipif(sys.platform != "linux", reason="needs a system that says it")
def test_confirmed_is_what_the_peers_system_has(pair: Pair) -> None:
    """Whether or not the peer has read it."""
    transport = pair.transport
    transport.send([b"hello"], Deadline(TIMEOUT))
    wait_until(lambda: transport.confirmed == transport.sent)
    assert transport.sent >= 5
    while transport.try_send(bytes(1 << 20)):
        pass
    assert 0 < transport.confirmed < transport.sent


@pytest.mark.parametrize("pair", ["tcp"], indirect=True)
def test_waits_without_poll(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has only `select`."""
    monkeypatch.delattr(select, "poll", raising=False)
    transport = TCPTransport(pair.transport._socket)  # type: ignore[attr-defined]
    buffer = memoryview(bytearray(10))
    assert transport.receive(buffer, 0) is None
    pair.peer.sendall(b"hello")
    assert receive(transport, 5) == b"hello"
    with pytest.raises(TimeoutError):
        transport.send([bytes(MUCH)], Deadline(0.05))


@pytest.mark.parametrize("pair", ["tcp"], indirect=True)
def test_sends_without_sendmsg(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, background: ThreadPoolExecutor
) -> None:
    """Windows has only `send`."""
    real = pair.transport._socket  # type: ignore[attr-defined]

    class PlainSocket:
        send = real.send

    buffers = [b"head", bytes(MUCH), b"tail"]
    reading = background.submit(read, pair.peer, MUCH + 8)
    monkeypatch.setattr(pair.transport, "_socket", PlainSocket())
    monkeypatch.setattr(module, "_CAN_GATHER", False)
    pair.transport.send(buffers, Deadline(TIMEOUT))
    monkeypatch.undo()
    assert reading.result(TIMEOUT) == b"".join(buffers)


# TLS


def hand_shake(
    context: ssl.SSLContext,
    server_context: ssl.SSLContext,
    background: ThreadPoolExecutor,
    hostname: str = "127.0.0.1",
) -> None:
    """Shake hands with a peer; raise what our side does."""
    with tcp_pair() as (tcp, peer, _):
        assert isinstance(tcp, TCPTransport)

        def accept() -> None:
            with contextlib.suppress(OSError):
                server_context.wrap_socket(peer, server_side=True).close()

        accepting = background.submit(accept)
        try:
            TLSTransport(tcp, context, hostname).hand_shake(Deadline(TIMEOUT))
        finally:
            tcp.shut_down()
            accepting.result(TIMEOUT)


def test_server_of_a_trusted_authority_is_accepted(
    ca_file: Path, server_context: ssl.SSLContext, background: ThreadPoolExecutor
) -> None:
    """With the right name, or the right address."""
    for hostname in ("127.0.0.1", "localhost"):
        context = make_tls_context(ca=ca_file)
        hand_shake(context, server_context, background, hostname)


@pytest.mark.parametrize("hostname", ["127.0.0.2", "example.org"])
def test_server_with_another_name_is_refused(
    hostname: str, ca_file: Path, server_context: ssl.SSLContext, background: ThreadPoolExecutor
) -> None:
    """A certificate is for its names only."""
    with pytest.raises(ssl.SSLCertVerificationError, match=r"mismatch|not valid for"):
        hand_shake(make_tls_context(ca=ca_file), server_context, background, hostname)


def test_server_of_an_unknown_authority_is_refused(
    server_context: ssl.SSLContext, background: ThreadPoolExecutor
) -> None:
    """The system does not know ours."""
    with pytest.raises(ssl.SSLCertVerificationError):
        hand_shake(make_tls_context(), server_context, background)


def test_server_of_another_authority_is_refused(
    server_context: ssl.SSLContext, background: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """Trust in one authority is not trust in all."""
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    with pytest.raises(ssl.SSLCertVerificationError):
        hand_shake(make_tls_context(ca=tmp_path / "other.pem"), server_context, background)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_old_tls_is_refused(
    ca_file: Path, authority: trustme.CA, background: ThreadPoolExecutor
) -> None:
    """A server that speaks nothing newer than TLS 1.1 is no secure one."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_context)
    server_context.minimum_version = ssl.TLSVersion.TLSv1_1
    server_context.maximum_version = ssl.TLSVersion.TLSv1_1
    server_context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        hand_shake(make_tls_context(ca=ca_file), server_context, background)


def test_peer_without_tls_is_an_ssl_error(ca_file: Path) -> None:
    """Bytes that are no TLS end the handshake."""
    with tcp_pair() as (tcp, peer, _):
        assert isinstance(tcp, TCPTransport)
        peer.sendall(b"-ERR 'no TLS here'\r\n")
        with pytest.raises(ssl.SSLError):
            TLSTransport(tcp, make_tls_context(ca=ca_file), "127.0.0.1").hand_shake(
                Deadline(TIMEOUT)
            )


def test_peer_that_leaves_in_the_handshake_is_an_os_error(ca_file: Path) -> None:
    """An end is an end."""
    with tcp_pair() as (tcp, peer, _):
        assert isinstance(tcp, TCPTransport)
        peer.shutdown(socket.SHUT_WR)
        with pytest.raises(OSError):
            TLSTransport(tcp, make_tls_context(ca=ca_file), "127.0.0.1").hand_shake(
                Deadline(TIMEOUT)
            )


def test_silent_peer_is_a_timeout(ca_file: Path) -> None:
    """The handshake has a deadline, which its own sends do not extend."""
    with tcp_pair() as (tcp, _, _):
        assert isinstance(tcp, TCPTransport)
        deadline = CountingDeadline(0.05)
        with pytest.raises(TimeoutError, match="handshake"):
            TLSTransport(tcp, make_tls_context(ca=ca_file), "127.0.0.1").hand_shake(deadline)
        assert deadline.extended == 0


def test_part_of_a_record_is_not_yet_data(
    ca_file: Path, server_context: ssl.SSLContext, background: ThreadPoolExecutor
) -> None:
    """Bytes that cannot be decrypted yet are nothing, and not lost."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with tcp_pair() as (tcp, peer, _):
        assert isinstance(tcp, TCPTransport)
        server = server_context.wrap_bio(incoming, outgoing, server_side=True)

        def accept() -> None:
            while True:
                try:
                    server.do_handshake()
                except ssl.SSLWantReadError:
                    peer.sendall(outgoing.read())
                    incoming.write(peer.recv(1 << 16))
                else:
                    peer.sendall(outgoing.read())
                    return

        accepting = background.submit(accept)
        transport = TLSTransport(tcp, make_tls_context(ca=ca_file), "127.0.0.1")
        transport.hand_shake(Deadline(TIMEOUT))
        accepting.result(TIMEOUT)
        server.write(b"hello")
        record = outgoing.read()
        buffer = memoryview(bytearray(10))
        peer.sendall(record[:-1])
        assert transport.receive(buffer, 0.02) is None
        peer.sendall(record[-1:])
        assert receive(transport, 5) == b"hello"


@pytest.mark.parametrize("pair", ["tls"], indirect=True)
def test_bytes_that_nobody_encrypted_are_an_os_error(pair: Pair) -> None:
    """Whoever writes into the stream from outside ends it."""
    pair.raw_peer.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(ssl.SSLError):
        pair.transport.receive(memoryview(bytearray(10)), TIMEOUT)


def test_tls_in_segments_of_one_byte(
    ca_file: Path, server_context: ssl.SSLContext, background: ThreadPoolExecutor
) -> None:
    """Records are cut anywhere, in the handshake and behind it."""
    data = pattern(5000)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        Proxy(listener.getsockname()[1]) as proxy,
    ):
        proxy.split(1)
        tcp = TCPTransport.connect("127.0.0.1", proxy.port, Deadline(TIMEOUT))
        peer, _ = listener.accept()
        with peer, contextlib.closing(tcp):
            accepting = background.submit(server_context.wrap_socket, peer, server_side=True)
            transport = TLSTransport(tcp, make_tls_context(ca=ca_file), "127.0.0.1")
            transport.hand_shake(Deadline(TIMEOUT))
            with accepting.result(TIMEOUT) as tls_peer:
                echoing = background.submit(echo, tls_peer)
                transport.send([data], Deadline(TIMEOUT))
                assert receive(transport, len(data)) == data
                transport.shut_down()
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    echoing.result(TIMEOUT)


# Cutting and joining

pieces = st.lists(st.binary(max_size=50), max_size=12)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(buffers=pieces, count=st.integers(0, 600))
def test_what_is_left_after_some_bytes(buffers: list[bytes], count: int) -> None:
    """A gathered write may end anywhere."""
    data = b"".join(buffers)
    count = min(count, len(data))
    rest = module._after([memoryview(buffer) for buffer in buffers], count)
    assert b"".join(rest) == data[count:]


@pytest.mark.parametrize("size", [1, 100, (1 << 18) - 1, 1 << 18, (1 << 18) + 1, 1 << 20])
def test_blocks_for_encryption_are_bounded(size: int) -> None:
    """Small buffers are joined, large ones are cut: few turns of the lock, and short ones."""
    buffers = [b"head", pattern(size), b"tail"] * 3
    blocks = list(module._blocks(buffers))
    assert b"".join(blocks) == b"".join(buffers)
    assert all(0 < len(block) <= 1 << 18 for block in blocks)
    assert len(blocks) <= 2 * sum(map(len, buffers)) // (1 << 18) + 1
