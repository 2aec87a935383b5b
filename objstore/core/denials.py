"""
What a server denies, from its words: they are all that it says of it.

Pure.
"""

from __future__ import annotations

import re

__all__ = ["find_subject", "is_denial"]

#: The subject in an error: as Go quotes it, or the bare word at the end.
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_BARE = re.compile(r"\b(?:to|of) ([^\s\"']+)$", re.IGNORECASE)
_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|.)")


def is_denial(text: str) -> bool:
    """Whether an error concerns one subject, and not the whole connection."""
    return "permission" in text.lower()


def find_subject(text: str) -> str:
    """Return the subject that an error is about; "" if it names none."""
    quoted = _QUOTED.search(text)
    if quoted is None:
        bare = _BARE.search(text)
        return bare[1] if bare else ""
    return _ESCAPE.sub(lambda e: chr(int(e[1][1:], 16)) if len(e[1]) > 1 else e[1], quoted[1])
