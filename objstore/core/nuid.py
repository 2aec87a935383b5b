"""Unique ids. Pure, but for the operating system's random source."""

from __future__ import annotations

import os

__all__ = ["NUID_LENGTH", "next_nuid"]

#: Characters in an id, as in every NATS client.
NUID_LENGTH = 22

_DIGITS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

#: From any byte to a digit. Some digits come up five times in 256 and the others four: of
#: the 131 bits that an id could hold that costs less than one.
_TO_DIGIT = (_DIGITS * 5)[:256]


def next_nuid() -> str:
    """
    Return a new id of 22 characters from `[0-9A-Za-z]`.

    Ids come from the operating system's random source, so that they cannot be guessed
    and differ between the two sides of a fork.
    """
    return os.urandom(NUID_LENGTH).translate(_TO_DIGIT).decode()
