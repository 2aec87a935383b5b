"""
A TCP proxy that breaks things at a chosen moment.

    with Proxy(server.port) as proxy:
        proxy.on(b"HPUB $O.photos.M.", proxy.cut)
        ...  # connect a client to proxy.port

It stands between a client and a real server. `c2s` names the bytes from client to server,
`s2c` those from server to client. Every knob can be turned by the test and by the actions
given to `on`, which run in the thread that forwards the bytes.

What an action raises is raised again at the end of the context. Leaving the context closes
every socket and joins every thread, with a deadline.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import Literal

__all__ = ["Proxy"]

#: Seconds that leaving the context may take.
TIMEOUT = 10.0

#: Seconds between two looks of the accepting thread at whether it should go on.
ACCEPT_INTERVAL = 0.02

#: Seconds in which a limited rate is kept.
RATE_INTERVAL = 0.02

Direction = Literal["c2s", "s2c"]


class Proxy:
    """Forward connections from a free port of 127.0.0.1 to `target_port`. Context manager."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        # Bound, never listening: keeps the port ours while connections are refused.
        self._placeholder = _bind(0)
        self.port: int = self._placeholder.getsockname()[1]
        self.url = f"nats://127.0.0.1:{self.port}"
        # Guards everything below, and is notified of each change. Nothing blocks under it.
        self._changed = threading.Condition()
        self._accepting = False
        self._split: int | None = None
        self._delay = 0.0
        self._rate: float | None = None
        self._held: set[Direction] = set()
        self._flips: dict[Direction, int] = {}  # bytes to forward before the one to damage
        self._drops: dict[Direction, int] = {}  # bytes to forward before the cut
        self._links: list[_Link] = []
        self._triggers: list[_Trigger] = []
        self._errors: list[BaseException] = []
        self._acceptor: threading.Thread | None = None
        self._pumps: list[threading.Thread] = []

    def __enter__(self) -> Proxy:
        self.accept()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.refuse()
        self.cut()
        deadline = monotonic() + TIMEOUT
        for pump in self._pumps:
            pump.join(max(0.0, deadline - monotonic()))
        self._placeholder.close()
        if self._errors:
            raise self._errors[0]
        assert not any(pump.is_alive() for pump in self._pumps), "an action did not end"

    # Connections

    @property
    def connections(self) -> int:
        """Number of connections accepted so far."""
        return len(self._links)

    def refuse(self) -> None:
        """Refuse new connections; those that exist live on."""
        with self._changed:
            self._accepting = False
            acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            acceptor.join(TIMEOUT)

    def accept(self) -> None:
        """Accept new connections again."""
        with self._changed:
            if self._accepting:
                return
            self._accepting = True
            listener = _bind(self.port)
            listener.settimeout(ACCEPT_INTERVAL)
            listener.listen()
            self._acceptor = threading.Thread(
                target=self._accept, args=(listener,), name="proxy", daemon=True
            )
            self._acceptor.start()

    def cut(self) -> None:
        """End all connections; bytes that are held back are lost."""
        with self._changed:
            for link in self._links:
                link.cut()
            self._changed.notify_all()

    # The bytes

    def hold_c2s(self) -> None:
        """Stop forwarding to the server, and leave the connections open."""
        self._hold("c2s")

    def hold_s2c(self) -> None:
        """Stop forwarding to the client, and leave the connections open."""
        self._hold("s2c")

    def release_c2s(self) -> None:
        """Forward to the server again, first what was held back."""
        self._release("c2s")

    def release_s2c(self) -> None:
        """Forward to the client again, first what was held back."""
        self._release("s2c")

    def split(self, size: int | None) -> None:
        """Forward at most `size` bytes at a time; None ends that."""
        with self._changed:
            self._split = size

    def delay(self, seconds: float) -> None:
        """Wait so long before each segment is forwarded, either way; 0 ends that."""
        with self._changed:
            self._delay = seconds

    def rate(self, size: float | None) -> None:
        """Forward at most `size` bytes per second, each way; None ends that."""
        with self._changed:
            self._rate = size

    def flip(self, direction: Direction, offset: int = 0) -> None:
        """Damage one bit of the byte that comes `offset` bytes from now."""
        with self._changed:
            self._flips[direction] = offset

    def drop_after(self, direction: Direction, size: int) -> None:
        """Forward `size` more bytes, then end all connections."""
        with self._changed:
            self._drops[direction] = size

    def heal(self) -> None:
        """Forward faithfully again. What was held back is forwarded, unless `cut` came first."""
        with self._changed:
            self._split, self._delay, self._rate = None, 0.0, None
            self._held.clear()
            self._flips.clear()
            self._drops.clear()
            self._triggers.clear()
            self._changed.notify_all()
        self.accept()

    def on(
        self,
        pattern: bytes,
        action: Callable[[], object] | None = None,
        *,
        direction: Direction = "c2s",
        nth: int = 1,
        before: bool = False,
    ) -> threading.Event:
        """
        Act once, when the bytes forwarded from now on contain a pattern.

        Args:
            pattern: Bytes to look for, also across the borders of segments.
            action: Called without arguments.
            direction: Where to look: "c2s" or "s2c".
            nth: Act at this occurrence, counted over all connections.
            before: Forward what precedes the pattern, act, then forward the rest. Else all
                that came along with the pattern is forwarded first.

        Returns:
            An event that is set after the action.
        """
        trigger = _Trigger(pattern, action, direction, nth, before)
        with self._changed:
            self._triggers.append(trigger)
        return trigger.fired

    # Threads of the proxy

    def _accept(self, listener: socket.socket) -> None:
        with listener:
            while self._accepting:
                with suppress(OSError):  # Nobody came, or the target refuses.
                    client, _ = listener.accept()
                    self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self.target_port), TIMEOUT)
        except OSError:
            client.close()
            raise
        link = _Link(client, server)
        with self._changed:
            self._links.append(link)
        for direction, source, target in (("c2s", client, server), ("s2c", server, client)):
            pump = threading.Thread(
                target=self._pump,
                args=(link, direction, source, target),
                name=f"proxy-{direction}",
                daemon=True,
            )
            self._pumps.append(pump)
            pump.start()

    def _pump(
        self, link: _Link, direction: Direction, source: socket.socket, target: socket.socket
    ) -> None:
        try:
            while data := source.recv(65536):
                self._pass_on(link, direction, target, data)
            self._pass_on(link, direction, target, b"")  # If held, the end is held back too.
            target.shutdown(socket.SHUT_WR)
        except OSError:
            link.cut()
        except BaseException as error:  # pytest's own failures are no Exception.
            self._errors.append(error)
            link.cut()
        finally:
            link.leave()

    def _pass_on(
        self, link: _Link, direction: Direction, target: socket.socket, data: bytes
    ) -> None:
        """Forward some bytes, and act where a trigger says so."""
        done = 0
        for position, trigger in self._find(link, direction, data):
            self._forward(link, direction, target, data[done:position])
            done = position
            if trigger.action is not None:
                trigger.action()
            trigger.fired.set()
        self._forward(link, direction, target, data[done:])

    def _find(self, link: _Link, direction: Direction, data: bytes) -> list[tuple[int, _Trigger]]:
        """Return the triggers that act on these bytes, in order, and where in them they act."""
        with self._changed:
            found = []
            for trigger in self._triggers:
                if trigger.direction == direction:
                    position = trigger.find(link, data)
                    if position is not None:
                        found.append((position, trigger))
            for _, trigger in found:
                self._triggers.remove(trigger)
        return sorted(found, key=lambda item: item[0])

    def _forward(
        self, link: _Link, direction: Direction, target: socket.socket, data: bytes
    ) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: link.is_cut or direction not in self._held)
                size = self._split or len(data)
                pause = self._delay if data else 0.0
                if self._rate is not None:
                    size = min(size, max(1, int(self._rate * RATE_INTERVAL)))
                    pause += min(size, len(data)) / self._rate
                piece, drop = self._damage(direction, data[:size])
                if pause:
                    self._changed.wait_for(lambda: link.is_cut, pause)
            if link.is_cut:
                raise ConnectionAbortedError
            target.sendall(piece)
            if drop:
                self.cut()
            data = data[size:]
            if not data:
                return

    def _damage(self, direction: Direction, data: bytes) -> tuple[bytes, bool]:
        """Return what is to be forwarded, and whether to cut behind it. Requires _changed."""
        if (offset := self._flips.pop(direction, None)) is not None:
            if offset < len(data):
                data = data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :]
            else:
                self._flips[direction] = offset - len(data)
        if (room := self._drops.pop(direction, None)) is not None:
            if room <= len(data):
                return data[:room], True
            self._drops[direction] = room - len(data)
        return data, False

    def _hold(self, direction: Direction) -> None:
        with self._changed:
            self._held.add(direction)

    def _release(self, direction: Direction) -> None:
        with self._changed:
            self._held.discard(direction)
            self._changed.notify_all()


