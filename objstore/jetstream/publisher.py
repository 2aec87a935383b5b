"""
Publishing to a stream: an ack for every message, bounded bytes in flight.

A message that the server drops is only noticed by its ack, so each message asks for one.
What is in flight is bounded in bytes: the server keeps at most 128 MiB of unprocessed
messages for a stream, of all its writers together, and refuses what exceeds that. The
window therefore starts small and grows while acks come promptly.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from objstore.core.connection import Connection
from objstore.core.deadline import Deadline
from objstore.core.protocol import Buffer, Message, check_subject
from objstore.errors import (
    JetStreamError,
    NoRespondersError,
    ObjStoreError,
    ProtocolError,
    RequestTimeoutError,
    shorten,
)
from objstore.jetstream.api import ErrorCode, parse_json

__all__ = ["PubAck", "Publisher", "parse_ack"]

#: Bytes in flight: at first, and at the most.
_FIRST_WINDOW = 1 << 20
_MAX_WINDOW = 8 << 20
#: Bytes that a message counts for beside its payload, in the window.
_MESSAGE_OVERHEAD = 128
#: Seconds from a send to its ack up to which the window grows, and from which it shrinks.
_PROMPT = 0.03
_LATE = 0.25
#: Seconds without an ack after which it is asked whether there will be one.
_DOUBT = 1.0
#: Seconds to wait for outstanding acks after a failure, so that a purge comes last.
_SETTLE_TIMEOUT = 2.0


class PubAck(NamedTuple):
    """
    A server's word that a message is stored.

    Attributes:
        stream_seq: Where.
        duplicate: Whether it had been stored before, under the same `Nats-Msg-Id`.
    """

    stream_seq: int
    duplicate: bool


def parse_ack(message: Message, stream: str) -> PubAck:
    """
    Take the answer to a publish.

    Raises:
        JetStreamError: If the message was refused.
        NoRespondersError: If no stream takes its subject, or its leader is being elected.
        ProtocolError: If the answer is no ack of `stream`.
    """
    status = message.status
    if status == 503:
        raise NoRespondersError(f"no stream answers for {stream}")
    if status is not None:
        raise JetStreamError(
            status, ErrorCode.TOO_MANY_REQUESTS if status == 429 else 0, message.headers.description
        )
    fields = parse_json(message)
    stream_seq = fields.get("seq")
    if fields.get("stream") != stream or not isinstance(stream_seq, int) or stream_seq <= 0:
        raise ProtocolError(f"this is no ack of {stream}: {shorten(bytes(message.payload))}")
    return PubAck(stream_seq, fields.get("duplicate") is True)


class _Block(NamedTuple):
    """Messages that went out in one write."""

    last: int  # number of the last message
    size: int  # bytes
    sent_at: float
    release: Callable[[], None] | None


class Publisher:
    """
    Publishes messages to one subject, in order. For one thread.

    The bytes of a message belong to the publisher until its ack is in.

    Args:
        stream: Name of the stream that the acks must come from.
        subject: Literal subject.
        doubt: Called when no ack comes for a while; raises if none ever will.

    Attributes:
        acked: Number of messages acked, counted from the first without a gap.
        sent: Number of messages sent.
    """

    def __init__(
        self,
        connection: Connection,
        stream: str,
        subject: str,
        deadline: Deadline,
        *,
        doubt: Callable[[float], object] | None = None,
    ) -> None:
        check_subject(subject)
        self._connection = connection
        self._stream = stream
        self._subject = subject
        self._doubt = doubt
        self._inbox = connection.inbox(deadline)
        self._inbox.published.add(subject)
        self._head = f"PUB {subject} {self._inbox.subject('')}"
        self._blocks: deque[_Block] = deque()
        self._early: dict[int, PubAck] = {}  # acks that overtook another
        self._in_flight = 0
        self._window = _FIRST_WINDOW
        self._last_seq = 0
        self._answered = 0  # messages whose fate is known, whatever it is
        self.sent = 0
        self.acked = 0

    def publish(
        self,
        payloads: Sequence[Buffer],
        deadline: Deadline,
        *,
        release: Callable[[], None] | None = None,
    ) -> None:
        """
        Publish each of `payloads` as a message, all in one gathered write.

        Waits while the window is full; `deadline` is extended by every ack.

        Args:
            release: Called when all of them are acked and their memory is free again.

        Raises:
            ObjStoreError: If an earlier message was refused, its ack does not come in
                time, or the connection breaks.
        """
        size = sum(len(payload) + _MESSAGE_OVERHEAD for payload in payloads)
        while self._blocks and self._in_flight + size > self._window:
            self._take_ack(deadline)
        buffers: list[Buffer] = []
        for number, payload in enumerate(payloads, self.sent):
            end = b"\r\n" if number > self.sent else b""
            buffers += [end + f"{self._head}{number} {len(payload)}\r\n".encode(), payload]
        buffers.append(b"\r\n")
        self.sent += len(payloads)
        self._in_flight += size
        self._blocks.append(_Block(self.sent - 1, size, time.monotonic(), release))
        self._connection.send(buffers, deadline, link=self._inbox.link)

    def finish(self, deadline: Deadline) -> None:
        """
        Wait until every message is acked; `deadline` is extended by every ack.

        Raises:
            ObjStoreError: If one is refused or not acked in time, or the connection breaks.
        """
        while self.acked < self.sent:
            self._take_ack(deadline)

    def _take_ack(self, deadline: Deadline) -> None:
        message = self._inbox.next(deadline.at_most(_DOUBT))
        while message is None:
            if deadline.expired:
                raise RequestTimeoutError(
                    f"{self._stream} has not confirmed a message for {deadline.timeout} s"
                )
            self._ask_for_acks(deadline)
            message = self._inbox.next(deadline.at_most(_DOUBT))
        self._answered += 1
        ack = parse_ack(message, self._stream)
        deadline.extend()
        self._early[self._inbox.number(message)] = ack
        while self.acked in self._early:
            ack = self._early.pop(self.acked)
            if ack.stream_seq <= self._last_seq:
                raise ProtocolError(f"{self._stream} stored a message before the one sent earlier")
            self._last_seq = ack.stream_seq
            self.acked += 1
        while self._blocks and self._blocks[0].last < self.acked:
            self._finish_block(self._blocks.popleft())

    def _ask_for_acks(self, deadline: Deadline) -> None:
        """Make sure that there still is somebody to send them."""
        if self._doubt is not None:
            try:
                self._doubt(deadline.at_most(_DOUBT))
            except ObjStoreError:
                self._answered = self.sent  # what is missing will never come
                raise

    def _finish_block(self, block: _Block) -> None:
        self._in_flight -= block.size
        delay = time.monotonic() - block.sent_at
        if delay <= _PROMPT:
            self._window = min(self._window + block.size, _MAX_WINDOW)
        elif delay >= _LATE:
            self._window = max(self._window // 2, _FIRST_WINDOW)
        if block.release is not None:
            block.release()

    def settle(self) -> None:
        """Wait a little until the fate of what was sent is decided, whatever it is."""
        deadline = Deadline(_SETTLE_TIMEOUT)
        while self._answered < self.sent:
            try:
                if self._inbox.next(deadline.remaining()) is None:
                    return
            except ObjStoreError:
                return
            self._answered += 1

    def close(self) -> None:
        """Take no more acks."""
        self._inbox.close()

    def abandon(self) -> None:
        """Close, for finalizers."""
        self._inbox.abandon()
