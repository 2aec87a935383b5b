"""Ordered consumption: every message once and in order, whatever happens to the consumer."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from objstore.core.connection import Connection
from objstore.core.deadline import Deadline
from objstore.core.options import make_options
from objstore.errors import (
    ConnectionLostError,
    JetStreamError,
    PermissionsViolationError,
    ProtocolError,
    RequestTimeoutError,
)
from objstore.jetstream import consumer as consumer_module
from objstore.jetstream.api import JetStream
from objstore.jetstream.consumer import OrderedConsumer
from objstore.server import LocalServer
from tests.fake_bucket import FakeBucket
from tests.fake_server import Command, FakeConnection, FakeServer
from tests.helpers import wait_until
from tests.proxy import Proxy

TIMEOUT = 10.0
SHORT = 0.1
MIB = 1 << 20

GoOn = Callable[[], None]


def fill(js: JetStream, stream: str, count: int, size: int = 0, start: int = 0) -> None:
    """Publish so many messages, numbered, of at least so many bytes."""
    inbox = js.connection.inbox(Deadline(TIMEOUT))
    for number in range(start, start + count):
        payload = b"%d" % number + bytes(size)
        js.connection.publish(f"{stream}.{number % 2}", payload, reply=inbox.subject(number))
    for _ in range(count):
        assert inbox.next(TIMEOUT) is not None
    inbox.close()


def number(message: Any) -> int:
    return int(bytes(message.payload).rstrip(b"\0"))


@contextlib.contextmanager
def consuming(js: JetStream, stream: str, subject: str = ">", **options: Any) -> Iterator[Any]:
    """An ordered consumer of a stream."""
    consumer = OrderedConsumer(js, stream, f"{stream}.{subject}", Deadline(TIMEOUT), **options)
    try:
        yield consumer
    finally:
        consumer.close()


def drain(consumer: OrderedConsumer) -> list[int]:
    """The numbers of all messages up to the end."""
    found = []
    while not consumer.exhausted:
        message = consumer.next(TIMEOUT)
        if message is not None:
            found.append(number(message))
    return found


def take(consumer: OrderedConsumer, count: int) -> list[int]:
    """The numbers of the next messages."""
    return [number(consumer.next(TIMEOUT)) for _ in range(count)]


def consumers(js: JetStream, stream: str) -> int:
    return int(js.stream_info(stream, Deadline(TIMEOUT))["state"]["consumer_count"])


def delete_consumers(js: JetStream, stream: str) -> None:
    answer = js.call(f"CONSUMER.NAMES.{stream}", {"offset": 0}, Deadline(TIMEOUT))
    for name in answer["consumers"]:
        js.call(f"CONSUMER.DELETE.{stream}.{name}", None, Deadline(TIMEOUT))


# What comes


@pytest.mark.parametrize("count", [0, 1, 2, 300])
def test_everything_comes_in_order_until_it_is_all(js: JetStream, stream: str, count: int) -> None:
    fill(js, stream, count)
    with consuming(js, stream, until_empty=True) as consumer:
        assert consumer.pending == count
        assert drain(consumer) == list(range(count))
        assert consumer.stream_seq == count
        assert consumer.next(0) is None and consumer.next(TIMEOUT) is None


def test_subject_chooses(js: JetStream, stream: str) -> None:
    fill(js, stream, 10)
    with consuming(js, stream, "1", until_empty=True) as consumer:
        assert drain(consumer) == [1, 3, 5, 7, 9]


def test_messages_say_where_they_are(js: JetStream, stream: str) -> None:
    fill(js, stream, 4)
    with consuming(js, stream, "1") as consumer:
        messages = [consumer.next(TIMEOUT) for _ in range(2)]
    assert [message.subject for message in messages] == [f"{stream}.1"] * 2
    assert [message.stream_seq for message in messages] == [2, 4]
    assert [message.pending for message in messages] == [1, 0]
    assert [message.consumer_seq for message in messages] == [1, 2]


def test_start_is_where_it_is_asked_for(js: JetStream, stream: str) -> None:
    fill(js, stream, 10)
    with consuming(js, stream, start_seq=7, until_empty=True) as consumer:
        assert consumer.stream_seq == 6
        assert drain(consumer) == [6, 7, 8, 9]
    with consuming(js, stream, start_seq=11, until_empty=True) as consumer:
        assert consumer.pending == 0
        assert drain(consumer) == []


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("all", [0, 1, 2, 3, 4]), ("last", [4]), ("last_per_subject", [3, 4]), ("new", [])],
)
def test_policy_says_what_comes_first(
    js: JetStream, stream: str, policy: str, expected: list[int]
) -> None:
    """And what is new comes after it."""
    fill(js, stream, 5)
    with consuming(js, stream, deliver_policy=policy) as consumer:
        assert take(consumer, len(expected)) == expected
        fill(js, stream, 2, start=5)
        assert take(consumer, 2) == [5, 6]


def test_headers_may_come_alone(js: JetStream, stream: str) -> None:
    fill(js, stream, 1, size=1000)
    with consuming(js, stream, headers_only=True) as consumer:
        message = consumer.next(TIMEOUT)
    assert bytes(message.payload) == b""
    assert message.headers["Nats-Msg-Size"] == ["1001"]


def test_messages_larger_than_what_was_expected_come_too(js: JetStream, stream: str) -> None:
    """Even larger than all that is asked for at once."""
    fill(js, stream, 3, size=900_000)
    with consuming(js, stream, message_size=10, until_empty=True) as consumer:
        consumer._bytes = 1000
        assert drain(consumer) == [0, 1, 2]


@pytest.mark.slow
def test_many_requests_serve_many_messages(js: JetStream, stream: str) -> None:
    """Each is asked for once, and nothing comes twice."""
    fill(js, stream, 3000, size=100)
    with consuming(js, stream, message_size=100, until_empty=True) as consumer:
        name = consumer._name
        consumer._batch = 100
        assert drain(consumer) == list(range(3000))
        assert consumer._name == name  # none of them was a reason to begin again


def test_waiting_takes_no_longer_than_it_may(js: JetStream, stream: str) -> None:
    with consuming(js, stream) as consumer:
        assert consumer.next(0) is None
        assert consumer.next(0.05) is None
        fill(js, stream, 1)
        assert take(consumer, 1) == [0]


def test_message_wakes_who_waits(js: JetStream, stream: str) -> None:
    with consuming(js, stream) as consumer, ThreadPoolExecutor() as pool:
        waiting = pool.submit(consumer.next, None)
        fill(js, stream, 1)
        assert number(waiting.result(TIMEOUT)) == 0


def test_end_is_followed_by_what_is_new(js: JetStream, stream: str) -> None:
    """Nothing lies between the two, and nothing comes twice."""
    fill(js, stream, 5)
    with consuming(js, stream, until_empty=True) as consumer:
        assert drain(consumer) == [0, 1, 2, 3, 4]
        fill(js, stream, 2, start=5)
        consumer.follow(until_empty=True)
        assert drain(consumer) == [5, 6]
        fill(js, stream, 2, start=7)
        consumer.follow()
        assert not consumer.exhausted
        assert take(consumer, 2) == [7, 8]
        fill(js, stream, 1, start=9)
        assert take(consumer, 1) == [9]
        assert consumer.next(0.05) is None


# What the server may send ahead


@pytest.mark.slow
def test_credit_is_bounded(js: JetStream, stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes nothing is sent a window and no more; whoever takes gets the rest."""
    fill(js, stream, 200, size=100_000)
    received: list[int] = []
    connection: Any = js.connection
    route = connection.route

    def count(messages: list[Any]) -> None:
        received.extend(len(message.payload) for message in messages)
        route(messages)

    monkeypatch.setattr(connection, "route", count)
    with consuming(js, stream, message_size=100_000) as consumer:
        assert take(consumer, 1) == [0]
        pause = threading.Event()
        seen = -1
        while seen != len(received):
            seen = len(received)
            pause.wait(SHORT)
        assert 4 * MIB < sum(received) <= 8 * MIB + 200_000
        assert take(consumer, 199) == list(range(1, 200))
        assert sum(size > 1000 for size in received) == 200


