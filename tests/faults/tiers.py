"""
How much of the proof a run does: a small part of it by default, so that every run has it.

`OBJSTORE_TEST_FAULTS=all` does all of it, and `tox -e faults` sets that.
"""

from __future__ import annotations

import os
from typing import TypeVar

__all__ = ["FULL", "by_tier"]

_T = TypeVar("_T")

FULL = os.environ.get("OBJSTORE_TEST_FAULTS") == "all"


def by_tier(small: _T, full: _T) -> _T:
    """Return what goes with the tier of this run."""
    return full if FULL else small
