"""
Publishing to one subject of a stream so that the messages are stored once, in order.

Each message asks for an ack, since that is the only way to notice one that was dropped.
What is in flight is bounded in bytes: a server keeps at most 128 MiB of unprocessed
messages for a stream, of all its writers together, and refuses what exceeds that. So the
window starts small, grows while acks come promptly, and shrinks when they are late or a
message is refused for that reason.

When an answer is missing, or says that the stream has no leader or no time just now, the
publisher goes back to the first message that is not known to be stored:

1. It sends a *probe*, a message that every leader refuses. A leader takes what comes over
   one link in order, so when the probe is answered, and no more acks come, everything before
   it is stored or lost.
2. What was stored behind a hole is deleted, since the order of the messages is the content.
3. It sends again from the hole on, under the same `Nats-Msg-Id`, so that a message is
   stored once, whichever of its copies comes first; on one link copies are in order, so
   the messages are, too. Only what was deleted gets a new id.
4. In the end the leader is asked how many messages the subject has. So it is when the first
   of them was sent so long ago that somebody may have taken them for left over.

Every message carries its id from the first time on. A copy that was sent on a lost link
may sit in a paused server and arrive when all is done: only the id keeps it out then. That
costs 1 % of the time of a client and nothing to be measured of a server's.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from objstore.core.connection import Connection, State
from objstore.core.deadline import Deadline
from objstore.core.protocol import Buffer, Message, check_subject
from objstore.errors import (
    ConnectionLostError,
    JetStreamError,
    NoRespondersError,
    ObjStoreError,
    ProtocolError,
    RequestTimeoutError,
    shorten,
)
from objstore.jetstream.api import ErrorCode, JetStream, may_pass, parse_json

__all__ = [
    "HEADER_SIZE",
    "MESSAGE_ID",
    "PubAck",
    "Publisher",
    "parse_ack",
    "pauses",
]

#: Header by which a server tells that it has a message already.
MESSAGE_ID = "Nats-Msg-Id"
#: Header that names the one stream that may store a message.
_EXPECTED_STREAM = "Nats-Expected-Stream"
#: Bytes that the headers of a message take at the most.
HEADER_SIZE = 128

#: Bytes in flight: at first, and at the most.
_FIRST_WINDOW = 1 << 20
_MAX_WINDOW = 8 << 20
#: Bytes that a message counts for beside its payload, in the window.
_MESSAGE_OVERHEAD = 128
#: Seconds from a send to its ack up to which the window grows, and from which it shrinks.
_PROMPT = 0.03
_LATE = 0.25
#: Seconds without an answer after which it is asked for one.
_DOUBT = 1.0
#: Seconds that replicas get between two acks, once the leader has answered a probe.
_GRACE = 0.25
#: Seconds to wait for an answer of the API before the question is asked again.
_PATIENCE = 3.0
#: Seconds between attempts: at first, and at the most.
_FIRST_PAUSE = 0.02
_MAX_PAUSE = 0.5
#: Seconds, beside the pause, to learn whether there still is a stream.
_DOUBT_TIMEOUT = 0.1
#: Seconds that a new leader gets to count what the one before it has acked.
_COUNT_PATIENCE = 5.0
#: Seconds since the first message from which all are counted: between the two looks of a
#: sweep as many pass, so that none removes what is younger.
_LONG = 2.0

#: An ack as servers write it; any other way to write it is read, too, ten times as slowly.
_ACK = re.compile(rb'\{"stream":"([\w-]+)", ?"seq":([1-9][0-9]{0,17})(,"duplicate": ?true)?\}')


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
    match = _ACK.fullmatch(message.payload)
    if match is not None and match[1] == stream.encode():
        return PubAck(int(match[2]), match[3] is not None)
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


def pauses() -> Iterator[float]:
    """Yield the seconds to wait before each further attempt, with jitter against stampedes."""
    pause = _FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.5, 1.0)
        pause = min(2 * pause, _MAX_PAUSE)


class _Block:
    """Messages that go out in one write."""

    __slots__ = ("first", "payloads", "release", "sent_at", "size")

    def __init__(
        self, first: int, payloads: Sequence[Buffer], release: Callable[[], None] | None
    ) -> None:
        self.first = first  # number of the first message
        self.payloads = payloads
        self.size = sum(map(len, payloads)) + _MESSAGE_OVERHEAD * len(payloads)
        self.release = release
        self.sent_at = 0.0

    @property
    def end(self) -> int:
        """Number of the message after the last one."""
        return self.first + len(self.payloads)


class Publisher:
    """
    Publishes messages to one subject, in order. For one thread.

    The bytes of a message belong to the publisher until its ack is in.

    Args:
        stream: Name of the stream that the acks must come from.
        subject: Literal subject, to which nobody else publishes.
        message_id: What the messages' ids begin with; never used before.
        doubt: Called with a timeout when nobody takes a message; raises if nobody ever will.

    Attributes:
        acked: Number of messages that are known to be stored, from the first without a gap.
        sent: Number of messages sent.
    """

    def __init__(
        self,
        js: JetStream,
        stream: str,
        subject: str,
        message_id: str,
        deadline: Deadline,
        *,
        doubt: Callable[[float], object] = lambda timeout: None,
    ) -> None:
        check_subject(subject)
        self._js = js
        self._connection: Connection = js.connection
        self._stream = stream
        self._subject = subject
        self._message_id = message_id
        self._doubt = doubt
        self._pid = os.getpid()
        self._open_inbox(deadline)
        self._waiting: deque[_Block] = deque()  # to be sent
        self._flying: deque[_Block] = deque()  # sent, and not acked to the last message
        self._flying_bytes = 0
        self._window = _FIRST_WINDOW
        self._early: dict[int, int] = {}  # stream sequences of what is acked behind a hole
        self._last_seq = 0
        self._deletions: dict[int, int] = {}  # how often a message had to be deleted
        self._sent_twice = 0  # messages below this number may have been sent twice
        self._is_doubtful = False  # something was, or the link changed
        self._probes = 0
        self._refusal: ObjStoreError | None = None  # found while settling
        self._reason: ObjStoreError | None = None  # of the last attempt without progress
        self._began = time.monotonic()
        self.sent = 0
        self.acked = 0

    def _open_inbox(self, deadline: Deadline) -> None:
        self._inbox = self._connection.inbox(deadline)
        self._inbox.published.add(self._subject)
        self._head = f"HPUB {self._subject} {self._inbox.subject('')}"
        self._unanswered = 0  # of what was sent on this link

    # Publishing

    def publish(
        self,
        payloads: Sequence[Buffer],
        deadline: Deadline,
        *,
        release: Callable[[], None] | None = None,
    ) -> None:
        """
        Publish each of `payloads` as a message, all in one gathered write.

        Waits while the window is full; `deadline` is extended by everything that gets stored.

        Args:
            release: Called when all of them are acked and their memory is free again.

        Raises:
            ObjStoreError: If a message is refused for good, or there is no progress until
                `deadline`; its message says why.
        """
        self._waiting.append(_Block(self.sent, payloads, release))
        self._send_ahead(deadline)
        while self._waiting:
            self._take_answer(deadline)
            self._send_ahead(deadline)

    def finish(self, deadline: Deadline) -> None:
        """
        Wait until every message is stored, where it belongs.

        Raises:
            ObjStoreError: As `publish`.
        """
        while self._waiting or self._flying:
            self._take_answer(deadline)
            self._send_ahead(deadline)
        if self._is_doubtful or time.monotonic() - self._began >= _LONG:
            self._check_count(deadline)

    def _send_ahead(self, deadline: Deadline) -> None:
        """Send what the window has room for."""
        while self._waiting:
            block = self._waiting[0]
            if self._flying and self._flying_bytes + block.size > self._window:
                return
            # In flight before it is sent: an interrupt may come at any time.
            self._flying.append(self._waiting.popleft())
            self._flying_bytes += block.size
            try:
                self._send(block, deadline)
            except ConnectionLostError as error:
                self._go_back(deadline, error)

    def _send(self, block: _Block, deadline: Deadline) -> None:
        """Send what is not acked yet of a block."""
        is_new = block.first >= self.sent
        self.sent = max(self.sent, block.end)
        start = max(self.acked - block.first, 0)
        buffers: list[Buffer] = []
        end = ""
        for number, payload in enumerate(block.payloads[start:], block.first + start):
            header = self._header(number)
            size = len(header) + len(payload)
            line = f"{end}{self._head}{2 * number} {len(header)} {size}\r\n{header}"
            buffers += [line.encode(), payload]
            end = "\r\n"
        buffers.append(b"\r\n")
        block.sent_at = time.monotonic()
        self._unanswered += len(block.payloads) - start
        # What goes out again is no progress.
        self._connection.send(
            buffers, deadline if is_new else deadline.rest(), link=self._inbox.link
        )

    def _header(self, number: int) -> str:
        message_id = f"{self._message_id}.{number}"
        if number in self._deletions:
            message_id += f".{self._deletions[number]}"
        return f"NATS/1.0\r\n{MESSAGE_ID}: {message_id}\r\n\r\n"

    # Answers

    def _take_answer(self, deadline: Deadline) -> None:
        """Take an answer; go back if it is bad, or there is none."""
        try:
            message = self._inbox.next(deadline.at_most(_DOUBT))
            if message is None:
                self._check_time(deadline)
            is_good = message is not None and self._note(message, deadline)
        except ObjStoreError as error:
            self._go_back(deadline, error)
        else:
            if not is_good:
                self._go_back(deadline, None)

    def _check_time(self, deadline: Deadline) -> None:
        if deadline.expired:
            raise RequestTimeoutError(
                f"{self._stream} has not confirmed a message for {deadline.timeout} s"
            )

    def _note(self, message: Message, deadline: Deadline) -> bool:
        """
        Take an ack.

        Returns:
            False if the message is stored where it must not stay.

        Raises:
            ObjStoreError: If it is none.
        """
        number, is_probe = divmod(self._inbox.number(message), 2)
        if is_probe:
            return True
        self._unanswered -= 1
        if number < self.acked:
            return True
        ack = parse_ack(message, self._stream)
        if ack.duplicate and number >= self._sent_twice:
            raise ProtocolError(f"{self._stream} had a message before it was sent")
        self._early[number] = ack.stream_seq
        while (stream_seq := self._early.get(self.acked)) is not None:
            if stream_seq <= self._last_seq:
                if self.acked < self._sent_twice:
                    return False
                raise ProtocolError(f"{self._stream} stored a message before the one sent earlier")
            del self._early[self.acked]
            self._last_seq = stream_seq
            self.acked += 1
            self._reason = None
            deadline.extend()
            if self._flying and self._flying[0].end == self.acked:
                self._finish_block(self._flying.popleft())
        return True

    def _finish_block(self, block: _Block) -> None:
        self._flying_bytes -= block.size
        delay = time.monotonic() - block.sent_at
        if delay <= _PROMPT:
            self._window = min(self._window + block.size, _MAX_WINDOW)
        elif delay >= _LATE:
            self._window = max(self._window // 2, _FIRST_WINDOW)
        if block.release is not None:
            block.release()

    # Going back

    def _go_back(self, deadline: Deadline, error: ObjStoreError | None) -> None:
        """
        Find out what is stored, and make ready to send again from the first hole on.

        Args:
            error: Why; None if there was only silence.

        Raises:
            ObjStoreError: That error, if it does not pass; another that does not; the last
                one if there is no way before `deadline`.
        """
        for pause in pauses():
            if error is not None:
                self._sit_out(error, deadline, pause)
            try:
                self._settle(deadline)
                self._delete_tail(deadline)
                break
            except ObjStoreError as again:
                # That the time is up says less than what it was spent on.
                if error is None or not isinstance(again, RequestTimeoutError):
                    error = again
        if self._flying:
            self._sent_twice, self._is_doubtful = self.sent, True
            self._waiting.extendleft(reversed(self._flying))
            self._flying.clear()
            self._flying_bytes = 0

    def _sit_out(self, error: ObjStoreError, deadline: Deadline, pause: float) -> None:
        """Wait before another attempt; raise an error that does not pass, or not in time."""
        is_over = deadline.expired or self._connection.state is State.CLOSED
        if is_over or not may_pass(error):
            # That the time is up says less than what it was spent on.
            raise self._reason if self._reason and isinstance(error, RequestTimeoutError) else error
        if not isinstance(error, RequestTimeoutError):
            self._reason = error
        if os.getpid() != self._pid:
            raise ConnectionLostError("the upload stayed in the parent process") from error
        if isinstance(error, NoRespondersError):
            self._doubt(deadline.at_most(pause + _DOUBT_TIMEOUT))
        if isinstance(error, JetStreamError) and error.err_code == ErrorCode.TOO_MANY_REQUESTS:
            self._window = max(self._window // 2, _FIRST_WINDOW)
        self._connection.closing.wait(deadline.at_most(pause))

    def _settle(self, deadline: Deadline) -> None:
        """
        Return when all that was sent is known to be stored or lost.

        Raises:
            ObjStoreError: If there is no leader to tell; or what it refused for good.
        """
        if self._inbox.ended:
            self._renew_inbox(deadline)
        first = self._probe(deadline)
        is_answered = False
        while not is_answered or self._unanswered > 0:
            message = self._inbox.next(deadline.at_most(_GRACE if is_answered else _DOUBT))
            if message is None:
                if is_answered:
                    break
                self._check_time(deadline)
                self._probe(deadline)
            elif self._is_word_of_leader(message, first):
                is_answered = True
            else:
                self._note_quietly(message, deadline)
        if self._refusal is not None:
            raise self._refusal

    def _renew_inbox(self, deadline: Deadline) -> None:
        """Take what has come on a lost link, and go over to the next one."""
        try:
            while (message := self._inbox.next(0)) is not None:
                self._note_quietly(message, deadline)
        except ConnectionLostError:
            self._is_doubtful = True
        self._open_inbox(deadline)
        limit = self._inbox.link.max_payload - HEADER_SIZE
        largest = max((len(data) for block in self._flying for data in block.payloads), default=0)
        if largest > limit:
            raise ProtocolError(
                f"{self._inbox.link.server} takes {limit} bytes in a message, "
                f"and one of {largest} bytes was on its way"
            )

    def _probe(self, deadline: Deadline) -> int:
        """Send what is refused by whoever leads; return the number of the answer."""
        self._probes += 1
        number = 2 * (self.sent + self._probes) + 1
        # No stream has such a name.
        header = f"NATS/1.0\r\n{_EXPECTED_STREAM}: *\r\n\r\n"
        line = f"{self._head}{number} {len(header)} {len(header)}\r\n{header}\r\n"
        self._connection.send([line.encode()], deadline.rest(), link=self._inbox.link)
        return number

    def _is_word_of_leader(self, message: Message, first: int) -> bool:
        """
        Whether this is the answer to a probe, beginning with the one of that number.

        Raises:
            ObjStoreError: If the probe did not get as far as to a leader.
        """
        number = self._inbox.number(message)
        if number < first or number % 2 == 0:
            return False
        if message.status is not None:
            parse_ack(message, self._stream)
        return True

    def _note_quietly(self, message: Message, deadline: Deadline) -> None:
        """Take an answer of which nothing follows before all of them are in."""
        try:
            self._note(message, deadline)
        except ObjStoreError as error:
            if not may_pass(error) and self._refusal is None:
                self._refusal = error

    def _delete_tail(self, deadline: Deadline) -> None:
        """Delete what is stored behind the first hole."""
        for number, stream_seq in sorted(self._early.items()):
            patience = Deadline(deadline.at_most(_PATIENCE))
            message = self._js.message(self._stream, stream_seq, patience)
            if message is not None:
                if message.subject != self._subject:
                    raise ProtocolError(f"{self._stream} is not the stream that it was")
                self._js.delete_message(self._stream, stream_seq, patience)
            self._deletions[number] = self._deletions.get(number, 0) + 1
            del self._early[number]

    def _check_count(self, deadline: Deadline) -> None:
        """
        Make sure that the stream has every message, and none of them twice.

        Raises:
            ProtocolError: If it has not: an ack was worth nothing, the stream was deleted
                and made anew, or somebody has removed them.
        """
        patience = Deadline(deadline.at_most(_COUNT_PATIENCE))
        for pause in pauses():
            try:
                count = self._count(Deadline(deadline.at_most(_PATIENCE)))
            except ObjStoreError as error:
                self._sit_out(error, deadline, pause)
                continue
            if count == self.sent:
                return
            if count > self.sent or patience.expired:
                raise ProtocolError(
                    f"{self._stream} has {count} messages where {self.sent} were stored"
                )
            self._connection.closing.wait(pause)

    def _count(self, deadline: Deadline) -> int:
        """Ask the leader for the number of messages under the subject."""
        info = self._js.stream_info(self._stream, deadline, subjects_filter=self._subject)
        subjects = info["state"].get("subjects") or {}
        return int(subjects.get(self._subject, 0))

    # The end

    def settle(self, deadline: Deadline) -> None:
        """Wait until the fate of what was sent is decided, so that a purge comes last."""
        with contextlib.suppress(ObjStoreError):
            for pause in pauses():
                if not self._flying and not self._waiting:
                    return
                try:
                    return self._settle(deadline)
                except ObjStoreError as error:
                    self._sit_out(error, deadline, pause)

    def close(self) -> None:
        """Take no more acks."""
        self._inbox.close()

    def abandon(self) -> None:
        """Close, for finalizers."""
        self._inbox.abandon()
