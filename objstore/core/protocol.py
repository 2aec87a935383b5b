"""
The NATS client protocol: bytes to events (`Parser`), commands to bytes (`encode_*`).

Pure: no socket, thread or clock. The parser owns the memory that is received into, so
that payloads need not be copied: a message's payload is a view into it. When a buffer is
used up the parser starts a new one; the old one lives as long as somebody holds a view.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple, TypeAlias

from objstore.core.fields import parse_fields
from objstore.core.headers import HeaderBlock, encode_headers, parse_headers, parse_status
from objstore.errors import InvalidNameError, ProtocolError, shorten

__all__ = [
    "MAX_CONTROL_LINE",
    "PING",
    "PONG",
    "Buffer",
    "Event",
    "Info",
    "Message",
    "Parser",
    "ServerErr",
    "Signal",
    "check_subject",
    "encode_connect",
    "encode_hpub",
    "encode_pub",
    "encode_sub",
    "encode_unsub",
]

Buffer: TypeAlias = bytes | bytearray | memoryview

PING = b"PING\r\n"
PONG = b"PONG\r\n"

#: Bytes of the longest command line that a server takes (nats-server `max_control_line`).
MAX_CONTROL_LINE = 4096

#: Bytes received at a time: large blocks mean few system calls and few wake-ups.
_BUFFER_SIZE = 1 << 20
#: Buffers kept to be used again: as many as a reader's window fills.
_MAX_KEPT = 8
#: A buffer with less room than this is not worth a system call; a new one is started.
_LEAST_ROOM = 1 << 14
#: Payloads with fewer bytes are copied.
_COPY_BELOW = 1 << 13
#: Bytes of the longest line accepted: `INFO` lists every server of a cluster.
_MAX_LINE = 64 << 10
_MAX_INFO_LINE = 1 << 20
#: Characters of an error that are kept: the longest subject, and the words around it.
_MAX_ERROR = 2 * MAX_CONTROL_LINE
#: Bytes of the largest message accepted, whatever the server says of itself
#: (nats-server refuses to start with a `max_payload` above 64 MiB), and of its headers.
_MAX_PAYLOAD = 64 << 20
_MAX_HEADER = 1 << 20

#: The line before a message as servers write it: subject, sid, perhaps a reply subject,
#: of an `HMSG` the size of the headers, the size of all.
_MESSAGE_LINE = re.compile(
    rb"(H)?MSG (\S+) ([0-9]{1,18}) (?:(\S+) )?(?(1)([0-9]{1,18}) )([0-9]{1,18})\r\n"
)


class Signal(Enum):
    """A command of the server without arguments."""

    PING = "PING"
    PONG = "PONG"
    OK = "+OK"


class Info(NamedTuple):
    """What the server says of itself."""

    fields: dict[str, Any]


class ServerErr(NamedTuple):
    """An error reported by the server (`-ERR`)."""

    text: str


#: How a header block begins that says no status: nearly all.
_NO_STATUS = b"NATS/1.0\r\n"
_NO_HEADERS = HeaderBlock(None, "", {})


class Message:
    """
    A message.

    Attributes:
        subject: Where it was published.
        sid: Id of the subscription it is for.
        reply: Where an answer is expected, or "".
        payload: Its bytes, or, of a large one, a view into the receive buffer;
            `bytes(payload)` to keep it for long.
        status: Code of a status message, for example 503; None for an ordinary message.
        block: The header block as it came; None without one.

    Raises:
        ProtocolError: If the header block is none.
    """

    __slots__ = ("block", "payload", "reply", "sid", "status", "subject")

    def __init__(
        self, subject: str, sid: int, reply: str, payload: Buffer, block: bytes | None = None
    ) -> None:
        self.subject = subject
        self.sid = sid
        self.reply = reply
        self.payload = payload
        self.block = block
        is_plain = block is None or block.startswith(_NO_STATUS)
        self.status = None if is_plain or block is None else parse_status(block)

    def __repr__(self) -> str:
        return f"<Message {shorten(self.subject)}, {len(self.payload)} bytes>"

    @property
    def headers(self) -> HeaderBlock:
        """The parsed header block."""
        return _NO_HEADERS if self.block is None else parse_headers(self.block)


Event: TypeAlias = Message | Signal | Info | ServerErr


class _Buffers:
    """
    Receive buffers of one size, used again when nobody looks at them any more.

    Memory that is fresh from the system costs a page fault for every 4 KiB, which is half
    of what receiving costs.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: deque[bytearray] = deque()

    def take(self, capacity: int) -> bytearray:
        """Return a buffer of at least `capacity` bytes."""
        if capacity > self._size:
            return bytearray(capacity)
        for _ in range(len(self._kept)):
            buffer = self._kept[0]
            self._kept.rotate()
            try:
                buffer.append(buffer.pop())  # no change, but refused while there is a view
            except BufferError:
                continue
            return buffer
        buffer = bytearray(self._size)
        if len(self._kept) < _MAX_KEPT:
            self._kept.append(buffer)
        return buffer


