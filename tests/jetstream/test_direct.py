"""Direct gets: one message, a batch, the last ones of many subjects."""

from __future__ import annotations

import json
from typing import Any

import pytest

from objstore.core.connection import Connection
from objstore.core.deadline import Deadline
from objstore.core.options import make_options
from objstore.errors import (
    ConnectionLostError,
    JetStreamError,
    NoRespondersError,
    ProtocolError,
    RequestTimeoutError,
)
from objstore.jetstream.api import JetStream
from objstore.jetstream.direct import DirectGet, direct_last
from tests.fake_server import FakeConnection, FakeServer

TIMEOUT = 10.0


def deadline() -> Deadline:
    return Deadline(TIMEOUT)


def publish(js: JetStream, subject: str, payload: bytes = b"") -> int:
    return int(json.loads(bytes(js.connection.request(subject, payload).payload))["seq"])


def drain(direct: DirectGet) -> list[bytes]:
    """The payloads of all messages."""
    found = []
    while not direct.exhausted:
        message = direct.next(TIMEOUT)
        if message is not None:
            found.append(bytes(message.payload))
    assert direct.next(0) is None
    return found


@pytest.fixture
def filled(js: JetStream, stream: str) -> str:
    """A stream with ten messages, of two subjects in turns."""
    for number in range(10):
        publish(js, f"{stream}.{'ab'[number % 2]}", b"%d" % number)
    return stream


def test_last_message_is_found(js: JetStream, filled: str) -> None:
    message = direct_last(js, filled, f"{filled}.a", deadline())
    assert message is not None
    assert (message.subject, message.stream_seq) == (f"{filled}.a", 9)
    assert bytes(message.payload) == b"8"
    assert direct_last(js, filled, f"{filled}.c", deadline()) is None


def test_batch_is_of_one_subject_from_a_sequence_on(js: JetStream, filled: str) -> None:
    """So many messages, with the number of those that follow."""
    body = {"seq": 3, "next_by_subj": f"{filled}.a", "batch": 3}
    direct = DirectGet(js, filled, body, deadline())
    messages = []
    while (message := direct.next(TIMEOUT)) is not None:
        messages.append(message)
    assert direct.exhausted
    assert [bytes(message.payload) for message in messages] == [b"2", b"4", b"6"]
    assert [message.stream_seq for message in messages] == [3, 5, 7]
    assert [message.pending for message in messages] == [3, 2, 1]


def test_message_with_copied_headers_is_where_it_is(js: JetStream, stream: str) -> None:
    """Who copies messages may copy where they were; the server's own word comes behind."""
    places = {"Nats-Stream": "x", "Nats-Subject": "x", "Nats-Sequence": "77"}
    places |= {"Nats-Num-Pending": "66", "Nats-Last-Sequence": "55"}
    places |= {"Nats-Time-Stamp": "2001-01-01T00:00:00Z"}
    for _ in range(2):
        js.connection.request(f"{stream}.a", headers=places)
    batch = DirectGet(js, stream, {"seq": 1, "next_by_subj": f"{stream}.a", "batch": 2}, deadline())
    for seq in (1, 2):
        message = batch.next(TIMEOUT)
        assert message is not None
        assert (message.subject, message.stream_seq) == (f"{stream}.a", seq)
        assert (message.pending, message.stored_at.year > 2001) == (2 - seq, True)
    assert batch.next(TIMEOUT) is None
    assert batch.exhausted
    last = DirectGet(js, f"{stream}.{stream}.a", None, deadline())
    message = last.next(TIMEOUT)
    assert message is not None
    assert message.stream_seq == 2
    assert last.exhausted


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_lost_message_of_a_batch_is_noticed(lost: int) -> None:
    """As they may be lost when two servers of a cluster lose sight of each other."""

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        request = conn.expect("PUB")
        for number in range(3):
            headers = {"Nats-Stream": "s", "Nats-Subject": "a", "Nats-Sequence": f"{number + 1}"}
            headers |= {"Nats-Num-Pending": f"{2 - number}", "Nats-Last-Sequence": f"{number}"}
            headers |= {"Nats-Time-Stamp": "2026-01-02T03:04:05Z"}
            if number != lost:
                conn.reply(request, headers=headers)
        conn.reply(request, headers=b"NATS/1.0 204 EOB\r\nNats-Last-Sequence: 3\r\n\r\n")
        for _ in conn:
            pass

    with FakeServer(script) as server:
        connection = Connection(make_options(server.url))
        batch = DirectGet(
            JetStream(connection), "s", {"seq": 1, "next_by_subj": "a", "batch": 3}, deadline()
        )
        for _ in range(lost):
            assert batch.next(TIMEOUT) is not None
        with pytest.raises(ConnectionLostError, match="lost on the way"):
            batch.next(TIMEOUT)
        assert batch.exhausted
        connection.close()


def test_batch_is_bounded_in_bytes(js: JetStream, stream: str) -> None:
    """By the first message that goes beyond."""
    for _ in range(10):
        publish(js, f"{stream}.a", bytes(1000))
    body = {"seq": 1, "next_by_subj": f"{stream}.a", "batch": 10, "max_bytes": 3500}
    assert 1 <= len(drain(DirectGet(js, stream, body, deadline()))) <= 4


def test_batch_of_nothing_is_empty(js: JetStream, filled: str) -> None:
    body = {"seq": 100, "next_by_subj": f"{filled}.a", "batch": 3}
    assert drain(DirectGet(js, filled, body, deadline())) == []


