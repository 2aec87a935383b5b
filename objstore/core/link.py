"""
One life of a connection: a socket to one server, from its `INFO` to its end.

The handshake runs in the thread that connects; afterwards the reader thread receives from
the link, and whoever holds the connection's write lock sends on it.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from objstore.core.deadline import Deadline
from objstore.core.options import ServerURL
from objstore.core.protocol import (
    Event,
    Parser,
)
from objstore.core.secret import redact
from objstore.core.transport import Transport
from objstore.errors import (
    AuthenticationError,
    ConnectError,
    ProtocolError,
    shorten,
)

__all__ = ["Link", "check_info"]

#: Words in the errors by which servers refuse who we are, or end who we were.
_AUTHENTICATION_WORDS = ("authorization violation", "authentication", "jwt", "nkey")
#: Subjects of which is remembered that the server does not deny them.
_MAX_ALLOWED = 4096


class Link:
    """
    A connected and greeted server.

    Attributes:
        server: Its URL.
        transport: The byte stream.
        parser: Holds what was received and not yet parsed.
        info: The fields of the server's `INFO`.
        vouched: Whether `info` came the way that everything else comes, and not before TLS.
        shown: What we have shown of who we are: secrets, which nobody is to repeat.
        allowed: Subjects that were published to and not denied.
        events: What came with the end of the handshake, for the reader thread.
        said: What to send without waiting; appended by any thread, even in a finalizer,
            and emptied under the connection's write lock.
        pings: Number of `PING`s queued; guarded by the connection's lock.
        pongs: Number of `PONG`s received; guarded by the connection's lock.
    """

    def __init__(self, server: ServerURL, transport: Transport, parser: Parser) -> None:
        self.server = server
        self.transport = transport
        self.parser = parser
        self.info: dict[str, Any] = {}
        self.vouched = True
        self.shown: tuple[str, ...] = ()
        self.allowed: set[str] = set()
        self.events: deque[Event] = deque()
        self.said: deque[bytes] = deque()
        self.pings = 0
        self.pongs = 0

    @property
    def max_payload(self) -> int:
        """Bytes of the largest message that the server takes, headers included."""
        return int(self.info["max_payload"])

    @property
    def has_permissions(self) -> bool:
        """Whether the server may deny us one thing and allow another."""
        return bool(self.shown) or self.info.get("auth_required") is True

    def allow(self, subject: str) -> None:
        """Note that the server lets us publish there."""
        if len(self.allowed) < _MAX_ALLOWED:
            self.allowed.add(subject)

    @property
    def is_leaving(self) -> bool:
        """Whether the server is about to shut down (its "lame duck mode")."""
        return self.info.get("ldm") is True

    def learn(self, fields: dict[str, Any]) -> None:
        """
        Take an `INFO` that comes after the handshake; what it does not say stays as it was.

        Raises:
            ProtocolError: If nobody could work with it.
        """
        self.info = check_info({**self.info, **fields})
        self.vouched = True

    def server_error(self, text: str) -> ConnectError:
        """Return the exception for an `-ERR` that ends a connection."""
        words = redact(text, self.shown)[:1024]
        if any(word in text.lower() for word in _AUTHENTICATION_WORDS):
            return AuthenticationError(f"{self.server} refuses the credentials: {words}")
        return ConnectError(f"{self.server} refuses the connection: {words}")

    def censor(self, error: ProtocolError) -> None:
        """Take out of an error what the server repeats of our secrets."""
        error.args = (redact(str(error), self.shown),)

    def next_event(self, deadline: Deadline) -> Event:
        """
        Receive the next event of the handshake.

        Raises:
            TimeoutError: If it does not come in time.
            ConnectError: If the server closes the connection.
            ProtocolError, OSError: If it breaks the protocol or the connection.
        """
        while not self.events:
            turns = (self.transport.receive(self.parser.writable(), t) for t in deadline.turns())
            count = next((count for count in turns if count is not None), None)
            if count is None or deadline.expired:  # a server may also talk for ever
                raise TimeoutError("the server did not answer in time")
            if count == 0:
                raise ConnectError(f"{self.server} closed the connection during the handshake")
            self.events.extend(self.parser.received(count))
        return self.events.popleft()


def check_info(fields: dict[str, Any]) -> dict[str, Any]:
    """
    Return the fields of an `INFO` that somebody can work with.

    Raises:
        ProtocolError: If nobody could.
    """
    limit = fields.get("max_payload")
    if not isinstance(limit, int) or isinstance(limit, bool) or limit <= 0:
        raise ProtocolError(f"INFO gives {shorten(limit)} as max_payload")
    if fields.get("headers") is not True:
        raise ProtocolError("the server does not support headers: nats-server 2.9 or later does")
    return fields