class Parser:
    """
    Turns received bytes into events.

    Receive into `writable()`, then tell `received()` how much came; or hand bytes to
    `feed()`. After a `ProtocolError` the parser is of no more use.
    """

    def __init__(self, buffer_size: int = _BUFFER_SIZE) -> None:
        self._buffer_size = buffer_size
        self._buffers = _Buffers(buffer_size)
        self._use(self._buffers.take(buffer_size))
        self._start = 0  # first byte not yet parsed
        self._end = 0  # first byte not yet received
        self._scanned = 0  # no line ends before this byte
        self._head: tuple[str, int, str, int] | None = None  # of a message still arriving
        self._size = 0  # bytes of that message, headers and line end included

    def _use(self, buffer: bytearray) -> None:
        self._buffer = buffer
        self._view = memoryview(buffer)

    @property
    def pending(self) -> int:
        """Bytes received and not yet part of an event."""
        return self._end - self._start

    def writable(self) -> memoryview:
        """Return the room for the next bytes, never empty."""
        capacity = len(self._buffer)
        if self._start + self._size > capacity or capacity - self._end < _LEAST_ROOM:
            self._move(max(self._buffer_size, self._size + _LEAST_ROOM))
        return self._view[self._end :]

    def _move(self, capacity: int) -> None:
        """Go on in a new buffer, with the bytes that are not yet parsed."""
        capacity = max(capacity, self.pending + _LEAST_ROOM)
        rest = self._view[self._start : self._end]
        self._use(self._buffers.take(capacity))
        self._view[: len(rest)] = rest
        self._scanned -= self._start
        self._start, self._end = 0, len(rest)

    def feed(self, data: Buffer) -> list[Event]:
        """Parse `data`, copied in; return the events it completes."""
        events: list[Event] = []
        rest = memoryview(data)
        while rest:
            room = self.writable()
            count = min(len(room), len(rest))
            room[:count] = rest[:count]
            events += self.received(count)
            rest = rest[count:]
        return events

    def received(self, count: int) -> list[Event]:
        """
        Parse `count` bytes that were received into `writable()`.

        Returns:
            The events they complete, in order.

        Raises:
            ProtocolError: If they are not what the protocol allows.
        """
        self._end += count
        events: list[Event] = []
        while True:
            if self._head is not None:
                if self._end - self._start < self._size:
                    return events
                events.append(self._take_message(*self._head))
            if self._start == self._end:
                return events
            match = _MESSAGE_LINE.match(self._buffer, self._start, self._end)
            if match is not None:
                _, subject, sid, reply, header, size = match.groups()
                self._start = start = match.end()
                total, split = int(size), int(header or 0)
                end = start + total
                if split <= total < _COPY_BELOW and end + 2 <= self._end:
                    # A small message that has come: of such there may be very many.
                    if not self._buffer.startswith(b"\r\n", end):
                        raise _misplaced_end()
                    data = self._view[start:end].tobytes()
                    events.append(
                        Message(
                            subject.decode("utf-8", "surrogateescape"),
                            int(sid),
                            reply.decode("utf-8", "surrogateescape") if reply else "",
                            data[split:],
                            data[:split] if split else None,
                        )
                    )
                    self._start = end + 2
                    continue
                self._begin_message(subject, int(sid), reply, split, total)
                continue
            line = self._take_line()
            if line is None:
                return events
            event = self._parse_line(line)
            if event is not None:
                events.append(event)

    def _take_line(self) -> bytes | None:
        """Return the next line if it is complete."""
        start = self._start
        end = self._buffer.find(b"\r\n", max(start, self._scanned), self._end)
        if end < 0:
            self._scanned = self._end - 1  # a "\r" may have come without its "\n"
            is_info = self._buffer[start : start + 4].upper() == b"INFO"
            if self._end - start > (_MAX_INFO_LINE if is_info else _MAX_LINE):
                raise ProtocolError(f"a line of more than {self._end - start} bytes")
            return None
        self._start = end + 2
        return bytes(self._view[start:end])

    def _parse_line(self, line: bytes) -> Event | None:
        """Return the line's event; None if it begins a message, or is empty."""
        verb, _, rest = line.partition(b" ")
        verb = verb.upper()
        if verb == b"MSG" or verb == b"HMSG":
            self._parse_message_line(line, rest.split(), has_headers=verb == b"HMSG")
            return None
        return _parse_command(verb.strip(), rest, line)

    def _parse_message_line(
        self, line: bytes, arguments: list[bytes], *, has_headers: bool
    ) -> None:
        """Take `subject sid [reply] [header size] size`, in whatever form is allowed."""
        sizes = 2 if has_headers else 1
        if not 2 + sizes <= len(arguments) <= 3 + sizes:
            raise ProtocolError(f"cannot parse {shorten(line)}")
        total = _parse_number(arguments[-1], line)
        header = _parse_number(arguments[-2], line) if has_headers else 0
        reply = arguments[2] if len(arguments) == 3 + sizes else None
        self._begin_message(arguments[0], _parse_number(arguments[1], line), reply, header, total)

    def _begin_message(
        self, subject: bytes, sid: int, reply: bytes | None, header: int, total: int
    ) -> None:
        if header > total or header > _MAX_HEADER or total > _MAX_PAYLOAD + _MAX_HEADER:
            raise ProtocolError(
                f"a message of a size that cannot be: {header} and {total} on {shorten(subject)}"
            )
        self._head = (
            subject.decode("utf-8", "surrogateescape"),
            sid,
            "" if reply is None else reply.decode("utf-8", "surrogateescape"),
            header,
        )
        self._size = total + 2

    def _take_message(self, subject: str, sid: int, reply: str, header: int) -> Message:
        """Return the message whose last byte has come."""
        start = self._start
        end = start + self._size
        if not self._buffer.startswith(b"\r\n", end - 2, end):
            raise _misplaced_end()
        block = bytes(self._view[start : start + header]) if header else None
        payload: Buffer = self._view[start + header : end - 2]
        if len(payload) < _COPY_BELOW:
            # It may wait long, and would keep all of the buffer from being used again.
            payload = bytes(payload)
        self._start, self._head, self._size = end, None, 0
        return Message(subject, sid, reply, payload, block)


