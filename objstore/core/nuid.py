"""Unique ids. Pure, but for the operating system's random source."""

from __future__ import annotations

import os

__all__ = ["NUID_LENGTH", "next_nuid"]

#: Characters in an id, as in every NATS client.
NUID_LENGTH = 22

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

#: Random bytes behind an id: the least that covers 62**22 (131 bits).
_RANDOM_BYTES = 17


def next_nuid() -> str:
    """
    Return a new id of 22 characters from `[0-9A-Za-z]`.

    Ids come from the operating system's random source, so that they cannot be guessed
    and differ between the two sides of a fork.
    """
    number = int.from_bytes(os.urandom(_RANDOM_BYTES), "big")
    characters = []
    for _ in range(NUID_LENGTH):
        number, digit = divmod(number, 62)
        characters.append(_DIGITS[digit])
    return "".join(characters)
