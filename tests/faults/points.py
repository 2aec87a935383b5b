"""
The transport that breaks at the nth frame, sent or received.

A frame is one command of the protocol, with its payload. Only frames behind the handshake
count: what breaks before that is a connection that was never made.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from objstore.client import Client
from objstore.core.deadline import Deadline
from objstore.core.link import Link
from objstore.core.pool import ServerPool
from objstore.core.protocol import Buffer
from objstore.core.transport import Transport
from objstore.errors import ConnectError
from tests.proxy import Direction

__all__ = ["PLACES", "FramePoint", "Frames", "Place"]

Place = Literal["before", "half", "after"]
PLACES: tuple[Place, ...] = ("before", "half", "after")

_WITH_PAYLOAD = frozenset({b"PUB", b"HPUB", b"MSG", b"HMSG"})


class Frames:
    """Where the frames of a byte stream begin and end, whatever pieces it comes in."""

    def __init__(self) -> None:
        self._line = b""
        self._left = 0  # bytes of the payload that is being read

    def places(self, data: bytes) -> Iterator[tuple[Place, int]]:
        """Yield what is reached in the next piece, and how many bytes into it."""
        at = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                if not self._left:
                    yield "after", at
                continue
            if not self._line:
                yield "before", at
            end = data.find(b"\n", at)
            self._line += data[at:] if end < 0 else data[at : end + 1]
            if end < 0:
                return
            at = end + 1
            words = self._line.split()
            self._line = b""
            if words[0].upper() in _WITH_PAYLOAD:
                self._left = int(words[-1]) + 2
                yield "half", at
            else:
                yield "half", end
                yield "after", at


class FramePoint:
    """
    Breaks the connection of a client at one frame.

    Args:
        nth: Of all frames in that direction since the client was given to it.
        place: Before its first byte, in the middle, or behind its last byte.
        for_ever: Let no connection be made after that, until `heal`.

    Attributes:
        fired: Set when it broke.
    """

    def __init__(
        self, client: Client, direction: Direction, nth: int, place: Place, *, for_ever: bool
    ) -> None:
        self.direction = direction
        self.fired = threading.Event()
        self._place = place
        self._missing = 0
        self._for_ever = for_ever
        self._down = threading.Event()
        connection = client._connection
        connection.pool = _Pool(self, connection.pool)
        link = connection._link
        if link is not None:
            link.transport = _Transport(link.transport, self)
            # The reader thread waits in the transport that was there before.
            connection.flush()
        self._missing = nth

    def heal(self) -> None:
        """Let connections be made again, and live."""
        self._missing = 0
        self._down.clear()

    @property
    def down(self) -> bool:
        return self._down.is_set()

    def find(self, frames: Frames, data: bytes) -> int | None:
        """Return how many bytes pass before the connection breaks; None if it does not."""
        for place, offset in frames.places(data):
            if place == self._place and self._missing > 0:
                self._missing -= 1
                if not self._missing:
                    if self._for_ever:
                        self._down.set()
                    self.fired.set()
                    return offset
        return None


class _Pool(ServerPool):
    """Opens links whose frames are counted."""

    def __init__(self, point: FramePoint, inner: ServerPool) -> None:
        self._point = point
        self._inner = inner

    def learn(self, *arguments: Any) -> None:
        self._inner.learn(*arguments)

    def open(self, deadline: Deadline, closing: threading.Event) -> Link:
        if self._point.down:
            raise ConnectError("there is no way")
        link = self._inner.open(deadline, closing)
        link.transport = _Transport(link.transport, self._point)
        return link


class _Transport:
    """Passes everything on to another transport, until the point is reached."""

    def __init__(self, inner: Transport, point: FramePoint) -> None:
        self._inner = inner
        self._point = point
        self._sent_frames = Frames()
        self._received_frames = Frames()
        self._broken = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def receive(self, buffer: memoryview, timeout: float | None) -> int | None:
        if self._broken:
            return 0
        count = self._inner.receive(buffer, timeout)
        if self._broken:
            return 0
        if count and self._point.direction == "s2c":
            passed = self._point.find(self._received_frames, bytes(buffer[:count]))
            if passed is not None:
                self._break()
                return passed
        return count

    def send(self, buffers: Sequence[Buffer], deadline: Deadline) -> None:
        self._check()
        if self._point.direction == "c2s":
            data = b"".join(buffers)
            passed = self._point.find(self._sent_frames, data)
            if passed is not None:
                self._inner.send([data[:passed]], deadline)
                self._break()
                raise ConnectionResetError("the point was reached")
        self._inner.send(buffers, deadline)

    def try_send(self, data: Buffer) -> bool:
        self._check()
        if self._point.direction == "c2s":
            passed = self._point.find(self._sent_frames, bytes(data))
            if passed is not None:
                self._inner.try_send(bytes(data)[:passed])
                self._break()
                raise ConnectionResetError("the point was reached")
        return self._inner.try_send(data)

    def _check(self) -> None:
        if self._broken:
            raise BrokenPipeError("the connection is broken")

    def _break(self) -> None:
        self._broken = True
        self._inner.shut_down()
