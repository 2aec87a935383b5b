"""The reader thread: what it answers, hands over, notices and survives, and how it reconnects."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from objstore.core import deadline as deadline_module
from objstore.core import dispatcher as module
from objstore.core.connection import Connection, State
from objstore.core.link import Link
from objstore.core.options import ServerURL, make_options
from objstore.core.protocol import Message, Parser
from objstore.core.subscription import Subscription
from objstore.core.transport import UNKNOWN
from objstore.errors import (
    AuthenticationError,
    ConnectionLostError,
    PermissionsViolationError,
    ProtocolError,
    RequestTimeoutError,
    SlowConsumerError,
)
from tests.fake_server import Command, FakeConnection, FakeServer
from tests.helpers import wait_until

#: Seconds to wait for what must happen.
TIMEOUT = 10.0

MakeConnection = Callable[..., Connection]


def serve(conn: FakeConnection) -> None:
    """Script: be a server without other clients; answer requests with their own payload."""
    conn.handshake()
    for command in conn:
        if command.verb in ("PUB", "HPUB") and command.reply:
            conn.reply(command, command.payload)


def listen(conn: FakeConnection) -> Command:
    """Do the handshake and return the first request."""
    conn.handshake()
    while (command := next(iter(conn))).verb != "PUB":
        pass
    return command


def ask(connection: Connection, payload: bytes = b"hello") -> bytes:
    """Send a request and return the answer's payload."""
    return bytes(connection.request("echo", payload, timeout=TIMEOUT).payload)


def ask_for_ever(connection: Connection, background: ThreadPoolExecutor) -> Future[Message]:
    """Send a request that waits without end, in another thread."""
    return background.submit(connection.request, "echo", b"?", timeout=None)


def take(subscription: Subscription) -> bytes:
    """Take the next payload."""
    message = subscription.next(TIMEOUT)
    assert message is not None, "nothing came in time"
    return bytes(message.payload)


# Answering


def test_answers_ping(make_connection: MakeConnection) -> None:
    """Each with one `PONG`."""
    answered = threading.Event()

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        assert conn.expect("SUB").sid == 1
        for _ in range(3):
            conn.send(b"PING\r\n")
            conn.expect("PONG")
        answered.set()

    with FakeServer(script) as server:
        make_connection(server.url).connect()
        assert answered.wait(TIMEOUT)


def test_answers_a_flood_of_pings(make_connection: MakeConnection) -> None:
    """All of them, and goes on working."""
    count = 10_000

    def script(conn: FakeConnection) -> None:
        request = listen(conn)
        conn.send(b"PING\r\n" * count)
        for _ in range(count):
            conn.expect("PONG")
        conn.reply(request, b"done")

    with FakeServer(script) as server:
        assert ask(make_connection(server.url)) == b"done"


def test_answers_what_came_with_the_handshake(make_connection: MakeConnection) -> None:
    """Bytes behind the last of the handshake are not forgotten."""
    answered = threading.Event()

    def script(conn: FakeConnection) -> None:
        conn.send_info()
        conn.expect("CONNECT")
        conn.expect("PING")
        conn.send(b"PONG\r\nPING\r\nPI")
        conn.expect("SUB")
        conn.expect("PONG")
        conn.send(b"NG\r\n")
        conn.expect("PONG")
        answered.set()

    with FakeServer(script) as server:
        make_connection(server.url).connect()
        assert answered.wait(TIMEOUT)


# Handing over


def test_messages_reach_their_subscription_in_order(make_connection: MakeConnection) -> None:
    """Also when those for several subscriptions come mixed, in one segment."""

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        sids = [conn.expect("SUB").sid for _ in range(3)][1:]
        conn.send(
            b"".join(
                b"MSG x %d 2\r\n%02d\r\n" % (sid, number) for number in range(50) for sid in sids
            )
        )

    with FakeServer(script) as server:
        connection = make_connection(server.url)
        one, two = connection.subscribe("one"), connection.subscribe("two")
        expected = [b"%02d" % number for number in range(50)]
        assert [take(one) for _ in range(50)] == expected
        assert [take(two) for _ in range(50)] == expected


