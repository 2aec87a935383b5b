"""One request that has been sent, and its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from objstore.core.deadline import Deadline
from objstore.core.protocol import Buffer, Message
from objstore.errors import NoRespondersError, RequestTimeoutError

if TYPE_CHECKING:
    from objstore.core.connection import Connection, Headers

__all__ = ["SMALL_REQUEST", "Request"]

#: Bytes of a request up to which another thread that is sending may take it along.
SMALL_REQUEST = 1 << 14
#: Seconds without an answer after which it is seen to that the request is out.
_DOUBT = 0.05


class Request:
    """
    Sends a request; `answer` waits for what comes back, now or after other work.

    Args:
        ahead: Leave it to the next who sends: it goes out in one write with another request.

    Attributes:
        inbox: Where the answer arrives; a request with several takes them from here.
        copies: How many times it was sent.

    Raises:
        InvalidNameError: If the subject cannot be published to.
        ConnectionLostError: If there is no connection.
    """

    def __init__(
        self,
        connection: Connection,
        subject: str,
        payload: Buffer,
        deadline: Deadline,
        headers: Headers | None = None,
        *,
        ahead: bool = False,
    ) -> None:
        self._connection = connection
        self._subject = subject
        self._ahead = ahead
        self.copies = 1
        self.inbox = inbox = connection.inbox(deadline)
        try:
            self._message = b"".join(
                connection.encode(subject, payload, inbox.subject(), headers, deadline)
            )
            inbox.published.add(subject)
            if ahead:
                inbox.link.said.append(self._message)
            else:
                self._send(deadline)
        except BaseException:
            inbox.close()
            raise

    def _send(self, deadline: Deadline) -> None:
        connection, link = self._connection, self.inbox.link
        message = self._message
        if len(message) <= SMALL_REQUEST:
            if connection.submit(message, link=link):
                return
            message = b""  # what has found no room is the first to go
        # To have asked is no progress: only an answer is.
        connection.send([message] if message else [], deadline.rest(), link=link)

    def next(self, timeout: float | None) -> Message | None:
        """
        Take the next answer; as `next` of its inbox, and to be called instead of that.

        Raises:
            ConnectionLostError: If the connection breaks.
            RequestTimeoutError: If the server takes nothing for so long.
        """
        if self._ahead and self._connection.has_unsent:
            self._connection.send_said()  # nobody had anything to send since
        if timeout is not None and timeout <= _DOUBT:
            return self.inbox.next(timeout)
        message = self.inbox.next(_DOUBT)
        if message is None:
            rest = Deadline(None if timeout is None else timeout - _DOUBT)
            if self._connection.has_unsent:
                # Who took it along found no room for it.
                self._connection.send([], rest.rest(), link=self.inbox.link)
            message = self.inbox.next(rest.remaining())
        return message

    def answer(self, deadline: Deadline, *, again: float | None = None) -> Message:
        """
        Wait for the first answer. To be called once.

        Args:
            again: Seconds without an answer after which it is sent once more, for what may
                be served twice: it may have gone down with the server that it was meant for.

        Raises:
            NoRespondersError: If nobody serves the subject.
            RequestTimeoutError: If no answer comes in time.
            PermissionsViolationError: If the server denies the subject.
            ConnectionLostError: If the connection breaks.
        """
        try:
            while True:
                patience = deadline.remaining() if again is None else deadline.at_most(again)
                message = self.next(patience)
                if message is not None or deadline.expired:
                    break
                self.copies += 1
                self._send(deadline)
        finally:
            self.inbox.close()
        if message is None:
            raise RequestTimeoutError(f"no answer from {self._subject} within {deadline.timeout} s")
        if message.status == 503:
            raise NoRespondersError(f"nobody serves {self._subject}")
        return message

    def forget(self) -> None:
        """Do not wait for the answer; harmless after it."""
        self.inbox.close()

    def abandon(self) -> None:
        """Forget, for finalizers."""
        self.inbox.abandon()
