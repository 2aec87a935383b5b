"""Header blocks: what goes in comes out, what could leave its line does not go in."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from objstore.core.headers import HeaderBlock, encode_headers, parse_headers, parse_status
from objstore.errors import ProtocolError


def test_fields_are_encoded_one_on_a_line() -> None:
    """A text is one value, a list is several; the block ends with an empty line."""
    block = encode_headers({"A": "1", "B": ["2", "3"], "C": []})
    assert block == b"NATS/1.0\r\nA: 1\r\nB: 2\r\nB: 3\r\n\r\n"


def test_no_fields_make_an_empty_block() -> None:
    """What is parsed as no headers."""
    assert encode_headers({}) == b"NATS/1.0\r\n\r\n"
    assert parse_headers(encode_headers({})) == HeaderBlock(None, "", {})


def test_values_are_utf_8() -> None:
    """Values may be any text."""
    block = encode_headers({"A": "ä 日本 🎉"})
    assert "A: ä 日本 🎉".encode() in block
    assert parse_headers(block).fields == {"A": ["ä 日本 🎉"]}


@pytest.mark.parametrize("value", ["a\r\nNats-Rollup: all", "a\nb", "a\rb", "\r\n", "\n", "a\0"])
@pytest.mark.parametrize("wrap", [str, lambda value: ["fine", value]], ids=["text", "list"])
def test_value_that_could_end_its_line_is_refused(value: str, wrap: Any) -> None:
    """Refused, never cleaned: the caller ought to know."""
    with pytest.raises(ValueError, match="A"):
        encode_headers({"A": wrap(value)})


@pytest.mark.parametrize(
    "key",
    [
        "",
        " ",
        "a b",
        "a:",
        ":",
        "a\r\nb",
        "a\n",
        "a\0",
        "ä",
        "a\tb",
        "(a)",
        "\ud800",
        "A" * 999 + "\n",
    ],
)
def test_key_that_is_no_token_is_refused(key: str) -> None:
    """The message repeats it, shortened."""
    with pytest.raises(ValueError, match="header key") as caught:
        encode_headers({key: "1"})
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("fields", [{"A": [1]}, {"A": [None]}, {"A": b"1"}, {1: "a"}, {b"A": "1"}])
def test_key_or_value_that_is_no_text_is_refused(fields: Any) -> None:
    """Nothing is turned into text on the quiet."""
    with pytest.raises(ValueError):
        encode_headers(fields)


def test_value_that_is_no_unicode_is_refused() -> None:
    """Half a surrogate pair cannot be sent."""
    with pytest.raises(ValueError):
        encode_headers({"A": "\ud800"})


@settings(deadline=None, derandomize=True, max_examples=200)
@given(
    fields=st.dictionaries(
        st.text(string.ascii_letters + string.digits + "-_.", min_size=1, max_size=8),
        st.lists(
            st.text(
                st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\n\0"),
                max_size=20,
            ).map(lambda value: value.strip(" \t")),
            min_size=1,
            max_size=3,
        ),
        max_size=4,
    )
)
def test_fields_come_out_as_they_went_in(fields: dict[str, list[str]]) -> None:
    """Keys keep their case and order, values theirs."""
    parsed = parse_headers(encode_headers(fields))
    assert parsed == HeaderBlock(None, "", fields)
    assert list(parsed.fields) == list(fields)


@pytest.mark.parametrize(
    ("block", "status", "description"),
    [
        (b"NATS/1.0\r\n\r\n", None, ""),
        (b"NATS/1.0 503\r\n\r\n", 503, ""),
        (b"NATS/1.0 404 No Messages\r\n\r\n", 404, "No Messages"),
        (b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 7\r\n\r\n", 100, "Idle Heartbeat"),
        (b"NATS/1.0 100", 100, ""),
        (b"NATS/1.0", None, ""),
        (b"NATS/1.0 abc\r\n\r\n", None, ""),
        (b"NATS/1.0 -12\r\n\r\n", None, ""),
        (b"NATS/1.0 5\r\n\r\n", None, ""),
        (b"NATS/1.0 \xc2\xb25\r\n\r\n", None, ""),
    ],
)
def test_status_line(block: bytes, status: int | None, description: str) -> None:
    """A code of three digits, or none; with a description, or without."""
    assert parse_status(block) == status
    parsed = parse_headers(block)
    assert (parsed.status, parsed.description) == (status, description)


@pytest.mark.parametrize(
    "block", [b"", b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"NATS/2.0\r\n\r\n"]
)
def test_block_that_is_none_is_refused(block: bytes) -> None:
    """It starts with the version that we know."""
    with pytest.raises(ProtocolError, match=r"NATS/1\.0"):
        parse_status(block)
    with pytest.raises(ProtocolError, match=r"NATS/1\.0"):
        parse_headers(block)


@pytest.mark.parametrize(
    ("lines", "fields"),
    [
        (b"A:1\r\n", {"A": ["1"]}),
        (b"A: \t1 \r\n", {"A": ["1"]}),
        (b"A: b: c\r\n", {"A": ["b: c"]}),
        (b"A:\r\n", {"A": [""]}),
        (b"a: 1\r\nA: 2\r\na: 3\r\n", {"a": ["1", "3"], "A": ["2"]}),
        (b"no colon\r\nA: 1\r\n", {"A": ["1"]}),
        (b": no key\r\nA: 1\r\n", {"A": ["1"]}),
        (b"A: x\0y\r\n", {"A": ["x\0y"]}),
        (b"A: \xff\r\n", {"A": ["\ufffd"]}),
        (b"A: 1", {"A": ["1"]}),
    ],
)
def test_fields_of_other_clients(lines: bytes, fields: dict[str, list[str]]) -> None:
    """What others write is read as they do; what makes no sense is passed over."""
    assert parse_headers(b"NATS/1.0\r\n" + lines + b"\r\n").fields == fields


@settings(deadline=None, derandomize=True, max_examples=200)
@given(rest=st.binary(max_size=60))
def test_any_block_is_parsed(rest: bytes) -> None:
    """Behind the version anything may come; it raises nothing."""
    block = b"NATS/1.0" + rest
    assert parse_headers(block).status == parse_status(block)
