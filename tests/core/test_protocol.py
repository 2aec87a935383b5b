"""The protocol: what a server may send and how it is cut, what it may not, what we send."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from objstore.core.protocol import (
    MAX_CONTROL_LINE,
    Event,
    Info,
    Message,
    Parser,
    ServerErr,
    Signal,
    check_subject,
    encode_connect,
    encode_hpub,
    encode_pub,
    encode_sub,
    encode_unsub,
)
from objstore.errors import InvalidNameError, ProtocolError

KIB = 1 << 10
MIB = 1 << 20


def msg(subject: str, sid: int, reply: str, payload: bytes) -> bytes:
    """Return what a server sends for a message without headers."""
    words = ["MSG", subject, str(sid), reply, str(len(payload))]
    return " ".join(filter(None, words)).encode() + b"\r\n" + payload + b"\r\n"


def hmsg(subject: str, sid: int, reply: str, block: bytes, payload: bytes) -> bytes:
    """Return what a server sends for a message with headers."""
    words = ["HMSG", subject, str(sid), reply, str(len(block)), str(len(block) + len(payload))]
    return " ".join(filter(None, words)).encode() + b"\r\n" + block + payload + b"\r\n"


#: Everything that a server may send, and what it means.
CONVERSATION: list[tuple[bytes, Any]] = [
    (b'INFO {"server_id":"A","max_payload":1024}\r\n', {"server_id": "A", "max_payload": 1024}),
    (b"PING\r\n", Signal.PING),
    (b"PONG\r\n", Signal.PONG),
    (b"+OK\r\n", Signal.OK),
    (b"-ERR 'Stale Connection'\r\n", "Stale Connection"),
    (msg("a.b", 1, "", b"hello"), ("a.b", 1, "", None, {}, b"hello")),
    (msg("a.b", 12, "to.me", b""), ("a.b", 12, "to.me", None, {}, b"")),
    (msg("ends", 3, "", b"\r\nPING\r\n\r"), ("ends", 3, "", None, {}, b"\r\nPING\r\n\r")),
    (
        hmsg("h", 4, "", b"NATS/1.0\r\n\r\n", b"hello"),
        ("h", 4, "", None, {}, b"hello"),
    ),
    (
        hmsg("h", 4, "to.me", b"NATS/1.0\r\nA: 1\r\nA:  2\r\n\r\n", b"hi"),
        ("h", 4, "to.me", None, {"A": ["1", "2"]}, b"hi"),
    ),
    (
        hmsg("h", 5, "", b"NATS/1.0 100 Idle\r\nLast: 7\r\n\r\n", b""),
        ("h", 5, "", 100, {"Last": ["7"]}, b""),
    ),
    (b"HMSG h 4 0 2\r\nhi\r\n", ("h", 4, "", None, {}, b"hi")),
    (b"MSG \xc3\xa4.\xff 6 0\r\n\r\n", ("ä.\udcff", 6, "", None, {}, b"")),
    (b"ping\r\n", Signal.PING),
    (b"msg lower 7 2\r\nhi\r\n", ("lower", 7, "", None, {}, b"hi")),
    (b"MSG  blanks \t8  2\r\nhi\r\n", ("blanks", 8, "", None, {}, b"hi")),
]
WIRE = b"".join(data for data, _ in CONVERSATION)
EVENTS = [meaning for _, meaning in CONVERSATION]


def describe(event: Event) -> Any:
    """Return an event as values that can be compared."""
    if isinstance(event, Info):
        return event.fields
    if isinstance(event, ServerErr):
        return event.text
    if isinstance(event, Message):
        block = event.headers
        assert event.status == block.status
        payload = bytes(event.payload)
        return (event.subject, event.sid, event.reply, block.status, block.fields, payload)
    return event


def parse(*pieces: bytes, buffer_size: int = MIB) -> list[Any]:
    """Return what a parser makes of bytes that come in pieces, looked at only in the end."""
    parser = Parser(buffer_size)
    events: list[Event] = []
    for piece in pieces:
        events += parser.feed(piece)
    return [describe(event) for event in events]


def split(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


# What a server may send

#: 1 makes the parser start a new buffer whenever it can.
buffer_sizes = pytest.mark.parametrize("buffer_size", [1, 17 * KIB, MIB])


@buffer_sizes
def test_whole(buffer_size: int) -> None:
    """Everything in one piece: every event, in order."""
    assert parse(WIRE, buffer_size=buffer_size) == EVENTS


@buffer_sizes
def test_byte_by_byte(buffer_size: int) -> None:
    """The segments of TCP mean nothing: one byte at a time gives the same."""
    assert parse(*split(WIRE, 1), buffer_size=buffer_size) == EVENTS


@pytest.mark.parametrize("buffer_size", [1, MIB])
def test_cut_at_every_position(buffer_size: int) -> None:
    """A cut anywhere, in a word, a number or between CR and LF, changes nothing."""
    for position in range(1, len(WIRE)):
        pieces = WIRE[:position], WIRE[position:]
        assert parse(*pieces, buffer_size=buffer_size) == EVENTS, f"cut at {position}"


def test_event_comes_with_its_last_byte() -> None:
    """Nothing waits for what comes next, and nothing comes early."""
    parser = Parser()
    for data, meaning in CONVERSATION:
        assert parser.feed(data[:-1]) == []
        assert [describe(event) for event in parser.feed(data[-1:])] == [meaning]
        assert parser.pending == 0


def test_pending_counts_what_is_no_event_yet() -> None:
    """Bytes behind the last event are known to be there: before TLS there may be none."""
    parser = Parser()
    parser.feed(b"PING\r\nMSG a 1 5\r")
    assert parser.pending == len(b"MSG a 1 5\r")


def test_empty_lines_are_harmless() -> None:
    """A line without anything says nothing."""
    assert parse(b"\r\n\r\nPING\r\n\r\nPONG\r\n") == [Signal.PING, Signal.PONG]


def test_received_in_place() -> None:
    """Bytes received straight into `writable()` are parsed like any other."""
    parser = Parser(1)
    events: list[Event] = []
    for piece in split(WIRE, 7):
        room = parser.writable()
        assert len(room) >= len(piece)
        room[: len(piece)] = piece
        events += parser.received(len(piece))
    assert [describe(event) for event in events] == EVENTS


@pytest.mark.parametrize("distance", [-(16 * KIB), -2, 0])
@pytest.mark.parametrize("more", range(-2, 3))
def test_message_that_just_fits_the_buffer_or_does_not(distance: int, more: int) -> None:
    """Sizes around that of the buffer, and around the room that it wants to keep free."""
    size = 64 * KIB + distance + more
    data = msg("a", 1, "", bytes(size - len("MSG a 1 65536\r\n"))) + b"PING\r\n"
    whole = parse(data, buffer_size=64 * KIB)
    assert whole[1] is Signal.PING
    assert parse(*split(data, 1000), buffer_size=64 * KIB) == whole


def test_message_larger_than_the_buffer() -> None:
    """A message of any size arrives in one piece, whatever stands before and behind it."""
    payload = bytes(range(256)) * (3 * MIB // 256)
    data = b"PING\r\n" + msg("big", 1, "", payload) + b"PONG\r\n"
    expected = [Signal.PING, ("big", 1, "", None, {}, payload), Signal.PONG]
    assert parse(*split(data, 100_000), buffer_size=32 * KIB) == expected


def test_payloads_stay_valid_when_the_parser_goes_on() -> None:
    """A payload is a view: what is received later, in any number of buffers, leaves it alone."""
    parser = Parser(64 * KIB)
    payloads = [bytes([number]) * (1000 + 37 * number) for number in range(256)]
    kept: list[Event] = []
    for payload in payloads:
        kept += parser.feed(msg("a", 1, "", payload))
    assert [bytes(event.payload) for event in kept if isinstance(event, Message)] == payloads


def test_part_of_a_payload_stays_valid_as_well() -> None:
    """It does not matter what kind of view of it is kept, or that the message is gone."""
    parser = Parser(64 * KIB)
    kept: list[memoryview] = []
    for number in range(100):
        (event,) = parser.feed(msg("a", 1, "", bytes([number]) * 30_000))
        assert isinstance(event, Message)
        kept.append(event.payload[100:200].toreadonly())
        del event
    assert [bytes(view) for view in kept] == [bytes([number]) * 100 for number in range(100)]


@pytest.mark.parametrize("held", [0, 4])
def test_buffers_are_used_again(held: int) -> None:
    """Memory is taken afresh only while somebody looks at the old one."""
    buffers: list[bytearray] = []  # kept, so that each has an address of its own

    class WatchedParser(Parser):
        def _use(self, buffer: bytearray) -> None:
            super()._use(buffer)
            buffers.append(buffer)

    parser = WatchedParser(64 * KIB)
    payloads: deque[memoryview] = deque(maxlen=held)
    for number in range(200):
        (event,) = parser.feed(msg("a", 1, "", bytes([number]) * 40_000))
        assert isinstance(event, Message)
        payloads.append(event.payload)
        del event
    assert len(buffers) >= 200
    assert len({id(buffer) for buffer in buffers}) <= held + 3


def test_payloads_are_not_copied() -> None:
    """A large payload lies in the buffer that it was received into."""
    parser = Parser()
    room = parser.writable()
    data = msg("a", 1, "", bytes(100_000))
    room[: len(data)] = data
    (event,) = parser.received(len(data))
    assert isinstance(event, Message)
    room[len(data) - 3] = 1
    assert event.payload[-1] == 1


def test_small_payloads_keep_no_buffer() -> None:
    """However many wait: a few bytes do not keep a large buffer from being used again."""
    parser = Parser(64 * KIB)
    (event,) = parser.feed(msg("a", 1, "", b"hello"))
    assert isinstance(event, Message)
    assert isinstance(event.payload, bytes) and event.payload == b"hello"


def test_many_small_messages() -> None:
    """Thousands that come together come out in order."""
    data = b"".join(msg("a", number, "", b"x") for number in range(10_000))
    assert [event[1] for event in parse(data)] == list(range(10_000))


def test_message_shows_itself_shortened() -> None:
    """The repr of a message does not repeat what the server sent in full."""
    (event,) = Parser().feed(msg("s" * 1000, 1, "", b"secret"))
    assert "secret" not in repr(event)
    assert len(repr(event)) < 200


def test_error_text_is_shortened() -> None:
    """A long complaint is kept, but not all of it."""
    (event,) = Parser().feed(b"-ERR '" + b"x" * 50_000 + b"'\r\n")
    assert isinstance(event, ServerErr)
    assert set(event.text) == {"x"} and 4096 < len(event.text) <= 8192


# What a server may not send


class Work:
    """A parser that counts the bytes that it searches and copies from buffer to buffer."""

    def __init__(self, buffer_size: int) -> None:
        self.done = 0
        work = self

        class CountingBuffer(bytearray):
            def find(self, sub: Any, start: Any = 0, end: Any = None, /) -> int:
                found = super().find(sub, start, end)
                work.done += (end if found < 0 else found) - start
                return found

        class CountingParser(Parser):
            def _use(self, buffer: bytearray) -> None:
                super()._use(CountingBuffer(buffer))

            def _move(self, capacity: int) -> None:
                work.done += self.pending
                super()._move(capacity)

        self.parser = CountingParser(buffer_size)


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (b"INFO {" + b" " * 200_000 + b"}\r\n", 1),
        (msg("a", 1, "", bytes(4 * MIB)), 100),
        (msg("a", 1, "", b"x" * 10) * 20_000, 7),
        (msg("a", 1, "", b"\r" * 1000) * 200, 1),
        (msg("a", 1, "", bytes(MIB - 100)) * 8, 1000),
    ],
    ids=["line", "payload", "messages", "returns", "buffers"],
)
def test_work_is_linear_in_the_bytes_received(data: bytes, size: int) -> None:
    """However small the segments, a byte is searched once and moved a few times at most."""
    work = Work(MIB)
    count = sum(len(work.parser.feed(piece)) for piece in split(data, size))
    assert count > 0
    assert 0 < work.done <= 2 * len(data)


BAD_NUMBERS = [
    "-1",
    "+5",
    "1_000",
    "\uff10\uff15",
    "9" * 14,
    "9" * 19,
    "9" * 5000,
    "5.0",
    "0x5",
    "x",
]


@pytest.mark.parametrize(
    "line",
    [
        *(f"MSG a 1 {number}" for number in BAD_NUMBERS),
        *(f"MSG a {number} 5" for number in ["-1", "+5", "1_000", "9" * 19, "x"]),
        *(f"HMSG a 1 12 {number}" for number in BAD_NUMBERS),
        *(f"HMSG a 1 {number} 12" for number in BAD_NUMBERS),
        "MSG",
        "MSG a",
        "MSG a 1",
        "MSG a 1 r 5 5",
        "HMSG a 1 5",
        "HMSG a 1 r 12 17 5",
        "HMSG a 1 18 17",
        f"MSG a 1 {65 * MIB + 1}",
        f"HMSG a 1 {MIB + 1} {MIB + 1}",
        "SUB a 1",
        "MSG\ta 1 5",
        "HTTP/1.1 400 Bad Request",
        "INFO",
        "INFO {",
        "INFO []",
        'INFO "x"',
        "INFO null",
        'INFO {"a": 1} x',
        "INFO " + "[" * 100_000,
        'INFO {"a": ' + "9" * 5000 + "}",
    ],
    ids=lambda line: line[:24],
)
def test_line_that_cannot_be_is_refused_at_once(line: str) -> None:
    """The end of the line is enough: nothing is awaited, and nothing allocated for it."""
    parser = Parser()
    assert parser.feed(line.encode()) == []
    with pytest.raises(ProtocolError):
        parser.feed(b"\r\n")


def test_info_that_is_no_text_is_refused() -> None:
    """Bytes that are not UTF-8 are no JSON."""
    with pytest.raises(ProtocolError):
        parse(b'INFO {"a": "\xff"}\r\n')


@pytest.mark.parametrize("line", [f"MSG a 1 {65 * MIB}", f"HMSG a 1 {MIB} {65 * MIB}"])
def test_largest_message_is_awaited(line: str) -> None:
    """64 MiB of payload and 1 MiB of headers are what a server may be configured for."""
    assert parse(line.encode() + b"\r\n") == []


@pytest.mark.parametrize(
    "data",
    [
        b"MSG a 1 5\r\nhelloPING\r\n",
        b"MSG a 1 5\r\nhello\n\r",
        b"MSG a 1 5\r\nhello\r\r\n",
        b"MSG a 1 4\r\nhello\r\n",
        b"MSG a 1 7\r\nhello\r\nPING\r\n",
        b"MSG a 1 0\r\nPING\r\n",
        b"HMSG a 1 12 17\r\nNATS/1.0\r\n\r\nhello..",
        b"HMSG a 1 12 17\r\nNATS/2.0\r\n\r\nhello\r\n",
        b"HMSG a 1 3 8\r\nNAThello\r\n",
        b"HMSG a 1 2 2\r\n\r\n\r\n",
        b"GARBAGE\r\n",
    ],
)
def test_broken_framing_is_refused(data: bytes) -> None:
    """A payload that does not end where it should, or a block that is none, ends the parser."""
    with pytest.raises(ProtocolError):
        parse(data)
    with pytest.raises(ProtocolError):
        parse(*split(data, 1))


@pytest.mark.parametrize(
    ("start", "limit"),
    [(b"", 64 * KIB), (b"MSG ", 64 * KIB), (b"-ERR ", 64 * KIB), (b"INFO ", MIB)],
)
def test_endless_line_is_refused(start: bytes, limit: int) -> None:
    """A line without an end costs no more memory than the longest that makes sense."""
    parser = Parser()
    parser.feed(start)
    with pytest.raises(ProtocolError, match="bytes"):
        list(map(parser.feed, [bytes(KIB)] * (2 * KIB)))
    assert parser.pending <= limit + KIB


@pytest.mark.parametrize("line", [b"-ERR " + b"x" * 60_000, b"INFO {" + b" " * 1_000_000 + b"}"])
def test_long_line_below_the_limit_is_taken(line: bytes) -> None:
    """`INFO` lists every server of a cluster: it may be longer than any other line."""
    assert len(parse(*split(line + b"\r\n", 10_000))) == 1


def test_error_message_does_not_repeat_everything() -> None:
    """The message of an error names what was wrong, shortened."""
    with pytest.raises(ProtocolError) as caught:
        parse(b"X" * 5000 + b"\r\n")
    assert "XXX" in str(caught.value)
    assert len(str(caught.value)) < 200


#: Pieces that reach far into the parser, to be put together at random.
FRAGMENTS = [data for data, _ in CONVERSATION] + [
    *(b"MSG", b"HMSG", b"INFO", b"PING", b"+OK", b"-ERR", b" ", b"\r", b"\n", b"\r\n", b"\t"),
    *(b"0", b"1", b"12", b"17", b"-1", b"99999999999", b"a", b"NATS/1.0", b" 503", b"{}", b"\0"),
]


@pytest.mark.slow
@settings(deadline=None, derandomize=True, max_examples=500)
@given(
    data=st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=8), max_size=12).map(b"".join),
    size=st.integers(1, 20),
)
def test_any_bytes_give_events_or_a_protocol_error(data: bytes, size: int) -> None:
    """Whatever comes, no other exception, and the segments make no difference."""

    def outcome(*pieces: bytes) -> list[Any]:
        parser = Parser(1)
        events: list[Any] = []
        try:
            for piece in pieces:
                events += [describe(event) for event in parser.feed(piece)]
        except ProtocolError:
            events.append(ProtocolError)
        return events

    in_pieces, whole = outcome(*split(data, size)), outcome(data)
    if ProtocolError in whole:
        # Events in one piece with an error are lost with it: the connection is over.
        assert in_pieces[-1] is ProtocolError
    else:
        assert in_pieces == whole


@settings(deadline=None, derandomize=True, max_examples=300)
@given(data=st.data())
def test_damage_in_transit_gives_events_or_a_protocol_error(data: st.DataObject) -> None:
    """Bytes of a good conversation that are changed, lost or doubled raise nothing else."""
    damaged = bytearray(WIRE)
    start = data.draw(st.integers(0, len(WIRE) - 1))
    stop = data.draw(st.integers(start, min(start + 4, len(WIRE))))
    damaged[start:stop] = data.draw(st.binary(max_size=4))
    parser = Parser()
    try:
        events = parser.feed(damaged)
    except ProtocolError:
        return
    for event in events:
        describe(event)


subjects = st.lists(
    st.text(
        st.characters(blacklist_categories=["Cs", "Cc", "Zs"], blacklist_characters="."), min_size=1
    ),
    min_size=1,
    max_size=5,
).map(".".join)


@pytest.mark.slow
@settings(deadline=None, derandomize=True, max_examples=200)
@given(
    messages=st.lists(
        st.tuples(subjects, st.integers(0, 10**9), st.just("") | subjects, st.binary(max_size=300)),
        max_size=8,
    ),
    size=st.integers(1, 500),
)
def test_messages_come_out_as_they_went_in(
    messages: Sequence[tuple[str, int, str, bytes]], size: int
) -> None:
    """Any subject, id, reply and payload survive, in any segments."""
    data = b"".join(msg(*message) for message in messages)
    expected = [
        (subject, sid, reply, None, {}, payload) for subject, sid, reply, payload in messages
    ]
    assert parse(*split(data, size), buffer_size=1) == expected


# What we send

BAD_SUBJECTS = [
    *("", " ", "a b", "a\tb", "a\r\nPUB pwned 0\r\n", "a\n", "a\r", "a\0b", "a\x7f", "\x0b"),
    *(".", ".a", "a.", "a..b"),
    *("x" * MAX_CONTROL_LINE, "ä" * (MAX_CONTROL_LINE // 2), "\ud800", "a.\udfff.b"),
]
WILDCARDS = ["*", "a.*", "*.a", "a.*.b", ">", "a.>"]

ENCODERS: dict[str, Callable[[str], object]] = {
    "pub": lambda text: encode_pub(text, b""),
    "pub reply": lambda text: encode_pub("a", b"", text),
    "hpub": lambda text: encode_hpub(text, b"", {"A": "1"}),
    "hpub reply": lambda text: encode_hpub("a", b"", {"A": "1"}, text),
    "sub": lambda text: encode_sub(text, 1),
    "sub queue": lambda text: encode_sub("a", 1, text),
}
#: An empty reply or queue group is none.
OPTIONAL = {"pub reply", "hpub reply", "sub queue"}


@pytest.mark.parametrize("place", ENCODERS)
@pytest.mark.parametrize("text", [*BAD_SUBJECTS, *WILDCARDS], ids=lambda text: ascii(text)[:24])
def test_text_that_could_leave_its_place_is_refused(place: str, text: str) -> None:
    """No subject, reply or queue group ends its own line, or says more than it seems to."""
    if (text == "" and place in OPTIONAL) or (text in WILDCARDS and place == "sub"):
        assert ENCODERS[place](text)
    else:
        with pytest.raises(InvalidNameError) as caught:
            ENCODERS[place](text)
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", [None, b"a", 1, ["a"]])
@pytest.mark.parametrize("place", ["pub", "hpub", "sub"])
def test_subject_that_is_no_text_is_a_type_error(place: str, value: Any) -> None:
    """The message says what a subject is."""
    with pytest.raises(TypeError, match="a subject must be a str"):
        ENCODERS[place](value)


@pytest.mark.parametrize("subject", [">.a", "a.>.b", ">.>"])
def test_token_after_the_last_wildcard_is_refused(subject: str) -> None:
    """`>` stands for all the rest, so it comes last."""
    with pytest.raises(InvalidNameError):
        check_subject(subject, wildcards=True)


@pytest.mark.parametrize(
    "subject", ["a", "a.b", "A-_1.$x", "ä.日本.🎉", "a*", "a>b", "**", "a.\xa0"]
)
def test_subjects_that_are_fine(subject: str) -> None:
    """Any text without blanks is; a wildcard is a token of its own."""
    check_subject(subject)
    check_subject(subject, wildcards=True)
    assert encode_sub(subject, 1) == f"SUB {subject} 1\r\n".encode()


def test_line_as_long_as_the_server_takes_is_encoded() -> None:
    """The limit is that of the whole line, in bytes."""
    subject = "x" * (MAX_CONTROL_LINE - len("PUB  0"))
    assert len(encode_pub(subject, b"")[0]) == MAX_CONTROL_LINE + len("\r\n")
    with pytest.raises(InvalidNameError, match="too long"):
        encode_pub(subject + "x", b"")


def test_pub() -> None:
    """A line with the size, and the payload itself, not a copy."""
    payload = memoryview(b"hello")
    line, body, end = encode_pub("a.b", payload)
    assert (line, end) == (b"PUB a.b 5\r\n", b"\r\n")
    assert body is payload
    assert encode_pub("a.b", b"", "to.me") == [b"PUB a.b to.me 0\r\n", b"", b"\r\n"]


def test_hpub() -> None:
    """A line with both sizes, the headers, and the payload itself."""
    payload = memoryview(b"hello")
    line, block, body, end = encode_hpub("a.b", payload, {"A": "1"}, "to.me")
    assert block == b"NATS/1.0\r\nA: 1\r\n\r\n"
    assert (line, end) == (b"HPUB a.b to.me 18 23\r\n", b"\r\n")
    assert body is payload
    assert encode_hpub("a", b"", {"A": "1"})[0] == b"HPUB a 18 18\r\n"


def test_hpub_counts_bytes_of_headers() -> None:
    """Sizes are of UTF-8, not of characters."""
    line, block, *_ = encode_hpub("a", b"", {"A": "ä"})
    assert line == b"HPUB a %d %d\r\n" % (len(block), len(block))


@pytest.mark.parametrize(
    "headers", [{"A": "b\r\nNats-Rollup: all"}, {"A\r\nB": "1"}, {"A: B": "1"}]
)
def test_header_that_could_leave_its_place_is_refused(headers: dict[str, str | list[str]]) -> None:
    """An injected header could empty a bucket."""
    with pytest.raises(ValueError):
        encode_hpub("a", b"", headers)


def test_sub_and_unsub() -> None:
    """With and without a queue group; at once or after some messages."""
    assert encode_sub("a.>", 7) == b"SUB a.> 7\r\n"
    assert encode_sub("a.*", 7, "workers") == b"SUB a.* workers 7\r\n"
    assert encode_unsub(7) == b"UNSUB 7\r\n"
    assert encode_unsub(7, 2) == b"UNSUB 7 2\r\n"


@pytest.mark.parametrize("text", ["a\r\nPUB pwned 0\r\n", "\0", "ä", "\ud800", '"}'])
def test_connect_is_one_line_whatever_it_says(text: str) -> None:
    """Names and passwords may be anything: JSON keeps them in their place."""
    line = encode_connect({"user": text})
    assert line.startswith(b"CONNECT {") and line.endswith(b"}\r\n")
    assert line.count(b"\r") == line.count(b"\n") == 1
    assert json.loads(line.removeprefix(b"CONNECT ")) == {"user": text}


@pytest.mark.slow
@settings(deadline=None, derandomize=True, max_examples=200)
@given(subject=st.text(max_size=20), reply=st.text(max_size=20), payload=st.binary(max_size=50))
def test_any_text_is_refused_or_stays_in_its_place(
    subject: str, reply: str, payload: bytes
) -> None:
    """A publish is refused, or a server reads exactly what was meant."""
    try:
        line, body, end = encode_pub(subject, payload, reply)
    except InvalidNameError:
        return
    words = bytes(line).removesuffix(b"\r\n").split(b" ")
    assert [word.decode() for word in words] == list(
        filter(None, ["PUB", subject, reply, str(len(payload))])
    )
    assert b"\r" not in words[1] and b"\n" not in words[1]
    assert (body, end) == (payload, b"\r\n")