def test_message_for_nobody_is_ignored(make_connection: MakeConnection) -> None:
    """One for an unknown subscription, or an inbox that is gone."""

    def script(conn: FakeConnection) -> None:
        request = listen(conn)
        for sid in (0, 99, 10**17):
            conn.msg(sid, "x", b"nobody's")
        conn.msg(1, "_INBOX.other.1.0", b"a foreign answer")
        conn.msg(1, "x", b"no answer at all")
        conn.msg(1, request.reply.replace(".1.0", ".999.0"), b"an answer to nothing")
        conn.reply(request, b"the answer")

    with FakeServer(script) as server:
        assert ask(make_connection(server.url)) == b"the answer"


def test_slow_subscription_ends_and_the_others_go_on(make_connection: MakeConnection) -> None:
    """It does not stop the reader thread, and the server is told to send no more."""
    unsubscribed = threading.Event()

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        slow, fast = conn.expect("SUB").sid, conn.expect("SUB").sid
        conn.expect("PUB")
        for number in range(5):
            conn.msg(slow, "slow", b"%d" % number * 300)
            conn.msg(fast, "fast", b"%d" % number * 300)
        assert conn.expect("UNSUB").sid == slow
        unsubscribed.set()
        conn.msg(slow, "slow", b"too late")
        conn.msg(fast, "fast", b"5")

    with FakeServer(script) as server:
        connection = make_connection(server.url)
        connection.connect()
        slow, fast = connection.subscribe("slow"), connection.subscribe("fast")
        slow._limit = 1000  # the real one is 64 MiB
        connection.publish("go")
        assert unsubscribed.wait(TIMEOUT)
        assert [take(fast)[:1] for _ in range(6)] == [b"0", b"1", b"2", b"3", b"4", b"5"]
        with pytest.raises(SlowConsumerError, match="slow"):
            list(iter(lambda: take(slow), b""))


def test_later_info_is_learnt(make_connection: MakeConnection) -> None:
    """A server may change its mind about what it takes, and name others."""

    def script(conn: FakeConnection) -> None:
        request = listen(conn)
        conn.send_info(max_payload=100, connect_urls=["127.0.0.2:1"])
        conn.reply(request, b"")

    with FakeServer(script) as server:
        connection = make_connection(server.url)
        ask(connection)
        assert connection.info["max_payload"] == 100
        with pytest.raises(ValueError, match="100"):
            connection.publish("a", bytes(101))


# Complaints


def test_complaint_alone_ends_nothing(make_connection: MakeConnection) -> None:
    """The server says itself whether it goes on: it closes the connection, or does not."""

    def script(conn: FakeConnection) -> None:
        request = listen(conn)
        conn.send(b"-ERR 'Invalid Subject'\r\n-ERR\r\n-ERR ''\r\n")
        conn.reply(request, b"fine")

    with FakeServer(script) as server:
        assert ask(make_connection(server.url)) == b"fine"
        assert len(server.connections) == 1


def test_last_complaint_explains_the_end(
    make_connection: MakeConnection, background: ThreadPoolExecutor
) -> None:
    """It is in the message, and the cause."""

    def script(conn: FakeConnection) -> None:
        listen(conn)
        conn.send(b"-ERR 'Stale Connection'\r\n")
        conn.close()

    with FakeServer([script, serve]) as server:
        with pytest.raises(ConnectionLostError, match="Stale Connection") as caught:
            ask_for_ever(make_connection(server.url), background).result(TIMEOUT)
        assert "Stale Connection" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    "text",
    [
        'Permissions Violation for Publish to "echo"',
        'permissions violation for publish to "echo"',
        "Permission Violation: may not publish to echo",
        "Permissions Violation for Publish To echo",
    ],
)
def test_denied_publish_ends_the_requests_to_that_subject(
    text: str, make_connection: MakeConnection, background: ThreadPoolExecutor
) -> None:
    """At once, and no others."""

    def script(conn: FakeConnection) -> None:
        request = listen(conn)
        other = conn.expect("PUB")
        conn.send(f"-ERR '{text}'\r\n".encode())
        assert conn.expect("PUB").subject == "done"
        conn.reply(other, b"fine")
        assert request.subject == "echo"

    with FakeServer(script) as server:
        connection = make_connection(server.url)
        denied = ask_for_ever(connection, background)
        wait_until(lambda: b"PUB echo" in server.received)
        other = background.submit(connection.request, "other", timeout=None)
        with pytest.raises(PermissionsViolationError) as caught:
            denied.result(TIMEOUT)
        assert caught.value.subject == "echo"
        connection.publish("done")
        assert bytes(other.result(TIMEOUT).payload) == b"fine"


