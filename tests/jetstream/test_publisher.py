"""Publishing: an ack for every message, in order, and a bounded number of bytes in flight."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from objstore.core.connection import Connection
from objstore.core.deadline import Deadline
from objstore.core.options import make_options
from objstore.errors import (
    ConnectionLostError,
    InvalidNameError,
    JetStreamError,
    NoRespondersError,
    ObjStoreError,
    ProtocolError,
    RequestTimeoutError,
)
from objstore.jetstream import publisher as publisher_module
from objstore.jetstream.api import ErrorCode, JetStream
from objstore.jetstream.publisher import Publisher
from tests.fake_server import Command, FakeConnection, FakeServer
from tests.helpers import wait_until

TIMEOUT = 10.0
KIB = 1 << 10
MIB = 1 << 20

#: Seconds to wait for what must not happen.
SHORT = 0.1

Answer = Callable[[FakeConnection, Command, int], object]


class Stream:
    """The script of a server with the stream `S`: acks what comes, or keeps it for later."""

    def __init__(self, answer: Answer | None = None, *, hold: bool = False) -> None:
        self.received: list[bytes] = []
        self.hold = hold
        self._answer = answer or self.ack
        self._held: list[tuple[FakeConnection, Command, int]] = []
        self._lock = threading.Lock()

    def __call__(self, conn: FakeConnection) -> None:
        conn.handshake()
        for command in conn:
            if command.verb == "PUB":
                with self._lock:
                    number = len(self.received)
                    self.received.append(command.payload)
                    if self.hold:
                        self._held.append((conn, command, number))
                        continue
                self._answer(conn, command, number)

    def ack(self, conn: FakeConnection, command: Command, number: int) -> None:
        conn.reply(command, {"stream": "S", "seq": number + 1})

    def release(self) -> None:
        """Ack what was kept, and from now on everything."""
        with self._lock:
            self.hold = False
            for held in self._held:
                self._answer(*held)

    @property
    def size(self) -> int:
        return sum(map(len, self.received))


@contextlib.contextmanager
def publishing(stream: Stream, **options: Any) -> Iterator[Publisher]:
    """A publisher to that stream."""
    with FakeServer(stream) as server:
        connection = Connection(make_options(server.url))
        publisher = Publisher(connection, "S", "s.a", Deadline(TIMEOUT), **options)
        try:
            yield publisher
        finally:
            publisher.close()
            connection.close()


def publish(publisher: Publisher, *payloads: bytes, timeout: float = TIMEOUT) -> None:
    publisher.publish(payloads, Deadline(timeout))


# On a real server


def test_messages_are_stored_in_order(js: JetStream, stream: str) -> None:
    """Byte for byte, whatever they hold, and each counted when it is."""
    payloads = [b"", b"\r\n", b"PUB x 0\r\n\r\n", bytes(1000), *(b"%d" % n for n in range(100))]
    publisher = Publisher(js.connection, stream, f"{stream}.a", Deadline(TIMEOUT))
    publish(publisher, *payloads[:50])
    for payload in payloads[50:]:
        publish(publisher, payload)
    publisher.finish(Deadline(TIMEOUT))
    assert publisher.sent == publisher.acked == len(payloads)
    for seq, payload in enumerate(payloads, 1):
        message = js.next_message(stream, f"{stream}.a", seq, Deadline(TIMEOUT))
        assert message is not None and message.stream_seq == seq
        assert bytes(message.payload) == payload
    publisher.close()


def test_publisher_of_nothing_is_finished_at_once(js: JetStream, stream: str) -> None:
    publisher = Publisher(js.connection, stream, f"{stream}.a", Deadline(TIMEOUT))
    publisher.finish(Deadline(0))
    publisher.settle()
    publisher.close()
    publisher.close()


@pytest.mark.parametrize("subject", ["", ">", "a.*", "a b", "a..b"])
def test_subject_that_is_no_single_one_is_refused(js: JetStream, subject: str) -> None:
    with pytest.raises(InvalidNameError):
        Publisher(js.connection, "S", subject, Deadline(TIMEOUT))


def test_stream_of_another_name_is_no_success(js: JetStream, stream: str) -> None:
    """Should the subject be another stream's by now."""
    publisher = Publisher(js.connection, "other", f"{stream}.a", Deadline(TIMEOUT))
    publish(publisher, b"x")
    with pytest.raises(ProtocolError, match="other"):
        publisher.finish(Deadline(TIMEOUT))
    publisher.close()