# What is left behind


@pytest.mark.parametrize("end", [OrderedConsumer.close, OrderedConsumer.abandon])
def test_nothing_is_left_on_the_server(
    js: JetStream, stream: str, end: Callable[[OrderedConsumer], None]
) -> None:
    """Whether it is read to its end or not; twice is fine."""
    fill(js, stream, 10)
    for until_empty in (True, False):
        consumer = OrderedConsumer(
            js, stream, f"{stream}.>", Deadline(TIMEOUT), until_empty=until_empty
        )
        consumer.next(TIMEOUT)
        assert consumers(js, stream) == 1
        end(consumer)
        end(consumer)
        wait_until(lambda: consumers(js, stream) == 0)


def test_replaced_consumers_are_not_left_either(js: JetStream, stream: str) -> None:
    fill(js, stream, 10)
    with consuming(js, stream) as consumer:
        for turn in range(5):
            assert take(consumer, 1) == [turn]
            consumer._replace(Deadline(TIMEOUT))
        assert take(consumer, 5) == [5, 6, 7, 8, 9]
    wait_until(lambda: consumers(js, stream) == 0)


# What happens to it


@pytest.mark.parametrize("policy", ["all", "new"])
def test_deleted_consumer_is_replaced(js: JetStream, stream: str, policy: str) -> None:
    """At the same place, also where nothing had come yet."""
    fill(js, stream, 3)
    with consuming(js, stream, deliver_policy=policy) as consumer:
        assert take(consumer, 3 if policy == "all" else 0) == [0, 1, 2][: 3 * (policy == "all")]
        consumer.ask(Deadline(TIMEOUT))
        delete_consumers(js, stream)
        fill(js, stream, 3, start=3)
        assert take(consumer, 3) == [3, 4, 5]


