"""
One life of a connection: a socket to one server, from its `INFO` to its end.

Opening a link is the handshake: TCP, `INFO`, TLS, `CONNECT`, `PING`, `PONG`. It runs in
the thread that connects; afterwards the reader thread receives from it, and whoever
holds the connection's write lock sends on it.
"""

from __future__ import annotations

import re
import ssl
from collections import deque
from dataclasses import replace
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
from objstore.core.secret import redact
from objstore.core.transport import TCPTransport, TLSTransport, Transport
from objstore.errors import (
    AuthenticationError,
    ConnectError,
    ProtocolError,
    TLSNotOfferedError,
    TLSRequiredError,
    shorten,
)

__all__ = ["Link", "find_subject", "open_link"]

#: Words in the errors by which servers refuse who we are, or end who we were.
_AUTHENTICATION_WORDS = ("authorization violation", "authentication", "jwt", "nkey")
#: Subjects of which is remembered that the server does not deny them.
_MAX_ALLOWED = 4096
#: The subject in an error: as Go quotes it, or the bare word.
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_BARE = re.compile(r"\b(?:to|of|for) ([^\s\"']+)$", re.IGNORECASE)
_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|.)")


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
        self.info = _check_info({**self.info, **fields})
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
        if isinstance(error, ConnectError) or not isinstance(error, (OSError, ProtocolError)):
            raise
        if isinstance(error, ProtocolError):
            link.censor(error)
        if isinstance(error, ssl.SSLError):
            raise ConnectError(f"{server}: {_explain(error)}") from error
        raise ConnectError(f"{server}: {error}") from error
    return link


def _greet(link: Link, tcp: TCPTransport, options: ConnectOptions, deadline: Deadline) -> None:
    """Go from a TCP connection to one that is ready for use."""
    if options.tls_first:
        _start_tls(link, tcp, options, deadline)
        _take_info(link, deadline)
    else:
        _take_info(link, deadline)
        if link.server.tls or options.require_tls or link.info.get("tls_required"):
            _upgrade(link, tcp, options, deadline)
    # A view, since a traceback with variables may show bytes.
    connect = memoryview(encode_connect(_connect_fields(link, options)))
    link.transport.send([connect, PING], deadline.rest())
    while (event := link.next_event(deadline)) is not Signal.PONG:
        if isinstance(event, ServerErr):
            raise link.server_error(event.text)
        if isinstance(event, Info):
            # Behind TLS this is the one to be trusted.
            link.info = _check_info(event.fields)
            link.vouched = True


def _take_info(link: Link, deadline: Deadline) -> None:
    try:
        event = link.next_event(deadline)
    except (ConnectError, TimeoutError) as error:
        if isinstance(link.transport, TLSTransport) or link.parser.pending:
            raise
        raise ConnectError(
            f"{link.server} says nothing ({error}); "
            "if it expects TLS before it speaks, tls_first=True does that"
        ) from error
    if not isinstance(event, Info):
        raise ProtocolError(f"expected INFO, got {shorten(event)}")
    link.info = _check_info(event.fields)


def _upgrade(link: Link, tcp: TCPTransport, options: ConnectOptions, deadline: Deadline) -> None:
    """Begin TLS behind an `INFO`, which anybody can have written."""
    asked = link.server.tls or options.require_tls
    if not (link.info.get("tls_required") or link.info.get("tls_available")):
        raise TLSNotOfferedError(f"{link.server} does not offer TLS, which was asked for")
    if link.parser.pending or link.events:
        # Whatever stands between INFO and the handshake was not sent by the server that
        # we are about to verify.
        raise ProtocolError("data before the TLS handshake")
    try:
        _start_tls(link, tcp, options, deadline)
    except ssl.SSLError as error:
        message = f"{link.server}: {_explain(error)}"
        raise (ConnectError if asked else TLSRequiredError)(message) from error
    link.vouched = False


def _start_tls(link: Link, tcp: TCPTransport, options: ConnectOptions, deadline: Deadline) -> None:
    server = link.server
    tls = TLSTransport(tcp, options.tls or make_tls_context(), server.tls_name or server.host)
    tls.hand_shake(deadline)
    link.transport = tls
    # What had TLS once is not taken without it any more.
    link.server = replace(server, tls=True)


def _explain(error: ssl.SSLError) -> str:
    """Return what went wrong with TLS, and the cure."""
    reason = getattr(error, "verify_message", "") or error.reason or str(error)
    message = f"the TLS handshake failed: {reason}"
    if "verif" in str(error):
        return f"{message}; tls_cacert names the file of an authority to trust"
    if "ALERT" in str(error):
        return f"{message}; tls_client_cert names our certificate, should the server want one"
    if "WRONG_VERSION_NUMBER" in str(error):
        return f"{message}; the server does not begin with TLS, as tls_first has it"
    return message


def _check_info(fields: dict[str, Any]) -> dict[str, Any]:
    limit = fields.get("max_payload")
    if not isinstance(limit, int) or isinstance(limit, bool) or limit <= 0:
        raise ProtocolError(f"INFO gives {shorten(limit)} as max_payload")
    if fields.get("headers") is not True:
        raise ProtocolError("the server does not support headers: nats-server 2.9 or later does")
    return fields


def _connect_fields(link: Link, options: ConnectOptions) -> dict[str, Any]:
    try:
        credentials = credential_fields(options, link.server, link.info.get("nonce"))
    except (OSError, ValueError) as error:
        if isinstance(error, ConnectError):
            raise
        # It may be there again in a moment: somebody may just be writing it.
        raise ConnectError(f"{link.server}: the credentials cannot be used: {error}") from error
    link.shown = tuple(value for key, value in credentials.items() if key != "user")
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
        **credentials,
    }


def find_subject(text: str) -> str:
    """Return the subject that an error is about; "" if it names none."""
    quoted = _QUOTED.search(text)
    if quoted is None:
        bare = _BARE.search(text)
        return bare[1] if bare else ""
    return _ESCAPE.sub(lambda e: chr(int(e[1][1:], 16)) if len(e[1]) > 1 else e[1], quoted[1])
