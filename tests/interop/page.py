"""The page that tells users how the matrix came out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.interop.matrix import READERS, WRITERS, Matrix, explain, read_deviations

__all__ = ["PAGE", "render"]

PAGE = Path(__file__).parents[2] / "docs/reference/interoperability.md"

_INTRODUCTION = """\
# Interoperability

A bucket of ours is everyone's bucket.
This page shows which clients have been tried on the same buckets, and what came of it.
The tests write it, and fail when it is no longer true.

Beside objstore itself the clients are {versions}.
pynats2 knows nothing of object stores: it fetches the messages one by one.
It takes them literally, and so shows what is really stored.

✓ means that the reader finds what the writer has written.
A number leads to the [notes](#notes).
"""


def render(matrix: Matrix) -> str:
    """Return the page as it must be."""
    return "\n".join(_lines(matrix)) + "\n"


def _lines(matrix: Matrix) -> Iterator[str]:
    reasons = list(dict.fromkeys(deviation.reason for deviation in read_deviations()))
    versions = [peer.call("version") for name, peer in matrix.peers.items() if name != "objstore"]
    yield _INTRODUCTION.format(versions=", ".join(versions[:-1]) + " and " + versions[-1])
    for writer in WRITERS:
        yield f"## Written by {writer}\n"
        yield f"| | {' | '.join(f'read by {reader}' for reader in READERS)} |"
        yield "|---" * (len(READERS) + 1) + "|"
        yield from _rows(matrix, writer, reasons)
        yield ""
    yield "## Notes\n"
    for number, reason in enumerate(reasons, 1):
        yield f"{number}. {reason}"


def _rows(matrix: Matrix, writer: str, reasons: list[str]) -> Iterator[str]:
    group = ""
    for row in zip(*(matrix.cells(writer, reader) for reader in READERS)):
        case = row[0][0].case
        if case.group != group:
            group = case.group
            yield f"| **{group}** {'| ' * len(READERS)}|"
        marks = [
            str(reasons.index(explain(cell)) + 1) if outcome.culprit else "✓"
            for cell, outcome in row
        ]
        yield f"| {case.name} | {' | '.join(marks)} |"