def test_deleted_stream_is_told(
    js: JetStream, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_module, "_SILENCE", 0.2)
    with consuming(js, stream) as consumer:
        assert consumer.next(0) is None
        js.delete_stream(stream, Deadline(TIMEOUT))
        with pytest.raises(JetStreamError) as caught:
            consumer.next(TIMEOUT)
        assert caught.value.err_code == 10059


def test_missing_stream_is_told(js: JetStream) -> None:
    with pytest.raises(JetStreamError) as caught:
        OrderedConsumer(js, "no-such-stream", "a", Deadline(TIMEOUT))
    assert caught.value.err_code == 10059


@contextlib.contextmanager
def behind_proxy(server: LocalServer) -> Iterator[tuple[Proxy, JetStream]]:
    """JetStream of the run's server, through a proxy."""
    with Proxy(server.port) as proxy:
        connection = Connection(make_options(proxy.url))
        try:
            yield proxy, JetStream(connection)
        finally:
            connection.close()


@pytest.mark.parametrize("until_empty", [True, False])
@pytest.mark.parametrize("nth", [1, 2, 50, 99])
def test_lost_connection_only_delays(
    server: LocalServer, js: JetStream, stream: str, nth: int, until_empty: bool
) -> None:
    """Nothing comes twice, nothing is missing."""
    fill(js, stream, 100, size=2000)
    with behind_proxy(server) as (proxy, far):
        with consuming(far, stream, until_empty=until_empty) as consumer:
            pattern = b"MSG " + stream.encode()
            fired = proxy.on(pattern, proxy.cut, direction="s2c", nth=nth, before=True)
            if until_empty:
                assert drain(consumer) == list(range(100))
            else:
                assert take(consumer, 100) == list(range(100))
            assert fired.wait(TIMEOUT)


def test_connection_that_is_lost_again_and_again_only_delays(
    server: LocalServer, js: JetStream, stream: str
) -> None:
    """Also while the consumer is being replaced."""
    fill(js, stream, 20)
    with behind_proxy(server) as (proxy, far):
        with consuming(far, stream, message_size=8 * MIB) as consumer:
            assert take(consumer, 1) == [0]
            for nth in (1, 2, 3):
                proxy.on(b"CONSUMER.CREATE", proxy.cut, nth=nth, before=True)
            proxy.cut()
            assert take(consumer, 19) == list(range(1, 20))
        assert proxy.connections == 5


