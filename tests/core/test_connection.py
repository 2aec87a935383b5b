"""A connection's life: first use, requests, sending, loss, closing, forks; and nothing leaks."""

from __future__ import annotations

import array
import contextlib
import os
import pickle
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trustme

from objstore.core import resolver
from objstore.core.connection import Connection, State
from objstore.core.deadline import Deadline
from objstore.core.dispatcher import Dispatcher
from objstore.core.options import make_options
from objstore.core.protocol import MAX_CONTROL_LINE, encode_pub
from objstore.core.transport import TCPTransport
from objstore.errors import (
    AuthenticationError,
    ConnectError,
    ConnectionLostError,
    InvalidNameError,
    NoRespondersError,
    PermissionsViolationError,
    RequestTimeoutError,
)
from objstore.server import LocalServer
from tests.fake_server import FakeConnection, FakeServer
from tests.helpers import wait_until
from tests.proxy import Proxy

#: Seconds to wait for what must happen, and for what must not.
TIMEOUT = 10.0
SHORT = 0.1
#: More bytes than the system buffers for one connection, and a server that takes them.
MUCH = 16 << 20
GENEROUS = {"max_payload": 64 << 20}
MUCH_SAID = b"PUB a %d\r\n%b\r\n" % (MUCH, bytes(MUCH))

MakeConnection = Callable[..., Connection]
MakeServer = Callable[..., LocalServer]
Taken = Callable[..., contextlib.AbstractContextManager[None]]


def serve(conn: FakeConnection) -> None:
    """Script: answer requests with their own payload."""
    conn.handshake()
    for command in conn:
        if command.verb in ("PUB", "HPUB") and command.reply:
            conn.reply(command, command.payload)


def ignore(conn: FakeConnection) -> None:
    """Script: answer no request."""
    conn.handshake()
    for _ in conn:
        pass


def ask(
    connection: Connection, payload: bytes = b"hello", timeout: float | None = TIMEOUT
) -> bytes:
    """Send a request and return the answer's payload."""
    return bytes(connection.request("echo", payload, timeout=timeout).payload)


def sent_requests(server: FakeServer, count: int = 1) -> bool:
    """Whether so many requests have arrived."""
    return server.received.count(b"PUB echo ") >= count


@contextlib.contextmanager
def responder(connection: Connection, background: ThreadPoolExecutor) -> Iterator[None]:
    """Serve the subject `echo`, through a real server."""
    subscription = connection.subscribe("echo")

    def run() -> None:
        with contextlib.suppress(ConnectionLostError):
            while (message := subscription.next(None)) is not None:
                connection.publish(message.reply, message.payload)

    running = background.submit(run)
    connection.flush(TIMEOUT)
    yield
    subscription.close()
    running.result(TIMEOUT)


# First use


def test_connects_at_first_use(make_connection: MakeConnection) -> None:
    """Making a connection opens no socket and starts no thread."""
    with FakeServer(serve) as server:
        before = threading.active_count()
        connection = make_connection(server.url)
        assert connection.state is State.IDLE
        assert connection.info == {}
        assert (threading.active_count(), server.connections) == (before, [])
        assert ask(connection) == b"hello"
        assert connection.state is State.CONNECTED
        assert connection.info["server_id"] == "FAKE"
        assert connection.max_payload(Deadline(0)) == 1 << 20


def test_connect_twice_is_once(make_connection: MakeConnection) -> None:
    """The second time there is nothing to do."""
    with FakeServer(serve) as server:
        connection = make_connection(server.url)
        connection.connect()
        connection.connect()
        ask(connection)
        assert len(server.connections) == 1


def test_many_threads_share_the_first_use(
    make_connection: MakeConnection, background: ThreadPoolExecutor
) -> None:
    """One of them connects, the others wait for it."""
    with FakeServer(serve) as server:
        connection = make_connection(server.url)
        payloads = [b"%d" % number for number in range(20)]
        futures = [background.submit(ask, connection, payload) for payload in payloads]
        assert [future.result(TIMEOUT) for future in futures] == payloads
        assert len(server.connections) == 1


def test_failed_connect_can_be_repeated(
    make_connection: MakeConnection, server: LocalServer
) -> None:
    """A connection is not spoilt by a server that was down."""
    with Proxy(server.port) as proxy:
        proxy.refuse()
        connection = make_connection(proxy.url)
        for _ in range(2):
            with pytest.raises(ConnectError, match="refused"):
                connection.connect()
            assert connection.state is State.IDLE
        proxy.accept()
        connection.flush(TIMEOUT)
        assert connection.state is State.CONNECTED


def test_failed_connect_fails_in_every_thread(
    make_connection: MakeConnection, background: ThreadPoolExecutor, dead_port: int
) -> None:
    """Nobody goes on waiting for the one who tried."""
    connection = make_connection(f"127.0.0.1:{dead_port}")
    for future in [background.submit(ask, connection, b"", None) for _ in range(10)]:
        assert isinstance(future.exception(TIMEOUT), ConnectError)


def test_first_use_takes_no_longer_than_the_call_may(
    make_connection: MakeConnection, deaf_port: int
) -> None:
    """A call's own timeout counts, also while it connects."""
    connection = make_connection(f"127.0.0.1:{deaf_port}", timeout=None)
    with pytest.raises(ConnectError, match="in time"):
        connection.request("echo", timeout=SHORT)


