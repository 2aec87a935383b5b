"""
Ordered consumption: the messages of a filter, in order, without a gap.

An ordered consumer is an ephemeral pull consumer that can be thrown away: when a message
is missing, the server falls silent, or the consumer or the connection is lost, a new one
goes on behind the last message that was handed out. What the server may send ahead is
bounded by credit: two requests are outstanding, each for part of the window, and the next
one goes out when the caller has taken what the oldest brought.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from objstore.core.connection import State
from objstore.core.deadline import Deadline
from objstore.core.nuid import next_nuid
from objstore.core.protocol import Message, encode_pub
from objstore.errors import (
    ConnectionLostError,
    JetStreamError,
    NoRespondersError,
    RequestTimeoutError,
)
from objstore.jetstream.api import NANOSECONDS, ErrorCode, JetStream, encode_body
from objstore.jetstream.messages import StreamMessage, from_consumer

__all__ = ["OrderedConsumer"]

#: Bytes that the server may send ahead.
_WINDOW = 8 << 20
#: Requests that share the window: while one is being served the other waits its turn.
_REQUESTS = 2
#: Bytes that the server counts for a message beside its payload: subjects and headers.
_MESSAGE_OVERHEAD = 512
#: What the server says of a request that it served: a message too large for the rest of its
#: bytes, or none of them left. Any other 409 is about the consumer.
_SERVED = ("message size exceeds maxbytes", "batch completed")
#: Seconds after which the server answers a request that it could not fill.
_EXPIRES = 30.0
#: Seconds between the server's signs of life, and how long we wait for one.
_HEARTBEAT = 2.0
_SILENCE = 2 * _HEARTBEAT
#: Refusals of a new consumer that pass: for one while a leader is elected.
_PASSING = frozenset({ErrorCode.CLUSTER_NOT_AVAILABLE, ErrorCode.INSUFFICIENT_RESOURCES})
#: Seconds to wait for the first attempt to make one; each later one gets half as many more,
#: up to a limit. Which server of a cluster is to serve one is left to chance, and one that
#: was just lost never answers.
_PATIENCE = 0.5
_GROWTH = 1.5
_MAX_PATIENCE = 4.0
#: Seconds between attempts to make another, and at the least for an attempt.
_RETRY_INTERVAL = 0.1
_LEAST_PATIENCE = 0.25
#: Seconds after which the server deletes a consumer that nobody asks.
_INACTIVE_THRESHOLD = 60.0


class OrderedConsumer:
    """
    The messages of a filter, in order. For one thread.

    Args:
        stream: Name of the stream.
        subject: Filter, with or without wildcards.
        deliver_policy: `all`, `last`, `last_per_subject` or `new`.
        start_seq: Begin at this sequence instead.
        headers_only: Leave the payloads out; the sizes come in a header.
        message_size: Bytes of a typical payload: decides how many are asked for at once.
        until_empty: End when the server has no more, instead of waiting for new messages.
        check: Called before a consumer is replaced; what it raises is raised by `next`.

    Attributes:
        exhausted: Whether the end was reached; with `until_empty` only.
        pending: Messages that waited when the consumer was made.
        stream_seq: Sequence of the last message handed out, or the one before the start.

    Raises:
        JetStreamError: If the server refuses the consumer, for one because the stream is
            gone.
    """

    def __init__(
        self,
        js: JetStream,
        stream: str,
        subject: str,
        deadline: Deadline,
        *,
        deliver_policy: str = "all",
        start_seq: int | None = None,
        headers_only: bool = False,
        message_size: int = 1024,
        until_empty: bool = False,
        check: Callable[[Deadline], object] | None = None,
    ) -> None:
        self._js = js
        self._check = check
        self._stream = stream
        self._subject = subject
        self._policy = deliver_policy
        self._headers_only = headers_only
        self._until_empty = until_empty
        self._bytes = _WINDOW // _REQUESTS
        self._batch = max(1, self._bytes // (message_size + _MESSAGE_OVERHEAD))
        self._least_bytes = min(message_size + _MESSAGE_OVERHEAD, self._bytes)
        self._patience = _PATIENCE
        self._stopped = False
        self._lost = True  # whether there is no consumer that could be asked
        self.exhausted = False
        self.stream_seq = 0 if start_seq is None else start_seq - 1
        self._started = start_seq is not None  # whether stream_seq says where to begin
        # From the server's last sign of life on.
        self._silence = Deadline(_SILENCE)
        js.persist(lambda: self._create(deadline), deadline)

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = {
            "name": self._name,
            "deliver_policy": self._policy,
            "ack_policy": "none",
            "filter_subject": self._subject,
            "replay_policy": "instant",
            "inactive_threshold": int(_INACTIVE_THRESHOLD * NANOSECONDS),
            "num_replicas": 1,
            "mem_storage": True,
        }
        if self._started:
            config.update(deliver_policy="by_start_sequence", opt_start_seq=self.stream_seq + 1)
        if self._headers_only:
            config["headers_only"] = True
        return config

    def _create(self, deadline: Deadline) -> None:
        """Make a consumer that goes on where the last one stopped."""
        self._name = next_nuid()
        self._inbox = self._js.connection.inbox(deadline, private=True)
        self._requests: deque[list[int]] = deque()  # [number, messages left, asked], oldest first
        self._next_number = 0
        self._consumer_seq = 0
        body = {"stream_name": self._stream, "config": self._config()}
        try:
            # Where nobody answers the next one may: the server that was to serve this one may
            # be out of order.
            patience = Deadline(deadline.at_most(self._patience))
            self._patience = min(_GROWTH * self._patience, _MAX_PATIENCE)
            info = self._js.call(f"CONSUMER.CREATE.{self._stream}.{self._name}", body, patience)
        except BaseException:
            self._inbox.close(self._farewell())  # it may be there all the same
            raise
        self._patience = _PATIENCE
        self.pending = int(info.get("num_pending", 0))
        if self._policy == "new" and not self._started:
            # Should this consumer be replaced, its successor begins at the same place.
            self.stream_seq, self._started = int(info["delivered"]["stream_seq"]), True
        self._silence.extend()
        self._lost = False
        if self._stopped:
            self.stop()

    def _farewell(self) -> bytes:
        return self._js.say(f"CONSUMER.DELETE.{self._stream}.{self._name}", None)

    def _replace(self, deadline: Deadline) -> None:
        """Throw the consumer away and make another."""
        self._lost = True
        self._inbox.close(self._farewell())
        if deadline.at_most(_LEAST_PATIENCE) < _LEAST_PATIENCE:
            # Who does not wait would never see the answer, however soon it comes.
            deadline = Deadline(_LEAST_PATIENCE)
        if self._check is not None:
            self._check(Deadline(deadline.at_most(self._patience)))
        self._create(deadline)

    @property
    def _most_requests(self) -> int:
        # "No messages" to one is no end while another is being served.
        return 1 if self._until_empty else _REQUESTS

    def ask(self, deadline: Deadline) -> None:
        """
        Send requests until enough are outstanding; `next` does it, too.

        Asked beforehand, messages come as they are stored, not as they are wanted: later
        ones of the same subject may replace them.
        """
        asked: list[list[int]] = []
        buffers = []
        if len(self._requests) >= self._most_requests:
            return
        # Less than the window where many receive at once, but a message at least.
        most_bytes = max(self._js.connection.share(self._bytes), self._least_bytes)
        batch = max(1, self._batch * most_bytes // self._bytes)
        while len(self._requests) + len(asked) < self._most_requests:
            body: dict[str, Any] = {"batch": batch, "max_bytes": most_bytes}
            if self._until_empty:
                body["no_wait"] = True
            else:
                body["expires"] = int(_EXPIRES * NANOSECONDS)
                body["idle_heartbeat"] = int(_HEARTBEAT * NANOSECONDS)
            subject = self._js.subject(f"CONSUMER.MSG.NEXT.{self._stream}.{self._name}")
            reply = self._inbox.subject(self._next_number)
            self._inbox.published.add(subject)
            buffers += encode_pub(subject, encode_body(body), reply)
            asked.append([self._next_number, batch, batch])
            self._next_number += 1
        if buffers:
            self._js.connection.send(buffers, deadline.rest(), link=self._inbox.link)
            self._requests += asked
            self._silence.extend()  # we may have been busy with what the last one brought

    def page(self, timeout: float | None) -> list[StreamMessage]:
        """Return the next message and those that came with it; none where `next` has none."""
        first = self.next(timeout)
        if first is None:
            return []
        messages = [first]
        for answer in self._inbox.rest():
            message = self._take(answer)
            if message is not None:
                messages.append(message)
            elif self._lost:
                break  # a gap: what is behind it will come again
        return messages

    def next(self, timeout: float | None) -> StreamMessage | None:
        """
        Return the next message.

        Args:
            timeout: Seconds to wait; 0 does not wait, None waits for ever.

        Returns:
            The message; None when none came in time, or at the end.

        Raises:
            JetStreamError: If the server refuses, for one because the stream is gone.
            ConnectionLostError: If the connection is closed.
        """
        deadline = Deadline(timeout)
        while not self.exhausted:
            try:
                if self._lost:
                    self._replace(deadline)
                message = self._next(deadline)
            except ConnectionLostError:
                if self._stopped or self._js.connection.state is State.CLOSED:
                    raise
                self._lost, message = True, None
            except (NoRespondersError, JetStreamError, RequestTimeoutError) as error:
                if isinstance(error, JetStreamError) and error.err_code not in _PASSING:
                    raise
                if self._stopped:
                    raise ConnectionLostError("the consumer is stopped") from error
                # The stream has no leader at the moment; the next one will make a consumer.
                self._js.connection.closing.wait(deadline.at_most(_RETRY_INTERVAL))
                message = None
            if message is not None:
                return message
            if deadline.expired:
                break
        return None

    def _next(self, deadline: Deadline) -> StreamMessage | None:
        self.ask(deadline)
        answer = self._inbox.next(_earlier(deadline.remaining(), self._silence.remaining()))
        if answer is None:
            if self._silence.expired:
                self._replace(deadline)
            return None
        self._silence.extend()
        return self._take(answer)

    def _take(self, answer: Message) -> StreamMessage | None:
        """Return the message in an answer; None for the server's word, or behind a gap."""
        if answer.status is not None and not answer.reply:
            self._take_status(answer)
            return None
        message = from_consumer(answer)
        if message.consumer_seq != self._consumer_seq + 1:
            self._lost = True
            return None
        self._consumer_seq = message.consumer_seq
        if self._requests:
            self._requests[0][1] -= 1
            if self._requests[0][1] == 0:
                self._requests.popleft()
        if message.stream_seq <= self.stream_seq:
            return None  # a replica that lags begins earlier than it was told (nats-server 2.10)
        self.stream_seq, self._started = message.stream_seq, True
        return message

    def _take_status(self, answer: Message) -> None:
        """Take the server's word on a request: a sign of life, or its end."""
        block = answer.headers
        if block.status == 100:
            return
        if block.status in (404, 408) or block.description.lower() in _SERVED:
            number = self._inbox.number(answer)
            ended = next((r for r in self._requests if r[0] == number), None)
            if ended is None:
                return  # its last message was its end
            self._requests.remove(ended)
            if block.status == 404 and self._until_empty:
                self.exhausted = True
            elif block.status == 409 and ended[1] == ended[2]:
                # Not even one message fits.
                self._least_bytes = 2 * max(self._least_bytes, self._bytes)
        else:
            # 409 Consumer Deleted, Leadership Change, Server Shutdown; 503 when it is gone.
            self._lost = True

    def follow(self, *, until_empty: bool = False) -> None:
        """Go on behind the end of what was there: with what comes, or with what there is now."""
        self._until_empty, self.exhausted = until_empty, False
        self._requests.clear()  # each was answered with what there was

    def stop(self) -> None:
        """Let `next` raise ConnectionLostError, in whichever thread it waits."""
        self._stopped = True
        self._inbox.end(ConnectionLostError("the consumer is stopped"))

    def close(self) -> None:
        """Delete the consumer. Twice is fine."""
        self._inbox.close(self._farewell())

    def abandon(self) -> None:
        """Close, for finalizers."""
        self._inbox.abandon(self._farewell())


def _earlier(first: float | None, second: float | None) -> float | None:
    return min((seconds for seconds in (first, second) if seconds is not None), default=None)