def test_last_of_every_subject_is_a_snapshot(js: JetStream, filled: str) -> None:
    body = {"multi_last": [f"{filled}.>"], "batch": 100}
    direct = DirectGet(js, filled, body, deadline())
    assert sorted(drain(direct)) == [b"8", b"9"]
    assert direct.up_to_seq == 10


@pytest.mark.slow
def test_last_of_too_many_subjects_is_refused(js: JetStream, stream: str) -> None:
    inbox = js.connection.inbox(deadline())
    for number in range(1025):
        js.connection.publish(f"{stream}.{number}", reply=inbox.subject(number))
    for _ in range(1025):
        assert inbox.next(TIMEOUT) is not None
    inbox.close()
    direct = DirectGet(js, stream, {"multi_last": [f"{stream}.>"], "batch": 2000}, deadline())
    with pytest.raises(JetStreamError) as caught:
        direct.next(TIMEOUT)
    assert caught.value.code == 413
    assert direct.exhausted


def test_stream_that_does_not_allow_it_says_so(js: JetStream, filled: str) -> None:
    """And so does one that is gone: nobody answers."""
    config = js.stream_info(filled, deadline())["config"]
    js.update_stream({**config, "allow_direct": False}, deadline())
    for stream in (filled, "no-such-stream"):
        with pytest.raises(NoRespondersError):
            direct_last(js, stream, f"{filled}.a", deadline())
        direct = DirectGet(js, stream, {"seq": 1, "next_by_subj": "a", "batch": 2}, deadline())
        with pytest.raises(NoRespondersError):
            direct.next(TIMEOUT)


def test_request_that_makes_no_sense_is_refused(js: JetStream, filled: str) -> None:
    direct = DirectGet(js, filled, {}, deadline())
    with pytest.raises(JetStreamError) as caught:
        direct.next(TIMEOUT)
    assert caught.value.code == 408
    assert direct.exhausted and direct.next(TIMEOUT) is None


def test_closed_one_is_at_its_end(js: JetStream, filled: str) -> None:
    """What still comes is dropped."""
    body = {"seq": 1, "next_by_subj": f"{filled}.a", "batch": 5}
    for end in (DirectGet.close, DirectGet.abandon):
        direct = DirectGet(js, filled, body, deadline())
        assert direct.next(TIMEOUT) is not None
        end(direct)
        end(direct)
    assert direct_last(js, filled, f"{filled}.b", deadline()) is not None


# Servers that do otherwise


def scripted(*answers: Any) -> FakeServer:
    """A server that answers the first request so: payload and headers of each message."""

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        command = conn.expect("PUB")
        for payload, headers in answers:
            conn.reply(command, payload, headers=headers)

    return FakeServer(script)


PLACE = {
    "Nats-Stream": "s",
    "Nats-Subject": "a",
    "Nats-Sequence": "5",
    "Nats-Time-Stamp": "2026-01-02T03:04:05Z",
}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((b"x", None), ProtocolError),
        ((b"x", {"A": "b"}), ProtocolError),
        ((b"x", {**PLACE, "Nats-Sequence": "x"}), ProtocolError),
        ((b"", b"NATS/1.0 429 Too Many Requests\r\n\r\n"), JetStreamError),
        ((b"", b"NATS/1.0 500 Internal Error\r\n\r\n"), JetStreamError),
        ((b"", b"NATS/1.0 503\r\n\r\n"), NoRespondersError),
    ],
)
def test_answer_that_is_no_message_is_an_error(answer: Any, error: type[Exception]) -> None:
    with scripted(answer) as server:
        connection = Connection(make_options(server.url))
        with pytest.raises(error):
            direct_last(JetStream(connection), "s", "a", deadline())
        connection.close()


def test_old_server_sends_one_message_and_no_end() -> None:
    """That is how it is told apart."""
    with scripted((b"x", PLACE)) as server:
        connection = Connection(make_options(server.url))
        direct = DirectGet(JetStream(connection), "s", {"seq": 1, "batch": 5}, deadline())
        message = direct.next(TIMEOUT)
        assert message is not None and message.pending is None
        assert direct.exhausted
        connection.close()


@pytest.mark.parametrize("numbers_are_the_streams", [True, False])
def test_mirror_may_answer_if_it_keeps_the_numbers(numbers_are_the_streams: bool) -> None:
    """As those do whose server says what follows; an old one's may be its own."""
    place = {**PLACE, "Nats-Stream": "mirror"}
    if numbers_are_the_streams:
        place["Nats-Num-Pending"] = "1"
    with scripted((b"x", place)) as server:
        connection = Connection(make_options(server.url))
        direct = DirectGet(JetStream(connection), "s", {"seq": 1, "batch": 5}, deadline())
        if numbers_are_the_streams:
            assert direct.next(TIMEOUT) is not None
            direct.close()
        else:
            with pytest.raises(NoRespondersError, match="mirror"):
                direct.next(TIMEOUT)
            assert direct.exhausted
        connection.close()


def test_no_answer_is_no_end() -> None:
    """Of a batch, that is; a single message that does not come is a timeout."""
    with scripted() as server:
        connection = Connection(make_options(server.url))
        direct = DirectGet(JetStream(connection), "s", {"seq": 1, "batch": 5}, deadline())
        assert direct.next(0) is None and direct.next(0.05) is None
        assert not direct.exhausted
        with pytest.raises(RequestTimeoutError):
            direct_last(JetStream(connection), "s", "a", Deadline(0.05))
        connection.close()
        with pytest.raises(ConnectionLostError):
            direct.next(TIMEOUT)