def _misplaced_end() -> ProtocolError:
    return ProtocolError("a payload does not end where its size says")


def _parse_number(digits: bytes, line: bytes) -> int:
    # int() alone takes signs, underscores and foreign digits.
    if not digits.isdigit() or len(digits) > 18:
        raise ProtocolError(f"not a number in {shorten(line)}")
    return int(digits)


def _parse_command(verb: bytes, rest: bytes, line: bytes) -> Event | None:
    if verb == b"PING":
        return Signal.PING
    if verb == b"PONG":
        return Signal.PONG
    if verb == b"+OK":
        return Signal.OK
    if verb == b"-ERR":
        return ServerErr(rest.decode("utf-8", "replace").strip().strip("'")[:_MAX_ERROR])
    if verb == b"INFO":
        return _parse_info(rest)
    if not line:
        return None  # empty lines between commands are harmless
    raise ProtocolError(f"unknown command {shorten(line)}")


def _parse_info(text: bytes) -> Info:
    try:
        fields = parse_fields(text)
    except ValueError as error:
        raise ProtocolError("INFO is not JSON") from error
    return Info(fields)


# Commands

_UNSAFE_SUBJECT = re.compile(r"[\0-\x20\x7f]")
#: Subjects without anything special in them: nearly all.
_PLAIN_SUBJECT = re.compile(r"[^\0-\x20\x7f.*>]+(?:\.[^\0-\x20\x7f.*>]+)*")


