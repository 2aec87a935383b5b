"""
TCP and TLS byte streams: connect, send, receive, close. Nothing else touches a socket.

One thread receives, one thread at a time sends, and the two do not wait for each other.
The socket does not block; who has nothing to do waits in `poll` for its own direction.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from objstore.core.deadline import Deadline
from objstore.core.protocol import Buffer
from objstore.core.resolver import resolve

try:
    import fcntl
    import termios
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["UNKNOWN", "TCPTransport", "TLSTransport", "Transport"]

#: Number of bytes where the system says none.
UNKNOWN = -1

#: Buffers that the system takes in one gathered write (Linux IOV_MAX).
_MAX_GATHER = 1024
_CAN_GATHER = hasattr(socket.socket, "sendmsg")
#: Sends below this many bytes are joined: one small copy beats a list of addresses.
_JOIN_BELOW = 1 << 14
#: Bytes that TLS encrypts or decrypts in one turn: bounds its memory and its lock.
_TLS_BLOCK = 1 << 18
#: What a socket that does not block says of a connection that is being made.
_UNDER_WAY = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN, errno.EINTR})


class Transport(Protocol):
    """A connected byte stream."""

    @property
    def sent(self) -> int:
        """Bytes that the system has taken so far."""

    @property
    def confirmed(self) -> int:
        """Bytes that the peer's system has confirmed; UNKNOWN where ours does not say."""

    @property
    def has_unsent(self) -> bool:
        """Whether `try_send` has left something for the next one who sends."""

    def receive(self, buffer: memoryview, timeout: float | None) -> int | None:
        """
        Receive into `buffer`; wait `timeout` seconds for the first byte.

        Returns:
            Number of bytes; 0 when the peer has closed; None when nothing came in time.

        Raises:
            OSError: If the connection is broken.
        """

    def send(self, buffers: Sequence[Buffer], deadline: Deadline) -> None:
        """
        Send all of `buffers`; `deadline` is extended whenever some of it goes out.

        Raises:
            TimeoutError: If the peer takes nothing for that long. Part of it may be sent,
                so the stream is of no more use.
            OSError: If the connection is broken.
        """

    def try_send(self, data: Buffer) -> bool:
        """
        Send without waiting; what does not go out goes first in the next `send`.

        Returns:
            Whether nothing is left.
        """

    def shut_down(self) -> None:
        """End both directions; wakes up whoever waits in another method."""

    def close(self) -> None:
        """Release the socket. Nobody may be inside another method."""


