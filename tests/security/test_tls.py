"""TLS with real servers, and with somebody in between who takes it away."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import trustme

import objstore
from objstore.errors import ConnectError, TLSNotOfferedError
from objstore.server import LocalServer
from tests.fake_server import FakeConnection, FakeServer
from tests.helpers import wait_until
from tests.security.conftest import Certificates
from tests.security.keys import Key, Operator

MakeServer = Callable[..., LocalServer]
TLSConfig = Callable[[str], str]

PASSWORD = "S3cr€t%40x"


def use(url: str, **options: Any) -> None:
    """Store and read an object."""
    with objstore.connect(url, **options) as client:
        store = client.create_object_store("bucket")
        store.put("name", b"content")
        assert store.get_bytes("name") == b"content"


# TLS first


@pytest.mark.parametrize("handshake_first", ["true", "auto"])
def test_tls_first(
    handshake_first: str,
    make_server: MakeServer,
    tls_config: TLSConfig,
    certificates: Certificates,
) -> None:
    """The server speaks behind TLS only."""
    server = make_server(tls_config(f"handshake_first: {handshake_first}"))
    use(server.url, tls_first=True, tls_cacert=certificates.ca)


@pytest.mark.slow
def test_ordinary_client_learns_of_tls_first(
    make_server: MakeServer, tls_config: TLSConfig, certificates: Certificates
) -> None:
    """The server says nothing and leaves; the error names the cure."""
    server = make_server(tls_config("handshake_first: true, timeout: 0.3"))
    with pytest.raises(ConnectError, match="tls_first=True"):
        objstore.connect(server.url, tls_cacert=certificates.ca)


def test_tls_first_with_an_ordinary_server(
    make_server: MakeServer, tls_config: TLSConfig, certificates: Certificates
) -> None:
    """It has spoken before TLS, which is not what was asked for."""
    server = make_server(tls_config(""))
    with pytest.raises(ConnectError, match="does not begin with TLS"):
        objstore.connect(server.url, tls_first=True, tls_cacert=certificates.ca)


def test_tls_first_is_verified(certificates: Certificates) -> None:
    """As any TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    def script(conn: FakeConnection) -> None:
        with pytest.raises(OSError):
            conn.start_tls(context)

    with FakeServer(script) as server:
        with pytest.raises(ConnectError, match="TLS handshake failed"):
            objstore.connect(
                f"nats://joe:{PASSWORD}@127.0.0.1:{server.port}",
                tls_first=True,
                tls_cacert=certificates.ca,
            )
    assert server.received == b""


# Mutual TLS


def test_client_certificate_says_who_we_are(
    make_server: MakeServer, tls_config: TLSConfig, certificates: Certificates
) -> None:
    """Nothing else has to be said."""
    server = make_server(
        tls_config("verify_and_map: true")
        + '\nauthorization { users: [ { user: "joe@example.org" } ] }'
    )
    use(server.url, tls_cacert=certificates.ca, tls_client_cert=certificates.client)


@pytest.mark.parametrize("tls_first", [False, True])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_missing_client_certificate_names_the_cure(
    version: ssl.TLSVersion,
    tls_first: bool,
    make_server: MakeServer,
    tls_config: TLSConfig,
    certificates: Certificates,
) -> None:
    """With the alert of the server, whenever it comes."""
    first = "handshake_first: true" if tls_first else ""
    server = make_server(tls_config(f"verify: true, {first}"))
    context = ssl.create_default_context(cafile=certificates.ca)
    context.maximum_version = version
    with pytest.raises(ConnectError, match=r"(?i)alert.*tls_client_cert"):
        objstore.connect(server.url, tls=context, tls_first=tls_first)


# Downgrades


def tell(conn: FakeConnection) -> None:
    """Script: greet without TLS, and give something to be signed."""
    conn.send_info(auth_required=True, nonce="abcdefghijklmno")


def ways_in() -> dict[str, dict[str, Any]]:
    """Every way to say who we are."""
    lines = Operator().credentials().splitlines()
    return {
        "password": {"user": "joe", "password": PASSWORD},
        "token": {"token": PASSWORD},
        "seed": {"nkey_seed": Key("user").seed},
        "JWT": {"jwt": lines[1], "nkey_seed": lines[-2]},
        "bearer": {"jwt": lines[1]},
    }


