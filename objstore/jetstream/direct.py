"""
Direct get: stored messages from whichever replica answers, without a consumer.

A replica may lag, so what it lacks is asked of the leader before it is called missing.
Batches need nats-server 2.11; an older server answers with the first message alone,
without `Nats-Num-Pending`, and that is how it is told apart. Each message of a batch names
the one before it: between the servers of a cluster some may be lost.
"""

from __future__ import annotations

from typing import Any

from objstore.core.deadline import Deadline
from objstore.core.protocol import Message
from objstore.errors import (
    ConnectionLostError,
    JetStreamError,
    NoRespondersError,
    RequestTimeoutError,
)
from objstore.jetstream.api import JetStream
from objstore.jetstream.messages import StreamMessage, from_direct

__all__ = ["DirectGet", "direct_last"]


def direct_last(
    js: JetStream, stream: str, subject: str, deadline: Deadline
) -> StreamMessage | None:
    """
    Return the last message stored under `subject`, as some replica has it; None if none.

    Raises:
        NoRespondersError: If the stream does not allow direct gets, or is gone.
        RequestTimeoutError: If no answer comes in time.
    """
    last = DirectGet(js, f"{stream}.{subject}", None, deadline)
    message = last.next(deadline.remaining())
    if message is None and not last.exhausted:
        last.close()
        raise RequestTimeoutError(f"no answer from {stream} within {deadline.timeout} s")
    return message


class DirectGet:
    """
    One request for stored messages, and the messages that answer it. For one thread.

    Args:
        target: Name of a stream, or `<stream>.<subject>` for that subject's last message.
        body: What of the stream, for example `{"seq": 5, "next_by_subj": …, "batch": 8}`
            or `{"multi_last": […], "batch": 1000}`; None with a subject.
        ahead: Send it together with the next request.

    Attributes:
        target: As it was given.
        exhausted: Whether the last message has been taken.
        up_to_seq: Sequence that a `multi_last` answer is a snapshot of; 0 before its end.
    """

    def __init__(
        self,
        js: JetStream,
        target: str,
        body: dict[str, Any] | None,
        deadline: Deadline,
        *,
        ahead: bool = False,
    ) -> None:
        self.target = target
        self.exhausted = False
        self.up_to_seq = 0
        self._stream = target.partition(".")[0]
        self._is_batch = body is not None
        self._last_seq = 0  # of this batch
        self._request = js.ask(f"DIRECT.GET.{target}", body, deadline, ahead=ahead)
        # nats-server 2.11 counts the message itself among those that follow it.
        self._surplus = str(self._request.inbox.link.info.get("version")).startswith("2.11.")

    def next(self, timeout: float | None) -> StreamMessage | None:
        """
        Return the next message; None at the end, or when none came in time.

        Raises:
            NoRespondersError: If the stream does not allow direct gets, or is gone, or has an
                old mirror answer for it.
            JetStreamError: If the server refuses, for one with code 413 when `multi_last`
                matches more than 1,024 subjects.
            ConnectionLostError: If the connection breaks, or loses a message of the batch.
        """
        answer = None if self.exhausted else self._request.next(timeout)
        if answer is None:
            return None
        if answer.status is None:
            message = from_direct(answer)
            if self._is_batch:
                self._check_place(answer)
                self._last_seq = message.stream_seq
            if message.pending is None or not self._is_batch:
                self.close()  # a single message, and no word of an end behind it
                if answer.headers.fields.get("Nats-Stream", [""])[-1] != self._stream:
                    # Up to nats-server 2.9 a mirror numbers its messages in its own way.
                    raise NoRespondersError("a mirror answers for the stream")
            elif self._surplus and message.pending:
                message = message._replace(pending=message.pending - 1)
            return message
        self.close()
        self._take_end(answer)
        return None

    def _take_end(self, answer: Message) -> None:
        """Take a status message: the end of what there is, or an error."""
        block = answer.headers
        if block.status == 503:
            raise NoRespondersError("the stream allows no direct get, or is gone")
        if block.status not in (204, 404):
            raise JetStreamError(block.status or 0, 0, block.description)
        if block.status == 204:
            self._check_place(answer)
        up_to_seq = block.fields.get("Nats-UpTo-Sequence", ["0"])[0]
        self.up_to_seq = int(up_to_seq) if up_to_seq.isdigit() else 0

    def _check_place(self, answer: Message) -> None:
        """Make sure that nothing is missing between the last message and this answer."""
        before = answer.headers.fields.get("Nats-Last-Sequence", [str(self._last_seq)])
        if before[-1] != str(self._last_seq):
            self.close()
            raise ConnectionLostError(f"messages of {self._stream} were lost on the way")

    def stop(self) -> None:
        """Let `next` raise ConnectionLostError, in whichever thread it waits."""
        self._request.inbox.end(ConnectionLostError("the request is given up"))

    def close(self) -> None:
        """Take no more messages. Twice is fine."""
        self.exhausted = True
        self._request.forget()

    def abandon(self) -> None:
        """Close, for finalizers."""
        self._request.abandon()
