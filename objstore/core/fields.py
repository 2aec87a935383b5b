"""
JSON objects from outside: of bounded depth and number of values, whoever made them.

Pure. Python's own parser builds whatever it is given, and 64 MiB of empty lists would
become 2 GiB.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

__all__ = ["parse_fields"]

#: Values in the largest object that makes sense: a page of 100,000 subjects has as many.
_MAX_VALUES = 1_000_000
#: Objects and lists within each other.
_MAX_DEPTH = 64


def parse_fields(data: bytes) -> dict[str, Any]:
    """
    Return the fields of a JSON object.

    Raises:
        ValueError: If it is none, or too large to be one in earnest.
    """
    nested = data.count(b"[") + data.count(b"{")
    if len(data) > _MAX_VALUES and nested + data.count(b",") > _MAX_VALUES:
        raise ValueError("it has too many values")
    try:
        text = data.decode()
        fields, end = _scan(text) if text.startswith("{") else (None, -1)
        if end != len(text):
            fields = _decode(text)  # with blanks around it, or something else
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(fields, dict):
        raise ValueError("it is not a JSON object")
    if nested > _MAX_DEPTH:
        _check_depth(fields)
    return fields


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _parse_float(text: str) -> float:
    """Refuse what is out of range: written again it would not be JSON."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text:.20} is out of range")
    return number


# Made once: `json.loads` would make one for each call.
_decoder = json.JSONDecoder(parse_constant=_refuse, parse_float=_parse_float)
_decode, _scan = _decoder.decode, _decoder.raw_decode


def _check_depth(fields: dict[str, Any]) -> None:
    level: list[Any] = [fields]
    for _ in range(_MAX_DEPTH):
        level = [
            value
            for parent in level
            for value in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(value, (dict, list))
        ]
        if not level:
            return
    raise ValueError("it is nested too deeply")
