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
from objstore.core.nuid import next_nuid
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
    """
    The script of a server with the stream `S`: does what a leader does, or what a test says.

    Args:
        answer: Called for each message, with its number in order of arrival.
        hold: Keep messages for `release`; what comes after them waits, too.
    """

    def __init__(self, answer: Answer | None = None, *, hold: bool = False) -> None:
        self.stored: dict[int, tuple[str, bytes]] = {}  # sequence to id and payload
        self.ids: dict[str, int] = {}
        self.last_seq = 0
        self.received: list[Command] = []
        self.probes = 0
        self.hold = hold
        self.probe: Callable[[FakeConnection, Command], object] = self.refuse
        self._answer = answer or self.ack
        self._held: list[tuple[FakeConnection, Command, int]] = []
        self._lock = threading.Lock()

    def __call__(self, conn: FakeConnection) -> None:
        conn.handshake()
        for command in conn:
            if command.verb not in ("PUB", "HPUB"):
                continue
            with self._lock:
                number = len(self.received)
                if "Nats-Msg-Id" in command.headers:
                    self.received.append(command)
                if self.hold:
                    self._held.append((conn, command, number))
                    continue
            self._handle(conn, command, number)

    def _handle(self, conn: FakeConnection, command: Command, number: int) -> None:
        if command.subject.startswith("$JS.API.STREAM."):
            getattr(self, f"do_{command.subject.split('.')[-2].lower()}")(conn, command)
        elif "Nats-Msg-Id" in command.headers:
            self._answer(conn, command, number)
        else:
            self.probes += 1
            self.probe(conn, command)

    def store(self, command: Command) -> dict[str, Any]:
        """Store a message, unless it is there; return its ack."""
        (message_id,) = command.headers["Nats-Msg-Id"]
        if message_id in self.ids:
            return {"stream": "S", "seq": self.ids[message_id], "duplicate": True}
        self.last_seq += 1
        self.ids[message_id] = self.last_seq
        self.stored[self.last_seq] = (message_id, command.payload)
        return {"stream": "S", "seq": self.last_seq}

    def ack(self, conn: FakeConnection, command: Command, number: int) -> None:
        conn.reply(command, self.store(command))

    def refuse(
        self, conn: FakeConnection, command: Command, code: int = 400, err_code: int = 10060
    ) -> None:
        error = {"code": code, "err_code": err_code, "description": "no"}
        conn.reply(command, {"error": error, "stream": "S", "seq": 0})

    def do_get(self, conn: FakeConnection, command: Command) -> None:
        seq = command.json["seq"]
        if seq in self.stored:
            message = {"subject": "s.a", "seq": seq, "time": "2026-01-01T00:00:00Z"}
            conn.reply(command, {"message": message})
        else:
            self.refuse(conn, command, 404, 10037)

    def do_delete(self, conn: FakeConnection, command: Command) -> None:
        del self.stored[command.json["seq"]]
        conn.reply(command, {"success": True})

    def do_info(self, conn: FakeConnection, command: Command) -> None:
        assert command.json == {"subjects_filter": "s.a"}
        conn.reply(command, {"state": {"subjects": {"s.a": len(self.stored)}}})

    def release(self) -> None:
        """Handle what was kept, and from now on everything."""
        with self._lock:
            self.hold = False
            for held in self._held:
                self._handle(*held)

    @property
    def payloads(self) -> list[bytes]:
        """What is stored, in order."""
        return [payload for _, payload in self.stored.values()]

    @property
    def size(self) -> int:
        return sum(len(command.payload) for command in self.received)


@contextlib.contextmanager
def publishing(stream: Stream, **options: Any) -> Iterator[Publisher]:
    """A publisher to that stream."""
    with FakeServer(stream) as server:
        connection = Connection(make_options(server.url))
        publisher = make_publisher(JetStream(connection), "S", "s.a", **options)
        try:
            yield publisher
        finally:
            publisher.close()
            connection.close()


