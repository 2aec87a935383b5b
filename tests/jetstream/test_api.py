"""The JSON API: streams, stored messages, purge, and errors by their numbers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import objstore.jetstream.api as api_module
from objstore.core.connection import Connection
from objstore.core.deadline import Deadline
from objstore.core.options import make_options
from objstore.core.protocol import Message
from objstore.errors import (
    InvalidNameError,
    JetStreamError,
    NoRespondersError,
    ProtocolError,
    RequestTimeoutError,
)
from objstore.jetstream.api import (
    ErrorCode,
    JetStream,
    encode_body,
    message_or_none,
    parse_json,
    parse_purged,
)
from tests.fake_server import Command, FakeConnection, FakeServer

TIMEOUT = 10.0


def deadline() -> Deadline:
    return Deadline(TIMEOUT)


def purge(js: JetStream, stream: str, subject: str, up_to_seq: int | None = None) -> int:
    return parse_purged(js.ask_purge(stream, subject, deadline(), up_to_seq).answer(deadline()))


def publish(js: JetStream, subject: str, payload: bytes = b"", **headers: str) -> int:
    answer = js.connection.request(
        subject, payload, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )
    return int(json.loads(bytes(answer.payload))["seq"])


@contextlib.contextmanager
def answering(
    answer: Callable[[FakeConnection, Command], object], **options: Any
) -> Iterator[tuple[JetStream, FakeServer]]:
    """JetStream on a server that answers every request so."""

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        for command in conn:
            if command.verb in ("PUB", "HPUB"):
                answer(conn, command)

    with FakeServer(script) as server:
        connection = Connection(make_options(server.url))
        try:
            yield JetStream(connection, **options), server
        finally:
            connection.close()


# Streams


def test_stream_is_made_found_changed_and_deleted(js: JetStream) -> None:
    """And made again if it is the same."""
    config = {"name": "api-life", "subjects": ["api.life.>"], "storage": "memory"}
    made = js.create_stream(config, deadline())
    assert made["did_create"] is True and made["config"]["name"] == "api-life"
    again = js.create_stream(config, deadline())
    assert again["created"] == made["created"] and again["config"] == made["config"]
    info = js.stream_info("api-life", deadline())
    assert info["config"]["subjects"] == ["api.life.>"] and info["state"]["messages"] == 0
    with pytest.raises(JetStreamError) as caught:
        js.create_stream({**config, "max_msgs": 5}, deadline())
    assert caught.value.err_code == ErrorCode.STREAM_NAME_IN_USE
    js.update_stream({**info["config"], "max_msgs": 5}, deadline())
    assert js.stream_info("api-life", deadline())["config"]["max_msgs"] == 5
    js.delete_stream("api-life", deadline())
    for call in (
        lambda: js.stream_info("api-life", deadline()),
        lambda: js.update_stream(config, deadline()),
        lambda: js.delete_stream("api-life", deadline()),
        lambda: js.last_message("api-life", "x", deadline()),
        lambda: purge(js, "api-life", "x"),
    ):
        with pytest.raises(JetStreamError) as caught:
            call()
        assert caught.value.err_code == ErrorCode.STREAM_NOT_FOUND


def test_info_counts_subjects_if_asked(js: JetStream, stream: str) -> None:
    for subject in ("a", "b", "a"):
        publish(js, f"{stream}.{subject}")
    info = js.stream_info(stream, deadline(), subjects_filter=f"{stream}.>")
    assert info["state"]["subjects"] == {f"{stream}.a": 2, f"{stream}.b": 1}
    assert "subjects" not in js.stream_info(stream, deadline())["state"]


def test_stored_subjects_are_those_that_match(js: JetStream, stream: str) -> None:
    for subject in ("a.x", "b", "a.y", "a.x"):
        publish(js, f"{stream}.{subject}")
    wanted = [f"{stream}.a.x", f"{stream}.a.y"]
    assert list(js.stored_subjects(stream, f"{stream}.a.>", deadline())) == wanted
    assert list(js.stored_subjects(stream, f"{stream}.c", deadline())) == []


@pytest.mark.parametrize("removed", [0, 1, 2])
def test_pages_of_subjects_overlap(monkeypatch: pytest.MonkeyPatch, removed: int) -> None:
    """Each is named once, and none is passed over when others go between two pages."""
    monkeypatch.setattr(api_module, "_OVERLAP", 2)
    stored = list("abcdefghij")

    def answer(conn: FakeConnection, command: Command) -> None:
        body = json.loads(command.payload)
        assert body["subjects_filter"] == ">"
        page = stored[body["offset"] :][:4]
        reply = {"total": len(stored), "state": {"subjects": dict.fromkeys(page, 1)}}
        conn.reply(command, reply)
        del stored[: removed if len(stored) == 10 else 0]

    with answering(answer) as (js, _):
        assert list(js.stored_subjects("s", ">", deadline())) == list("abcdefghij")


def test_streams_are_found_by_a_subject(js: JetStream, stream: str) -> None:
    assert list(js.stream_names(f"{stream}.x")) == [stream]
    assert [info["config"]["name"] for info in js.streams(f"{stream}.>")] == [stream]
    assert list(js.stream_names("no.such.subject")) == list(js.streams("no.such.subject")) == []


@pytest.mark.slow
def test_streams_of_several_pages_are_found(js: JetStream) -> None:
    """A page of infos has 256 entries."""
    names = [f"page-{number}" for number in range(300)]
    for name in names:
        js.create_stream(
            {"name": name, "subjects": [f"page.{name}"], "storage": "memory"}, deadline()
        )
    assert sorted(js.stream_names("page.>")) == sorted(names)
    assert sorted(info["config"]["name"] for info in js.streams("page.>")) == sorted(names)
    for name in names:
        js.delete_stream(name, deadline())


@pytest.mark.parametrize("operation", ["STREAM.NAMES", "STREAM.LIST"])
@pytest.mark.parametrize("total", [0, 1, 3, 4, 7])
def test_pages_are_asked_for_until_all_have_come(operation: str, total: int) -> None:
    """Each behind the last entry of the one before."""
    asked = []

    def page(conn: FakeConnection, command: Command) -> None:
        assert command.subject == f"$JS.API.{operation}"
        asked.append(command.json)
        offset = command.json["offset"]
        entries = [{"n": number} for number in range(offset, min(offset + 3, total))]
        conn.reply(command, {"total": total, "offset": offset, "streams": entries or None})

    with answering(page) as (js, _):
        find = js.stream_names if operation == "STREAM.NAMES" else js.streams
        assert list(find("a.>")) == [{"n": number} for number in range(total)]
    assert [body["offset"] for body in asked] == list(range(0, max(total, 1), 3))
    assert {body["subject"] for body in asked} == {"a.>"}


def test_pages_that_shrink_come_to_an_end() -> None:
    """Streams may be deleted while they are listed."""

    def page(conn: FakeConnection, command: Command) -> None:
        entries = ["a", "b"] if command.json["offset"] == 0 else []
        conn.reply(command, {"total": 5, "streams": entries})

    with answering(page) as (js, _):
        assert list(js.stream_names(">")) == ["a", "b"]


def test_next_page_is_asked_for_when_it_is_needed() -> None:
    asked = []

    def page(conn: FakeConnection, command: Command) -> None:
        asked.append(command.json["offset"])
        conn.reply(command, {"total": 100, "streams": ["a", "b"]})

    with answering(page) as (js, _):
        names = js.stream_names(">")
        assert [next(names), next(names)] == ["a", "b"] and asked == [0]
        assert next(names) == "a" and asked == [0, 2]


# Messages


def test_last_message_is_found(js: JetStream, stream: str) -> None:
    """With its place, its time, its headers and its bytes, whatever these are."""
    publish(js, f"{stream}.a", b"old")
    seq = publish(js, f"{stream}.a", b"\0\xff\r\n", X_Key="value")
    publish(js, f"{stream}.b", b"other")
    message = js.last_message(stream, f"{stream}.a", deadline())
    assert message is not None
    assert (message.subject, message.stream_seq) == (f"{stream}.a", seq)
    assert bytes(message.payload) == b"\0\xff\r\n"
    assert message.headers == {"X-Key": ["value"]}
    assert message.stored_at.tzinfo is not None
    last = js.last_message(stream, f"{stream}.>", deadline())
    assert last is not None and last.stream_seq == seq + 1


def test_message_without_bytes_is_a_message(js: JetStream, stream: str) -> None:
    publish(js, f"{stream}.a")
    message = js.last_message(stream, f"{stream}.a", deadline())
    assert message is not None and bytes(message.payload) == b"" and message.headers == {}


def test_next_message_is_the_first_from_a_sequence_on(js: JetStream, stream: str) -> None:
    for number in range(6):
        publish(js, f"{stream}.{'ab'[number % 2]}", b"%d" % number)

    def find(subject: str, seq: int) -> bytes | None:
        message = js.next_message(stream, f"{stream}.{subject}", seq, deadline())
        return None if message is None else bytes(message.payload)

    assert [find("a", seq) for seq in (1, 2, 3, 4, 6)] == [b"0", b"2", b"2", b"4", None]
    assert [find(">", seq) for seq in (1, 6, 7)] == [b"0", b"5", None]


def test_missing_message_is_none(js: JetStream, stream: str) -> None:
    assert js.last_message(stream, f"{stream}.a", deadline()) is None
    assert js.next_message(stream, f"{stream}.a", 1, deadline()) is None


# Purge


def fill(js: JetStream, stream: str) -> list[int]:
    return [publish(js, f"{stream}.{'ab'[number % 2]}") for number in range(6)]


def test_purge_takes_the_messages_of_one_subject(js: JetStream, stream: str) -> None:
    fill(js, stream)
    assert purge(js, stream, f"{stream}.a") == 3
    assert purge(js, stream, f"{stream}.a") == 0
    info = js.stream_info(stream, deadline(), subjects_filter=">")
    assert info["state"]["subjects"] == {f"{stream}.b": 3}


def test_purge_up_to_a_sequence_spares_what_came_later(js: JetStream, stream: str) -> None:
    """The message at that sequence goes."""
    sequences = fill(js, stream)
    assert purge(js, stream, f"{stream}.a", up_to_seq=sequences[2]) == 2
    assert purge(js, stream, f"{stream}.b", up_to_seq=sequences[0]) == 0
    info = js.stream_info(stream, deadline(), subjects_filter=">")
    assert info["state"]["subjects"] == {f"{stream}.a": 1, f"{stream}.b": 3}


@pytest.mark.parametrize(
    "subject", ["", ">", "*", "a.*", "a.>", "a..b", ".a", "a.", "a b", "a\r\nPUB x 0", "\0"]
)
def test_purge_of_no_single_subject_is_refused_before_a_byte_is_sent(subject: str) -> None:
    """An empty filter would empty the stream."""

    def answer(conn: FakeConnection, command: Command) -> None:
        conn.reply(command, {"success": True, "purged": 5})

    with answering(answer) as (js, server):
        for up_to_seq in (None, 5):
            with pytest.raises(InvalidNameError):
                purge(js, "s", subject, up_to_seq=up_to_seq)
        js.connection.connect()
        js.connection.flush(TIMEOUT)
        assert b"PURGE" not in server.received and b"PUB " not in server.received


def test_purge_says_exactly_what_to_delete() -> None:
    bodies = []

    def answer(conn: FakeConnection, command: Command) -> None:
        bodies.append((command.subject, command.json))
        conn.reply(command, {"success": True, "purged": 2})

    with answering(answer) as (js, _):
        assert purge(js, "s", "a.b") == 2
        assert purge(js, "s", "a.b", up_to_seq=0) == 2
        assert purge(js, "s", "a.b", up_to_seq=7) == 2
    subject = "$JS.API.STREAM.PURGE.s"
    assert bodies == [
        (subject, {"filter": "a.b"}),
        (subject, {"filter": "a.b", "seq": 1}),
        (subject, {"filter": "a.b", "seq": 8}),
    ]


# Subjects


def test_prefix_is_put_before_every_request() -> None:
    """For a domain, or an account that has the API under another name."""
    subjects = []

    def answer(conn: FakeConnection, command: Command) -> None:
        subjects.append(command.subject)
        conn.reply(command, {"purged": 0})

    with answering(answer, prefix="$JS.hub.API") as (js, _):
        js.stream_info("s", deadline())
        purge(js, "s", "a")
        assert js.subject("X") == "$JS.hub.API.X"
        assert js.say("X.y", {"a": 1}) == b'PUB $JS.hub.API.X.y 7\r\n{"a":1}\r\n'
    assert subjects == ["$JS.hub.API.STREAM.INFO.s", "$JS.hub.API.STREAM.PURGE.s"]


@pytest.mark.parametrize("prefix", ["", ">", "a b", "a.*", "a\r\n", "a."])
def test_prefix_that_cannot_be_is_refused(connection: Connection, prefix: str) -> None:
    with pytest.raises(InvalidNameError):
        JetStream(connection, prefix=prefix)


def test_body_is_compact_json() -> None:
    """Of nothing there is none."""
    assert encode_body(None) == b""
    assert encode_body({"a": [1, "é"]}) == b'{"a":[1,"\\u00e9"]}'


# Answers


def message(payload: bytes, block: bytes | None = None) -> Message:
    return Message("inbox", 1, "", memoryview(payload), block)


def test_refusal_is_known_by_its_numbers() -> None:
    error = {"code": 404, "err_code": 10059, "description": "stream not found"}
    with pytest.raises(JetStreamError) as caught:
        parse_json(message(json.dumps({"type": "x", "error": error}).encode()))
    assert (caught.value.code, caught.value.err_code) == (404, 10059)
    assert caught.value.description == "stream not found"
    assert "stream not found" in str(caught.value) and "10059" in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        {},
        {"code": "404"},
        {"err_code": None, "code": 1.5},
        {"description": 5},
        {"description": "x" * 100_000},
    ],
)
def test_refusal_without_numbers_is_a_refusal(error: dict[str, Any]) -> None:
    """And no longer than it needs to be."""
    with pytest.raises(JetStreamError) as caught:
        parse_json(message(json.dumps({"error": error}).encode()))
    assert (caught.value.code, caught.value.err_code) == (0, 0)
    assert len(str(caught.value)) < 1200


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"5",
        b"\xff",
        b"[" * 100_000,
        b'{"error":"no"}',
        b'{"error":5}',
        b'{"error":[]}',
    ],
)
def test_answer_that_cannot_be_read_is_a_protocol_error(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_json(message(payload))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"message": None},
        {"message": "x"},
        {"message": {}},
        {"message": {"subject": "a", "seq": 1}},
        {"message": {"subject": "a", "seq": "x", "time": "t"}},
        {"message": {"subject": "a", "seq": 1, "time": "t", "data": "!"}},
        {"message": {"subject": "a", "seq": 1, "time": "t", "hdrs": "!"}},
        {"message": {"subject": "a", "seq": 1, "time": "t", "hdrs": "eHg="}},
    ],
)
def test_answer_without_a_message_is_a_protocol_error(fields: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        message_or_none(message(json.dumps(fields).encode()))


def test_no_jetstream_is_told_at_once() -> None:
    """Not after a timeout, and with what may be the reason."""

    def nobody(conn: FakeConnection, command: Command) -> None:
        conn.reply(command, headers=b"NATS/1.0 503\r\n\r\n")

    with answering(nobody) as (js, _):
        with pytest.raises(NoRespondersError, match="enabled"):
            js.stream_info("s", deadline())


def test_nobody_who_answers_is_no_answer_that_cannot_be_read() -> None:
    with pytest.raises(NoRespondersError):
        parse_json(message(b"", b"NATS/1.0 503\r\n\r\n"))


def test_silence_is_a_timeout() -> None:
    with answering(lambda conn, command: None) as (js, _):
        with pytest.raises(RequestTimeoutError):
            js.stream_info("s", Deadline(0.1))


@pytest.mark.parametrize("call", ["create", "update", "delete"])
def test_change_that_is_not_answered_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Who was asked may have lost its office. A stream that is gone then was deleted."""
    monkeypatch.setattr(api_module, "_CHANGE_PATIENCE", 0.05)
    asked: list[str] = []

    def lose(conn: FakeConnection, command: Command) -> None:
        asked.append(command.subject)
        if len(asked) > 1 and call == "delete":
            conn.reply(command, {"error": {"code": 404, "err_code": 10059, "description": "no"}})
        elif len(asked) > 1:
            conn.reply(command, {"config": {"name": "S"}})

    with answering(lose) as (js, _):
        if call == "delete":
            js.delete_stream("S", deadline())
        else:
            change = js.create_stream if call == "create" else js.update_stream
            assert change({"name": "S"}, deadline())["config"] == {"name": "S"}
    assert asked == [f"$JS.API.STREAM.{call.upper()}.S"] * 2


def test_questions_may_be_asked_before_answers_are_taken(js: JetStream, stream: str) -> None:
    """Several round trips in the time of one."""
    publish(js, f"{stream}.a", b"1")
    publish(js, f"{stream}.b", b"2")
    requests = [js.ask_last(stream, f"{stream}.{name}", deadline()) for name in "abc"]
    purge = js.ask_purge(stream, f"{stream}.a", deadline())
    found = [js.take_message(request, deadline()) for request in requests]
    assert [m and bytes(m.payload) for m in found] == [b"1", b"2", None]
    assert parse_json(purge.answer(deadline()))["purged"] == 1
