"""JSON from outside: what is taken, and what is too much."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from objstore.core.fields import parse_fields


@pytest.mark.parametrize("fields", [{}, {"a": [1, 2.5, None, True, "ä", {"b": []}]}])
def test_object_is_taken(fields: dict[str, Any]) -> None:
    """In UTF-8."""
    assert parse_fields(json.dumps(fields, ensure_ascii=False).encode()) == fields


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b"null", b"[]", b'"x"', b"1", b"\xff", b"\xef\xbb\xbf{}", b'{"a":NaN}'),
        *(b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":' + b"1" * 5000 + b"}", b"{} {}"),
        *(b'{"a":1e400}', b'{"a":-1e400}', b'{"a":' + b"1" * 400 + b".0}"),
        *(b"[" * 100_000, b'{"a":' * 100_000, b'{"a":' + b"[" * 100 + b"]" * 100 + b"}"),
    ],
    ids=lambda data: repr(data[:12]),
)
def test_anything_else_is_a_value_error(data: bytes) -> None:
    """Of no other kind."""
    with pytest.raises(ValueError):
        parse_fields(data)


def test_depth_has_a_limit_that_nobody_reaches() -> None:
    """64 levels, however wide."""
    for depth in (1, 60, 63):
        assert parse_fields(b'{"a":' + b"[" * depth + b"]" * depth + b"}")
    assert parse_fields(json.dumps({"a": [[i] for i in range(1000)]}).encode())


@pytest.mark.parametrize("piece", [b"[],", b"0,", b"{},"])
def test_small_text_does_not_become_much(piece: bytes) -> None:
    """Refused before anything is built."""
    data = b'{"a":[' + piece * (6 << 20) + b"0]}"
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="too many"):
            parse_fields(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