def make_publisher(js: JetStream, stream: str, subject: str, **options: Any) -> Publisher:
    return Publisher(js, stream, subject, next_nuid(), Deadline(TIMEOUT), **options)


def publish(publisher: Publisher, *payloads: bytes, timeout: float = TIMEOUT) -> None:
    publisher.publish(payloads, Deadline(timeout))


# On a real server


def test_messages_are_stored_in_order(js: JetStream, stream: str) -> None:
    """Byte for byte, whatever they hold, and each counted when it is."""
    payloads = [b"", b"\r\n", b"PUB x 0\r\n\r\n", bytes(1000), *(b"%d" % n for n in range(100))]
    publisher = make_publisher(js, stream, f"{stream}.a")
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
    publisher = make_publisher(js, stream, f"{stream}.a")
    publisher.finish(Deadline(0))
    publisher.settle(Deadline(0))
    publisher.close()
    publisher.close()


@pytest.mark.parametrize("subject", ["", ">", "a.*", "a b", "a..b"])
def test_subject_that_is_no_single_one_is_refused(js: JetStream, subject: str) -> None:
    with pytest.raises(InvalidNameError):
        make_publisher(js, "S", subject)


def test_stream_of_another_name_is_no_success(js: JetStream, stream: str) -> None:
    """Should the subject be another stream's by now."""
    publisher = make_publisher(js, "other", f"{stream}.a")
    publish(publisher, b"x")
    with pytest.raises(ProtocolError, match="no ack of other"):
        publisher.finish(Deadline(TIMEOUT))
    publisher.close()


def test_subject_of_no_stream_is_told(js: JetStream) -> None:
    """At once if there is none; when the time is up if its leader does not come."""

    def doubt(timeout: float) -> None:
        asked.append(timeout)
        if is_gone:
            raise ZeroDivisionError

    asked: list[float] = []
    is_gone = False
    publisher = make_publisher(js, "S", "no.such.stream", doubt=doubt)
    publish(publisher, b"x")
    with pytest.raises(NoRespondersError):
        publisher.finish(Deadline(0.1))
    assert asked and max(asked) <= 0.1
    is_gone = True
    with pytest.raises(ZeroDivisionError):
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
        held.append((command, stream.store(command)))
        if number == 4:
            for one in reversed(held):
                conn.reply(*one)

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
        publisher.settle(Deadline(TIMEOUT))


def test_later_message_that_was_stored_earlier_is_told() -> None:
    """The order of chunks is the object."""

    def swap(conn: FakeConnection, command: Command, number: int) -> None:
        conn.reply(command, {"stream": "S", "seq": [1, 3, 2][number]})

    with publishing(Stream(swap)) as publisher:
        publish(publisher, b"a", b"b", b"c")
        with pytest.raises(ProtocolError, match="before"):
            publisher.finish(Deadline(TIMEOUT))


def test_message_that_was_there_before_it_was_sent_is_told() -> None:
    """Its id was used before, by somebody else."""

    def duplicate(conn: FakeConnection, command: Command, number: int) -> None:
        conn.reply(command, {"stream": "S", "seq": 1, "duplicate": True})

    with publishing(Stream(duplicate)) as publisher:
        publish(publisher, b"a")
        with pytest.raises(ProtocolError, match="before it was sent"):
            publisher.finish(Deadline(TIMEOUT))


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


# Going back


