"""
One life of a connection: a socket to one server, from its `INFO` to its end.

Opening a link is the handshake: TCP, `INFO`, TLS, `CONNECT`, `PING`, `PONG`. It runs in
the thread that connects; afterwards the reader thread receives from it, and whoever
holds the connection's write lock sends on it.
"""

from __future__ import annotations

import ssl
from collections import deque
from typing import Any

from objstore._version import __version__
from objstore.core.auth import credential_fields
from objstore.core.deadline import Deadline
from objstore.core.options import ConnectOptions, ServerURL, make_tls_context
from objstore.core.protocol import (
    PING,
    Event,
    Info,
    Parser,
    ServerErr,
    Signal,
    encode_connect,
)
from objstore.core.transport import TCPTransport, TLSTransport, Transport
from objstore.errors import (
    AuthenticationError,
    ConnectError,
    ProtocolError,
    TLSNotOfferedError,
    TLSRequiredError,
    shorten,
)

__all__ = ["Link", "make_server_error", "open_link"]

#: Words in the errors by which servers refuse who we are, or end who we were.
_AUTHENTICATION_WORDS = ("authorization violation", "authentication", "jwt", "nkey")


class Link:
    """
    A connected and greeted server.

    Attributes:
        server: Its URL.
        transport: The byte stream.
        parser: Holds what was received and not yet parsed.
        info: The fields of the server's `INFO`.
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
        self.events: deque[Event] = deque()
        self.said: deque[bytes] = deque()
        self.pings = 0
        self.pongs = 0

    @property
    def max_payload(self) -> int:
        """Bytes of the largest message that the server takes, headers included."""
        return int(self.info["max_payload"])

    def learn(self, fields: dict[str, Any]) -> None:
        """
        Take an `INFO` that comes after the handshake; what it does not say stays as it was.

        Raises:
            ProtocolError: If nobody could work with it.
        """
        self.info = _check_info({**self.info, **fields})

    def next_event(self, deadline: Deadline) -> Event:
        """
        Receive the next event of the handshake.

        Raises:
            TimeoutError: If it does not come in time.
            ConnectError: If the server closes the connection.
            ProtocolError, OSError: If it breaks the protocol or the connection.
        """
        while not self.events:
            count = self.transport.receive(self.parser.writable(), deadline.remaining())
            if count is None or deadline.expired:  # a server may also talk for ever
                raise TimeoutError("the server did not answer in time")
            if count == 0:
                raise ConnectError(f"{self.server} closed the connection during the handshake")
            self.events.extend(self.parser.received(count))
        return self.events.popleft()


def open_link(server: ServerURL, options: ConnectOptions, deadline: Deadline) -> Link:
    """
    Connect to one server.

    Raises:
        ConnectError: If that fails; for one AuthenticationError, TLSNotOfferedError.
    """
    try:
        tcp = TCPTransport.connect(
            server.host, server.port, deadline, keepalive=options.socket_keepalive
        )
    except (OSError, UnicodeError) as error:  # UnicodeError: the host cannot be a name
        raise ConnectError(f"{server}: {getattr(error, 'strerror', None) or error}") from error
    link = Link(server, tcp, Parser())
    try:
        _greet(link, tcp, options, deadline)
    except BaseException as error:
        link.transport.close()
        if isinstance(error, (OSError, ProtocolError)) and not isinstance(error, ConnectError):
            raise ConnectError(f"{server}: {error}") from error
        raise
    return link


def _greet(link: Link, tcp: TCPTransport, options: ConnectOptions, deadline: Deadline) -> None:
    """Go from a TCP connection to one that is ready for use."""
    event = link.next_event(deadline)
    if not isinstance(event, Info):
        raise ProtocolError(f"expected INFO, got {shorten(event)}")
    link.info = _check_info(event.fields)
    asked = link.server.tls or options.require_tls
    if asked or link.info.get("tls_required"):
        _start_tls(link, tcp, options, deadline, asked=asked)
    link.transport.send([encode_connect(_connect_fields(link, options)), PING], deadline.rest())
    while (event := link.next_event(deadline)) is not Signal.PONG:
        if isinstance(event, ServerErr):
            raise make_server_error(event.text, link.server)
        if isinstance(event, Info):
            # Behind TLS this is the one to be trusted.
            link.info = _check_info(event.fields)


def _start_tls(
    link: Link,
    tcp: TCPTransport,
    options: ConnectOptions,
    deadline: Deadline,
    *,
    asked: bool,
) -> None:
    if not (link.info.get("tls_required") or link.info.get("tls_available")):
        raise TLSNotOfferedError(f"{link.server} does not offer TLS, which was asked for")
    if link.parser.pending or link.events:
        # Whatever stands between INFO and the handshake was not sent by the server that
        # we are about to verify.
        raise ProtocolError("data before the TLS handshake")
    context = options.tls or make_tls_context()
    tls = TLSTransport(tcp, context, link.server.host)
    try:
        tls.hand_shake(deadline)
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or error.reason or error
        message = f"{link.server}: the TLS handshake failed: {reason}"
        if "verif" in str(error):
            message += "; tls_cacert names the file of an authority to trust"
        raise (ConnectError if asked else TLSRequiredError)(message) from error
    link.transport = tls


def _check_info(fields: dict[str, Any]) -> dict[str, Any]:
    limit = fields.get("max_payload")
    if not isinstance(limit, int) or isinstance(limit, bool) or limit <= 0:
        raise ProtocolError(f"INFO gives {shorten(limit)} as max_payload")
    if fields.get("headers") is not True:
        raise ProtocolError("the server does not support headers: nats-server 2.9 or later does")
    return fields


def _connect_fields(link: Link, options: ConnectOptions) -> dict[str, Any]:
    return {
        "verbose": options.verbose,
        "pedantic": options.pedantic,
        "tls_required": isinstance(link.transport, TLSTransport),
        "name": options.name,
        "lang": "python",
        "version": __version__,
        "protocol": 1,
        "echo": True,
        "headers": True,
        "no_responders": True,
        **credential_fields(options, link.server),
    }


def make_server_error(text: str, server: ServerURL) -> ConnectError:
    """Return the exception for an `-ERR` that ends a connection."""
    if any(word in text.lower() for word in _AUTHENTICATION_WORDS):
        return AuthenticationError(f"{server} refuses the credentials: {text}")
    return ConnectError(f"{server} refuses the connection: {text}")