def test_who_does_not_wait_survives_a_lost_connection(
    server: LocalServer, js: JetStream, stream: str
) -> None:
    """Asking again and again with a timeout of zero gets there, too."""
    with behind_proxy(server) as (proxy, far):
        with consuming(far, stream) as consumer:
            assert consumer.next(0) is None
            proxy.cut()
            fill(js, stream, 1)
            found: list[Any] = []

            def ask() -> bool:
                found.append(consumer.next(0))
                return found[-1] is not None

            wait_until(ask)
            assert number(found[-1]) == 0


@pytest.mark.slow
def test_disconnected_consumer_waits_no_longer_than_it_may(
    server: LocalServer, js: JetStream, stream: str
) -> None:
    """None came, which is no error: it may come later."""
    with behind_proxy(server) as (proxy, far):
        with consuming(far, stream) as consumer:
            proxy.refuse()
            proxy.cut()
            for _ in range(2):
                assert consumer.next(0.1) is None
            proxy.accept()
            fill(js, stream, 1)
            assert take(consumer, 1) == [0]


def test_stop_wakes_who_waits(js: JetStream, stream: str) -> None:
    with consuming(js, stream) as consumer, ThreadPoolExecutor() as pool:
        waiting = pool.submit(consumer.next, None)
        with pytest.raises(AssertionError):
            wait_until(waiting.done, 0.05)
        consumer.stop()
        for result in (waiting.result, consumer.next):
            with pytest.raises(ConnectionLostError):
                result(TIMEOUT)


def test_closed_connection_ends_it(js: JetStream, stream: str) -> None:
    connection = Connection(js.connection.options)
    consumer = OrderedConsumer(JetStream(connection), stream, f"{stream}.>", Deadline(TIMEOUT))
    connection.close()
    with pytest.raises(ConnectionLostError):
        consumer.next(TIMEOUT)
    consumer.close()


# Servers that stumble


@contextlib.contextmanager
def scripted(count: int = 3, **handlers: Any) -> Iterator[tuple[FakeBucket, JetStream]]:
    """A server with so many messages in `OBJ_b`, which does what the handlers say."""
    fake = FakeBucket(**handlers)
    for index in range(count):
        fake.store(Command("PUB", "$O.b.C.x", payload=b"%d" % index))
    with FakeServer(fake) as server:
        connection = Connection(make_options(server.url))
        try:
            yield fake, JetStream(connection)
        finally:
            connection.close()


@contextlib.contextmanager
def reading(js: JetStream, **options: Any) -> Iterator[OrderedConsumer]:
    consumer = OrderedConsumer(js, "OBJ_b", "$O.b.C.x", Deadline(TIMEOUT), **options)
    try:
        yield consumer
    finally:
        consumer.close()