def test_subject_of_no_stream_is_told_at_once(js: JetStream) -> None:
    publisher = Publisher(js.connection, "S", "no.such.stream", Deadline(TIMEOUT))
    publish(publisher, b"x")
    with pytest.raises(NoRespondersError):
        publisher.finish(Deadline(TIMEOUT))
    publisher.close()


# The window


def test_bytes_in_flight_are_bounded() -> None:
    """However much there is to be sent, the server has no more than a window unacked."""
    stream = Stream(hold=True)
    with publishing(stream) as publisher, ThreadPoolExecutor() as pool:
        payload = bytes(128 * KIB)
        sending = pool.submit(lambda: [publish(publisher, payload) for _ in range(100)])
        wait_until(lambda: stream.size >= 7 * len(payload))
        with pytest.raises(AssertionError):
            wait_until(lambda: stream.size > MIB, SHORT)
        stream.release()
        sending.result(TIMEOUT)
        publisher.finish(Deadline(TIMEOUT))
        assert publisher.acked == 100


def test_window_grows_while_acks_are_prompt_but_not_for_ever() -> None:
    stream = Stream()
    with publishing(stream) as publisher, ThreadPoolExecutor() as pool:
        payload = bytes(256 * KIB)
        for _ in range(80):
            publish(publisher, payload)
        publisher.finish(Deadline(TIMEOUT))
        stream.hold = True
        before = stream.size
        sending = pool.submit(lambda: [publish(publisher, payload) for _ in range(60)])
        wait_until(lambda: stream.size - before >= 2 * MIB)
        with pytest.raises(AssertionError):
            wait_until(lambda: stream.size - before > 8 * MIB, SHORT)
        stream.release()
        sending.result(TIMEOUT)
        publisher.finish(Deadline(TIMEOUT))


def test_window_shrinks_when_acks_are_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """But never below what it was in the beginning."""
    stream = Stream()
    payload = bytes(256 * KIB)
    with publishing(stream) as publisher, ThreadPoolExecutor() as pool:
        for _ in range(80):
            publish(publisher, payload)
        publisher.finish(Deadline(TIMEOUT))
        monkeypatch.setattr(publisher_module, "_PROMPT", -1.0)
        monkeypatch.setattr(publisher_module, "_LATE", 0.0)
        for _ in range(80):
            publish(publisher, payload)
        publisher.finish(Deadline(TIMEOUT))
        stream.hold = True
        before = stream.size
        sending = pool.submit(lambda: [publish(publisher, payload) for _ in range(20)])
        wait_until(lambda: stream.size - before >= 3 * len(payload))
        with pytest.raises(AssertionError):
            wait_until(lambda: stream.size - before > MIB, SHORT)
        stream.release()
        sending.result(TIMEOUT)
        publisher.finish(Deadline(TIMEOUT))


def test_block_that_is_larger_than_the_window_goes_alone() -> None:
    stream = Stream()
    with publishing(stream) as publisher:
        for _ in range(3):
            publish(publisher, *[bytes(MIB)] * 3)
        publisher.finish(Deadline(TIMEOUT))
        assert stream.size == 9 * MIB


