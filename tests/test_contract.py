"""
The contract: code written for pynats2 runs on `objstore.Client`.

Each case runs on both classes, against the same server. Where pynats2 has a defect, the case
asks for what it does keep, or is for `Client` alone and says why.

How the cases stay deterministic with pynats2:

- It forgets messages that are on their way when it closes, so every case waits for what it
  sent before the client closes.
- It runs callbacks in no order, so messages are compared as sets, unless one worker runs them.
- It never ends once the server is gone, so its clients close before their server.
- It reads and writes one SSLSocket in two threads, which breaks connections now and then.
  Its base class has the same TLS and one thread, so that stands in for it there.
"""

from __future__ import annotations

import gc
import inspect
import queue
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import objstore  # Before pynats2, which it knows how to import.

# isort: split
import pynats2
import pytest
import trustme

from objstore import errors
from objstore.server import LocalServer
from tests.fake_server import FakeConnection, FakeServer

#: Seconds to wait for what must happen.
TIMEOUT = 10.0

#: Seconds to wait for what must not happen.
SHORT_TIMEOUT = 0.1

Client = objstore.Client
NATSClient = pynats2.NATSClient
NATSNoSubscribeClient = pynats2.NATSNoSubscribeClient


class Inbox:
    """A callback that keeps the messages."""

    def __init__(self) -> None:
        self._messages: queue.Queue[Any] = queue.Queue()

    def __call__(self, message: Any) -> None:
        self._messages.put(message)

    def next(self) -> Any:
        return self._messages.get(timeout=TIMEOUT)

    def payloads(self, count: int) -> list[bytes]:
        """Wait for so many messages; return their payloads in the order of arrival."""
        return [self.next().payload for _ in range(count)]

    @property
    def is_empty(self) -> bool:
        return self._messages.empty()


def serve_echo(client: Any, subject: str = "echo", **options: Any) -> Any:
    """Answer requests on a subject with their own payload."""

    def answer(message: Any) -> None:
        client.publish(message.reply, payload=message.payload)

    return client.subscribe(subject, callback=answer, **options)


def flush(client: Any) -> None:
    """Return when the server has done all that the client sent, and the client got the results."""
    echo = serve_echo(client, "flush")
    assert client.request("flush", payload=b"done", timeout=TIMEOUT).payload == b"done"
    client.unsubscribe(echo)


