"""Many requests about a bucket at once, from one thread: a few writes take all of them out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from objstore.bucket import Bucket
from objstore.core.deadline import Deadline
from objstore.core.headers import encode_headers
from objstore.core.protocol import Buffer, Message
from objstore.core.request import SMALL_REQUEST
from objstore.core.subscription import Inbox
from objstore.errors import ObjStoreError, RequestTimeoutError

__all__ = ["Exchange"]

#: Seconds without an answer after which it is asked whether there will be one.
_DOUBT = 0.5
#: Seconds for each further answer when the stream has no leader, for he alone answers some;
#: or has one, and the answers do not come.
_GRACE = 0.25
#: Pieces that go out in one write, one for a small request and four for a large one: while
#: more are made ready the server is at work on them.
_WRITE = 32


class Exchange:
    """
    Requests, numbered, and their answers.

    Args:
        deadline: Every answer extends it.
    """

    def __init__(self, bucket: Bucket, deadline: Deadline) -> None:
        self._bucket = bucket
        self._connection = bucket.js.connection
        self._deadline = deadline
        self._inbox: Inbox = self._connection.inbox(deadline)
        self._max_payload = self._inbox.link.max_payload
        self._pieces: list[Buffer] = []
        self._waiting: set[int] = set()
        self._taken: dict[int, Message] = {}

    def __enter__(self) -> Exchange:
        return self

    def __exit__(self, *_: object) -> None:
        self._inbox.close()

    def add(
        self,
        number: int,
        subject: str,
        payload: Buffer,
        headers: dict[str, str] | None = None,
    ) -> None:
        """
        Add a request; with others before it, it is sent.

        Args:
            subject: As `naming` and the API make it: it is not looked at.

        Raises:
            ValueError: If the message is too large for the server.
            ConnectionLostError, RequestTimeoutError: As from `send`.
        """
        self._waiting.add(number)
        self._add(subject, payload, headers, f"{self._inbox.subject(number)} ")

    def tell(self, subject: str, payload: Buffer, headers: dict[str, str]) -> None:
        """Add a message that needs no answer, because that to another tells enough."""
        self._add(subject, payload, headers, "")

    def _add(
        self, subject: str, payload: Buffer, headers: dict[str, str] | None, reply: str
    ) -> None:
        block = encode_headers(headers) if headers else b""
        size = len(block) + len(payload)
        if size > self._max_payload:
            raise ValueError(
                f"a message of {size} bytes is larger than the server's max_payload, "
                f"{self._max_payload}"
            )
        if block:
            line = f"HPUB {subject} {reply}{len(block)} {size}\r\n"
        else:
            line = f"PUB {subject} {reply}{size}\r\n"
        pieces = [line.encode(), block, payload, b"\r\n"]
        self._pieces += pieces if size > SMALL_REQUEST else [b"".join(pieces)]
        self._inbox.published.add(subject)
        if len(self._pieces) >= _WRITE:
            self.send()

    def send(self) -> None:
        """
        Send what was added.

        Raises:
            ConnectionLostError: If the connection of the first request is gone.
            RequestTimeoutError: If the server takes nothing.
        """
        pieces, self._pieces = self._pieces, []
        if sum(map(len, pieces)) > SMALL_REQUEST:
            self._connection.send(pieces, self._deadline, link=self._inbox.link)
        elif pieces and not self._connection.submit(b"".join(pieces), link=self._inbox.link):
            self._connection.send([], self._deadline, link=self._inbox.link)

    def answers(self) -> Iterator[tuple[int, Message]]:
        """
        Yield number and answer of every request, as they come.

        Raises:
            ConnectionLostError: If the connection breaks.
            RequestTimeoutError: If no answer comes in time.
            BucketNotFoundError: If none comes because the bucket is gone.
        """
        while self._waiting:
            yield self._take()

    def answer(self, number: int) -> Message:
        """Wait for the answer to one request; raises as `answers`."""
        while number not in self._taken:
            other, message = self._take()
            self._taken[other] = message
        return self._taken[number]

    def _take(self) -> tuple[int, Message]:
        while True:
            message = self._inbox.next(self._deadline.at_most(_DOUBT))
            if message is None:
                if self._deadline.expired:
                    raise RequestTimeoutError(f"no answer for {self._deadline.timeout} s")
                if self._connection.has_unsent:
                    # Who took the requests along found no room for them.
                    self._connection.send([], self._deadline, link=self._inbox.link)
                if self._bucket.check_exists(self._deadline.at_most(_DOUBT)):
                    self.hasten()  # it has had its time
                continue
            number = self._inbox.number(message)
            if number in self._waiting:
                self._deadline.extend()
                self._waiting.remove(number)
                return number, message

    def hasten(self) -> None:
        """Give up soon: nobody may be there to answer the rest."""
        self._deadline = Deadline(self._deadline.at_most(_GRACE))

    def settle(self, deadline: Deadline) -> None:
        """Wait for the answers, whatever they are, so that a purge comes last."""
        with contextlib.suppress(ObjStoreError):
            while self._waiting:
                message = self._inbox.next(deadline.remaining())
                if message is None:
                    return
                self._waiting.discard(self._inbox.number(message))