def _make_wait(sock: socket.socket, *, to_write: bool) -> Callable[[float | None], bool]:
    """Return what waits until the socket is ready; it says False after so many seconds."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLOUT if to_write else select.POLLIN)

        def wait(timeout: float | None) -> bool:
            return bool(poll.poll(None if timeout is None else max(0, int(timeout * 1000 + 0.999))))
    else:
        ready = ([], [sock], [sock]) if to_write else ([sock], [], [sock])

        def wait(timeout: float | None) -> bool:
            return any(select.select(*ready, timeout))

    return wait


def _connect(sock: socket.socket, address: Any, deadline: Deadline) -> None:
    """Connect a socket that does not block."""
    code = sock.connect_ex(address)
    if code in _UNDER_WAY:
        wait = _make_wait(sock, to_write=True)
        if not any(wait(turn) for turn in deadline.turns()):
            raise TimeoutError("timed out")
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


class TCPTransport:
    """A TCP connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._wait_to_receive = _make_wait(sock, to_write=False)
        self._wait_to_send = _make_wait(sock, to_write=True)
        self._may_have_more = False  # the last receive filled its buffer
        self._unsent: list[Buffer] = []  # owned by whoever sends
        self._sent = 0  # owned by whoever sends

    @classmethod
    def connect(
        cls, host: str, port: int, deadline: Deadline, *, keepalive: bool = False
    ) -> TCPTransport:
        """
        Connect to the first address of `host` that accepts, IPv6 or IPv4.

        Raises:
            OSError: If no address accepts; TimeoutError if `deadline` passes first.
        """
        addresses = resolve(host, port, deadline)
        failure: OSError = OSError(f"{host} has no address")
        for position, (family, kind, protocol, _, address) in enumerate(addresses):
            remaining = deadline.remaining()
            if remaining is not None:
                # An address that does not answer may not use up the others' time.
                remaining /= len(addresses) - position
            sock = socket.socket(family, kind, protocol)
            try:
                sock.setblocking(False)
                if remaining == 0:
                    raise TimeoutError("timed out")
                _connect(sock, address, deadline.part(remaining))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if keepalive:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                return cls(sock)
            except OSError as error:
                sock.close()
                failure = error
            except BaseException:
                sock.close()
                raise
        raise failure

    @property
    def sent(self) -> int:
        return self._sent

    @property
    def confirmed(self) -> int:
        if fcntl is None:
            return UNKNOWN
        count = array.array("i", [0])
        try:
            fcntl.ioctl(self._socket, termios.TIOCOUTQ, count)
        except (OSError, ValueError):  # it is closed, or this system keeps it for itself
            return UNKNOWN
        return self._sent - count[0]

    @property
    def has_unsent(self) -> bool:
        return bool(self._unsent)

    def receive(self, buffer: memoryview, timeout: float | None) -> int | None:
        # A buffer that was filled to the end means that more is likely to be there:
        # then the question whether to wait costs more than trying.
        if not self._may_have_more and not self._wait_to_receive(timeout):
            return None
        while True:
            try:
                count = self._socket.recv_into(buffer)
            except BlockingIOError:
                if not self._wait_to_receive(timeout):
                    self._may_have_more = False
                    return None
            else:
                self._may_have_more = count == len(buffer)
                return count

    def send(self, buffers: Sequence[Buffer], deadline: Deadline) -> None:
        rest = self._unsent + [buffer for buffer in buffers if len(buffer)]
        if len(rest) > 1 and sum(map(len, rest)) <= _JOIN_BELOW:
            rest = [b"".join(rest)]
        while rest:
            count = self._send_some(rest)
            if count:
                deadline.extend()
                rest = _after(rest, count)
            elif not self._wait_to_send(deadline.remaining()):
                raise TimeoutError("the server takes no more data")
        self._unsent = []

    def try_send(self, data: Buffer) -> bool:
        rest = [*self._unsent, data]
        self._unsent = _after(rest, self._send_some(rest))
        return not self._unsent

    def _send_some(self, buffers: Sequence[Buffer]) -> int:
        """Send what goes out without waiting; return the number of bytes."""
        try:
            if len(buffers) > 1 and _CAN_GATHER:
                count = self._socket.sendmsg(buffers[:_MAX_GATHER])
            else:
                count = self._socket.send(buffers[0])
        except BlockingIOError:
            return 0
        self._sent += count
        return count

    def shut_down(self) -> None:
        with contextlib.suppress(OSError):  # it may be broken already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()


def _after(buffers: Sequence[Buffer], count: int) -> list[Buffer]:
    """Return what is left of `buffers` behind the first `count` bytes."""
    for position, buffer in enumerate(buffers):
        if count < len(buffer):
            return [memoryview(buffer)[count:], *buffers[position + 1 :]]
        count -= len(buffer)
    return []