@pytest.mark.slow
def test_small_messages_count_for_more_than_their_bytes() -> None:
    """A million empty messages are no small thing for a server."""
    stream = Stream(hold=True)
    with publishing(stream) as publisher, ThreadPoolExecutor() as pool:
        sending = pool.submit(lambda: [publish(publisher, *[b""] * 1000) for _ in range(20)])
        wait_until(lambda: len(stream.received) >= 8000)
        with pytest.raises(AssertionError):
            wait_until(lambda: len(stream.received) > 9000, SHORT)
        stream.release()
        sending.result(TIMEOUT)
        publisher.finish(Deadline(TIMEOUT))


def test_memory_is_released_when_it_is_acked() -> None:
    """Not earlier: until then the server may not have it."""
    stream = Stream(hold=True)
    released: list[int] = []
    with publishing(stream) as publisher:
        for number in range(3):
            publisher.publish(
                [b"x", b"y"],
                Deadline(TIMEOUT),
                release=lambda number=number: released.append(number),  # type: ignore[misc]
            )
        wait_until(lambda: len(stream.received) == 6)
        assert released == []
        stream.release()
        publisher.finish(Deadline(TIMEOUT))
        assert released == [0, 1, 2]


# Acks


def test_acks_in_any_order_are_acks() -> None:
    """A message is counted when all before it are acked, too."""
    held: list[Any] = []

    def reverse(conn: FakeConnection, command: Command, number: int) -> None:
        held.append((conn, command, number))
        if number == 4:
            for one in reversed(held):
                stream.ack(*one)

    stream = Stream(reverse)
    with publishing(stream) as publisher:
        publish(publisher, *[b"x"] * 5)
        publisher.finish(Deadline(TIMEOUT))
        assert publisher.acked == 5