@pytest.mark.parametrize("tail", ["", ' using queue "workers"'])
def test_denied_subscription_ends(tail: str, make_connection: MakeConnection) -> None:
    """With the server's words."""

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        assert conn.expect("SUB").subject == "secret.>"
        conn.send(
            f"-ERR 'Permissions Violation for Subscription to \"secret.>\"{tail}'\r\n".encode()
        )

    with FakeServer(script) as server:
        subscription = make_connection(server.url).subscribe("secret.>")
        with pytest.raises(PermissionsViolationError, match="Subscription") as caught:
            subscription.next(TIMEOUT)
        assert caught.value.subject == "secret.>"


def test_denied_reply_ends_the_request(make_connection: MakeConnection) -> None:
    """Who may not be answered waits for nothing."""

    def script(conn: FakeConnection) -> None:
        request = listen(conn)
        text = f'Permissions Violation for Publish with Reply of "{request.reply}"'
        conn.send(f"-ERR '{text}'\r\n".encode())

    with FakeServer(script) as server:
        with pytest.raises(PermissionsViolationError, match="Reply"):
            make_connection(server.url).request("echo", timeout=None)


def test_denial_of_nobody_knows_what_ends_all_that_waits(make_connection: MakeConnection) -> None:
    """Better an error too many than a wait without end."""

    def script(conn: FakeConnection) -> None:
        listen(conn)
        conn.send(b"-ERR 'Permissions Violation'\r\n")

    with FakeServer(script) as server:
        with pytest.raises(PermissionsViolationError):
            make_connection(server.url).request("echo", timeout=None)


def deny(conn: FakeConnection) -> None:
    """Script: know users, and deny everything that is secret."""
    conn.handshake(auth_required=True)
    for command in iter(conn.read_command, None):
        if command.verb == "PING":
            conn.send(b"PONG\r\n")
        elif command.subject.startswith("secret"):
            kind = "Subscription" if command.verb == "SUB" else "Publish"
            conn.send(
                f"-ERR 'Permissions Violation for {kind} to \"{command.subject}\"'\r\n".encode()
            )


def test_denied_publish_raises_in_the_call(make_connection: MakeConnection) -> None:
    """Each time; others go out, and only the first of them waits for the server's word."""
    with FakeServer(deny) as server:
        connection = make_connection(server.url)
        for _ in range(2):
            with pytest.raises(PermissionsViolationError) as caught:
                connection.publish("secret.plan")
            assert caught.value.subject == "secret.plan"
        for _ in range(3):
            connection.publish("news")
        connection.flush()
    assert server.received.count(b"PING") == 1 + 2 + 1 + 1


def test_denied_subscription_raises_in_the_call(make_connection: MakeConnection) -> None:
    """And is forgotten: a new connection does not ask for it again."""
    with FakeServer(deny) as server:
        connection = make_connection(server.url)
        with pytest.raises(PermissionsViolationError) as caught:
            connection.subscribe("secret.>")
        assert caught.value.subject == "secret.>"
        connection.subscribe("news")
        assert [s.subject for s in connection._routes.subscriptions][1:] == ["news"]


# Lame ducks


def leave_slowly(
    other: FakeServer | None, gone: threading.Event
) -> Callable[[FakeConnection], None]:
    """Script: answer once, say that we are leaving, and answer for a while all the same."""

    def script(conn: FakeConnection) -> None:
        request = listen(conn)
        conn.reply(request, b"first")
        urls = [f"127.0.0.1:{other.port}"] if other else []
        conn.send_info(ldm=True, connect_urls=urls)
        for command in conn:
            if command.verb == "PUB" and command.reply:
                conn.reply(command, b"first")
        gone.set()

    return script