@pytest.fixture(autouse=True)
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Doubt sooner, so that a lost answer is noticed soon."""
    monkeypatch.setattr(publisher_module, "_DOUBT", 0.05)
    monkeypatch.setattr(publisher_module, "_GRACE", 0.02)
    monkeypatch.setattr(publisher_module, "_FIRST_PAUSE", 0.002)


PAYLOADS = [b"%d" % number for number in range(20)]


def publish_all(publisher: Publisher, deadline: Deadline | None = None) -> None:
    """Publish all payloads in blocks of four, and wait for them."""
    deadline = deadline or Deadline(TIMEOUT)
    for start in range(0, len(PAYLOADS), 4):
        publisher.publish(PAYLOADS[start : start + 4], deadline)
    publisher.finish(deadline)
    assert publisher.acked == publisher.sent == len(PAYLOADS)


def refuse_with(stream: Stream, answer: int | str) -> Answer:
    """Refuse with an error of JetStream, or with a status."""

    def refuse(conn: FakeConnection, command: Command, number: int = 0) -> None:
        if isinstance(answer, int):
            stream.refuse(conn, command, 503, answer)
        elif answer:
            conn.reply(command, headers=f"NATS/1.0 {answer}\r\n\r\n".encode())

    return refuse


#: Refusals that pass: no leader, no office, no time; and no answer at all.
PASSING: list[int | str] = ["503", "429 Full", 10008, 10009, 10158, 10163, 10167, 0, ""]


@pytest.mark.parametrize("answer", PASSING)
@pytest.mark.parametrize("refused", [{0}, {7}, {19}, {5, 6, 9}, set(range(20)), set(range(3, 30))])
def test_what_is_refused_for_the_moment_is_sent_again_in_order(
    answer: int | str, refused: set[int]
) -> None:
    """Whatever was stored behind the hole: it is deleted, and comes again."""

    def refuse_some(conn: FakeConnection, command: Command, number: int) -> None:
        if number in refused:
            refuse_with(stream, answer)(conn, command, number)
        else:
            stream.ack(conn, command, number)

    stream = Stream(refuse_some)
    with publishing(stream) as publisher:
        publish_all(publisher)
    assert stream.payloads == PAYLOADS
    assert stream.probes


@pytest.mark.parametrize("lost", [{0}, {7}, {19}, {5, 6, 9}, set(range(20))])
def test_what_is_stored_and_not_acked_is_stored_once(lost: set[int]) -> None:
    """Its id tells that it is there."""

    def lose_some(conn: FakeConnection, command: Command, number: int) -> None:
        ack = stream.store(command)
        if number not in lost:
            conn.reply(command, ack)

    stream = Stream(lose_some)
    with publishing(stream) as publisher:
        publish_all(publisher)
    assert stream.payloads == PAYLOADS


def test_nothing_is_sent_again_before_a_leader_answers() -> None:
    """It would only be refused again, all of it."""

    def refuse_probe(conn: FakeConnection, command: Command) -> None:
        if stream.probes == 5:
            assert len(stream.received) == 1
            stream.probe = stream.refuse
        refuse_with(stream, "503")(conn, command, 0)

    def refuse_first(conn: FakeConnection, command: Command, number: int) -> None:
        (refuse_with(stream, "503") if number == 0 else stream.ack)(conn, command, number)

    stream = Stream(refuse_first)
    stream.probe = refuse_probe
    with publishing(stream) as publisher:
        publish(publisher, b"x")
        publisher.finish(Deadline(TIMEOUT))
    assert stream.payloads == [b"x"]
    assert stream.probes == 6


def test_acks_that_come_behind_the_answer_to_a_probe_are_waited_for() -> None:
    """Replicas take their time, while a leader refuses at once."""
    held: list[Any] = []

    def hold(conn: FakeConnection, command: Command, number: int) -> None:
        held.append((command, stream.store(command)))

    def answer(conn: FakeConnection, command: Command) -> None:
        stream.refuse(conn, command)
        while held:
            conn.reply(*held.pop(0))

    stream = Stream(hold)
    stream.probe = answer
    with publishing(stream) as publisher:
        publish(publisher, *PAYLOADS)
        publisher.finish(Deadline(TIMEOUT))
    assert len(stream.received) == len(PAYLOADS) and not held


@pytest.mark.parametrize(
    ("answer", "error"),
    [("503", NoRespondersError), (10008, JetStreamError), ("", RequestTimeoutError)],
)
def test_last_reason_is_raised_when_the_time_is_up(
    answer: int | str, error: type[Exception]
) -> None:
    stream = Stream()
    refuse = refuse_with(stream, answer)
    stream.probe = lambda conn, command: refuse(conn, command, 0)
    stream._answer = refuse
    with publishing(stream) as publisher:
        publish(publisher, b"x")
        with pytest.raises(error):
            publisher.finish(Deadline(0.15))
        publisher.settle(Deadline(0.05))


def test_stored_messages_that_are_never_in_order_are_no_progress() -> None:
    """A stream that refuses one message for ever fails in time, however many others it takes."""

    def refuse_third(conn: FakeConnection, command: Command, number: int) -> None:
        (refuse_with(stream, "429") if command.payload == b"3" else stream.ack)(
            conn, command, number
        )

    stream = Stream(refuse_third)
    with publishing(stream) as publisher:
        with pytest.raises(JetStreamError) as caught:
            publish_all(publisher, Deadline(0.3))
        assert caught.value.err_code == ErrorCode.TOO_MANY_REQUESTS
        assert publisher.acked == 3


def test_message_that_is_stored_twice_is_told() -> None:
    """The ids should not let it happen; the leader's count tells if they do."""

    def store_twice(conn: FakeConnection, command: Command, number: int) -> None:
        ack = stream.store(command)
        stream.ids.clear()
        if number:
            conn.reply(command, ack)

    stream = Stream(store_twice)
    with publishing(stream) as publisher:
        publish(publisher, b"x")
        with pytest.raises(ProtocolError, match="2 messages where 1"):
            publisher.finish(Deadline(TIMEOUT))


