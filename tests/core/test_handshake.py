"""The handshake with one server: what it is told, what it may do, and when nothing is said."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trustme

from objstore.core.deadline import Deadline
from objstore.core.handshake import open_link
from objstore.core.link import Link
from objstore.core.options import ServerURL, make_options, make_tls_context
from objstore.core.protocol import Message, Signal
from objstore.errors import (
    AuthenticationError,
    ConnectError,
    ProtocolError,
    TLSNotOfferedError,
    TLSRequiredError,
)
from tests.fake_server import FakeConnection, FakeServer

#: Seconds to wait for what must happen, and for what must not.
TIMEOUT = 10.0
SHORT = 0.1

INFO = b'INFO {"headers":true,"max_payload":1024}\r\n'


@contextlib.contextmanager
def opened(url: str, *, deadline: Deadline | None = None, **keywords: Any) -> Iterator[Link]:
    """Open a link to the first server of `url`, and close it."""
    options = make_options(url, **keywords)
    link = open_link(options.servers[0], options, deadline or Deadline(TIMEOUT))
    with contextlib.closing(link.transport):
        yield link


def fail(server: FakeServer, **keywords: Any) -> ConnectError:
    """Return the error of an attempt to open a link."""
    with pytest.raises(ConnectError) as caught, opened(server.url, **keywords):
        pass
    assert server.url.rpartition("/")[2] in str(caught.value)
    return caught.value


def greet(conn: FakeConnection) -> None:
    conn.handshake()


# What the server is told


def test_link_is_ready_for_use() -> None:
    """It knows its server and what that says of itself."""
    with FakeServer(greet, info={"max_payload": 2048}) as server, opened(server.url) as link:
        assert str(link.server) == server.url
        assert link.info["server_id"] == "FAKE"
        assert link.max_payload == 2048
        assert link.parser.pending == 0 and not link.events


def test_server_is_told_what_we_understand() -> None:
    """Headers and "no responders", our name, and no credentials where there are none."""
    with FakeServer(greet) as server, opened(server.url, name="me"):
        (conn,) = server.connections
        assert conn.options.pop("version")
        assert conn.options == {
            "verbose": False,
            "pedantic": False,
            "tls_required": False,
            "name": "me",
            "lang": "python",
            "protocol": 1,
            "echo": True,
            "headers": True,
            "no_responders": True,
        }


def test_credentials_are_sent() -> None:
    """As the server expects them, whatever characters they are of."""
    keywords = {"user": "j\r\ne", "password": 's3cret"}'}
    with FakeServer(greet) as server, opened(server.url, **keywords):
        (conn,) = server.connections
        assert (conn.options["user"], conn.options["pass"]) == ("j\r\ne", 's3cret"}')


def test_verbose_server_is_understood() -> None:
    """`+OK` for each command is no answer to `PING`."""

    def script(conn: FakeConnection) -> None:
        conn.send_info()
        conn.expect("CONNECT")
        conn.send(b"+OK\r\n")
        conn.expect("PING")
        conn.send(b"PONG\r\n")

    with FakeServer(script) as server, opened(server.url, verbose=True):
        assert server.connections[0].options["verbose"] is True


def test_later_info_replaces_the_first() -> None:
    """A server knows more of a client's limits once it knows who that is."""

    def script(conn: FakeConnection) -> None:
        conn.send_info(max_payload=1000)
        conn.expect("CONNECT")
        conn.send_info(max_payload=500)
        conn.expect("PING")
        conn.send(b"PONG\r\n")

    with FakeServer(script) as server, opened(server.url) as link:
        assert link.max_payload == 500


def test_what_comes_with_the_end_of_the_handshake_is_kept() -> None:
    """It is for the reader thread."""

    def script(conn: FakeConnection) -> None:
        conn.send_info()
        conn.expect("CONNECT")
        conn.expect("PING")
        conn.send(b"PONG\r\nMSG a 1 5\r\nhello\r\nPING\r\nMSG b")

    with FakeServer(script) as server, opened(server.url) as link:
        message, ping = link.events
        assert isinstance(message, Message) and bytes(message.payload) == b"hello"
        assert ping is Signal.PING
        assert link.parser.pending == len("MSG b")


