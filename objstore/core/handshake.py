"""
The handshake with one server: TCP, `INFO`, TLS, `CONNECT`, `PING`, `PONG`.

What it does not do is as important: nothing of who we are goes out before TLS is verified,
where TLS was asked for or had once; and nothing that was said before TLS is trusted.
"""

from __future__ import annotations

import ssl
from dataclasses import replace
from typing import Any

from objstore._version import __version__
from objstore.core.auth import credential_fields
from objstore.core.deadline import Deadline
from objstore.core.link import Link, check_info
from objstore.core.options import ConnectOptions, ServerURL, make_tls_context
from objstore.core.protocol import PING, Info, Parser, ServerErr, Signal, encode_connect
from objstore.core.transport import TCPTransport, TLSTransport
from objstore.errors import (
    ConnectError,
    ProtocolError,
    TLSNotOfferedError,
    TLSRequiredError,
    shorten,
)

__all__ = ["open_link"]


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
            link.info = check_info(event.fields)
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
    link.info = check_info(event.fields)


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