def test_messages_that_vanished_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the stream, for one, which was deleted and made anew."""
    monkeypatch.setattr(publisher_module, "_COUNT_PATIENCE", 0.05)

    def lose(conn: FakeConnection, command: Command, number: int) -> None:
        if number == 3:
            stream.stored.clear()
        elif number < 3:
            stream.ack(conn, command, number)
        else:
            stream.ack(conn, command, number)

    stream = Stream(lose)
    with publishing(stream) as publisher:
        publish(publisher, *PAYLOADS[:4])
        with pytest.raises(ProtocolError, match="1 messages where 4"):
            publisher.finish(Deadline(TIMEOUT))


def test_message_of_others_is_never_deleted() -> None:
    """Should the stream be another one by now, in which that sequence is somebody else's."""

    def replace(conn: FakeConnection, command: Command) -> None:
        message = {"subject": "s.b", "seq": 2, "time": "2026-01-01T00:00:00Z"}
        conn.reply(command, {"message": message})

    def refuse_first(conn: FakeConnection, command: Command, number: int) -> None:
        (refuse_with(stream, "503") if number == 0 else stream.ack)(conn, command, number)

    stream = Stream(refuse_first)
    stream.do_get = replace  # type: ignore[method-assign]
    with publishing(stream) as publisher:
        publish(publisher, b"a", b"b")
        with pytest.raises(ProtocolError, match="not the stream"):
            publisher.finish(Deadline(TIMEOUT))
        assert len(stream.stored) == 1


def test_refusal_shrinks_the_window() -> None:
    """The queue of the stream is full: to send as much again would fill it again."""
    stream = Stream()
    payload = bytes(256 * KIB)
    with publishing(stream) as publisher:
        for _ in range(80):
            publish(publisher, payload)
        publisher.finish(Deadline(TIMEOUT))
        assert publisher._window == 8 * MIB
        stream._answer = refuse_with(stream, "429")
        stream.probe = lambda conn, command: (
            setattr(stream, "_answer", stream.ack) or (stream.refuse(conn, command))
        )
        publish(publisher, payload)
        publisher.finish(Deadline(TIMEOUT))
        assert publisher._window < 5 * MIB
    assert len(stream.stored) == 81


# Lost connections


