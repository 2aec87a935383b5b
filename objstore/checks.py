"""
Checks of what users hand in: refused before anything is sent, with the name of what was wrong.

Pure. Each returns the value in the form in which it is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from objstore.core.headers import is_reserved
from objstore.errors import shorten

__all__ = [
    "MAX_SIZE",
    "MAX_UINT32",
    "check_headers",
    "check_integer",
    "check_metadata",
    "check_text",
    "check_value",
]

#: Largest numbers that stored fields take: `max_chunk_size` and `chunks` are uint32.
MAX_UINT32 = 2**32 - 1
MAX_SIZE = 2**63 - 1
_UNSAFE = re.compile(r"[\r\n\0]")


def check_text(what: str, text: object) -> str:
    if text is None:
        return ""
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a str, not {shorten(text)}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} {shorten(text)} is no valid Unicode") from error
    return text


def check_metadata(metadata: object) -> dict[str, str]:
    if metadata is None or metadata == {}:
        return {}
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata must be a mapping of str to str, not {shorten(metadata)}")
    return {
        check_text("a metadata key", key): check_value("a metadata value", value)
        for key, value in metadata.items()
    }


def check_value(what: str, value: object) -> str:
    if value is None:
        raise TypeError(f"{what} must be a str, not None")
    return check_text(what, value)


def check_headers(headers: object) -> dict[str, list[str]]:
    if headers is None or headers == {}:
        return {}
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers must be a mapping of str to list[str], not {shorten(headers)}")
    checked = {}
    for key, values in headers.items():
        values = [values] if isinstance(values, str) else values
        if not isinstance(values, Sequence) or isinstance(values, bytes):
            raise TypeError(f"header {shorten(key)} must have a list of str, not {shorten(values)}")
        if is_reserved(check_text("a header key", key)):
            raise ValueError(f"header {shorten(key)}: names that begin with Nats- are the server's")
        checked[_one_line("a header key", key)] = [
            _one_line(f"header {shorten(key)}", check_value(f"header {shorten(key)}", value))
            for value in values
        ]
    return checked


def _one_line(what: str, text: str) -> str:
    """Refuse what could end its line, should somebody hand it on as a header."""
    if _UNSAFE.search(text):
        raise ValueError(f"{what} {shorten(text)} holds a line break")
    return text


def check_integer(what: str, number: object, least: int, most: int) -> int:
    """
    Return `number` if it is an integer within bounds.

    Raises:
        TypeError, ValueError: If it is not.
    """
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"{what} must be an int, not {shorten(number)}")
    if not least <= number <= most:
        raise ValueError(f"{what} must be from {least} to {most}, not {number}")
    return number
