"""Stored messages, in the three shapes in which servers send them."""

from __future__ import annotations

import base64
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from objstore.core.protocol import Message
from objstore.errors import ProtocolError
from objstore.jetstream.messages import from_api, from_consumer, from_direct, parse_time


def message(
    payload: bytes = b"data", reply: str = "", headers: dict[str, str] | None = None
) -> Message:
    block = None
    if headers is not None:
        lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
        block = f"NATS/1.0\r\n{lines}\r\n".encode()
    return Message("some.subject", 1, reply, memoryview(payload), block)


# Times


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:05Z", (2026, 1, 2, 3, 4, 5, 0)),
        ("2026-01-02T03:04:05.1Z", (2026, 1, 2, 3, 4, 5, 100_000)),
        ("2026-01-02T03:04:05.123456789Z", (2026, 1, 2, 3, 4, 5, 123_456)),
        ("2026-01-02t03:04:05.000001z", (2026, 1, 2, 3, 4, 5, 1)),
        ("2026-01-02 03:04:05Z", (2026, 1, 2, 3, 4, 5, 0)),
        ("2026-01-02T03:04:05+02:30", (2026, 1, 2, 0, 34, 5, 0)),
        ("2026-01-02T03:04:05.5-01:00", (2026, 1, 2, 4, 4, 5, 500_000)),
        ("0001-01-01T00:00:00Z", (1, 1, 1, 0, 0, 0, 0)),
    ],
)
def test_time_is_read_in_utc(text: str, expected: tuple[int, ...]) -> None:
    assert parse_time(text) == datetime(*expected, tzinfo=timezone.utc)  # type: ignore[misc]


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "2026-01-02", "2026-01-02T03:04:05", "2026-13-02T03:04:05Z"),
        *("2026-01-02T25:04:05Z", "2026-01-02T03:04:05ZZ", "２026-01-02T03:04:05Z", "Z" * 100_000),
    ],
)
def test_anything_else_is_no_time(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_time(text)
    assert len(str(caught.value)) < 200


@given(st.datetimes(min_value=datetime(1, 1, 2)))
def test_every_moment_is_read_again(moment: datetime) -> None:
    assert parse_time(f"{moment.isoformat()}Z") == moment.replace(tzinfo=timezone.utc)


# The leader's answer


def api(**fields: Any) -> dict[str, Any]:
    good = {"subject": "a", "seq": 5, "data": "ZGF0YQ==", "time": "2026-01-02T03:04:05Z"}
    return {key: value for key, value in {**good, **fields}.items() if value is not ...}


def test_answer_of_the_leader_is_read() -> None:
    block = base64.b64encode(b"NATS/1.0\r\nA: 1\r\nA: 2\r\n\r\n").decode()
    found = from_api(api(hdrs=block))
    assert (found.subject, found.stream_seq, found.payload) == ("a", 5, b"data")
    assert found.headers == {"A": ["1", "2"]}
    assert (found.pending, found.consumer_seq) == (None, 0)
    assert found.stored_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


@pytest.mark.parametrize("fields", [{"data": ...}, {"data": None}, {"data": ""}, {"hdrs": None}])
def test_what_is_empty_may_be_left_out(fields: dict[str, Any]) -> None:
    found = from_api(api(**fields))
    assert found.headers == {}
    assert found.payload == (b"data" if "hdrs" in fields else b"")


@pytest.mark.parametrize(
    "fields",
    [
        {"subject": ...},
        {"seq": ...},
        {"seq": None},
        {"seq": "x"},
        {"time": ...},
        {"data": "!!!"},
        {"data": "a"},
        {"data": 5},
        {"hdrs": "!!!"},
        {"hdrs": base64.b64encode(b"no block").decode()},
    ],
)
def test_answer_of_the_leader_that_cannot_be_read_is_an_error(fields: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        from_api(api(**fields))


# Direct gets


DIRECT = {
    "Nats-Stream": "s",
    "Nats-Subject": "a",
    "Nats-Sequence": "5",
    "Nats-Time-Stamp": "2026-01-02T03:04:05Z",
}


def test_direct_get_is_read() -> None:
    found = from_direct(message(headers={**DIRECT, "Nats-Num-Pending": "7"}))
    assert (found.subject, found.stream_seq, bytes(found.payload)) == ("a", 5, b"data")
    assert found.pending == 7
    assert found.stored_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def test_old_server_does_not_say_what_follows() -> None:
    assert from_direct(message(headers=DIRECT)).pending is None


@pytest.mark.parametrize("missing", ["Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp"])
def test_direct_get_without_its_place_is_an_error(missing: str) -> None:
    headers = {key: value for key, value in DIRECT.items() if key != missing}
    with pytest.raises(ProtocolError, match=missing):
        from_direct(message(headers=headers))


@pytest.mark.parametrize("key", ["Nats-Sequence", "Nats-Num-Pending"])
def test_direct_get_without_numbers_is_an_error(key: str) -> None:
    with pytest.raises(ProtocolError):
        from_direct(message(headers={**DIRECT, key: "x"}))


# Consumers


@pytest.mark.parametrize(
    "reply",
    [
        "$JS.ACK.stream.consumer.1.5.3.1767323045678901234.7",
        "$JS.ACK._.hash.stream.consumer.1.5.3.1767323045678901234.7",
        "$JS.ACK.domain.hash.stream.consumer.1.5.3.1767323045678901234.7.random",
        "$JS.ACK.domain.hash.stream.consumer.1.5.3.1767323045678901234.7.random.more",
    ],
)
def test_consumer_puts_the_place_into_the_reply_subject(reply: str) -> None:
    """In nine tokens, or eleven and more."""
    found = from_consumer(message(reply=reply, headers={"A": "1"}))
    assert (found.subject, bytes(found.payload)) == ("some.subject", b"data")
    assert (found.stream_seq, found.consumer_seq, found.pending) == (5, 3, 7)
    assert found.headers == {"A": ["1"]}
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=timezone.utc)
    assert found.stored_at == moment


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "x",
        "$JS.ACK.stream.consumer.1.5.3.1",
        "$JS.ACK.x.stream.consumer.1.5.3.1767323045678901234.7",
        "$JS.NAK.stream.consumer.1.5.3.1767323045678901234.7",
        "$JX.ACK.stream.consumer.1.5.3.1767323045678901234.7",
        "$JS.ACK.stream.consumer.1.x.3.1767323045678901234.7",
        "$JS.ACK.stream.consumer.1.5.x.1767323045678901234.7",
        "$JS.ACK.stream.consumer.1.5.3.x.7",
        "$JS.ACK.stream.consumer.1.5.3.1767323045678901234.x",
        "$JS.ACK." + "x." * 10_000,
    ],
)
def test_other_reply_subjects_are_an_error(reply: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        from_consumer(message(reply=reply))
    assert len(str(caught.value)) < 200