def test_consumer_is_asked_for_as_it_should_be() -> None:
    """In memory, of one copy, without acks, and gone by itself should we be gone."""
    bodies: list[Any] = []

    def look(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        bodies.append((command.subject, command.json))
        go_on()

    with scripted(create=look, pull=look) as (_, js), reading(js, message_size=1000) as consumer:
        assert take(consumer, 3) == [0, 1, 2]
    (subject, create), (pull_subject, pull), *_ = bodies
    name = create["config"]["name"]
    assert subject == f"$JS.API.CONSUMER.CREATE.OBJ_b.{name}" and len(name) == 22
    assert create == {
        "stream_name": "OBJ_b",
        "config": {
            "name": name,
            "deliver_policy": "all",
            "ack_policy": "none",
            "filter_subject": "$O.b.C.x",
            "replay_policy": "instant",
            "inactive_threshold": 60_000_000_000,
            "num_replicas": 1,
            "mem_storage": True,
        },
    }
    assert pull_subject == f"$JS.API.CONSUMER.MSG.NEXT.OBJ_b.{name}"
    assert pull["batch"] * 1000 <= pull["max_bytes"] == 4 * MIB
    assert pull["expires"] > pull["idle_heartbeat"] > 0 and "no_wait" not in pull


def take_pages(consumer: OrderedConsumer, count: int) -> list[int]:
    """As `take`, as many at a time as come together."""
    found: list[int] = []
    while len(found) < count:
        found += map(number, consumer.page(TIMEOUT))
    return found


@pytest.mark.parametrize("take", [take, take_pages])
@pytest.mark.parametrize("order", [[0, 2], [0, 0, 1, 2], [1, 2], [0, 2, 1], [2, 1, 0]])
def test_gap_makes_a_new_consumer(
    order: list[int], take: Callable[[OrderedConsumer, int], list[int]]
) -> None:
    """Behind the last message that was in its place."""

    def stumble(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count["create"] > 1:
            go_on()
        elif fake.count["pull"] == 1:
            for index in order:
                fake.deliver_as(conn, command, fake.messages[index], index + 1, 2 - index)

    with scripted(pull=stumble) as (fake, js), reading(js) as consumer:
        assert take(consumer, 3) == [0, 1, 2]
        assert fake.count["create"] == 2


def test_what_lies_before_the_start_is_passed_over() -> None:
    """A replica that lags begins at its own end, which is before where it should begin."""

    def early(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        for index in range(3):
            fake.deliver_as(conn, command, fake.messages[index], index + 1, 2 - index)

    with scripted(pull=early) as (fake, js), reading(js, start_seq=3) as consumer:
        assert take(consumer, 1) == [2]
        assert fake.count["create"] == 1


def test_silence_makes_a_new_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where heartbeats are missing, the server has forgotten us."""
    monkeypatch.setattr(consumer_module, "_SILENCE", 0.1)

    def silent(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count["create"] > 1:
            go_on()

    with scripted(pull=silent) as (fake, js), reading(js) as consumer:
        assert take(consumer, 3) == [0, 1, 2]
        assert fake.count["create"] == 2


@pytest.mark.slow
def test_heartbeats_are_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer_module, "_SILENCE", 0.3)
    pause = threading.Event()

    def beat(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count["pull"] == 1:
            for _ in range(8):
                pause.wait(0.1)
                conn.reply(command, headers=b"NATS/1.0 100 Idle Heartbeat\r\n\r\n")
            go_on()

    with scripted(pull=beat) as (fake, js), reading(js) as consumer:
        assert take(consumer, 3) == [0, 1, 2]
        assert fake.count["create"] == 1


@pytest.mark.parametrize(
    "status",
    [
        "409 Consumer Deleted",
        "409 Leadership Change",
        "409 Server Shutdown",
        "409 Something New",
        "503",
    ],
)
def test_lost_consumer_is_replaced_at_once(status: str) -> None:
    def lose(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count["create"] > 1:
            go_on()
        elif fake.count["pull"] == 1:
            fake.deliver(conn, command, fake.messages[0])
            conn.reply(command, headers=f"NATS/1.0 {status}\r\n\r\n".encode())

    with scripted(pull=lose) as (fake, js), reading(js) as consumer:
        assert take(consumer, 3) == [0, 1, 2]
        assert fake.count["create"] == 2


@pytest.mark.parametrize(
    "status",
    [
        "408 Request Timeout",
        "409 Batch Completed",
        "409 Message Size Exceeds MaxBytes",
        "404 No Messages",
    ],
)
def test_served_request_is_followed_by_another(status: str) -> None:
    """Of the same consumer."""

    def serve(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count["pull"] <= 3:
            fake.deliver(conn, command, fake.messages[fake.count["pull"] - 1])
            conn.reply(command, headers=f"NATS/1.0 {status}\r\n\r\n".encode())

    with scripted(pull=serve) as (fake, js), reading(js) as consumer:
        assert take(consumer, 3) == [0, 1, 2]
        assert fake.count["create"] == 1


def test_request_that_brings_nothing_is_followed_by_a_larger_one() -> None:
    """Not even one message fits the bytes: twice as many may do."""
    sizes: list[int] = []

    def refuse(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        sizes.append(command.json["max_bytes"])
        if sizes[-1] >= 16 * MIB:
            go_on()
        else:
            conn.reply(command, headers=b"NATS/1.0 409 Message Size Exceeds MaxBytes\r\n\r\n")

    with scripted(pull=refuse) as (fake, js), reading(js) as consumer:
        assert take(consumer, 1) == [0]
        assert fake.count["create"] == 1 and max(sizes) >= 16 * MIB


def test_end_is_told_by_no_messages_alone() -> None:
    """Not by a number of pending messages, which is not to be trusted."""

    def lie(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count["pull"] == 1:
            for index in range(3):
                fake.deliver_as(conn, command, fake.messages[index], index + 1, 0)
        conn.reply(command, headers=b"NATS/1.0 404 No Messages\r\n\r\n")

    with scripted(pull=lie) as (fake, js), reading(js, until_empty=True) as consumer:
        assert drain(consumer) == [0, 1, 2]


@pytest.mark.parametrize("reply", ["", "x", "$JS.ACK.OBJ_b.c.1.1.1.1", "$JS.ACK.OBJ_b.c.1.x.1.1.1"])
def test_message_without_its_place_is_an_error(reply: str) -> None:
    def garble(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        conn.msg(max(conn.subscriptions), "$O.b.C.x", b"0", reply=reply)

    with scripted(pull=garble) as (_, js), reading(js) as consumer:
        with pytest.raises(ProtocolError):
            consumer.next(TIMEOUT)


@pytest.mark.parametrize("err_code", [10008, 10023])
def test_refused_successor_is_asked_for_again(err_code: int) -> None:
    """While a leader is elected."""

    def refuse(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count["create"] in (2, 3):
            fake.refuse(conn, command, 503, err_code)
        else:
            go_on()

    def lose(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count["create"] > 1:
            go_on()
        else:
            conn.reply(command, headers=b"NATS/1.0 409 Leadership Change\r\n\r\n")

    with scripted(create=refuse, pull=lose) as (fake, js), reading(js) as consumer:
        assert take(consumer, 3) == [0, 1, 2]


@pytest.mark.slow
def test_successor_that_is_never_made_is_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the time that was given, and not much more."""

    def refuse(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count["create"] > 1:
            conn.reply(command, headers=b"NATS/1.0 503\r\n\r\n")
        else:
            go_on()

    def lose(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        conn.reply(command, headers=b"NATS/1.0 409 Leadership Change\r\n\r\n")

    with scripted(create=refuse, pull=lose) as (fake, js), reading(js) as consumer:
        assert consumer.next(0.3) is None
        assert fake.count["create"] > 2


@pytest.mark.slow
def test_silent_server_is_given_up_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """To make one consumer after the other is no progress."""
    monkeypatch.setattr(consumer_module, "_SILENCE", 0.05)

    def silent(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        pass

    with scripted(pull=silent) as (fake, js), reading(js) as consumer:
        assert consumer.next(0.4) is None
        assert fake.count["create"] > 2
    with scripted(create=silent) as (_, js), pytest.raises(RequestTimeoutError):
        OrderedConsumer(js, "OBJ_b", "$O.b.C.x", Deadline(0.1))


@pytest.mark.slow
def test_unanswered_consumer_is_asked_for_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """By another name each time, and each that may be there all the same is deleted."""
    monkeypatch.setattr(consumer_module, "_PATIENCE", 0.01)
    monkeypatch.setattr(consumer_module, "_MAX_PATIENCE", 0.04)
    made: list[str] = []
    deleted: list[str] = []

    def silent(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        made.append(command.json["config"]["name"])
        if len(made) >= 12:  # with patience doubled each time the time would be up
            go_on()

    def delete(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        deleted.append(command.subject.rpartition(".")[2])

    with scripted(create=silent, delete=delete) as (fake, js):
        with reading(js) as consumer:
            assert take(consumer, 3) == [0, 1, 2]
        fake.wait_for("delete", len(made))
    assert deleted == made
    assert len(set(made)) == len(made) >= 12


def test_denied_request_is_told_at_once() -> None:
    """Who may make a consumer may not be allowed to ask it."""

    def deny(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        text = f'Permissions Violation for Publish to "{command.subject}"'
        conn.send(f"-ERR '{text}'\r\n".encode())

    with scripted(pull=deny) as (_, js), reading(js) as consumer:
        with pytest.raises(PermissionsViolationError):
            consumer.next(TIMEOUT)


def test_new_messages_are_those_after_its_making(js: JetStream, stream: str) -> None:
    """Also if it is replaced before it has shown one."""
    fill(js, stream, 3)
    with consuming(js, stream, deliver_policy="new") as consumer:
        fill(js, stream, 2, start=3)
        consumer._replace(Deadline(TIMEOUT))
        assert take(consumer, 2) == [3, 4]