@pytest.fixture(params=[NATSClient, Client], ids=["pynats2", "objstore"])
def client_class(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def client(client_class: Any, server: LocalServer) -> Iterator[Any]:
    """A connected client of either class."""
    with client_class(server.url, socket_timeout=TIMEOUT) as client:
        yield client


@pytest.fixture
def peer(server: LocalServer) -> Iterator[Any]:
    """A pynats2 client at the other end."""
    with NATSClient(server.url, socket_timeout=TIMEOUT, workers=1) as peer:
        yield peer


# The class


def test_client_is_a_nats_client() -> None:
    assert issubclass(Client, NATSClient)


@pytest.mark.parametrize(
    ("method", "required", "optional"),
    [
        ("connect", [], []),
        ("close", [], []),
        ("reconnect", [], []),
        ("ping", [], []),
        ("publish", ["subject"], ["payload", "reply"]),
        ("request", ["subject"], ["payload", "timeout"]),
        ("subscribe", ["subject", "callback"], ["queue", "max_messages"]),
        ("unsubscribe", ["sub"], []),
        ("auto_unsubscribe", ["sub"], []),
    ],
)
def test_methods_take_these_keywords(
    client_class: Any, method: str, required: list[str], optional: list[str]
) -> None:
    signature = inspect.signature(getattr(client_class, method))
    signature.bind(None, **dict.fromkeys(required))
    signature.bind(None, **dict.fromkeys([*required, *optional]))


def test_constructor_takes_all_keywords(client_class: Any, server: LocalServer) -> None:
    client = client_class(
        server.url,
        name="contract",
        verbose=False,
        pedantic=False,
        tls_cacert=None,
        tls_client_cert=None,
        tls_client_key=None,
        tls_verify=False,
        socket_timeout=TIMEOUT,
        socket_keepalive=True,
        ping_interval=30.0,
        workers=2,
    )
    with client:
        flush(client)


# Connecting and closing


def test_context_manager_connects_and_closes(client_class: Any, server: LocalServer) -> None:
    client = client_class(server.url, socket_timeout=TIMEOUT)
    with client as entered:
        assert entered is client
        flush(client)
    with pytest.raises(OSError):
        client.publish("greeting", payload=b"too late")


def test_connect_and_close_as_calls(client_class: Any, server: LocalServer) -> None:
    client = client_class(server.url, socket_timeout=TIMEOUT)
    client.connect()
    try:
        flush(client)
    finally:
        client.close()


def test_close_twice(client_class: Any, server: LocalServer) -> None:
    client = client_class(server.url, socket_timeout=TIMEOUT)
    client.connect()
    client.close()
    client.close()


def test_connect_after_close(client_class: Any, server: LocalServer) -> None:
    client = client_class(server.url, socket_timeout=TIMEOUT)
    for _ in range(2):
        client.connect()
        try:
            flush(client)
        finally:
            client.close()


def test_reconnect_after_close(client_class: Any, server: LocalServer) -> None:
    """Also then subscriptions are restored."""
    inbox = Inbox()
    client = client_class(server.url, socket_timeout=TIMEOUT)
    client.connect()
    client.subscribe("news", callback=inbox)
    client.close()
    client.reconnect()
    try:
        client.publish("news", payload=b"hello")
        assert inbox.next().payload == b"hello"
    finally:
        client.close()


def test_url_with_host_name(client_class: Any, server: LocalServer) -> None:
    with client_class(f"nats://localhost:{server.port}", socket_timeout=TIMEOUT) as client:
        flush(client)


def test_ping_returns_at_once_and_keeps_the_connection(client: Any) -> None:
    for _ in range(10):
        assert client.ping() is None
    flush(client)


@pytest.mark.parametrize("flag", ["verbose", "pedantic"])
def test_verbose_and_pedantic(client_class: Any, server: LocalServer, flag: str) -> None:
    with client_class(server.url, socket_timeout=TIMEOUT, **{flag: True}) as client:
        flush(client)


def test_reconnect_restores_subscriptions(client: Any) -> None:
    plain, shared = Inbox(), Inbox()
    client.subscribe("plain", callback=plain)
    subscription = client.subscribe("shared", queue="group", callback=shared)
    client.reconnect()

    client.publish("plain", payload=b"1")
    client.publish("shared", payload=b"2")
    assert plain.next().payload == b"1"
    assert shared.next().payload == b"2"

    client.unsubscribe(subscription)
    client.publish("shared", payload=b"3")
    flush(client)
    assert shared.is_empty


# What the server is told


def test_connect_command(client_class: Any) -> None:
    said: dict[str, Any] = {}

    def script(conn: FakeConnection) -> None:
        conn.send_info()
        said.update(conn.expect("CONNECT").options)
        for _ in conn:
            pass

    options = {"name": "contract", "verbose": False, "pedantic": True}
    with (
        FakeServer(script) as server,
        client_class(server.url, socket_timeout=TIMEOUT, **options),
    ):
        pass
    assert said.items() >= options.items()


def test_ping_interval(client_class: Any) -> None:
    """The client asks for a sign of life again and again."""
    three_pings = threading.Event()

    def script(conn: FakeConnection) -> None:
        conn.send_info()
        pings = 0
        while (command := conn.read_command()) is not None:
            if command.verb == "PING":
                conn.send(b"PONG\r\n")
                pings += 1
                if pings == 3:
                    three_pings.set()

    with (
        FakeServer(script) as server,
        client_class(server.url, socket_timeout=TIMEOUT, ping_interval=0.02),
    ):
        assert three_pings.wait(TIMEOUT)


def test_user_and_password_in_url(
    client_class: Any, make_server: Callable[..., LocalServer]
) -> None:
    server = make_server("authorization { user: alice, password: secret }")
    url = f"nats://alice:secret@127.0.0.1:{server.port}"
    with client_class(url, socket_timeout=TIMEOUT) as client:
        flush(client)


def test_token_in_url(client_class: Any, make_server: Callable[..., LocalServer]) -> None:
    """A user name without a password is a token."""
    server = make_server("authorization { token: secret }")
    with client_class(f"nats://secret@127.0.0.1:{server.port}", socket_timeout=TIMEOUT) as client:
        flush(client)


# Publishing and subscribing


def test_publish_to_callback(client: Any) -> None:
    inbox = Inbox()
    client.subscribe("greeting", callback=inbox)
    client.publish("greeting", payload=b"hello")

    message = inbox.next()
    assert isinstance(message, pynats2.NATSMessage)
    assert message.subject == "greeting"
    assert message.payload == b"hello"
    assert type(message.payload) is bytes


def test_message_fields(client: Any) -> None:
    inbox = Inbox()
    subscription = client.subscribe("greeting.*", callback=inbox)
    client.publish("greeting.formal", payload=b"hello", reply="answers")
    assert inbox.next() == pynats2.NATSMessage(
        sid=subscription.sid, subject="greeting.formal", reply="answers", payload=b"hello"
    )


def test_message_without_reply_and_payload(client: Any) -> None:
    inbox = Inbox()
    client.subscribe("nothing", callback=inbox)
    client.publish("nothing")
    message = inbox.next()
    assert message.reply == ""
    assert message.payload == b""


def test_subscription_fields(client: Any) -> None:
    inbox = Inbox()
    subscription = client.subscribe("jobs", callback=inbox, queue="workers", max_messages=2)
    assert isinstance(subscription, pynats2.NATSSubscription)
    assert isinstance(subscription.sid, int)
    assert subscription.subject == "jobs"
    assert subscription.queue == "workers"
    assert subscription.callback is inbox
    assert subscription.max_messages == 2
    assert subscription.received_messages == 0
    assert not subscription.is_wasted()

    client.publish("jobs")
    inbox.next()
    assert subscription.received_messages == 1
    assert not subscription.is_wasted()

    client.publish("jobs")
    inbox.next()
    assert subscription.received_messages == 2
    assert subscription.is_wasted()


def test_subscription_defaults(client: Any) -> None:
    subscription = client.subscribe("jobs", callback=Inbox())
    assert subscription.queue == ""
    assert subscription.max_messages is None


def test_text_payload(client: Any) -> None:
    """ASCII text may be published, and arrives as bytes."""
    inbox = Inbox()
    client.subscribe("greeting", callback=inbox)
    client.publish("greeting", payload="hello")
    assert inbox.next().payload == b"hello"


def test_any_bytes_arrive_unchanged(client: Any) -> None:
    payload = bytes(range(256)) * 1000 + b"\r\nMSG greeting 1 5\r\n"
    inbox = Inbox()
    client.subscribe("greeting", callback=inbox)
    client.publish("greeting", payload=payload)
    assert inbox.next().payload == payload


def test_messages_cross_to_pynats2(client: Any, peer: Any) -> None:
    theirs, ours = Inbox(), Inbox()
    peer.subscribe("to.peer", callback=theirs)
    flush(peer)
    client.subscribe("to.client", callback=ours)
    flush(client)

    client.publish("to.peer", payload=b"1", reply="to.client")
    message = theirs.next()
    assert (message.reply, message.payload) == ("to.client", b"1")
    peer.publish(message.reply, payload=b"2")
    assert ours.next().payload == b"2"


def test_every_subscription_gets_a_message(client: Any) -> None:
    inboxes = [Inbox() for _ in range(3)]
    for inbox in inboxes:
        client.subscribe("news", callback=inbox)
    client.publish("news", payload=b"all")
    assert [inbox.next().payload for inbox in inboxes] == [b"all"] * 3


def test_queue_group_shares_messages(client: Any) -> None:
    inbox = Inbox()
    for _ in range(3):
        client.subscribe("jobs", queue="workers", callback=inbox)
    for number in range(30):
        client.publish("jobs", payload=b"%d" % number)
    assert sorted(map(int, inbox.payloads(30))) == list(range(30))
    flush(client)
    assert inbox.is_empty


def test_messages_in_order_with_one_worker(client_class: Any, server: LocalServer) -> None:
    inbox = Inbox()
    with client_class(server.url, socket_timeout=TIMEOUT, workers=1) as client:
        client.subscribe("news", callback=inbox)
        for number in range(100):
            client.publish("news", payload=b"%d" % number)
        assert inbox.payloads(100) == [b"%d" % number for number in range(100)]


def test_publish_from_several_threads(client: Any) -> None:
    inbox = Inbox()
    client.subscribe("news", callback=inbox)

    def publish(first: int) -> None:
        for number in range(first, first + 100):
            client.publish("news", payload=b"%d" % number)

    threads = [threading.Thread(target=publish, args=(first,)) for first in (0, 100, 200, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert sorted(map(int, inbox.payloads(400))) == list(range(400))


def test_unsubscribe(client: Any) -> None:
    inbox = Inbox()
    subscription = client.subscribe("news", callback=inbox)
    client.publish("news", payload=b"1")
    assert inbox.next().payload == b"1"

    assert client.unsubscribe(subscription) is None
    client.publish("news", payload=b"2")
    flush(client)
    assert inbox.is_empty


def test_unsubscribe_twice(client: Any) -> None:
    subscription = client.subscribe("news", callback=Inbox())
    client.unsubscribe(subscription)
    client.unsubscribe(subscription)
    flush(client)


def test_auto_unsubscribe(client: Any) -> None:
    inbox = Inbox()
    subscription = client.subscribe("news", callback=inbox, max_messages=2)
    assert client.auto_unsubscribe(subscription) is None
    for number in range(4):
        client.publish("news", payload=b"%d" % number)
    assert set(inbox.payloads(2)) == {b"0", b"1"}
    flush(client)
    assert inbox.is_empty


def test_auto_unsubscribe_without_max_messages_does_nothing(client: Any) -> None:
    inbox = Inbox()
    client.auto_unsubscribe(client.subscribe("news", callback=inbox))
    for number in range(3):
        client.publish("news", payload=b"%d" % number)
    assert set(inbox.payloads(3)) == {b"0", b"1", b"2"}


def test_callback_that_raises_stops_nothing(client: Any) -> None:
    inbox = Inbox()

    def callback(message: Any) -> None:
        inbox(message)
        raise ValueError("raised on purpose")

    client.subscribe("news", callback=callback)
    for number in range(5):
        client.publish("news", payload=b"%d" % number)
    assert set(inbox.payloads(5)) == {b"0", b"1", b"2", b"3", b"4"}
    flush(client)


def test_close_waits_for_callbacks(client_class: Any, server: LocalServer) -> None:
    started, never, finished = threading.Event(), threading.Event(), threading.Event()

    def callback(message: Any) -> None:
        started.set()
        never.wait(SHORT_TIMEOUT)
        finished.set()

    with client_class(server.url, socket_timeout=TIMEOUT) as client:
        client.subscribe("news", callback=callback)
        client.publish("news")
        assert started.wait(TIMEOUT)
    assert finished.is_set()


def test_callback_may_use_the_client(client: Any) -> None:
    """A callback makes a request, subscribes and unsubscribes, as other code may."""
    results: queue.Queue[bytes] = queue.Queue()
    serve_echo(client)

    def callback(message: Any) -> None:
        answer = client.request("echo", payload=message.payload, timeout=TIMEOUT)
        client.unsubscribe(client.subscribe("other", callback=Inbox()))
        results.put(answer.payload)

    client.subscribe("news", callback=callback)
    client.publish("news", payload=b"question")
    assert results.get(timeout=TIMEOUT) == b"question"
    flush(client)


# Requests


def test_request(client: Any, peer: Any) -> None:
    serve_echo(peer)
    flush(peer)

    message = client.request("echo", payload=b"hello", timeout=TIMEOUT)
    assert isinstance(message, pynats2.NATSMessage)
    assert isinstance(message.sid, int)
    assert message.subject.startswith("_INBOX.")
    assert message.reply == ""
    assert message.payload == b"hello"


def test_requests_answered_by_the_client(client: Any, peer: Any) -> None:
    serve_echo(client, queue="servers")
    flush(client)
    for number in range(20):
        payload = b"%d" % number
        assert peer.request("echo", payload=payload, timeout=TIMEOUT).payload == payload


def test_request_with_text_payload(client: Any) -> None:
    serve_echo(client)
    assert client.request("echo", payload="hello", timeout=TIMEOUT).payload == b"hello"


def test_many_requests(client: Any) -> None:
    serve_echo(client)
    for number in range(50):
        payload = b"%d" % number
        assert client.request("echo", payload=payload, timeout=TIMEOUT).payload == payload


def test_request_that_nobody_serves(client: Any) -> None:
    with pytest.raises(pynats2.NATSRequestTimeoutError):
        client.request("nobody", timeout=SHORT_TIMEOUT)
    flush(client)


def test_request_that_nobody_answers(client: Any) -> None:
    """After the timeout the client works on, and a late answer goes nowhere."""
    questions = Inbox()
    client.subscribe("silence", callback=questions)
    with pytest.raises(pynats2.NATSRequestTimeoutError):
        client.request("silence", payload=b"hello?", timeout=SHORT_TIMEOUT)

    client.publish(questions.next().reply, payload=b"late")
    flush(client)


# The URL's path: a prefix of all subjects


@pytest.fixture
def prefixed(client_class: Any, server: LocalServer) -> Iterator[Any]:
    with client_class(f"{server.url}/house/floor/", socket_timeout=TIMEOUT) as client:
        yield client


def test_prefix_is_invisible_to_its_client(prefixed: Any) -> None:
    inbox = Inbox()
    subscription = prefixed.subscribe("room", callback=inbox)
    assert subscription.subject == "room"
    prefixed.publish("room", payload=b"hello", reply="door")
    message = inbox.next()
    assert (message.subject, message.reply, message.payload) == ("room", "door", b"hello")


def test_prefix_is_visible_to_others(prefixed: Any, peer: Any) -> None:
    outside, inside = Inbox(), Inbox()
    peer.subscribe("house.floor.room", callback=outside)
    flush(peer)
    prefixed.subscribe("window", callback=inside)
    flush(prefixed)

    prefixed.publish("room", payload=b"1", reply="window")
    message = outside.next()
    assert (message.reply, message.payload) == ("house.floor.window", b"1")
    peer.publish(message.reply, payload=b"2")
    assert inside.next().payload == b"2"


def test_request_with_prefix(prefixed: Any, peer: Any) -> None:
    serve_echo(peer, "house.floor.echo")
    flush(peer)
    answer = prefixed.request("echo", payload=b"hello", timeout=TIMEOUT)
    assert answer.subject.startswith("_INBOX.")
    assert answer.payload == b"hello"


def test_request_between_clients_with_the_same_prefix(prefixed: Any, server: LocalServer) -> None:
    with NATSClient(f"{server.url}/house/floor", socket_timeout=TIMEOUT) as peer:
        serve_echo(peer)
        flush(peer)
        assert prefixed.request("echo", payload=b"1", timeout=TIMEOUT).payload == b"1"
        serve_echo(prefixed, "echo.back")
        flush(prefixed)
        assert peer.request("echo.back", payload=b"2", timeout=TIMEOUT).payload == b"2"


def test_reconnect_with_prefix(prefixed: Any) -> None:
    inbox = Inbox()
    prefixed.subscribe("room", callback=inbox)
    prefixed.reconnect()
    prefixed.publish("room", payload=b"hello")
    assert inbox.next().subject == "room"


# Exceptions


@contextmanager
def failing_to_connect(
    client_class: Any, error: type[BaseException], url: str, **options: Any
) -> Iterator[pytest.ExceptionInfo[BaseException]]:
    """Expect connect() to raise; the client is closed at the end."""
    client = client_class(url, socket_timeout=TIMEOUT, **options)
    with pytest.raises(error) as caught:
        client.connect()
    yield caught
    client.close()


def test_connection_refused(client_class: Any, make_server: Callable[..., LocalServer]) -> None:
    server = make_server()
    server.stop()
    client = client_class(server.url, socket_timeout=TIMEOUT)
    with warnings.catch_warnings():
        if client_class is NATSClient:
            # It drops its socket without closing it.
            warnings.simplefilter("ignore", ResourceWarning)
        with pytest.raises(ConnectionError):
            client.connect()
        gc.collect()


def test_server_that_says_nothing(client_class: Any) -> None:
    with FakeServer(lambda conn: None) as server:
        client = client_class(server.url, socket_timeout=SHORT_TIMEOUT)
        with pytest.raises(pynats2.NATSConnectionError):
            client.connect()
        client.close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:4222", "redis://localhost"])
def test_invalid_scheme(client_class: Any, url: str) -> None:
    with pytest.raises(pynats2.NATSInvalidSchemeError):
        client_class(url)


def test_invalid_url(client_class: Any) -> None:
    with pytest.raises(pynats2.NATSInvalidUrlError):
        client_class("nats://[::1")


def test_tls_url_and_server_without_tls(client_class: Any, server: LocalServer) -> None:
    url = f"tls://127.0.0.1:{server.port}"
    with failing_to_connect(client_class, pynats2.NATSTCPConnectionRequiredError, url) as caught:
        assert isinstance(caught.value, pynats2.NATSConnectionError)
        assert isinstance(caught.value.line, str)


# TLS


class Certificates(NamedTuple):
    """Paths of PEM files."""

    authority: str
    server: str
    server_key: str
    client: str
    client_key: str


def _write_authority(directory: Path) -> Certificates:
    """Make a certificate authority, and certificates for 127.0.0.1 and for a client."""
    authority = trustme.CA()
    paths = Certificates(*(str(directory / f"{name}.pem") for name in Certificates._fields))
    authority.cert_pem.write_to_path(paths.authority)
    for certificate, path, key_path in (
        (authority.issue_cert("127.0.0.1"), paths.server, paths.server_key),
        (authority.issue_cert("client@example.org"), paths.client, paths.client_key),
    ):
        certificate.cert_chain_pems[0].write_to_path(path)
        certificate.private_key_pem.write_to_path(key_path)
    return paths


@pytest.fixture(params=[NATSNoSubscribeClient, Client], ids=["pynats2", "objstore"])
def tls_client_class(request: pytest.FixtureRequest) -> Any:
    return request.param


def ask_server(client: Any) -> None:
    """Make a request that the server itself answers."""
    assert b"account_info_response" in client.request("$JS.API.INFO", timeout=TIMEOUT).payload


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return _write_authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def tls_port(make_server: Callable[..., LocalServer], certificates: Certificates) -> int:
    """The port of a server that requires TLS."""
    server = make_server(
        f'tls {{ cert_file: "{certificates.server}", key_file: "{certificates.server_key}" }}'
    )
    return server.port


@pytest.fixture
def mutual_tls_port(make_server: Callable[..., LocalServer], certificates: Certificates) -> int:
    """The port of a server that requires TLS and a certificate of the client."""
    server = make_server(
        f'tls {{ cert_file: "{certificates.server}", key_file: "{certificates.server_key}",'
        f' ca_file: "{certificates.authority}", verify: true }}'
    )
    return server.port


def test_tls_without_verification(tls_client_class: Any, tls_port: int) -> None:
    url = f"tls://127.0.0.1:{tls_port}"
    with tls_client_class(url, tls_verify=False, socket_timeout=TIMEOUT) as client:
        ask_server(client)
        client.reconnect()
        ask_server(client)


def test_tls_with_verification(
    tls_client_class: Any, tls_port: int, certificates: Certificates
) -> None:
    url = f"tls://127.0.0.1:{tls_port}"
    options = {"tls_verify": True, "tls_cacert": certificates.authority}
    with tls_client_class(url, socket_timeout=TIMEOUT, **options) as client:
        ask_server(client)


def test_tls_with_another_authority(tls_client_class: Any, tls_port: int, tmp_path: Path) -> None:
    url = f"tls://127.0.0.1:{tls_port}"
    options = {"tls_verify": True, "tls_cacert": _write_authority(tmp_path).authority}
    with failing_to_connect(tls_client_class, OSError, url, **options):
        pass


def test_client_certificate(
    tls_client_class: Any, mutual_tls_port: int, certificates: Certificates
) -> None:
    options = {
        "tls_verify": True,
        "tls_cacert": certificates.authority,
        "tls_client_cert": certificates.client,
        "tls_client_key": certificates.client_key,
    }
    url = f"tls://127.0.0.1:{mutual_tls_port}"
    with tls_client_class(url, socket_timeout=TIMEOUT, **options) as client:
        ask_server(client)


def test_plain_url_and_server_with_tls(tls_client_class: Any, tls_port: int) -> None:
    """
    The error is the same, its cause is not.

    pynats2 looks at the URL alone. `Client` would use TLS, but the certificate is unknown.
    """
    url = f"nats://127.0.0.1:{tls_port}"
    with failing_to_connect(
        tls_client_class, pynats2.NATSTLSConnectionRequiredError, url
    ) as caught:
        assert isinstance(caught.value, pynats2.NATSConnectionError)
        assert isinstance(caught.value.line, str)


# The one break, and what pynats2 does not do: Client only


def test_tls_is_verified_by_default(tls_port: int) -> None:
    """pynats2 accepts any server unless `tls_verify` is True."""
    with failing_to_connect(Client, errors.ConnectError, f"tls://127.0.0.1:{tls_port}"):
        pass


def test_tls_with_known_authority_by_default(tls_port: int, certificates: Certificates) -> None:
    """Also when only the server says that there is TLS."""
    for scheme in ("tls", "nats"):
        url = f"{scheme}://127.0.0.1:{tls_port}"
        with Client(url, tls_cacert=certificates.authority) as client:
            flush(client)


def test_host_name_is_verified_by_default(tls_port: int, certificates: Certificates) -> None:
    """The certificate is for 127.0.0.1 and for no name."""
    url = f"tls://localhost:{tls_port}"
    options = {"tls_cacert": certificates.authority}
    with failing_to_connect(Client, errors.ConnectError, url, **options):
        pass


def test_missing_client_certificate(mutual_tls_port: int, certificates: Certificates) -> None:
    """pynats2's connect() does not notice."""
    url = f"tls://127.0.0.1:{mutual_tls_port}"
    options = {"tls_cacert": certificates.authority}
    with failing_to_connect(Client, errors.ConnectError, url, **options):
        pass


@pytest.mark.parametrize("user", ["", "alice:wrong@", "mallory:secret@", "secret@"])
def test_wrong_credentials(make_server: Callable[..., LocalServer], user: str) -> None:
    """pynats2's connect() does not notice."""
    server = make_server("authorization { user: alice, password: secret }")
    url = f"nats://{user}127.0.0.1:{server.port}"
    with failing_to_connect(Client, errors.AuthenticationError, url) as caught:
        assert isinstance(caught.value, pynats2.NATSConnectionError)
        assert "secret" not in str(caught.value)


def test_connection_refused_is_an_error_of_both_kinds(
    make_server: Callable[..., LocalServer],
) -> None:
    """pynats2 lets the OSError through."""
    server = make_server()
    server.stop()
    with failing_to_connect(Client, pynats2.NATSConnectionError, server.url) as caught:
        assert str(server.port) in str(caught.value)


def test_callbacks_run_in_order(server: LocalServer) -> None:
    """pynats2's workers overtake each other: callbacks of one subscription do not here."""
    inbox, first_may_end = Inbox(), threading.Event()

    def callback(message: Any) -> None:
        if message.payload == b"0":
            assert first_may_end.wait(TIMEOUT)
        inbox(message)

    with Client(server.url, workers=3) as client:
        client.subscribe("news", callback=callback)
        for number in range(10):
            client.publish("news", payload=b"%d" % number)
        flush(client)
        assert inbox.is_empty
        first_may_end.set()
        assert inbox.payloads(10) == [b"%d" % number for number in range(10)]


def test_messages_beyond_max_messages_are_dropped(server: LocalServer) -> None:
    """pynats2's reader dies of them, unless `auto_unsubscribe` was called."""
    inbox, all_have_come = Inbox(), threading.Event()

    def callback(message: Any) -> None:
        assert all_have_come.wait(TIMEOUT)
        inbox(message)

    with Client(server.url) as client:
        subscription = client.subscribe("news", callback=callback, max_messages=2)
        for number in range(4):
            client.publish("news", payload=b"%d" % number)
        flush(client)
        all_have_come.set()
        assert inbox.payloads(2) == [b"0", b"1"]
    assert inbox.is_empty
    assert subscription.received_messages == 2


def test_server_that_goes_away(make_server: Callable[..., LocalServer]) -> None:
    """pynats2's reader spins for ever, and close() waits for it."""
    server = make_server()
    with Client(server.url) as client:
        flush(client)
        server.stop()
        with pytest.raises(pynats2.NATSError):
            client.request("echo", timeout=SHORT_TIMEOUT)