@pytest.mark.parametrize("way", ways_in().values(), ids=ways_in().keys())
def test_server_without_tls_gets_no_byte(way: dict[str, Any], certificates: Certificates) -> None:
    """No password, no signature; not even a name."""
    with FakeServer(tell) as server:
        for url, options in [
            (f"tls://127.0.0.1:{server.port}", {}),
            (server.url, {"tls": True}),
            (server.url, {"tls_cacert": certificates.ca}),
            (server.url, {"tls": ssl.create_default_context(cafile=certificates.ca)}),
        ]:
            with pytest.raises(TLSNotOfferedError):
                objstore.connect(url, **way, **options)
    assert server.received == b""


def server_context(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server)
    return context


def greet(conn: FakeConnection, context: ssl.SSLContext, **info: Any) -> None:
    """Script: be a server with TLS."""
    conn.send_info(tls_required=True)
    conn.start_tls(context)
    conn.send_info(tls_required=True, **info)
    conn.expect("CONNECT")
    conn.expect("PING")
    conn.send(b"PONG\r\n")


def attempts(server: FakeServer, count: int) -> bool:
    """Whether the client has come so often."""
    return len(server.connections) >= count


@pytest.mark.parametrize("scheme", ["nats", "tls"])
def test_reconnect_is_not_downgraded(scheme: str, certificates: Certificates) -> None:
    """Where there was TLS once, somebody has taken it away; whether the URL asked or not."""

    def script(conn: FakeConnection) -> None:
        if conn.number == 0:
            greet(conn, server_context(certificates))
            conn.close()
        else:
            tell(conn)

    with FakeServer(script) as server:
        url = f"{scheme}://joe:{PASSWORD}@127.0.0.1:{server.port}"
        with trusting(certificates), closing(objstore.connect(url)) as client:
            wait_until(lambda: attempts(server, 3))
            assert not client.is_connected
    assert server.connections[0].received.startswith(b"CONNECT")
    assert all(not conn.received for conn in server.connections[1:])


@contextlib.contextmanager
def trusting(certificates: Certificates) -> Iterator[None]:
    """The system trusts the tests' authority."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(certificates.ca))
        yield


@pytest.mark.parametrize("scheme", ["nats", "tls"])
def test_advertised_server_without_tls_gets_no_byte(
    scheme: str, certificates: Certificates
) -> None:
    """A server with TLS names another: that has TLS, or is not spoken to."""
    with FakeServer(tell) as rogue:

        def script(conn: FakeConnection) -> None:
            greet(
                conn,
                server_context(certificates),
                connect_urls=[f"nats://ann:x@127.0.0.1:{rogue.port}"],
            )
            conn.close()

        with FakeServer([script]) as server, trusting(certificates):
            url = f"{scheme}://joe:{PASSWORD}@127.0.0.1:{server.port}"
            with closing(objstore.connect(url)) as client:
                wait_until(lambda: attempts(rogue, 1))
                assert not client.is_connected
    assert rogue.received == b""


def test_advertised_server_of_another_authority_gets_no_byte(certificates: Certificates) -> None:
    """It has to be verified like the first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    def refused(conn: FakeConnection) -> None:
        conn.send_info(tls_required=True)
        with pytest.raises(OSError):
            conn.start_tls(context)

    with FakeServer(refused) as rogue:

        def script(conn: FakeConnection) -> None:
            urls = [f"127.0.0.1:{rogue.port}"]
            greet(conn, server_context(certificates), connect_urls=urls)
            conn.close()

        with FakeServer([script]) as server:
            url = f"tls://joe:{PASSWORD}@127.0.0.1:{server.port}"
            with closing(objstore.connect(url, tls_cacert=certificates.ca)):
                wait_until(lambda: attempts(rogue, 1))
    assert rogue.received == b""


def test_discovered_servers_can_be_ignored() -> None:
    """Then there is nobody but those in the URL."""
    with FakeServer(tell) as rogue:

        def script(conn: FakeConnection) -> None:
            conn.handshake(connect_urls=[f"127.0.0.1:{rogue.port}"])
            conn.close()

        with FakeServer([script]) as server:
            with closing(objstore.connect(server.url, ignore_discovered_servers=True)) as client:
                wait_until(lambda: attempts(server, 3))
                assert not client.is_connected
        assert not rogue.connections


def test_server_that_requires_tls_and_is_not_trusted_gets_no_byte(
    certificates: Certificates,
) -> None:
    """`nats://` is no way around verification."""

    def script(conn: FakeConnection) -> None:
        conn.send_info(tls_required=True, nonce="abcdefghijklmno")
        with pytest.raises(OSError):
            conn.start_tls(server_context(certificates))

    with FakeServer(script) as server:
        with pytest.raises(ConnectError):
            objstore.connect(server.url, user="joe", password=PASSWORD)
    assert server.received == b""
