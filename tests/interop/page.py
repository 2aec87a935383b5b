"""The page that tells users how the matrix came out: `page.md`, filled in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.interop.matrix import READERS, WRITERS, Matrix, explain, read_deviations

__all__ = ["PAGE", "render"]

PAGE = Path(__file__).parents[2] / "docs/reference/interoperability.md"
TEMPLATE = Path(__file__).parent / "page.md"


def render(matrix: Matrix) -> str:
    """Return the page as it must be."""
    reasons = list(dict.fromkeys(deviation.reason for deviation in read_deviations()))
    versions = [peer.call("version") for name, peer in matrix.peers.items() if name != "objstore"]
    return TEMPLATE.read_text(encoding="utf-8").format(
        versions=", ".join(versions[:-1]) + " and " + versions[-1],
        tables="\n\n".join("\n".join(_table(matrix, writer, reasons)) for writer in WRITERS),
        notes="\n".join(f"{number}. {reason}" for number, reason in enumerate(reasons, 1)),
    )


def _table(matrix: Matrix, writer: str, reasons: list[str]) -> Iterator[str]:
    """Yield the lines about what one client has written."""
    yield f"## Written by {writer}\n"
    yield f"| | {' | '.join(f'read by {reader}' for reader in READERS)} |"
    yield "|---" * (len(READERS) + 1) + "|"
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
