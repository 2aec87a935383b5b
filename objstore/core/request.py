"""One request that has been sent, and its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from objstore.core.deadline import Deadline
from objstore.core.protocol import Buffer, Message
from objstore.errors import NoRespondersError, RequestTimeoutError

if TYPE_CHECKING:
    from objstore.core.connection import Connection, Headers

__all__ = ["Request"]


class Request:
    """
    Sends a request; `answer` waits for what comes back, now or after other work.

    Attributes:
        inbox: Where the answer arrives; a request with several takes them from here.

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
    ) -> None:
        self._connection = connection
        self._subject = subject
        self.inbox = connection.inbox(deadline)
        try:
            self._buffers = connection.encode(
                subject, payload, self.inbox.subject(), headers, deadline
            )
            self.inbox.published.add(subject)
            self._send(deadline)
        except BaseException:
            self.inbox.close()
            raise

    def _send(self, deadline: Deadline) -> None:
        # To have asked is no progress: only an answer is.
        self._connection.send(self._buffers, deadline.rest(), link=self.inbox.link)

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
        with self.inbox as inbox:
            while True:
                patience = deadline.remaining() if again is None else deadline.at_most(again)
                message = inbox.next(patience)
                if message is not None or deadline.expired:
                    break
                self._send(deadline)
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
