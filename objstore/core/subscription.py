"""
Queues of messages between the reader thread and one caller each.

The reader thread hands over batches and never waits; the caller waits and takes one
message at a time. A `Subscription` is known to the server and survives a lost
connection; an `Inbox` collects the answers to some requests and ends with the connection
that they were sent on, because the answers are lost with it.
"""

from __future__ import annotations

import queue
import re
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from objstore.core.protocol import Message
from objstore.errors import ConnectionLostError, ObjStoreError, SlowConsumerError, fresh

if TYPE_CHECKING:
    from objstore.core.connection import Connection
    from objstore.core.link import Link

__all__ = ["Inbox", "MessageQueue", "Subscription"]

#: Bytes that a message takes beside its payload.
_OVERHEAD = 256
#: Bytes that may wait in a queue. What readers of objects ask for stays far below.
_MAX_PENDING = 64 << 20

_NUMBER = re.compile(r"[0-9]{1,18}")


class MessageQueue:
    """
    Messages on their way from the reader thread to one caller.

    `deliver` and `end` are the reader thread's (or the closing thread's); everything
    else is the one caller's. Each side owns a counter, and the reader may see the
    caller's a moment late: the limit is then applied a moment early, which is harmless.
    """

    # Of the class, so that a queue is made quickly: each request has one.
    _failure: ObjStoreError | None = None
    _limit = _MAX_PENDING
    _delivered = 0  # bytes; written by the reader thread only
    _taken = 0  # bytes; written by the caller only
    #: Called after each delivery, in the reader thread: it may not wait.
    on_delivery: Callable[[], None] | None = None

    def __init__(self, limit: int | None = None) -> None:
        self._batches: queue.SimpleQueue[list[Message] | None] = queue.SimpleQueue()
        self._current: deque[Message] = deque()
        if limit is not None:
            self._limit = limit

    def deliver(self, batch: list[Message]) -> None:
        """Hand over messages that came together: one wake-up for all of them."""
        self._delivered += _size(batch)
        if self._delivered - self._taken > self._limit and self._failure is None:
            self._overflow()
        if self._failure is None:
            self._batches.put(batch)
            if self.on_delivery is not None:
                self.on_delivery()

    def _overflow(self) -> None:
        self.end(SlowConsumerError(f"more than {self._limit} bytes wait to be taken"))

    def end(self, failure: ObjStoreError) -> None:
        """Let every waiting and later `next` raise a copy of `failure`."""
        if self._failure is None:
            self._failure = failure
            self._batches.put(None)
            if self.on_delivery is not None:
                self.on_delivery()

    @property
    def ended(self) -> bool:
        """Whether no more messages will be handed over."""
        return self._failure is not None

    def rest(self) -> list[Message]:
        """Take what is left of a batch that `next` has begun."""
        messages = list(self._current)
        self._current.clear()
        self._taken += _size(messages)
        return messages

    @property
    def failure(self) -> ObjStoreError | None:
        """Why it has ended; None if it has not."""
        return self._failure

    def next(self, timeout: float | None) -> Message | None:
        """
        Take the next message.

        Args:
            timeout: Seconds to wait; 0 does not wait, None waits for ever.

        Returns:
            The message; None when none came in time.

        Raises:
            ObjStoreError: When the queue has ended; for one ConnectionLostError.
        """
        if not self._current:
            try:
                batch = self._batches.get(timeout != 0, timeout)
            except queue.Empty:
                return None
            if batch is None:
                self._batches.put(None)  # for the next call
                raise fresh(self._failure or ConnectionLostError("the queue has ended"))
            self._current.extend(batch)
        message = self._current.popleft()
        self._taken += len(message.payload) + _OVERHEAD
        return message


def _size(messages: list[Message]) -> int:
    return sum([len(message.payload) for message in messages]) + _OVERHEAD * len(messages)


class Subscription(MessageQueue):
    """
    A subject subscribed to.

    Attributes:
        sid: Its id on the connection.
        subject: Literal, or with wildcards.
        queue: Name of the queue group, or "".
    """

    def __init__(self, connection: Connection, sid: int, subject: str, queue: str) -> None:
        super().__init__()
        self._connection = connection
        self.sid = sid
        self.subject = subject
        self.queue = queue

    def _overflow(self) -> None:
        # What follows may well be wanted: make room instead of ending.
        self._connection.drop_slow(self)

    def close(self) -> None:
        """Tell the server to send no more. Twice is fine."""
        self._connection.unsubscribe(self)


class Inbox(MessageQueue):
    """
    Where the answers to some requests arrive.

    Each may be used for many requests, told apart by a number at the end of the subject.
    The server knows one wildcard subscription per connection, shared by all inboxes, so an
    ordinary inbox is an entry in a table on our side and costs no command. Messages of a
    consumer carry the subject that they were stored under, so only the id of the
    subscription tells whom they are for: they need a `private` inbox, with an id of its own.

    Attributes:
        link: The life of the connection that the requests go out on.
        key: What identifies it: its token, or its subscription id if private.
        published: Subjects published to; a denial of one of them ends this inbox.
    """

    def __init__(self, connection: Connection, link: Link, subject: str, key: str | int) -> None:
        super().__init__()
        self._connection = connection
        self._subject = f"{subject}."
        self._start = len(self._subject)
        self.link = link
        self.key = key
        self.published: set[str] = set()

    def __enter__(self) -> Inbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def subject(self, number: int | str = 0) -> str:
        """Return the reply subject of request `number`."""
        return f"{self._subject}{number}"

    def number(self, message: Message) -> int:
        """Return the number of the request that `message` answers; -1 if it is none."""
        digits = message.subject[self._start :]
        return int(digits) if _NUMBER.fullmatch(digits) else -1

    def close(self, farewell: bytes = b"") -> None:
        """Forget the inbox and send `farewell`; answers that still come are dropped."""
        self._connection.forget(self, farewell)
        if self.link.said:
            self._connection.send_said()

    def abandon(self, farewell: bytes = b"") -> None:
        """Close for finalizers: no lock, no I/O; the next to use the connection does it."""
        self._connection.forget(self, farewell)
