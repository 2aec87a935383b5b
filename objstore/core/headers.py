"""
The header block of a message: `NATS/1.0[ status[ description]]`, then `Key: value` lines.

Pure. Keys are case-sensitive and may repeat, so a block maps each key to a list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from objstore.errors import ProtocolError, shorten

__all__ = ["HeaderBlock", "encode_headers", "is_reserved", "parse_headers", "parse_status"]

_VERSION = b"NATS/1.0"
_KEY = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_UNSAFE_VALUE = re.compile(r"[\r\n\0]")


class HeaderBlock(NamedTuple):
    """
    A parsed block.

    Attributes:
        status: Code of a status message, for example 503; None for an ordinary message.
        description: Text after the code.
        fields: Key to its values, in order.
    """

    status: int | None
    description: str
    fields: dict[str, list[str]]


def encode_headers(fields: Mapping[str, str | Sequence[str]]) -> bytes:
    """
    Return the block for `fields`, its closing empty line included.

    Raises:
        ValueError: If a key is no token, or a value could end its own line. Such values
            are refused, never cleaned: an injected `Nats-Rollup: all` empties a bucket.
    """
    lines = ["NATS/1.0"]
    for key, values in fields.items():
        if not isinstance(key, str) or not _is_token(key):
            raise ValueError(f"header key {shorten(key)} is not a token")
        if isinstance(values, str) and values.isprintable():
            # As nearly all are: what could do harm is not printable.
            lines.append(f"{key}: {values}")
            continue
        for value in (values,) if isinstance(values, str) else values:
            if not isinstance(value, str) or _UNSAFE_VALUE.search(value):
                raise ValueError(f"value of header {key} holds a line break or is no text")
            lines.append(f"{key}: {value}")
    lines += "", ""
    return "\r\n".join(lines).encode()


@lru_cache(256)
def _is_token(key: str) -> bool:
    return _KEY.fullmatch(key) is not None


def is_reserved(key: str) -> bool:
    """Whether a key is one by which servers are told what to do: `Nats-Rollup`, for one."""
    return key.strip().lower().startswith("nats-")


def parse_status(block: bytes) -> int | None:
    """Return the status code of a block without looking at the rest; None if it has none."""
    if not block.startswith(_VERSION):
        raise ProtocolError(f"a header block starts with {shorten(block[:8])}, not NATS/1.0")
    if not block.startswith(b" ", 8) or not block[9:12].isdigit():
        return None
    return int(block[9:12])


def parse_headers(block: bytes) -> HeaderBlock:
    """
    Parse a block.

    Lines without a colon are ignored, as other clients do.

    Raises:
        ProtocolError: If it does not start with `NATS/1.0`.
    """
    status = parse_status(block)
    first, *lines = block.decode("utf-8", "replace").split("\r\n")
    fields: dict[str, list[str]] = {}
    for line in lines:
        key, colon, value = line.partition(":")
        if colon and key:
            fields.setdefault(key, []).append(value.strip(" \t"))
    return HeaderBlock(status, first[12:].strip() if status is not None else "", fields)