def test_moves_to_another_server_when_one_is_about_to_leave(
    make_connection: MakeConnection,
) -> None:
    """Before it is gone; what was subscribed to is, there."""
    gone = threading.Event()

    def second(conn: FakeConnection) -> None:
        conn.handshake()
        for command in conn:
            if command.verb == "PUB" and command.reply:
                conn.reply(command, b"second")

    with FakeServer(second) as other, FakeServer(leave_slowly(other, gone)) as server:
        connection = make_connection(server.url)
        connection.subscribe("news")
        assert ask(connection) == b"first"
        assert gone.wait(TIMEOUT)
        assert ask(connection) == b"second"
        assert "news" in other.connections[0].subscriptions.values()


def test_stays_with_a_server_that_leaves_if_there_is_no_other(
    make_connection: MakeConnection,
) -> None:
    """For as long as it answers."""
    with FakeServer(leave_slowly(None, threading.Event())) as server:
        connection = make_connection(server.url)
        for _ in range(3):
            assert ask(connection) == b"first"
        assert connection._link is not None and connection._link.is_leaving
        assert len(server.connections) == 1


# The end of a link


def leave(conn: FakeConnection) -> None:
    conn.close()


def reset(conn: FakeConnection) -> None:
    conn.reset()


def say_nonsense(conn: FakeConnection) -> None:
    conn.send(b"MSG a 1 99999999999999\r\n")


def say_half_a_message(conn: FakeConnection) -> None:
    conn.send(b"MSG a 1 10\r\nhello")
    conn.close()


def say_nonsense_of_itself(conn: FakeConnection) -> None:
    conn.send(b'INFO {"max_payload":-1}\r\n')


every_end = pytest.mark.parametrize(
    "end", [leave, reset, say_nonsense, say_half_a_message, say_nonsense_of_itself]
)


@every_end
def test_requests_in_flight_fail_at_once(
    end: Callable[[FakeConnection], None],
    make_connection: MakeConnection,
    background: ThreadPoolExecutor,
) -> None:
    """All of them, though they would wait for ever; afterwards requests work again."""

    def script(conn: FakeConnection) -> None:
        listen(conn)
        for _ in range(4):
            conn.expect("PUB")
        end(conn)

    with FakeServer([script, serve]) as server:
        connection = make_connection(server.url)
        connection.connect()
        waiting = [ask_for_ever(connection, background) for _ in range(5)]
        errors = [future.exception(TIMEOUT) for future in waiting]
        assert all(isinstance(error, ConnectionLostError) for error in errors)
        assert len({id(error) for error in errors}) == 5
        assert server.url in str(errors[0])
        assert ask(connection) == b"hello"
        assert len(server.connections) == 2


def test_request_in_flight_fails_wherever_the_answer_is_cut(
    make_connection: MakeConnection, background: ThreadPoolExecutor
) -> None:
    """At every byte of it."""

    def script(conn: FakeConnection) -> None:
        request = listen(conn)
        answer = f"HMSG {request.reply} 1 12 17\r\nNATS/1.0\r\n\r\nhello\r\n".encode()
        cut = answer.index(b" 1 12") + conn.number
        conn.send(answer[:cut])
        if cut < len(answer):
            conn.close()

    with FakeServer(script) as server:
        connection = make_connection(server.url)
        tail = len(b" 1 12 17\r\nNATS/1.0\r\n\r\nhello\r\n")
        for _ in range(tail):
            with pytest.raises(ConnectionLostError):
                ask_for_ever(connection, background).result(TIMEOUT)
            wait_until(lambda: connection.state is State.CONNECTED)
        assert ask(connection) == b"hello"


def test_protocol_error_is_the_cause(
    make_connection: MakeConnection, background: ThreadPoolExecutor
) -> None:
    """Who looks into it finds what the server sent."""

    def script(conn: FakeConnection) -> None:
        listen(conn)
        say_nonsense(conn)

    with FakeServer([script, serve]) as server:
        with pytest.raises(ConnectionLostError, match="99999999999999") as caught:
            ask_for_ever(make_connection(server.url), background).result(TIMEOUT)
        assert isinstance(caught.value.__cause__, ProtocolError)