#: Answers to the third of five messages, and what they are.
BAD: dict[str, tuple[Any, type[ObjStoreError]]] = {
    "refused": (
        {"error": {"code": 503, "err_code": 10077, "description": "full"}, "stream": "S"},
        JetStreamError,
    ),
    "another stream": ({"stream": "T", "seq": 3}, ProtocolError),
    "no stream": ({"seq": 3}, ProtocolError),
    "sequence 0": ({"stream": "S", "seq": 0}, ProtocolError),
    "sequence -1": ({"stream": "S", "seq": -1}, ProtocolError),
    "sequence of the one before": ({"stream": "S", "seq": 2}, ProtocolError),
    "text": ({"stream": "S", "seq": "3"}, ProtocolError),
    "fraction": ({"stream": "S", "seq": 3.5}, ProtocolError),
    "null": ({"stream": "S", "seq": None}, ProtocolError),
    "no JSON": (b"+OK", ProtocolError),
    "nothing": (b"", ProtocolError),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_ack_is_no_ack(kind: str) -> None:
    """By the next message or at the end, whichever comes first."""
    reply, error = BAD[kind]

    def answer(conn: FakeConnection, command: Command, number: int) -> None:
        if number == 2:
            conn.reply(command, reply)
        else:
            stream.ack(conn, command, number)

    stream = Stream(answer)
    with publishing(stream) as publisher:
        publish(publisher, *[b"x"] * 5)
        with pytest.raises(error):
            publisher.finish(Deadline(TIMEOUT))
        assert publisher.acked == 2
        publisher.settle()


def test_later_message_that_was_stored_earlier_is_told() -> None:
    """The order of chunks is the object."""

    def swap(conn: FakeConnection, command: Command, number: int) -> None:
        conn.reply(command, {"stream": "S", "seq": [1, 3, 2][number]})

    with publishing(Stream(swap)) as publisher:
        publish(publisher, b"a", b"b", b"c")
        with pytest.raises(ProtocolError, match="before"):
            publisher.finish(Deadline(TIMEOUT))


@pytest.mark.parametrize(
    ("status", "error", "err_code"),
    [
        ("503", NoRespondersError, None),
        ("429 Too Many Requests", JetStreamError, ErrorCode.TOO_MANY_REQUESTS),
        ("408 Timeout", JetStreamError, 0),
    ],
)
def test_status_is_no_ack(status: str, error: type[Exception], err_code: int | None) -> None:
    def answer(conn: FakeConnection, command: Command, number: int) -> None:
        conn.reply(command, headers=f"NATS/1.0 {status}\r\n\r\n".encode())

    with publishing(Stream(answer)) as publisher:
        publish(publisher, b"x")
        with pytest.raises(error) as caught:
            publisher.finish(Deadline(TIMEOUT))
        if isinstance(caught.value, JetStreamError):
            assert caught.value.err_code == err_code


def test_missing_ack_is_a_timeout() -> None:
    def drop(conn: FakeConnection, command: Command, number: int) -> None:
        if number != 1:
            stream.ack(conn, command, number)

    stream = Stream(drop)
    with publishing(stream) as publisher:
        publish(publisher, b"a", b"b", b"c")
        with pytest.raises(RequestTimeoutError, match="confirmed"):
            publisher.finish(Deadline(0.2))
        assert publisher.acked == 1


@pytest.mark.slow
def test_every_ack_is_progress() -> None:
    """A timeout is for silence, however long the whole takes."""
    pause = threading.Event()

    def slow(conn: FakeConnection, command: Command, number: int) -> None:
        pause.wait(0.04)
        stream.ack(conn, command, number)

    stream = Stream(slow)
    with publishing(stream) as publisher:
        publish(publisher, *[b"x"] * 20)
        publisher.finish(Deadline(0.6))


def test_doubt_is_raised_when_no_ack_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the timeout: a stream that is gone will send none."""
    monkeypatch.setattr(publisher_module, "_DOUBT", 0.05)

    class GoneError(ObjStoreError):
        pass

    def doubt(timeout: float) -> None:
        asked.append(timeout)
        if len(asked) == 2:
            raise GoneError

    asked: list[float] = []
    with publishing(Stream(hold=True), doubt=doubt) as publisher:
        publish(publisher, b"x")
        with pytest.raises(GoneError):
            publisher.finish(Deadline(TIMEOUT))
        publisher.settle()  # waits for nothing that will not come
    assert len(asked) == 2


def test_lost_connection_is_told_at_once() -> None:
    """To who waits for acks, and to who sends: nothing goes out on another connection."""

    def lose(conn: FakeConnection, command: Command, number: int) -> None:
        if number == 1:
            raise ConnectionResetError
        stream.ack(conn, command, number)

    stream = Stream(lose)
    with publishing(stream) as publisher:
        publish(publisher, b"a", b"b", b"c")
        with pytest.raises(ConnectionLostError):
            publisher.finish(Deadline(TIMEOUT))
        publisher.settle()
        wait_until(lambda: publisher._connection.state.value == "connected")
        with pytest.raises(ConnectionLostError):
            publish(publisher, b"d")
        assert b"d" not in stream.received


# After a failure


def test_settling_waits_for_what_is_on_its_way() -> None:
    """Whatever the answers are, so that a purge comes after all of it."""

    def refuse(conn: FakeConnection, command: Command, number: int) -> None:
        error = {"code": 503, "err_code": 10077, "description": "full"}
        conn.reply(command, {"error": error})

    stream = Stream(refuse, hold=True)
    with publishing(stream) as publisher, ThreadPoolExecutor() as pool:
        publish(publisher, *[b"x"] * 5)
        settling: Future[None] = pool.submit(publisher.settle)
        with pytest.raises(AssertionError):
            wait_until(settling.done, SHORT)
        stream.release()
        settling.result(TIMEOUT)


def test_settling_does_not_wait_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher_module, "_SETTLE_TIMEOUT", 0.05)
    with publishing(Stream(hold=True)) as publisher:
        publish(publisher, b"x")
        publisher.settle()


def test_abandoned_publisher_takes_no_more() -> None:
    """For finalizers: without a lock and without waiting."""
    stream = Stream()
    with publishing(stream) as publisher:
        publish(publisher, b"x")
        publisher.abandon()