# What a server may do wrong


def test_refused_connection_is_a_connect_error(dead_port: int) -> None:
    """The message names the server and the reason."""
    with pytest.raises(ConnectError, match=rf"nats://127.0.0.1:{dead_port}: Connection refused"):
        opened(f"127.0.0.1:{dead_port}").__enter__()


@pytest.mark.parametrize("host", ["a..b", "x" * 70])
def test_host_that_cannot_be_a_name_is_a_connect_error(host: str) -> None:
    """Python refuses to look it up, with an error of another kind."""
    with pytest.raises(ConnectError, match="nats://"), opened(f"nats://{host}"):
        pass


def test_end_at_any_byte_is_a_connect_error() -> None:
    """However far the server came, the client is told at once which one it was."""
    words = INFO + b"PONG\r\n"

    def script(conn: FakeConnection) -> None:
        conn.send(words[: min(conn.number, len(INFO))])
        if conn.number >= len(INFO):
            conn.expect("CONNECT")
            conn.expect("PING")
            conn.send(words[len(INFO) : conn.number])
        if conn.number < len(words):
            conn.close()

    with FakeServer(script) as server:
        for _ in range(len(words)):
            assert "closed the connection" in str(fail(server))
        with opened(server.url):
            pass


@pytest.mark.parametrize("reset_at", [0, 10, len(INFO)])
def test_reset_is_a_connect_error(reset_at: int) -> None:
    """As an end in order is."""

    def script(conn: FakeConnection) -> None:
        conn.send(INFO[:reset_at])
        conn.reset()

    with FakeServer(script) as server:
        fail(server)


@pytest.mark.parametrize("words", [b"", b"INFO {", INFO, INFO + b"+OK\r\n"])
def test_silence_is_a_connect_error_at_the_deadline(words: bytes) -> None:
    """Wherever the server stops."""
    with FakeServer(lambda conn: conn.send(words)) as server:
        deadline = Deadline(SHORT)
        assert "did not answer in time" in str(fail(server, deadline=deadline))
        assert deadline.expired


def test_endless_talk_is_a_connect_error_at_the_deadline() -> None:
    """A server may also keep a client waiting by never stopping."""

    def script(conn: FakeConnection) -> None:
        conn.send(INFO)
        while True:
            conn.send(b"+OK\r\n" * 1000)

    with FakeServer(script) as server:
        assert "did not answer in time" in str(fail(server, deadline=Deadline(SHORT)))


def test_own_sends_do_not_extend_the_deadline() -> None:
    """The whole handshake has one timeout."""

    class FixedDeadline(Deadline):
        def extend(self) -> None:
            assert not hasattr(self, "_at"), "extended"
            super().extend()

    with FakeServer(greet) as server, opened(server.url, deadline=FixedDeadline(TIMEOUT)):
        pass


@pytest.mark.parametrize(
    "words",
    [
        *(
            b"PING\r\n",
            b"+OK\r\n",
            b"-ERR 'no'\r\n",
            b"HTTP/1.1 400 Bad Request\r\n",
            b"\0" * 70_000,
        ),
        *(b"INFO\r\n", b"INFO {\r\n", b"INFO []\r\n", b"INFO " + b"[" * 100_000 + b"\r\n"),
        *(
            b'INFO {"headers":true,"max_payload":%s}\r\n' % value
            for value in (b"0", b"-1", b'"1024"', b"1024.5", b"null", b"true", b"[]")
        ),
        b'INFO {"headers":true}\r\n',
        b'INFO {"headers":false,"max_payload":1024}\r\n',
        b'INFO {"max_payload":1024}\r\n',
        b"INFO {}\r\n",
    ],
    ids=lambda words: words[:50].decode().strip(),
)
def test_server_that_is_none_is_told_nothing(words: bytes) -> None:
    """A clear error at once, before a byte is sent."""
    with FakeServer(lambda conn: conn.send(words)) as server:
        fail(server)
    assert server.received == b""