class TLSTransport:
    """
    TLS over a TCP connection.

    The `ssl.SSLObject` works on two memory buffers and never sees the socket: one
    `SSLSocket` shared by a sending and a receiving thread is contested ground in CPython.
    """

    def __init__(self, tcp: TCPTransport, context: ssl.SSLContext, hostname: str) -> None:
        self._tcp = tcp
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=hostname)
        self._received = memoryview(bytearray(_TLS_BLOCK))
        self._unencrypted: list[Buffer] = []  # owned by whoever sends
        # Guards _tls and the two memory buffers, for one encryption or decryption; the
        # socket is read and written without it.
        self._tls_lock = threading.Lock()

    def hand_shake(self, deadline: Deadline) -> None:
        """
        Agree on keys and verify the server.

        Raises:
            ssl.SSLError: If the server cannot be verified or refuses us.
            OSError: If the connection breaks; TimeoutError if `deadline` passes.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._send_outgoing(deadline)
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self._send_outgoing(deadline)  # the alert tells the server why
                raise
            else:
                self._send_outgoing(deadline)
                return
            if not any(self._receive_encrypted(turn) for turn in deadline.turns()):
                raise TimeoutError("timed out in the TLS handshake")

    @property
    def sent(self) -> int:
        return self._tcp.sent

    @property
    def confirmed(self) -> int:
        return self._tcp.confirmed

    @property
    def has_unsent(self) -> bool:
        return bool(self._unencrypted) or self._tcp.has_unsent

    def _send_outgoing(self, deadline: Deadline) -> None:
        data = self._outgoing.read()
        if data:
            self._tcp.send([data], deadline.rest())

    def _receive_encrypted(self, timeout: float | None) -> bool:
        """Receive once into the incoming buffer; False when nothing came in time."""
        count = self._tcp.receive(self._received, timeout)
        if count is None:
            return False
        with self._tls_lock:
            if count:
                self._incoming.write(self._received[:count])
            else:
                self._incoming.write_eof()
        return True

    def receive(self, buffer: memoryview, timeout: float | None) -> int | None:
        while True:
            with self._tls_lock:
                count = self._decrypt(buffer)
            if count is not None:
                return count
            if not self._receive_encrypted(timeout):
                return None

    def _decrypt(self, buffer: memoryview) -> int | None:
        """Decrypt what has come; None if that is nothing yet. Requires _tls_lock."""
        total = 0
        while total < len(buffer):
            try:
                # A turn gives one record, of 16 KiB at the most.
                count = self._tls.read(len(buffer) - total, buffer[total:])
            except ssl.SSLWantReadError:
                return total or None
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return total  # 0 is the end; data before it is handed over first
            if not count:
                return total
            total += int(count)
        return total

    def send(self, buffers: Sequence[Buffer], deadline: Deadline) -> None:
        first, self._unencrypted = self._unencrypted, []
        for block in _blocks([*first, *buffers]):
            with self._tls_lock:
                self._tls.write(block)
                data = self._outgoing.read()
            self._tcp.send([data], deadline)
        if self.has_unsent:  # there was nothing to send but what was left
            self._tcp.send([], deadline)

    def try_send(self, data: Buffer) -> bool:
        self._unencrypted.append(data)
        # Without waiting for who decrypts: that may be this very thread, which the collector
        # has interrupted to close a file that wraps one of ours.
        if not self._tls_lock.acquire(blocking=False):
            return False
        try:
            for block in _blocks(self._unencrypted):
                self._tls.write(block)
            self._unencrypted = []
            encrypted = self._outgoing.read()
        finally:
            self._tls_lock.release()
        return self._tcp.try_send(encrypted)

    def shut_down(self) -> None:
        self._tcp.shut_down()

    def close(self) -> None:
        self._tcp.close()


def _blocks(buffers: Sequence[Buffer]) -> Iterator[memoryview]:
    """
    Yield the content of `buffers` in blocks: small ones joined, large ones cut.

    Blocks are views, since a traceback with variables may show bytes, and in them a password.
    """
    small: list[Buffer] = []
    size = 0
    for buffer in buffers:
        for start in range(0, len(buffer), _TLS_BLOCK):
            piece = memoryview(buffer)[start : start + _TLS_BLOCK]
            if size + len(piece) > _TLS_BLOCK:
                yield memoryview(b"".join(small))
                small, size = [], 0
            small.append(piece)
            size += len(piece)
    if small:
        yield memoryview(b"".join(small))
