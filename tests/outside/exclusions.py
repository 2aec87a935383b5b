"""Which tests of others we do not run, and why: `exclusions.txt`, one a line."""

from __future__ import annotations

from pathlib import Path

__all__ = ["excluded"]


def excluded(suite: str) -> set[str]:
    """Return the names of the tests of a suite that are left out; each line has a reason."""
    names = set()
    for line in Path(__file__).with_name("exclusions.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            where, name, reason = line.split(None, 2)
            assert reason, line
            if where == suite:
                names.add(name)
    return names