def test_endless_info_is_refused() -> None:
    """The client stops reading when it is longer than any that makes sense."""
    sent = 0

    def script(conn: FakeConnection) -> None:
        nonlocal sent
        conn.send(b"INFO {")
        while True:
            conn.send(b" " * 65536)
            sent += 65536

    with FakeServer(script) as server:
        assert "a line of more than" in str(fail(server))
    assert sent < 64 << 20  # what the system has buffered


@pytest.mark.parametrize("later", [b"GARBAGE\r\n", b"INFO {}\r\n", b"MSG a 1 99999999999999\r\n"])
def test_nonsense_after_connect_is_a_connect_error(later: bytes) -> None:
    """The rest of the handshake is checked as the beginning is."""

    def script(conn: FakeConnection) -> None:
        conn.send(INFO)
        conn.expect("CONNECT")
        conn.send(later)

    with FakeServer(script) as server:
        fail(server)


def refuse(text: str) -> Callable[[FakeConnection], None]:
    def script(conn: FakeConnection) -> None:
        conn.send_info()
        conn.expect("CONNECT")
        conn.send(f"-ERR '{text}'\r\n".encode())
        conn.close()

    return script


@pytest.mark.parametrize(
    "text",
    [
        "Authorization Violation",
        "Authentication Timeout",
        "User Authentication Expired",
        "User Authentication Revoked",
        "Account Authentication Expired",
        "authorization violation",
    ],
)
def test_refused_credentials_are_an_authentication_error(text: str) -> None:
    """The message repeats the server's words, and not the password."""
    with FakeServer(refuse(text)) as server:
        error = fail(server, user="joe", password="s3cret")
    assert isinstance(error, AuthenticationError)
    assert text in str(error) and "s3cret" not in str(error)


@pytest.mark.parametrize(
    "text", ["maximum connections exceeded", "Secure Connection - TLS Required", ""]
)
def test_other_refusals_are_connect_errors(text: str) -> None:
    """They may be over soon."""
    with FakeServer(refuse(text)) as server:
        error = fail(server)
    assert not isinstance(error, AuthenticationError)
    assert text in str(error)


# Later news


def test_learns_from_a_later_info() -> None:
    """What it says is taken, what it does not say stays."""
    with FakeServer(greet, info={"max_payload": 1000}) as server, opened(server.url) as link:
        link.learn({"max_payload": 500})
        assert link.max_payload == 500
        assert link.info["server_id"] == "FAKE"


@pytest.mark.parametrize("fields", [{"max_payload": None}, {"max_payload": 0}, {"headers": False}])
def test_later_info_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    """And what was known stays."""
    with FakeServer(greet) as server, opened(server.url) as link:
        with pytest.raises(ProtocolError):
            link.learn(fields)
        assert link.max_payload == 1 << 20


# TLS


def refused(conn: FakeConnection) -> None:
    """Script: the client breaks off the TLS handshake."""
    with pytest.raises(OSError):
        conn.handshake()