@pytest.mark.parametrize("nth", range(0, 20, 3))
@pytest.mark.parametrize("stored", [True, False])
def test_lost_connection_is_gone_on_from(nth: int, stored: bool) -> None:
    """From the first message without an ack, whether or not the server had it."""

    def lose(conn: FakeConnection, command: Command, number: int) -> None:
        if number != nth:
            stream.ack(conn, command, number)
            return
        if stored:
            stream.store(command)
        conn.close()
        raise ConnectionResetError

    stream = Stream(lose)
    with publishing(stream) as publisher:
        publish_all(publisher)
    assert stream.payloads == PAYLOADS


def test_late_copies_are_stored_once() -> None:
    """What the server reads from a lost connection when all is sent again."""
    late: list[Command] = []

    def lose(conn: FakeConnection, command: Command, number: int) -> None:
        if conn.number == 0 and number >= 5:
            late.append(command)
            if number == 19:
                conn.close()
                raise ConnectionResetError
        else:
            stream.ack(conn, command, number)
            if late and number % 2:
                stream.store(late.pop(0))

    stream = Stream(lose)
    with publishing(stream) as publisher:
        publish_all(publisher)
    assert late  # and even those that come when all is done
    for command in late:
        stream.store(command)
    assert stream.payloads == PAYLOADS


def test_memory_is_kept_until_it_is_stored() -> None:
    """However often it has to be sent."""
    released: list[int] = []

    def lose(conn: FakeConnection, command: Command, number: int) -> None:
        if number in (1, 4):
            assert released == []
            conn.close()
            raise ConnectionResetError
        stream.ack(conn, command, number)

    stream = Stream(lose)
    with publishing(stream) as publisher:
        publisher.publish(PAYLOADS[:4], Deadline(TIMEOUT), release=lambda: released.append(1))
        publisher.finish(Deadline(TIMEOUT))
    assert released == [1] and stream.payloads == PAYLOADS[:4]


def test_closed_connection_is_told_at_once() -> None:
    with publishing(Stream(hold=True)) as publisher:
        publish(publisher, b"a")
        publisher._connection.close()
        with pytest.raises(ConnectionLostError):
            publisher.finish(Deadline(TIMEOUT))
        with pytest.raises(ConnectionLostError):
            publish(publisher, b"d")
        publisher.settle(Deadline(TIMEOUT))


def test_server_that_does_not_come_back_is_told_in_time() -> None:
    def lose(conn: FakeConnection, command: Command, number: int) -> None:
        conn.close()
        raise ConnectionResetError

    stream = Stream(lose)
    with FakeServer([stream]) as server:
        connection = Connection(make_options(server.url))
        publisher = make_publisher(JetStream(connection), "S", "s.a")
        publish(publisher, b"x")
        with pytest.raises(ConnectionLostError):
            publisher.finish(Deadline(0.2))
        publisher.close()
        connection.close()


# After a failure


def test_settling_waits_for_what_is_on_its_way() -> None:
    """Whatever the answers are, so that a purge comes after all of it."""
    stream = Stream(refuse_with(Stream(), 10077), hold=True)
    with publishing(stream) as publisher, ThreadPoolExecutor() as pool:
        publish(publisher, *[b"x"] * 5)
        settling: Future[None] = pool.submit(publisher.settle, Deadline(TIMEOUT))
        with pytest.raises(AssertionError):
            wait_until(settling.done, SHORT)
        stream.release()
        settling.result(TIMEOUT)


def test_settling_ends_when_the_leader_has_nothing_more_to_say() -> None:
    """Of what was lost there comes no answer."""

    def drop(conn: FakeConnection, command: Command, number: int) -> None:
        pass

    stream = Stream(drop)
    with publishing(stream) as publisher:
        publish(publisher, *[b"x"] * 5)
        publisher.settle(Deadline(None))
        assert stream.probes == 1


def test_settling_does_not_wait_for_long() -> None:
    with publishing(Stream(hold=True)) as publisher:
        publish(publisher, b"x")
        publisher.settle(Deadline(0.05))


def test_abandoned_publisher_takes_no_more() -> None:
    """For finalizers: without a lock and without waiting."""
    stream = Stream()
    with publishing(stream) as publisher:
        publish(publisher, b"x")
        publisher.abandon()