def test_unexpected_exception_ends_the_link_and_not_the_thread(
    make_connection: MakeConnection,
    background: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever it is, nobody is left waiting, and it is logged."""
    received = Parser.received

    def fail_once(parser: Parser, count: int) -> Any:
        if b"MSG" in bytes(parser._view[: parser._end + count]):
            monkeypatch.setattr(Parser, "received", received)
            raise MemoryError("none left")
        return received(parser, count)

    with FakeServer(serve) as server:
        connection = make_connection(server.url)
        connection.connect()
        monkeypatch.setattr(Parser, "received", fail_once)
        with (
            caplog.at_level(logging.ERROR, "objstore"),
            pytest.raises(ConnectionLostError, match="none left"),
        ):
            ask_for_ever(connection, background).result(TIMEOUT)
        assert "the reader thread failed" in caplog.text
        assert ask(connection) == b"hello"


# Keepalive

#: Seconds of silence in the tests of the keepalive.
INTERVAL = 0.03


def test_server_that_does_not_answer_is_given_up(
    make_connection: MakeConnection, background: ThreadPoolExecutor
) -> None:
    """After two pings without an answer, though the socket looks healthy."""
    pings = 0

    def silent(conn: FakeConnection) -> None:
        nonlocal pings
        conn.handshake()
        while (command := conn.read_command()) is not None:
            pings += command.verb == "PING"

    with FakeServer([silent, serve]) as server:
        connection = make_connection(server.url, ping_interval=INTERVAL)
        with pytest.raises(ConnectionLostError, match="does not answer"):
            ask_for_ever(connection, background).result(TIMEOUT)
        wait_until(lambda: pings == 2)
        assert ask(connection) == b"hello"


def test_server_that_answers_is_kept(make_connection: MakeConnection) -> None:
    """However long nothing else happens."""
    enough = threading.Event()

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        for _ in range(6):
            conn.expect("PING")
            conn.send(b"PONG\r\n")
        enough.set()
        for _ in conn:
            pass

    with FakeServer(script) as server:
        connection = make_connection(server.url, ping_interval=INTERVAL)
        connection.connect()
        assert enough.wait(TIMEOUT)
        assert connection.state is State.CONNECTED
        assert len(server.connections) == 1


def test_silent_server_is_left_for_another_while_somebody_waits(
    make_connection: MakeConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Soon, and however long the ping interval is."""
    monkeypatch.setattr(module, "_DOUBT", INTERVAL)

    def silent(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        while conn.read_command() is not None:
            pass

    with FakeServer(silent) as first, FakeServer(serve) as second:
        connection = make_connection(f"{first.url},{second.url}", ping_interval=3600)
        connection.connect()
        with pytest.raises(ConnectionLostError, match="does not answer"):
            ask(connection)
        assert ask(connection) == b"hello"
        assert (len(first.connections), len(second.connections)) == (1, 1)


def test_server_that_is_only_busy_is_kept(
    make_connection: MakeConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers a ping, if nothing else."""
    monkeypatch.setattr(module, "_DOUBT", INTERVAL)
    pings = 0

    def busy(conn: FakeConnection) -> None:
        nonlocal pings
        conn.handshake()
        while (command := conn.read_command()) is not None:
            if command.verb == "PING":
                pings += 1
                conn.send(b"PONG\r\n")

    with FakeServer(busy) as server:
        connection = make_connection(server.url, ping_interval=3600)
        with pytest.raises(RequestTimeoutError):
            connection.request("a", timeout=8 * INTERVAL)
        assert pings > 2
        assert connection.state is State.CONNECTED
        assert len(server.connections) == 1


class SimulatedTransport:
    """A transport on a clock of its own, whose peer says nothing and takes what it is told to."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        takes: list[int],
        confirmed: Iterable[int] = (),
    ) -> None:
        self.now = 0.0
        self.has_unsent = bool(takes)
        self.sent = 0
        self._confirmed = iter(confirmed)
        self._takes = iter(takes)
        clock = SimpleNamespace(monotonic=lambda: self.now)
        monkeypatch.setattr(deadline_module, "time", clock)

    def receive(self, _: memoryview, timeout: float) -> None:
        self.now += timeout + 0.001
        assert self.now < 10_000, "it is never given up"

    @property
    def confirmed(self) -> int:
        return next(self._confirmed, UNKNOWN)

    def try_send(self, _: bytes) -> bool:
        self.sent += next(self._takes, 0)
        return False


def seconds_until_given_up(transport: SimulatedTransport) -> float:
    """Return for how long a link is kept, with a ping interval of 10 s."""
    connection = Connection(make_options("localhost", ping_interval=10))
    link = Link(ServerURL("localhost"), transport, Parser())
    connection._link = link
    assert "does not answer" in str(connection._dispatcher._read(link))
    return transport.now


def test_who_waits_makes_silence_doubtful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three short turns; while nobody waits an interval, and what follows our ping is short."""
    everything = [1000] * 99
    transport = SimulatedTransport(monkeypatch, takes=[], confirmed=everything)
    assert 15 <= seconds_until_given_up(transport) < 16
    monkeypatch.setattr(Connection, "is_awaited", lambda *_: True)
    transport = SimulatedTransport(monkeypatch, takes=[], confirmed=everything)
    assert 7.5 <= seconds_until_given_up(transport) < 8
    transport = SimulatedTransport(monkeypatch, takes=[])
    assert 30 <= seconds_until_given_up(transport) < 31, "where the system says nothing"


def test_slow_line_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on its way yet explains why there is no answer; once it arrived it does not."""
    monkeypatch.setattr(Connection, "is_awaited", lambda *_: True)
    confirmed = [*range(1, 101), *[100] * 9]
    transport = SimulatedTransport(monkeypatch, takes=[], confirmed=confirmed)
    transport.sent = 101
    assert 250 + 7.5 <= seconds_until_given_up(transport) < 250 + 8


def test_server_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """When our pings cannot even go out: as when they are not answered."""
    transport = SimulatedTransport(monkeypatch, takes=[0])
    assert 30 <= seconds_until_given_up(transport) < 31


def test_server_that_takes_data_slowly_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is a sign of life, on however slow a line."""
    transport = SimulatedTransport(monkeypatch, takes=[1] * 2000)
    kept = seconds_until_given_up(transport)
    assert kept > 2000 * module._RETRY_INTERVAL
    assert 30 <= kept - 2000 * (module._RETRY_INTERVAL + 0.001) < 31


# Reconnecting


def test_subscriptions_are_restored(make_connection: MakeConnection) -> None:
    """With their ids, subjects and queue groups; what was closed is not."""
    restored: list[tuple[str, str, int]] = []

    def first(conn: FakeConnection) -> None:
        conn.handshake()
        for verb in ("SUB", "SUB", "SUB", "UNSUB", "SUB"):
            conn.expect(verb)
        conn.msg(2, "news", b"before")
        conn.expect("PUB")
        conn.close()

    def second(conn: FakeConnection) -> None:
        conn.handshake()
        for _ in range(3):
            command = conn.expect("SUB")
            restored.append((command.subject, command.queue, command.sid))
        conn.msg(2, "news", b"after")

    with FakeServer([first, second]) as server:
        connection = make_connection(server.url)
        news = connection.subscribe("news")
        connection.subscribe("closed").close()
        connection.subscribe("work.>", queue="workers")
        connection.publish("go")
        assert [take(news), take(news)] == [b"before", b"after"]
        assert restored[1:] == [("news", "", 2), ("work.>", "workers", 4)]
        assert restored[0][0].startswith("_INBOX.") and restored[0][2] == 1


def test_subscription_closed_while_it_is_restored_is_closed(
    make_connection: MakeConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a server would go on sending what nobody wants."""
    unsubscribed = threading.Event()

    def first(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        conn.expect("SUB")
        conn.expect("PUB")
        conn.close()

    def second(conn: FakeConnection) -> None:
        conn.handshake()
        for command in conn:
            if command.verb == "UNSUB" and command.sid == 2:
                unsubscribed.set()

    with FakeServer([first, second]) as server:
        connection = make_connection(server.url)
        connection.connect()
        real_restore = connection.restore

        def restore(link: Link) -> bool:
            send = link.transport.send

            def close_and_send(*args: Any) -> None:
                subscription.close()
                send(*args)

            monkeypatch.setattr(link.transport, "send", close_and_send, raising=False)
            return real_restore(link)

        monkeypatch.setattr(connection, "restore", restore)
        subscription = connection.subscribe("news")
        connection.publish("go")
        assert unsubscribed.wait(TIMEOUT)


def test_keeps_trying_until_a_server_is_back(
    make_connection: MakeConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many attempts it takes."""
    monkeypatch.setattr(module, "_backoff", lambda: itertools.repeat(0.0))

    def first(conn: FakeConnection) -> None:
        conn.handshake()
        conn.close()

    with FakeServer([first, *[FakeConnection.close] * 20, serve]) as server:
        connection = make_connection(server.url)
        connection.connect()
        wait_until(lambda: len(server.connections) == 22)
        assert ask(connection) == b"hello"


def test_backoff_grows_to_a_limit_and_varies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first attempt is made at once; clients of one server do not return in step."""
    delays = list(itertools.islice(module._backoff(), 20))
    assert delays[0] == 0
    assert all(module._FIRST_BACKOFF / 2 <= delay <= module._MAX_BACKOFF for delay in delays[1:])
    assert delays != list(itertools.islice(module._backoff(), 20))
    monkeypatch.setattr(module.random, "uniform", lambda _, most: most)
    longest = list(itertools.islice(module._backoff(), 20))
    assert longest == sorted(longest)
    assert longest[1] == module._FIRST_BACKOFF and longest[-1] == module._MAX_BACKOFF


def refuse(conn: FakeConnection) -> None:
    """Script: do not know this client any more."""
    conn.send_info()
    conn.expect("CONNECT")
    conn.send(b"-ERR 'Authorization Violation'\r\n")
    conn.close()


def greet_and_leave(conn: FakeConnection) -> None:
    listen(conn)
    conn.close()


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is followed by the next attempt at once."""
    monkeypatch.setattr(module, "_REFUSAL_PAUSE", 0)


@pytest.mark.usefixtures("no_pause")
def test_gives_up_when_the_credentials_are_refused_twice(
    make_connection: MakeConnection, background: ThreadPoolExecutor
) -> None:
    """Asking on would only lock the account; everything that waits ends with the reason."""
    with FakeServer([greet_and_leave, refuse, refuse, serve]) as server:
        connection = make_connection(server.url, user="joe", password="s3cret")
        subscription = connection.subscribe("news")
        waiting = background.submit(subscription.next, None)
        with pytest.raises(ConnectionLostError):
            ask_for_ever(connection, background).result(TIMEOUT)
        with pytest.raises(AuthenticationError, match="Authorization Violation"):
            waiting.result(TIMEOUT)
        assert connection.state is State.CLOSED
        with pytest.raises(AuthenticationError) as caught:
            connection.request("echo", timeout=None)
        assert "s3cret" not in str(caught.value)
        assert len(server.connections) == 3


@pytest.mark.usefixtures("no_pause")
def test_one_refusal_may_be_a_mistake(
    make_connection: MakeConnection, background: ThreadPoolExecutor
) -> None:
    """A server that starts may not know its users yet."""
    with FakeServer([greet_and_leave, refuse, serve]) as server:
        connection = make_connection(server.url, user="joe", password="s3cret")
        with pytest.raises(ConnectionLostError):
            ask_for_ever(connection, background).result(TIMEOUT)
        assert ask(connection) == b"hello"


def test_unexpected_exception_while_reconnecting_closes_the_connection(
    make_connection: MakeConnection,
    background: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody is left waiting for a thread that is gone."""
    with FakeServer([greet_and_leave]) as server:
        connection = make_connection(server.url)
        subscription = connection.subscribe("news")

        def fail(*_: Any) -> Link:
            raise MemoryError("none left")

        monkeypatch.setattr(connection.pool, "open", fail)
        with caplog.at_level(logging.ERROR, "objstore"), pytest.raises(ConnectionLostError):
            ask_for_ever(connection, background).result(TIMEOUT)
        with pytest.raises(Exception, match="none left"):
            subscription.next(TIMEOUT)
        assert connection.state is State.CLOSED


# The thread


def test_thread_is_named_and_a_daemon(make_connection: MakeConnection) -> None:
    """It is found in a list of threads, and keeps no program from ending."""
    before = set(threading.enumerate())
    with FakeServer(serve) as server:
        make_connection(server.url).connect()
        (reader,) = [t for t in set(threading.enumerate()) - before if "objstore" in t.name]
        assert reader.name.startswith("objstore-reader-")
        assert reader.daemon