def issue(authority: trustme.CA, *names: str, **options: Any) -> ssl.SSLContext:
    """Return a server's context with a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **options).configure_cert(context)
    return context


YESTERDAY = datetime.datetime.now(tz=datetime.timezone.utc) - datetime.timedelta(days=1)


@pytest.mark.parametrize(
    "make_context",
    [
        lambda authority: issue(trustme.CA(), "127.0.0.1"),
        lambda authority: issue(authority, "127.0.0.2"),
        lambda authority: issue(authority, "example.org"),
        lambda authority: issue(authority, "127.0.0.1", not_after=YESTERDAY),
    ],
    ids=["other authority", "other address", "other name", "expired"],
)
def test_server_that_cannot_be_verified_is_told_nothing(
    make_context: Callable[[trustme.CA], ssl.SSLContext], authority: trustme.CA, ca_file: Path
) -> None:
    """No byte of `CONNECT` before the certificate is verified: it may hold a password."""
    with FakeServer(refused, tls=make_context(authority)) as server:
        error = fail(server, tls_cacert=ca_file, user="joe", password="s3cret")
    assert "TLS handshake failed" in str(error)
    assert server.received == b""


def test_self_signed_server_is_told_nothing(tmp_path: Path, ca_file: Path) -> None:
    """A certificate that vouches for itself is one that anybody can make."""
    authority = trustme.CA()
    path = tmp_path / "self-signed.pem"
    path.write_bytes(authority.private_key_pem.bytes() + authority.cert_pem.bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    with FakeServer(refused, tls=context) as server:
        fail(server, tls_cacert=ca_file)
    assert server.received == b""


@pytest.mark.parametrize("keywords", [{}, {"tls": True}], ids=["scheme", "keyword"])
def test_verifies_by_default(keywords: dict[str, Any], server_context: ssl.SSLContext) -> None:
    """An authority that the system does not know is not trusted."""
    with FakeServer(refused, tls=server_context) as server:
        error = fail(server, **keywords)
    assert "TLS handshake failed" in str(error)
    assert server.received == b""


def trust_by_file(ca_file: Path) -> dict[str, Any]:
    return {"tls_cacert": ca_file}


def trust_by_context(ca_file: Path) -> dict[str, Any]:
    return {"tls": make_tls_context(ca=ca_file)}


def trust_nobody(_: Path) -> dict[str, Any]:
    return {"tls_verify": False}


@pytest.mark.parametrize("trust", [trust_by_file, trust_by_context, trust_nobody])
@pytest.mark.parametrize("scheme", ["tls", "nats"])
def test_trusted_server_is_accepted(
    trust: Callable[[Path], dict[str, Any]],
    scheme: str,
    ca_file: Path,
    server_context: ssl.SSLContext,
) -> None:
    """By the file of its authority, by a context; or by who verifies nothing."""
    with (
        FakeServer(greet, tls=server_context) as server,
        opened(f"{scheme}://127.0.0.1:{server.port}", **trust(ca_file)),
    ):
        assert server.connections[0].options["tls_required"] is True


def test_tls_that_only_the_server_wants_is_verified(
    server_context: ssl.SSLContext, ca_file: Path
) -> None:
    """`nats://` to such a server is no way around it; the message names the cure."""
    with (
        FakeServer(refused, tls=server_context) as server,
        pytest.raises(TLSRequiredError, match="tls_cacert"),
        opened(f"nats://127.0.0.1:{server.port}"),
    ):
        pass
    assert server.received == b""


def ask_by_scheme(_: Path) -> dict[str, Any]:
    return {}


def ask_by_keyword(_: Path) -> dict[str, Any]:
    return {"tls": True}


@pytest.mark.parametrize("ask", [ask_by_scheme, ask_by_keyword, trust_by_file, trust_by_context])
def test_tls_that_is_asked_for_and_not_offered_sends_nothing(
    ask: Callable[[Path], dict[str, Any]], ca_file: Path
) -> None:
    """Whoever strips TLS from an `INFO` gets no password."""
    scheme = "tls" if ask is ask_by_scheme else "nats"
    with FakeServer(lambda conn: conn.send_info()) as server:
        url = f"{scheme}://joe:s3cret@127.0.0.1:{server.port}"
        with pytest.raises(TLSNotOfferedError), opened(url, **ask(ca_file)):
            pass
    assert server.received == b""


@pytest.mark.parametrize("asked", [True, False])
def test_tls_that_the_server_leaves_open(
    asked: bool, server_context: ssl.SSLContext, ca_file: Path
) -> None:
    """It is used by who asks for it, and only by those."""

    def script(conn: FakeConnection) -> None:
        conn.send_info(tls_available=True)
        if asked:
            conn.start_tls(server_context)
        conn.expect("CONNECT")
        conn.expect("PING")
        conn.send(b"PONG\r\n")

    keywords = trust_by_file(ca_file) if asked else {}
    with FakeServer(script) as server, opened(server.url, **keywords):
        assert server.connections[0].options["tls_required"] == asked


@pytest.mark.parametrize(
    "injected", [b"MSG a 1 5\r\nhello\r\n", b"PING\r\n", b"MSG a", b"\r", INFO]
)
def test_data_before_the_tls_handshake_is_refused(injected: bytes, ca_file: Path) -> None:
    """Who wrote that was not the server that is about to be verified."""

    def script(conn: FakeConnection) -> None:
        conn.send(b'INFO {"headers":true,"max_payload":1024,"tls_required":true}\r\n' + injected)

    with FakeServer(script) as server:
        assert "before the TLS handshake" in str(fail(server, tls_cacert=ca_file))
    assert server.received == b""


def test_info_behind_tls_is_the_one_that_counts(
    server_context: ssl.SSLContext, ca_file: Path
) -> None:
    """Nobody vouches for the one before it."""

    def script(conn: FakeConnection) -> None:
        conn.send_info(tls_required=True, max_payload=1 << 30, connect_urls=["rogue:4222"])
        conn.start_tls(server_context)
        conn.send_info(max_payload=1000)
        conn.expect("CONNECT")
        conn.expect("PING")
        conn.send(b"PONG\r\n")

    with FakeServer(script) as server, opened(server.url, tls_cacert=ca_file) as link:
        assert link.max_payload == 1000
        assert "connect_urls" not in link.info


def test_silence_in_the_tls_handshake_is_a_connect_error(ca_file: Path) -> None:
    """At the deadline."""
    with FakeServer(lambda conn: conn.send_info(tls_required=True)) as server:
        error = fail(server, tls_cacert=ca_file, deadline=Deadline(SHORT))
    assert "timed out" in str(error)


def test_end_in_the_tls_handshake_is_a_connect_error(ca_file: Path) -> None:
    """Of any kind."""

    def script(conn: FakeConnection) -> None:
        conn.send_info(tls_required=True)
        conn.close()

    with FakeServer(script) as server:
        fail(server, tls_cacert=ca_file)


# Client certificates


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def demanding_context(request: pytest.FixtureRequest, authority: trustme.CA) -> ssl.SSLContext:
    """A server that lets nobody in without a certificate."""
    context = issue(authority, "127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = request.param
    authority.configure_trust(context)
    return context


def test_client_certificate_is_shown(
    demanding_context: ssl.SSLContext, authority: trustme.CA, ca_file: Path, tmp_path: Path
) -> None:
    """By file."""
    certificate = authority.issue_cert("client@example.org")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.cert_chain_pems[0].write_to_path(cert)
    certificate.private_key_pem.write_to_path(key)
    with (
        FakeServer(greet, tls=demanding_context) as server,
        opened(server.url, tls_cacert=ca_file, tls_client_cert=cert, tls_client_key=key),
    ):
        assert server.connections[0].options


def test_missing_client_certificate_is_a_connect_error(
    demanding_context: ssl.SSLContext, ca_file: Path
) -> None:
    """With TLS 1.3 the server says so only after our side of the handshake is done."""
    with FakeServer(refused, tls=demanding_context) as server:
        fail(server, tls_cacert=ca_file)


def test_client_certificate_of_another_authority_is_a_connect_error(
    demanding_context: ssl.SSLContext, ca_file: Path, tmp_path: Path
) -> None:
    """The server decides whom it trusts."""
    both = tmp_path / "both.pem"
    trustme.CA().issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(both)
    with FakeServer(refused, tls=demanding_context) as server:
        fail(server, tls_cacert=ca_file, tls_client_cert=both)


# IPv6


def test_ipv6(background: ThreadPoolExecutor) -> None:
    """An address in brackets."""
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")

    def serve() -> bytes:
        conn, _ = listener.accept()
        with conn, conn.makefile("rb") as lines:
            conn.sendall(INFO)
            received = lines.readline() + lines.readline()
            conn.sendall(b"PONG\r\n")
            return received

    with listener:
        listener.settimeout(TIMEOUT)
        port = listener.getsockname()[1]
        serving = background.submit(serve)
        with opened(f"nats://[::1]:{port}") as link:
            assert link.server == ServerURL("::1", port)
        assert serving.result(TIMEOUT).endswith(b"PING\r\n")