def test_server_that_leaves_after_the_handshake_is_a_connect_error(
    make_connection: MakeConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the handshake and the first use there is no gap to fall into."""
    with FakeServer(serve) as server:
        connection = make_connection(server.url)
        real_send = TCPTransport.send

        def send(transport: TCPTransport, buffers: Any, deadline: Deadline) -> None:
            if bytes(buffers[0]).startswith(b"SUB"):
                raise BrokenPipeError("broken pipe")
            real_send(transport, buffers, deadline)

        with monkeypatch.context() as patch:
            patch.setattr(TCPTransport, "send", send)
            with pytest.raises(ConnectError, match="after the handshake"):
                connection.connect()
        assert connection.state is State.IDLE
        assert ask(connection) == b"hello"


def test_thread_that_cannot_start_is_an_error_and_leaves_nothing(
    make_connection: MakeConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system may be out of threads; later it may have some."""

    def start(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    with FakeServer(serve) as server:
        connection = make_connection(server.url)
        with monkeypatch.context() as patch:
            patch.setattr(Dispatcher, "start", start)
            with pytest.raises(RuntimeError, match="new thread"):
                connection.connect()
        assert connection.state is State.IDLE
        assert ask(connection) == b"hello"


def test_wrong_credentials_are_an_error_at_once(
    make_connection: MakeConnection, make_server: MakeServer
) -> None:
    """Not an endless loop: there is nothing to wait for."""
    server = make_server("authorization { user: joe, password: s3cret }")
    for keywords in ({}, {"user": "joe"}, {"user": "joe", "password": "wr0ng"}, {"token": "wr0ng"}):
        connection = make_connection(server.url, timeout=None, **keywords)
        with pytest.raises(AuthenticationError, match="Authorization Violation") as caught:
            connection.connect()
        assert "wr0ng" not in str(caught.value)
    connection = make_connection(server.url, user="joe", password="s3cret")
    connection.flush(TIMEOUT)


def test_token_is_accepted(make_connection: MakeConnection, make_server: MakeServer) -> None:
    """By keyword or in the URL, percent-encoded."""
    server = make_server('authorization { token: "s3/cr@t" }')
    make_connection(server.url, token="s3/cr@t").flush(TIMEOUT)
    make_connection(f"nats://s3%2Fcr%40t@127.0.0.1:{server.port}").flush(TIMEOUT)


def test_repr_has_no_secrets(make_connection: MakeConnection) -> None:
    """It shows where the connection leads, and its state."""
    connection = make_connection("nats://joe:s3cret@demo,tls://t0ken@[::1]")
    assert repr(connection) == "<Connection to nats://demo:4222, tls://[::1]:4222: not connected>"


# TLS, with a real server


def tls_config(authority: trustme.CA, directory: Path, more: str = "") -> str:
    """Return the configuration of a server with TLS."""
    path = directory / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
    return f'tls {{ cert_file: "{path}", key_file: "{path}", {more} }}'


@pytest.mark.slow
def test_tls_in_segments_of_one_byte(
    make_connection: MakeConnection,
    make_server: MakeServer,
    authority: trustme.CA,
    ca_file: Path,
    tmp_path: Path,
    background: ThreadPoolExecutor,
) -> None:
    """The segments of TCP mean nothing, below TLS neither."""
    server = make_server(tls_config(authority, tmp_path))
    payload = bytes(range(256)) * 40
    with (
        responder(make_connection(server.url, tls_cacert=ca_file), background),
        Proxy(server.port) as proxy,
    ):
        proxy.split(1)
        assert ask(make_connection(proxy.url, tls_cacert=ca_file), payload) == payload


@pytest.mark.slow
def test_large_messages_over_tls_in_both_directions_at_once(
    make_connection: MakeConnection,
    make_server: MakeServer,
    authority: trustme.CA,
    ca_file: Path,
    tmp_path: Path,
    background: ThreadPoolExecutor,
) -> None:
    """Several threads send and receive much more than any buffer holds."""
    server = make_server(tls_config(authority, tmp_path))
    payload = os.urandom(1_000_000)
    with responder(make_connection(server.url, tls_cacert=ca_file), background):
        connection = make_connection(server.url, tls_cacert=ca_file)
        for future in [background.submit(ask, connection, payload) for _ in range(16)]:
            assert future.result(TIMEOUT) == payload


def test_certificate_of_the_client_lets_it_in(
    make_connection: MakeConnection,
    make_server: MakeServer,
    authority: trustme.CA,
    ca_file: Path,
    tmp_path: Path,
) -> None:
    """And without one there is an error at once, not an endless loop."""
    server = make_server(tls_config(authority, tmp_path, f'verify: true, ca_file: "{ca_file}"'))
    client_file = tmp_path / "client.pem"
    authority.issue_cert("me@example.org").private_key_and_cert_chain_pem.write_to_path(client_file)
    make_connection(server.url, tls_cacert=ca_file, tls_client_cert=client_file).flush(TIMEOUT)
    with pytest.raises(ConnectError):
        make_connection(server.url, tls_cacert=ca_file, timeout=None).connect()


# Requests


def test_request_and_answer(
    make_connection: MakeConnection, server: LocalServer, background: ThreadPoolExecutor
) -> None:
    """Through a real server."""
    with responder(make_connection(server.url), background):
        assert ask(make_connection(server.url)) == b"hello"


def test_verbose_and_pedantic_server(
    make_connection: MakeConnection, server: LocalServer, background: ThreadPoolExecutor
) -> None:
    """An `+OK` for every command disturbs nothing."""
    keywords = {"verbose": True, "pedantic": True}
    with responder(make_connection(server.url, **keywords), background):
        connection = make_connection(server.url, **keywords)
        assert [ask(connection, b"%d" % number) for number in range(20)] == [
            b"%d" % number for number in range(20)
        ]


@pytest.mark.slow
def test_many_threads_get_their_own_answers(
    make_connection: MakeConnection, server: LocalServer, background: ThreadPoolExecutor
) -> None:
    """Requests of many threads on one connection do not mix."""

    def ask_often(name: int) -> None:
        for number in range(25):
            payload = b"%d:%d " % (name, number) * (1 + name * 100)
            assert ask(connection, payload) == payload

    with responder(make_connection(server.url), background):
        connection = make_connection(server.url)
        for future in [background.submit(ask_often, name) for name in range(30)]:
            future.result(TIMEOUT)


def test_request_that_nobody_serves(make_connection: MakeConnection, server: LocalServer) -> None:
    """The server says so at once."""
    with pytest.raises(NoRespondersError, match="nobody"):
        make_connection(server.url).request("nobody", timeout=None)


def test_request_without_an_answer_times_out(
    make_connection: MakeConnection, background: ThreadPoolExecutor
) -> None:
    """The connection and the requests of others are unharmed."""
    answered = threading.Event()

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        other = conn.expect("PUB")
        conn.expect("PUB")
        assert answered.wait(TIMEOUT)
        conn.reply(other, b"late")

    with FakeServer(script) as server:
        connection = make_connection(server.url)
        waiting = background.submit(ask, connection, b"", None)
        wait_until(lambda: sent_requests(server))
        with pytest.raises(RequestTimeoutError, match="echo"):
            ask(connection, timeout=SHORT)
        answered.set()
        assert waiting.result(TIMEOUT) == b"late"


def test_late_answer_is_not_the_next_requests(make_connection: MakeConnection) -> None:
    """Each answer belongs to one request, wherever in time it comes."""

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        first, second = conn.expect("PUB"), conn.expect("PUB")
        conn.reply(first, b"late")
        conn.reply(second, b"in time")

    with FakeServer(script) as server:
        connection = make_connection(server.url)
        with pytest.raises(RequestTimeoutError):
            ask(connection, timeout=SHORT)
        assert ask(connection) == b"in time"


def test_request_with_headers(make_connection: MakeConnection) -> None:
    """They arrive, and those of the answer do."""

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        request = conn.expect("HPUB")
        conn.reply(request, request.payload, {"Got": request.headers["A"]})

    with FakeServer(script) as server:
        answer = make_connection(server.url).request("echo", b"x", headers={"A": ["1", "2"]})
        assert answer.headers.fields == {"Got": ["1", "2"]}


@pytest.mark.parametrize(
    "payload",
    [b"", b"1234", bytearray(b"1234"), memoryview(b"1234"), memoryview(array.array("H", [1, 2]))],
    ids=lambda payload: type(payload).__name__,
)
def test_payload_may_be_any_bytes(payload: Any, make_connection: MakeConnection) -> None:
    """Whatever holds bytes is sent as those bytes."""
    with FakeServer(serve) as server:
        assert ask(make_connection(server.url), payload) == bytes(payload)


@pytest.mark.parametrize("payload", ["text", 5, None, ["a"], memoryview(b"1234")[::2]])
def test_payload_of_another_type_is_a_type_error(
    payload: Any, make_connection: MakeConnection
) -> None:
    """Before anything is sent."""
    with FakeServer(serve) as server:
        connection = make_connection(server.url)
        connection.connect()
        with pytest.raises(TypeError):
            connection.publish("a", payload)
        assert ask(connection) == b"hello"
        assert b"PUB a" not in server.received


@pytest.mark.parametrize(
    "subject", ["", "a b", "a\r\nPUB pwned 0\r\n", "a.*", "x" * MAX_CONTROL_LINE]
)
def test_bad_subject_is_refused_before_connecting(
    subject: str, make_connection: MakeConnection, dead_port: int
) -> None:
    """Nothing is sent, and nobody waits for a server to say so."""
    connection = make_connection(f"127.0.0.1:{dead_port}")
    with pytest.raises(InvalidNameError):
        connection.publish(subject)
    with pytest.raises(InvalidNameError):
        connection.publish("a", reply=subject or "a..b")
    with pytest.raises(InvalidNameError):
        connection.subscribe(subject.replace("*", ""))


def test_longest_subject_that_is_accepted_is_taken_by_the_server(
    make_connection: MakeConnection, server: LocalServer
) -> None:
    """Our limit is not above that of the server."""
    connection = make_connection(server.url)
    subject = "x" * (MAX_CONTROL_LINE - len("PUB  4"))
    subscription = make_connection(server.url).subscribe("*")
    subscription._connection.flush(TIMEOUT)
    connection.publish(subject, b"1234")
    message = subscription.next(TIMEOUT)
    assert message is not None and message.subject == subject


@pytest.mark.parametrize("headers", [None, {"A": "1"}])
def test_message_that_is_too_large_is_refused_before_it_is_sent(
    headers: Any, make_connection: MakeConnection, make_server: MakeServer
) -> None:
    """Headers count; one byte less is fine with the server."""
    server = make_server("max_payload: 1024")
    connection = make_connection(server.url)
    subscription = connection.subscribe("a")
    room = 1024 - (len(b"NATS/1.0\r\nA: 1\r\n\r\n") if headers else 0)
    with pytest.raises(ValueError, match=r"1025 bytes .*max_payload, 1024"):
        connection.publish("a", bytes(room + 1), headers=headers)
    connection.publish("a", bytes(room), headers=headers)
    message = subscription.next(TIMEOUT)
    assert message is not None and len(message.payload) == room


def test_denied_publish_ends_the_very_request(
    make_connection: MakeConnection, make_server: MakeServer, background: ThreadPoolExecutor
) -> None:
    """With the server's reason, at once; other requests go on."""
    server = make_server(
        "authorization { users: [ { user: joe, password: x, "
        'permissions: { publish: { deny: "secret.>" } } } ] }'
    )
    connection = make_connection(server.url, user="joe", password="x")
    with responder(make_connection(server.url, user="joe", password="x"), background):
        with pytest.raises(PermissionsViolationError, match="Publish") as caught:
            connection.request("secret.plan", timeout=None)
        assert caught.value.subject == "secret.plan"
        assert ask(connection) == b"hello"


def test_denied_inbox_ends_every_request(
    make_connection: MakeConnection, make_server: MakeServer, background: ThreadPoolExecutor
) -> None:
    """Nobody waits for answers that cannot come; another prefix is the cure."""
    server = make_server(
        "authorization { users: [ { user: joe, password: x, "
        'permissions: { subscribe: { deny: "_INBOX.>" } } } ] }'
    )
    keywords = {"user": "joe", "password": "x"}
    connection = make_connection(server.url, **keywords)
    for _ in range(2):
        with pytest.raises(PermissionsViolationError, match="_INBOX"):
            ask(connection, timeout=None)
    with responder(make_connection(server.url, **keywords), background):
        assert ask(make_connection(server.url, inbox_prefix="mine", **keywords)) == b"hello"


# Sending


@pytest.mark.slow
def test_frames_of_many_threads_are_intact(
    make_connection: MakeConnection, background: ThreadPoolExecutor
) -> None:
    """Messages of all sizes from many threads arrive whole, and in order for each thread."""
    sizes = [0, 10, 1000, 20_000, 300_000]
    arrived: dict[str, list[bytes]] = {}
    complete = threading.Event()

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        while sum(map(len, arrived.values())) < 20 * 2 * len(sizes):
            conn.send(b"PING\r\n")
            command = conn.read_command()
            assert command is not None
            if command.verb == "PUB":
                arrived.setdefault(command.subject, []).append(command.payload)
        complete.set()

    def publish(name: int) -> None:
        for size in sizes * 2:
            connection.publish(f"from.{name}", bytes([name]) * size)

    with FakeServer(script) as server:
        connection = make_connection(server.url)
        for future in [background.submit(publish, name) for name in range(20)]:
            future.result(TIMEOUT)
        assert complete.wait(TIMEOUT)
    for name in range(20):
        assert arrived[f"from.{name}"] == [bytes([name]) * size for size in sizes * 2]


def test_ping_is_answered_behind_a_large_message(
    make_connection: MakeConnection, background: ThreadPoolExecutor
) -> None:
    """A peer that does not read blocks a sender, not the reader; no frame is cut in two."""
    blocked, go, answered = threading.Event(), threading.Event(), threading.Event()

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        assert blocked.wait(TIMEOUT)
        conn.send(b"PING\r\n")
        assert go.wait(TIMEOUT)
        assert conn.expect("PUB").payload == bytes(MUCH)
        conn.expect("PONG")
        assert conn.expect("PUB").payload == b"next"
        answered.set()

    with FakeServer(script, info=GENEROUS) as server:
        connection = make_connection(server.url)
        connection.connect()
        sending = background.submit(connection.publish, "a", bytes(MUCH))
        wait_until(connection._write_lock.locked)
        blocked.set()
        wait_until(lambda: connection.has_unsent)  # the answer waits behind the message
        assert not sending.done()
        go.set()
        sending.result(TIMEOUT)
        connection.publish("a", b"next")
        assert answered.wait(TIMEOUT)


def test_answer_that_did_not_go_out_at_once_goes_out_by_itself(
    make_connection: MakeConnection,
) -> None:
    """The reader thread comes back to it; nobody else has to send anything."""
    go, arrived = threading.Event(), threading.Event()

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        assert go.wait(TIMEOUT)
        conn.send(b"PING\r\n")
        assert conn.expect("PUB").payload == bytes(MUCH)
        conn.expect("PONG")
        arrived.set()

    with FakeServer(script, info=GENEROUS) as server:
        connection = make_connection(server.url, ping_interval=3600)
        connection.connect()
        connection.say(connection._link, MUCH_SAID)
        assert connection.has_unsent
        go.set()
        assert arrived.wait(TIMEOUT)


def test_flush_waits_until_its_ping_can_go_out(
    make_connection: MakeConnection, background: ThreadPoolExecutor
) -> None:
    """The server may be slower than we are; nobody else has to send anything."""
    go = threading.Event()

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        assert go.wait(TIMEOUT)
        assert conn.expect("PUB").payload == bytes(MUCH)
        conn.expect("PING")
        conn.send(b"PONG\r\n")

    with FakeServer(script, info=GENEROUS) as server:
        connection = make_connection(server.url, ping_interval=3600)
        connection.connect()
        connection.say(connection._link, MUCH_SAID)
        flushing = background.submit(connection.flush, None)
        wait_until(connection._write_lock.locked)
        go.set()
        flushing.result(TIMEOUT)


def test_write_that_the_server_does_not_take_drops_the_connection(
    make_connection: MakeConnection, background: ThreadPoolExecutor
) -> None:
    """Half a message is out: nothing may follow it, so a new connection is made."""
    let_go = threading.Event()

    def stubborn(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        conn.expect("PUB")
        assert let_go.wait(TIMEOUT)

    with FakeServer([stubborn, serve], info=GENEROUS) as server:
        connection = make_connection(server.url)
        waiting = background.submit(ask, connection, b"", None)
        wait_until(lambda: sent_requests(server))
        with pytest.raises(RequestTimeoutError, match="takes no more data"):
            connection.publish("a", bytes(MUCH), timeout=SHORT)
        assert isinstance(waiting.exception(TIMEOUT), ConnectionLostError)
        assert ask(connection) == b"hello"
        let_go.set()


def test_failed_write_takes_the_link_out_of_use_at_once(
    make_connection: MakeConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next call does not try it again, however late the reader thread notices."""
    go = threading.Event()
    real_lose = Connection.lose

    def lose(*args: Any) -> bool:
        assert go.wait(TIMEOUT)
        return real_lose(*args)

    def stubborn(conn: FakeConnection) -> None:
        conn.handshake()
        assert go.wait(TIMEOUT)

    monkeypatch.setattr(Connection, "lose", lose)
    with FakeServer([stubborn, serve], info=GENEROUS) as server:
        connection = make_connection(server.url)
        connection.connect()
        with pytest.raises(RequestTimeoutError):
            connection.publish("a", bytes(MUCH), timeout=SHORT)
        assert connection.state is State.RECONNECTING
        with pytest.raises(ConnectionLostError, match="no connection"):
            ask(connection, timeout=SHORT)
        go.set()
        assert ask(connection) == b"hello"


def test_interrupted_write_drops_the_connection(
    make_connection: MakeConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes out as it is; half a message is never followed by another."""

    def first(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")

    with FakeServer([first, serve], info=GENEROUS) as server:
        connection = make_connection(server.url)
        connection.connect()
        real_send_some = TCPTransport._send_some
        calls = 0

        def interrupt(transport: TCPTransport, buffers: Any) -> int:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise KeyboardInterrupt
            # Half of it, however much there would be room for.
            return real_send_some(transport, [memoryview(b"".join(buffers))[: MUCH // 2]])

        with monkeypatch.context() as patch:
            patch.setattr(TCPTransport, "_send_some", interrupt)
            with pytest.raises(KeyboardInterrupt):
                connection.publish("a", bytes(MUCH))
        wait_until(lambda: len(server.connections) == 2)
        assert ask(connection) == b"hello"


def test_busy_senders_are_waited_for_only_so_long(
    make_connection: MakeConnection, taken: Taken
) -> None:
    """The lock of the sending half counts as waiting."""
    with FakeServer(serve) as server:
        connection = make_connection(server.url)
        connection.connect()
        with (
            taken(connection._write_lock),
            pytest.raises(RequestTimeoutError, match="other threads"),
        ):
            connection.publish("a", timeout=SHORT)
        assert ask(connection) == b"hello"


def test_handler_that_sends_in_the_middle_of_a_send_is_refused(
    make_connection: MakeConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal or the collector may run code of ours there; the message stays in one piece."""
    arrived = threading.Event()

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        assert conn.expect("PUB").payload == b"whole"
        conn.expect("UNSUB")
        assert conn.expect("PUB").payload == b"next"
        arrived.set()

    with FakeServer(script) as server:
        connection = make_connection(server.url)
        connection.connect()
        inbox = connection.inbox(Deadline(TIMEOUT))
        real_send = TCPTransport.send

        def interrupted(*args: Any) -> None:
            monkeypatch.setattr(TCPTransport, "send", real_send)
            inbox.close(b"UNSUB 9\r\n")
            for torn in (connection.publish, connection.request):
                with pytest.raises(RuntimeError, match="signal handler"):
                    torn("a", b"torn")
            assert connection._write_lock.locked()
            real_send(*args)

        monkeypatch.setattr(TCPTransport, "send", interrupted)
        connection.publish("a", b"whole")
        connection.publish("a", b"next")
        assert arrived.wait(TIMEOUT)


def test_without_time_a_message_is_sent_if_that_needs_no_waiting(
    make_connection: MakeConnection,
) -> None:
    """A timeout of 0 does not wait, but it does send."""
    arrived = threading.Event()

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        conn.expect("PUB")
        arrived.set()

    with FakeServer(script) as server:
        connection = make_connection(server.url)
        connection.connect()
        connection.publish("a", timeout=0)
        assert arrived.wait(TIMEOUT)


def test_flush_waits_for_the_server(
    make_connection: MakeConnection, background: ThreadPoolExecutor
) -> None:
    """Until it has handled what was sent before."""
    go = threading.Event()

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        conn.expect("PUB")
        conn.expect("PING")
        assert go.wait(TIMEOUT)
        conn.send(b"PONG\r\n")
        conn.expect("PING")

    with FakeServer(script) as server:
        connection = make_connection(server.url)
        connection.publish("a")
        flushing = background.submit(connection.flush, None)
        wait_until(lambda: server.received.count(b"PING") == 2)
        assert not flushing.done()
        go.set()
        flushing.result(TIMEOUT)
        with pytest.raises(RequestTimeoutError, match="not answered"):
            connection.flush(SHORT)


# Loss


def test_cut_ends_what_waits_and_the_next_request_works(
    make_connection: MakeConnection, server: LocalServer, background: ThreadPoolExecutor
) -> None:
    """Requests and flushes fail at once; subscriptions go on, and are restored."""
    with responder(make_connection(server.url), background), Proxy(server.port) as proxy:
        connection = make_connection(proxy.url)
        news = connection.subscribe("news")
        connection.subscribe("silent")
        connection.flush(TIMEOUT)
        proxy.hold_s2c()
        waiting = [background.submit(connection.request, "silent", timeout=None) for _ in range(3)]
        waiting.append(background.submit(connection.flush, None))
        message = background.submit(news.next, None)
        wait_until(lambda: len(connection._routes._inboxes) == 3 and connection._link.pings == 2)  # type: ignore[union-attr]
        proxy.cut()
        for future in waiting:
            assert isinstance(future.exception(TIMEOUT), ConnectionLostError)
        proxy.release_s2c()
        assert ask(connection) == b"hello"
        assert proxy.connections == 2
        connection.publish("news", b"again")
        received = message.result(TIMEOUT)
        assert received is not None and bytes(received.payload) == b"again"


def test_calls_wait_for_the_next_connection(
    make_connection: MakeConnection, server: LocalServer, background: ThreadPoolExecutor
) -> None:
    """Who comes while there is none is served by the next one."""
    with responder(make_connection(server.url), background), Proxy(server.port) as proxy:
        connection = make_connection(proxy.url)
        connection.connect()
        proxy.refuse()
        proxy.cut()
        wait_until(lambda: connection.state is State.RECONNECTING)
        assert connection.info == {}
        asking = background.submit(ask, connection, b"hello", None)
        subscribing = background.submit(connection.subscribe, "news", timeout=None)
        with pytest.raises(ConnectionLostError, match="no connection"):
            connection.publish("news", timeout=SHORT)
        assert not asking.done() and not subscribing.done()
        proxy.accept()
        assert asking.result(TIMEOUT) == b"hello"
        subscription = subscribing.result(TIMEOUT)
        connection.publish("news", b"1")
        message = subscription.next(TIMEOUT)
        assert message is not None and bytes(message.payload) == b"1"


def test_inbox_belongs_to_one_link(make_connection: MakeConnection, server: LocalServer) -> None:
    """What was to be sent on a link that is gone is not sent on the next."""
    with Proxy(server.port) as proxy:
        connection = make_connection(proxy.url)
        subscription = make_connection(server.url).subscribe("a")
        subscription._connection.flush(TIMEOUT)
        inbox = connection.inbox(Deadline(TIMEOUT))
        proxy.refuse()
        proxy.cut()
        with pytest.raises(ConnectionLostError):
            inbox.next(TIMEOUT)
        with pytest.raises(ConnectionLostError):  # at once: there is nothing to wait for
            connection.send(encode_pub("a", b"1"), Deadline(None), link=inbox.link)
        proxy.accept()
        connection.flush(TIMEOUT)
        with pytest.raises(ConnectionLostError):
            connection.send(encode_pub("a", b"1"), Deadline(None), link=inbox.link)
        connection.publish("a", b"2")
        message = subscription.next(TIMEOUT)
        assert message is not None and bytes(message.payload) == b"2"


def test_reconnect_on_demand(make_connection: MakeConnection) -> None:
    """The old link is given up, and the call returns with the next."""
    with FakeServer(serve) as server:
        connection = make_connection(server.url)
        connection.connect()
        for count in (2, 3):
            connection.reconnect()
            assert ask(connection) == b"hello"
            assert len(server.connections) == count


def test_private_inbox_has_a_subscription_of_its_own(make_connection: MakeConnection) -> None:
    """Its id tells whom a message is for, whatever its subject; closing it tells the server."""
    ended = threading.Event()

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        sid = conn.expect("SUB").sid
        request = conn.expect("PUB")
        conn.msg(sid, "any.subject", b"1")
        conn.msg(sid, request.reply, b"2")
        assert conn.expect("UNSUB").sid == sid
        ended.set()

    with FakeServer(script) as server:
        connection = make_connection(server.url)
        with connection.inbox(Deadline(TIMEOUT), private=True) as inbox:
            buffers = encode_pub("give.me", b"", inbox.subject(7))
            connection.send(buffers, Deadline(TIMEOUT), link=inbox.link)
            messages = [inbox.next(TIMEOUT), inbox.next(TIMEOUT)]
        assert [message and bytes(message.payload) for message in messages] == [b"1", b"2"]
        assert messages[1] is not None and inbox.number(messages[1]) == 7
        assert ended.wait(TIMEOUT)


def test_abandoned_inbox_is_forgotten_by_the_next_to_send(
    make_connection: MakeConnection, taken: Taken
) -> None:
    """A finalizer takes no lock and sends nothing; the farewell goes out with what comes next."""
    ended = threading.Event()

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        sid = conn.expect("SUB").sid
        assert conn.expect("UNSUB").sid == sid
        assert conn.expect("PUB").subject == "farewell"
        assert conn.expect("PUB").subject == "next"
        ended.set()

    with FakeServer(script) as server:
        connection = make_connection(server.url)
        inbox = connection.inbox(Deadline(TIMEOUT), private=True)
        with connection._lock, taken(connection._write_lock):
            inbox.abandon(b"".join(map(bytes, encode_pub("farewell", b""))))
        connection.publish("next")
        assert ended.wait(TIMEOUT)
        connection.inbox(Deadline(TIMEOUT))
        assert len(connection._routes._inboxes) == 1


def test_those_who_receive_share_what_may_be_sent_ahead(make_connection: MakeConnection) -> None:
    """The more there are, the less for each, up to what one asks for; who is done counts not."""
    with FakeServer(ignore) as server:
        connection = make_connection(server.url)
        assert connection.share(8 << 20) == 8 << 20
        inboxes = [connection.inbox(Deadline(TIMEOUT)) for _ in range(16)]
        assert connection.share(8 << 20) == 2 << 20
        assert connection.share(1 << 20) == 1 << 20
        for inbox in inboxes:
            inbox.close()
        connection.inbox(Deadline(TIMEOUT))
        assert connection.share(8 << 20) == 8 << 20


# Closing


def use(connection: Connection) -> Iterator[Callable[[], object]]:
    """Yield everything that needs a connection."""
    yield connection.connect
    yield connection.reconnect
    yield lambda: connection.publish("a")
    yield lambda: connection.request("a")
    yield lambda: connection.subscribe("a")
    yield lambda: connection.flush(None)
    yield lambda: connection.inbox(Deadline(None))
    yield lambda: connection.max_payload(Deadline(None))


@pytest.mark.parametrize("used", [True, False])
def test_closed_connection_says_so(used: bool, make_connection: MakeConnection) -> None:
    """Every call, as often as one tries; whether it was ever open or not."""
    with FakeServer(serve) as server:
        connection = make_connection(server.url)
        if used:
            ask(connection)
        connection.close()
        connection.close()
        assert connection.state is State.CLOSED
        for call in [*use(connection), *use(connection)]:
            with pytest.raises(ConnectionLostError, match="closed"):
                call()
        assert len(server.connections) == used


def test_close_ends_what_waits(
    make_connection: MakeConnection, background: ThreadPoolExecutor
) -> None:
    """Calls of other threads that would wait for ever; then the reader thread is gone."""
    with FakeServer(ignore) as server:
        connection = make_connection(server.url)
        subscription = connection.subscribe("news")
        waiting = [
            background.submit(ask, connection, b"", None),
            background.submit(subscription.next, None),
        ]
        wait_until(lambda: sent_requests(server))
        connection.close()
        assert not any("objstore-reader" in thread.name for thread in threading.enumerate())
        for future in waiting:
            with pytest.raises(ConnectionLostError, match="closed"):
                future.result(TIMEOUT)


def test_close_ends_a_blocked_send(
    make_connection: MakeConnection, background: ThreadPoolExecutor
) -> None:
    """Also one without a timeout, to a server that reads nothing."""
    let_go = threading.Event()

    def stubborn(conn: FakeConnection) -> None:
        conn.handshake()
        assert let_go.wait(TIMEOUT)

    with FakeServer(stubborn, info=GENEROUS) as server:
        connection = make_connection(server.url)
        connection.connect()
        sending = background.submit(connection.publish, "a", bytes(MUCH), timeout=None)
        wait_until(connection._write_lock.locked)
        connection.close()
        assert isinstance(sending.exception(TIMEOUT), ConnectionLostError)
        let_go.set()


def test_close_ends_a_first_use(
    make_connection: MakeConnection, background: ThreadPoolExecutor
) -> None:
    """A server that is just being connected to is left."""
    go, closed = threading.Event(), threading.Event()

    def script(conn: FakeConnection) -> None:
        go.set()
        assert closed.wait(TIMEOUT)
        conn.handshake()

    with FakeServer(script) as server:
        connection = make_connection(server.url)
        asking = background.submit(ask, connection, b"", None)
        assert go.wait(TIMEOUT)
        connection.close()
        closed.set()
        with pytest.raises(ConnectionLostError, match="closed"):
            asking.result(TIMEOUT)


def test_close_ends_reconnecting(
    make_connection: MakeConnection, server: LocalServer, background: ThreadPoolExecutor
) -> None:
    """Wherever in it the reader thread is."""
    with Proxy(server.port) as proxy:
        connection = make_connection(proxy.url)
        subscription = connection.subscribe("news")
        proxy.refuse()
        proxy.cut()
        wait_until(lambda: connection.state is State.RECONNECTING)
        waiting = background.submit(ask, connection, b"", None)
        connection.close()
        assert not any("objstore-reader" in thread.name for thread in threading.enumerate())
        for call in (lambda: waiting.result(TIMEOUT), lambda: subscription.next(None)):
            with pytest.raises(ConnectionLostError, match="closed"):
                call()


@pytest.mark.parametrize("words", [b"", b"INFO {"], ids=["silent", "slow"])
def test_close_ends_reconnecting_to_a_server_that_says_nothing(
    words: bytes, make_connection: MakeConnection
) -> None:
    """However long it would have been waited for."""

    def leave(conn: FakeConnection) -> None:
        conn.handshake()
        conn.close()

    with FakeServer([leave, lambda conn: conn.send(words)]) as server:
        connection = make_connection(server.url, timeout=None)
        connection.connect()
        wait_until(lambda: len(server.connections) == 2)
        connection.close()
        assert not any("objstore-reader" in thread.name for thread in threading.enumerate())


def test_close_ends_a_first_use_that_looks_up_a_host(
    make_connection: MakeConnection,
    background: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The system's look-up cannot be interrupted, so it is left behind."""
    looking, found = threading.Event(), threading.Event()

    def look_up(host: str, port: int, flags: int) -> list[Any]:
        if flags:
            raise socket.gaierror("not an address")
        looking.set()
        assert found.wait(TIMEOUT)
        return []

    monkeypatch.setattr(resolver, "_look_up", look_up)
    connection = make_connection("demo", timeout=None)
    connecting = background.submit(connection.connect)
    assert looking.wait(TIMEOUT)
    connection.close()
    with pytest.raises(ConnectionLostError, match="closed"):
        connecting.result(TIMEOUT)
    found.set()


def test_host_that_is_not_found_in_time(
    make_connection: MakeConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ConnectError at the deadline."""
    found = threading.Event()

    def look_up(host: str, port: int, flags: int) -> list[Any]:
        if flags:
            raise socket.gaierror("not an address")
        assert found.wait(TIMEOUT)
        return []

    monkeypatch.setattr(resolver, "_look_up", look_up)
    with pytest.raises(ConnectError, match="demo could not be learnt in time"):
        make_connection("demo", timeout=0.01).connect()
    found.set()


def test_close_from_the_reader_thread(
    make_connection: MakeConnection, caplog: pytest.LogCaptureFixture
) -> None:
    """It does not wait for itself."""

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        sid = conn.expect("SUB").sid
        conn.expect("PUB")
        conn.msg(sid, "news")

    with FakeServer(script) as server:
        connection = make_connection(server.url)
        subscription = connection.subscribe("news")
        subscription.on_delivery = connection.close
        connection.publish("go")
        with pytest.raises(ConnectionLostError, match="closed"):
            list(iter(lambda: subscription.next(TIMEOUT), None))
        assert connection.state is State.CLOSED
        connection.close()  # waits for the thread
        assert "failed" not in caplog.text


def test_close_from_many_threads(
    make_connection: MakeConnection, background: ThreadPoolExecutor
) -> None:
    """All return, and the connection is closed."""
    with FakeServer(serve) as server:
        connection = make_connection(server.url)
        ask(connection)
        for future in [background.submit(connection.close) for _ in range(10)]:
            future.result(TIMEOUT)
        assert connection.state is State.CLOSED


def test_close_closes_what_the_reader_thread_could_not(
    make_connection: MakeConnection, taken: Taken
) -> None:
    """The socket, if somebody had the sending half while the connection was lost."""
    with FakeServer([FakeConnection.handshake]) as server:
        connection = make_connection(server.url)
        connection.connect()
        assert connection._link is not None
        sock = connection._link.transport._socket  # type: ignore[attr-defined]
        with taken(connection._write_lock):
            connection.abandon()
            wait_until(lambda: connection.state is State.CLOSED)
            assert sock.fileno() != -1
        connection.close()
        assert sock.fileno() == -1


def test_subscription_that_is_closed_ends(make_connection: MakeConnection) -> None:
    """For the one who waits, and for the server; twice is fine."""
    ended = threading.Event()

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        sid = conn.expect("SUB").sid
        assert conn.expect("UNSUB").sid == sid
        conn.expect("PUB")
        ended.set()

    with FakeServer(script) as server:
        connection = make_connection(server.url)
        subscription = connection.subscribe("news")
        subscription.close()
        subscription.close()
        connection.publish("a")
        assert ended.wait(TIMEOUT)
        with pytest.raises(ConnectionLostError, match="subscription is closed"):
            subscription.next(None)


@pytest.mark.parametrize("lost", [False, True])
def test_abandoned_connection_ends_its_thread(
    lost: bool,
    make_connection: MakeConnection,
    server: LocalServer,
    background: ThreadPoolExecutor,
    taken: Taken,
) -> None:
    """When nobody holds it any more, connected or reconnecting; without waiting for a lock."""
    with Proxy(server.port) as proxy:
        connection = make_connection(proxy.url)
        subscription = connection.subscribe("news")
        waiting = background.submit(subscription.next, None)
        if lost:
            proxy.refuse()
            proxy.cut()
            wait_until(lambda: connection.state is State.RECONNECTING)
        # A finalizer may run anywhere.
        with connection._lock, taken(connection._write_lock):
            connection.abandon()
        assert isinstance(waiting.exception(TIMEOUT), ConnectionLostError)
        wait_until(lambda: connection.state is State.CLOSED)


# Forks


def in_child(function: Callable[[], object]) -> Any:
    """Run `function` in a forked process; return its result, or raise its exception."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            try:
                result = (True, function())
            except BaseException as error:
                result = (False, error)
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(result, pipe)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        if not select.select([pipe], [], [], TIMEOUT)[0]:
            os.kill(pid, signal.SIGKILL)
        data = pipe.read()
    os.waitpid(pid, 0)
    assert data, "the child hung or died"
    succeeded, result = pickle.loads(data)
    if not succeeded:
        raise result
    return result


forks = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]


class TestFork:
    """A child gets a connection of its own, and its parent's is left alone."""

    pytestmark = forks

    @pytest.fixture(params=["tcp", "tls"])
    def options(
        self, request: pytest.FixtureRequest, server_context: ssl.SSLContext, ca_file: Path
    ) -> dict[str, Any]:
        """Keywords for the server and the connection."""
        if request.param == "tcp":
            return {"server": {}, "connection": {}}
        return {"server": {"tls": server_context}, "connection": {"tls_cacert": ca_file}}

    def test_child_opens_its_own_connection(
        self, options: dict[str, Any], make_connection: MakeConnection
    ) -> None:
        """It says nothing on the parent's, whatever it does, and that goes on working."""
        with FakeServer(serve, **options["server"]) as server:
            connection = make_connection(server.url, **options["connection"])
            subscription = connection.subscribe("news")
            assert ask(connection, b"before") == b"before"
            before = bytes(server.connections[0].received)

            def child() -> bytes:
                answer = ask(connection, b"child")
                connection.flush(TIMEOUT)
                connection.close()
                return answer

            assert in_child(child) == b"child"
            assert bytes(server.connections[0].received) == before
            assert ask(connection, b"after") == b"after"
            subscription.close()
            connection.flush(TIMEOUT)
            assert len(server.connections) == 2
            assert b"after" not in server.connections[1].received

    def test_child_that_does_nothing_leaves_no_trace(
        self, options: dict[str, Any], make_connection: MakeConnection
    ) -> None:
        """Its end does not end the parent's connection."""
        with FakeServer(serve, **options["server"]) as server:
            connection = make_connection(server.url, **options["connection"])
            ask(connection)
            before = bytes(server.connections[0].received)
            assert in_child(lambda: connection.state) is State.IDLE
            assert bytes(server.connections[0].received) == before
            assert ask(connection, b"after") == b"after"
            assert len(server.connections) == 1

    def test_child_does_not_keep_the_parents_connection_open(
        self, make_connection: MakeConnection
    ) -> None:
        """The child's copy of the socket is closed: the server sees when the parent leaves."""
        left = threading.Event()

        def script(conn: FakeConnection) -> None:
            serve(conn)
            left.set()

        with FakeServer(script) as server:
            connection = make_connection(server.url)
            ask(connection)
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(writing)
                os.read(reading, 1)  # lives on until the parent has looked
                os._exit(0)
            os.close(reading)
            try:
                connection.close()
                assert left.wait(TIMEOUT)
            finally:
                os.close(writing)
                os.waitpid(pid, 0)

    def test_what_waits_in_the_parent_has_ended_in_the_child(
        self, make_connection: MakeConnection
    ) -> None:
        """A subscription or an inbox is of one process."""
        with FakeServer(ignore) as server:
            connection = make_connection(server.url)
            subscription = connection.subscribe("news")
            inbox = connection.inbox(Deadline(TIMEOUT))
            for queue in (subscription, inbox):
                with pytest.raises(ConnectionLostError, match="parent"):
                    in_child(lambda queue=queue: queue.next(None))  # type: ignore[misc]
                assert not queue.ended

    def test_what_was_the_parents_is_not_mistaken_for_the_childs(
        self, make_connection: MakeConnection
    ) -> None:
        """To close an inherited subscription or inbox ends nothing that the child made."""

        def second(conn: FakeConnection) -> None:
            conn.handshake()
            conn.expect("SUB")
            sid = conn.expect("SUB").sid
            request = conn.expect("PUB")
            conn.reply(request, b"answer")
            conn.msg(sid, "news", b"message")

        with FakeServer([ignore, second]) as server:
            connection = make_connection(server.url)
            old = connection.subscribe("news")
            old_inbox = connection.inbox(Deadline(TIMEOUT))

            def child() -> list[bytes]:
                new = connection.subscribe("news")
                new_inbox = connection.inbox(Deadline(TIMEOUT))
                old.close()
                old_inbox.close()
                connection.inbox(Deadline(TIMEOUT))
                buffers = encode_pub("echo", b"", new_inbox.subject())
                connection.send(buffers, Deadline(TIMEOUT))
                messages = [new_inbox.next(TIMEOUT), new.next(TIMEOUT)]
                return [bytes(message.payload) for message in messages if message is not None]

            assert in_child(child) == [b"answer", b"message"]

    def test_closed_connection_is_closed_in_the_child(
        self, make_connection: MakeConnection
    ) -> None:
        """A fork opens nothing again."""
        with FakeServer(serve) as server:
            connection = make_connection(server.url)
            ask(connection)
            connection.close()
            with pytest.raises(ConnectionLostError, match="closed"):
                in_child(lambda: ask(connection))

    def test_locks_of_the_parents_threads_do_not_matter(
        self, make_connection: MakeConnection, background: ThreadPoolExecutor
    ) -> None:
        """A thread that was sending at the time of the fork does not exist in the child."""
        let_go = threading.Event()

        def stubborn(conn: FakeConnection) -> None:
            conn.handshake()
            assert let_go.wait(TIMEOUT)
            for _ in conn:
                pass

        with FakeServer([stubborn, serve], info=GENEROUS) as server:
            connection = make_connection(server.url)
            connection.connect()
            sending = background.submit(connection.publish, "a", bytes(MUCH))
            wait_until(connection._write_lock.locked)
            with connection._lock:
                assert in_child(lambda: ask(connection)) == b"hello"
            let_go.set()
            sending.result(TIMEOUT)


# Leaks


def count_resources() -> tuple[int, int]:
    """Return the number of open files and of threads of this process."""
    return len(os.listdir("/proc/self/fd")), threading.active_count()


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")


@pytest.mark.slow
@needs_proc
def test_nothing_leaks(server: LocalServer, dead_port: int) -> None:
    """Connections that are closed, lost or never made leave no file and no thread."""
    endings: list[tuple[str, Callable[[Connection], None]]] = [
        (server.url, Connection.close),
        (server.url, Connection.abandon),
        (f"127.0.0.1:{dead_port}", Connection.close),
    ]

    def live_and_die() -> None:
        for url, ending in endings:
            connection = Connection(make_options(url))
            with contextlib.suppress(ConnectError):
                connection.subscribe("a")
                connection.reconnect()
                connection.flush(TIMEOUT)
            ending(connection)
            connection.close()

    live_and_die()
    before = count_resources()
    for _ in range(100):
        live_and_die()
    assert count_resources() == before


@pytest.mark.slow
@needs_proc
def test_failed_handshakes_leak_nothing(
    make_connection: MakeConnection, server_context: ssl.SSLContext
) -> None:
    """Wherever they fail."""

    def nonsense(conn: FakeConnection) -> None:
        conn.send([b"", b"INFO {", b"INFO {}\r\n", b"+OK\r\n"][conn.number % 4])
        conn.close()

    def untrusted(conn: FakeConnection) -> None:
        with contextlib.suppress(OSError):
            conn.handshake()

    before = count_resources()
    for script, tls in ((nonsense, None), (untrusted, server_context)):
        with FakeServer(script, tls=tls) as server:
            connection = make_connection(server.url)
            for _ in range(20):
                with pytest.raises(ConnectError):
                    connection.connect()
    assert count_resources() == before


@pytest.mark.slow
def test_program_that_never_closes_ends_at_once(server: LocalServer) -> None:
    """The reader thread keeps no program from ending, and nothing is said about it."""
    program = (
        "from objstore.core.connection import Connection\n"
        "from objstore.core.options import make_options\n"
        f"connection = Connection(make_options({server.url!r}))\n"
        "subscription = connection.subscribe('news')\n"
        "connection.publish('news', b'hello')\n"
        "print(bytes(subscription.next(10).payload))\n"
    )
    run = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program],
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, b"b'hello'\n", b"")
