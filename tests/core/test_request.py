"""One request and its answer, now or later; and what is left when nobody wants it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from objstore.core.connection import Connection
from objstore.core.deadline import Deadline
from objstore.core.request import Request
from objstore.errors import (
    ConnectionLostError,
    InvalidNameError,
    NoRespondersError,
    RequestTimeoutError,
)
from tests.fake_server import FakeConnection, FakeServer
from tests.helpers import wait_until

#: Seconds to wait for what must happen, and for what must not.
TIMEOUT = 10.0
SHORT = 0.05

MakeConnection = Callable[..., Connection]
Taken = Callable[..., contextlib.AbstractContextManager[None]]


def ignore(conn: FakeConnection) -> None:
    """Script: answer no request."""
    conn.handshake()
    for _ in conn:
        pass


def echo(conn: FakeConnection) -> None:
    """Script: answer every request with what it holds."""
    conn.handshake()
    for command in conn:
        if command.verb == "PUB" and command.reply:
            conn.reply(command, command.payload)


def send(connection: Connection, subject: str = "echo", payload: bytes = b"") -> Request:
    return Request(connection, subject, payload, Deadline(TIMEOUT))


def test_answers_may_be_waited_for_in_any_order(make_connection: MakeConnection) -> None:
    """Several requests are on their way at once; each gets its own."""

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        requests = [conn.expect("PUB") for _ in range(3)]
        for request in reversed(requests):
            conn.reply(request, request.payload)

    with FakeServer(script) as server:
        connection = make_connection(server.url)
        requests = [send(connection, payload=b"%d" % number) for number in range(3)]
        answers = [request.answer(Deadline(TIMEOUT)) for request in requests]
        assert [bytes(answer.payload) for answer in answers] == [b"0", b"1", b"2"]


def test_first_of_several_answers_counts(make_connection: MakeConnection) -> None:
    """Others may follow; they disturb nothing."""

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        request = conn.expect("PUB")
        for payload in (b"1", b"2"):
            conn.reply(request, payload)

    with FakeServer(script) as server:
        request = send(make_connection(server.url))
        assert bytes(request.answer(Deadline(TIMEOUT)).payload) == b"1"


@pytest.mark.parametrize("block", [b"NATS/1.0 503\r\n\r\n", b"NATS/1.0 503 No Responders\r\n\r\n"])
def test_nobody_serves_the_subject(block: bytes, make_connection: MakeConnection) -> None:
    """An answer of the server itself."""

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        conn.reply(conn.expect("PUB"), headers=block)

    with FakeServer(script) as server:
        request = send(make_connection(server.url), "echo")
        with pytest.raises(NoRespondersError, match="echo"):
            request.answer(Deadline(TIMEOUT))


def test_other_status_is_an_answer(make_connection: MakeConnection) -> None:
    """What it means is for the caller to say."""

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        conn.reply(conn.expect("PUB"), headers=b"NATS/1.0 404 Not Found\r\n\r\n")

    with FakeServer(script) as server:
        answer = send(make_connection(server.url)).answer(Deadline(TIMEOUT))
        assert (answer.status, answer.headers.description) == (404, "Not Found")


def test_no_answer_in_time(make_connection: MakeConnection) -> None:
    """The message names the subject and the time."""
    with FakeServer(ignore) as server:
        request = send(make_connection(server.url))
        with pytest.raises(RequestTimeoutError, match=rf"echo within {SHORT} s"):
            request.answer(Deadline(SHORT))


def test_lost_before_anybody_waits(make_connection: MakeConnection) -> None:
    """The failure is kept for the one who asks later."""

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        conn.expect("PUB")
        conn.close()

    with FakeServer([script, ignore]) as server:
        connection = make_connection(server.url)
        request = send(connection)
        ended = threading.Event()
        request.inbox.on_delivery = ended.set
        assert request.inbox.ended or ended.wait(TIMEOUT)
        with pytest.raises(ConnectionLostError):
            request.answer(Deadline(None))


@pytest.mark.parametrize("way", [Request.forget, Request.abandon])
def test_forgotten_request_leaves_nothing(
    way: Callable[[Request], None], make_connection: MakeConnection
) -> None:
    """Its answer is dropped, and its place in the table is free."""
    with FakeServer(ignore) as server:
        connection = make_connection(server.url)
        for _ in range(5):
            request = send(connection)
            way(request)
            way(request)
        connection.inbox(Deadline(TIMEOUT))
        assert len(connection._routes._inboxes) == 1


def test_answered_requests_leave_nothing(make_connection: MakeConnection) -> None:
    """However many there were."""

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        for command in conn:
            if command.verb == "PUB":
                conn.reply(command)

    with FakeServer(script) as server:
        connection = make_connection(server.url)
        for _ in range(100):
            send(connection).answer(Deadline(TIMEOUT))
        assert len(connection._routes._inboxes) <= 1


def test_refused_request_leaves_nothing(make_connection: MakeConnection) -> None:
    """A subject or payload that cannot be sent is an error before anything is."""
    with FakeServer(ignore) as server:
        connection = make_connection(server.url)
        for _ in range(5):
            with pytest.raises(InvalidNameError):
                send(connection, "a b")
            with pytest.raises(ValueError, match="max_payload"):
                send(connection, payload=bytes((1 << 20) + 1))
        connection.inbox(Deadline(TIMEOUT))
        assert len(connection._routes._inboxes) == 1
        connection.close()
    assert b"PUB " not in server.received


def test_who_sends_takes_others_requests_along(
    make_connection: MakeConnection, background: ThreadPoolExecutor, taken: Taken
) -> None:
    """Nobody waits for the lock of the sending half to ask something."""
    with FakeServer(echo) as server:
        connection = make_connection(server.url)
        connection.connect()
        with taken(connection._write_lock):
            requests = [send(connection, payload=b"%d" % number) for number in range(3)]
            assert connection.has_unsent
        connection.publish("elsewhere")
        assert not connection.has_unsent
        answers = [request.answer(Deadline(TIMEOUT)) for request in requests]
        assert [bytes(answer.payload) for answer in answers] == [b"0", b"1", b"2"]


def test_request_that_nobody_took_along_is_sent_by_who_waits(
    make_connection: MakeConnection, taken: Taken
) -> None:
    with FakeServer(echo) as server:
        connection = make_connection(server.url)
        connection.connect()
        with taken(connection._write_lock):
            request = send(connection, payload=b"hello")
        assert connection.has_unsent
        assert bytes(request.answer(Deadline(TIMEOUT)).payload) == b"hello"


def test_request_waits_for_room(
    make_connection: MakeConnection, background: ThreadPoolExecutor
) -> None:
    """What was said before fills the socket: the request goes out behind it."""
    go = threading.Event()

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        assert go.wait(TIMEOUT)
        assert len(conn.expect("PUB").payload) == len(much)
        request = conn.expect("PUB")
        conn.reply(request, request.payload)

    much = bytes(32 << 20)
    with FakeServer(script, info={"max_payload": len(much)}) as server:
        connection = make_connection(server.url, ping_interval=3600)
        connection.connect()
        connection.say(connection._link, b"PUB much %d\r\n%s\r\n" % (len(much), much))
        asking = background.submit(connection.request, "echo", b"hello", timeout=TIMEOUT)
        wait_until(connection._write_lock.locked)
        go.set()
        assert bytes(asking.result(TIMEOUT).payload) == b"hello"


def test_request_ahead_goes_out_with_the_next(make_connection: MakeConnection) -> None:
    with FakeServer(echo) as server:
        connection = make_connection(server.url)
        deadline = Deadline(TIMEOUT)
        first = Request(connection, "echo", b"1", deadline, ahead=True)
        assert connection.has_unsent
        second = send(connection, payload=b"2")
        assert not connection.has_unsent
        assert bytes(second.answer(deadline).payload) == b"2"
        assert bytes(first.answer(deadline).payload) == b"1"


def test_request_ahead_of_none_is_sent_by_who_waits(make_connection: MakeConnection) -> None:
    with FakeServer(echo) as server:
        connection = make_connection(server.url)
        request = Request(connection, "echo", b"1", Deadline(TIMEOUT), ahead=True)
        assert bytes(request.answer(Deadline(TIMEOUT)).payload) == b"1"