class _Link:
    """The two sockets of one connection, shared by the two threads that pump."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.is_cut = False
        self._sockets = (client, server)
        self._pumps = 2
        self._lock = threading.Lock()
        for sock in self._sockets:
            sock.settimeout(None)  # cut() wakes who waits.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def cut(self) -> None:
        with self._lock:
            self.is_cut = True
            for sock in self._sockets:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def leave(self) -> None:
        """Called by each pump at its end; the last one closes the sockets."""
        with self._lock:
            self._pumps -= 1
            if self._pumps == 0:
                for sock in self._sockets:
                    sock.close()


class _Trigger:
    """What `Proxy.on` was told. Used under the proxy's lock, except for the action."""

    def __init__(
        self,
        pattern: bytes,
        action: Callable[[], object] | None,
        direction: Direction,
        nth: int,
        before: bool,
    ) -> None:
        self.action = action
        self.direction = direction
        self.fired = threading.Event()
        self._pattern = pattern
        self._missing = nth
        self._before = before
        self._tails: dict[_Link, bytes] = {}

    def find(self, link: _Link, data: bytes) -> int | None:
        """Look at the next bytes of a connection; return where in them to act."""
        tail = self._tails.get(link, b"")
        window = tail + data
        position = window.find(self._pattern)
        while position >= 0:
            self._missing -= 1
            if self._missing == 0:
                return max(0, position - len(tail)) if self._before else len(data)
            position = window.find(self._pattern, position + 1)
        # One byte less than the pattern, so that nothing is found twice.
        self._tails[link] = window[max(0, len(window) - len(self._pattern) + 1) :]
        return None


def _bind(port: int) -> socket.socket:
    sock = socket.socket()
    # Both sockets of a proxy bind to its port.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    return sock