def check_subject(subject: str, *, wildcards: bool = False) -> None:
    """
    Refuse a subject that is empty, could end its own line, or has wildcards out of place.

    Raises:
        InvalidNameError: Before anything is sent.
    """
    if not isinstance(subject, str):
        raise TypeError(f"a subject must be a str, not {type(subject).__name__}")
    if _PLAIN_SUBJECT.fullmatch(subject):
        return
    if not subject or _UNSAFE_SUBJECT.search(subject):
        raise InvalidNameError(f"subject {shorten(subject)} is empty or holds a blank")
    tokens = subject.split(".")
    if "" in tokens:
        raise InvalidNameError(f"subject {shorten(subject)} has an empty token")
    if not wildcards and ("*" in tokens or ">" in tokens):
        raise InvalidNameError(f"subject {shorten(subject)} has a wildcard")
    if wildcards and ">" in tokens[:-1]:
        raise InvalidNameError(f"subject {shorten(subject)} has a token after '>'")


def _encode_line(*parts: str) -> bytes:
    try:
        line = " ".join(parts).encode()
    except UnicodeEncodeError as error:
        raise InvalidNameError(f"{shorten(parts[1])} cannot be encoded as UTF-8") from error
    if len(line) > MAX_CONTROL_LINE:
        raise InvalidNameError(f"subject {shorten(parts[1])} is too long for the server")
    return line + b"\r\n"


def encode_connect(fields: dict[str, Any]) -> bytes:
    """Return a `CONNECT`."""
    return b"CONNECT " + json.dumps(fields, separators=(",", ":")).encode() + b"\r\n"


def encode_pub(subject: str, payload: Buffer, reply: str = "") -> list[Buffer]:
    """
    Return a `PUB` as pieces for one gathered write: line, payload (not copied), line end.

    Raises:
        InvalidNameError: If `subject` or `reply` cannot stand in a command.
    """
    check_subject(subject)
    size = str(len(payload))
    if reply:
        check_subject(reply)
        return [_encode_line("PUB", subject, reply, size), payload, b"\r\n"]
    return [_encode_line("PUB", subject, size), payload, b"\r\n"]


def encode_hpub(
    subject: str, payload: Buffer, headers: Mapping[str, str | list[str]], reply: str = ""
) -> list[Buffer]:
    """
    Return an `HPUB` as pieces: line, headers, payload (not copied), line end.

    Raises:
        InvalidNameError: If `subject` or `reply` cannot stand in a command.
        ValueError: If a header cannot.
    """
    check_subject(subject)
    block = encode_headers(headers)
    sizes = (str(len(block)), str(len(block) + len(payload)))
    if reply:
        check_subject(reply)
        line = _encode_line("HPUB", subject, reply, *sizes)
    else:
        line = _encode_line("HPUB", subject, *sizes)
    return [line, block, payload, b"\r\n"]


def encode_sub(subject: str, sid: int, queue: str = "") -> bytes:
    """Return a `SUB`; `queue` names a queue group."""
    check_subject(subject, wildcards=True)
    if queue:
        check_subject(queue)
        return _encode_line("SUB", subject, queue, str(sid))
    return _encode_line("SUB", subject, str(sid))


def encode_unsub(sid: int, max_messages: int | None = None) -> bytes:
    """Return an `UNSUB`, at once or after `max_messages` in all."""
    if max_messages is None:
        return _encode_line("UNSUB", str(sid))
    return _encode_line("UNSUB", str(sid), str(max_messages))
