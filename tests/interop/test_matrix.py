"""Every client reads what every other has written, but for what `exceptions.txt` explains."""

from __future__ import annotations

import pytest

from tests.interop.cases import CASES
from tests.interop.matrix import (
    READERS,
    WRITERS,
    Cell,
    Deviation,
    Matrix,
    explain,
    read_deviations,
)
from tests.interop.page import PAGE, render
from tests.interop.process import PEERS, why_missing

pytestmark = pytest.mark.slow


def skip_without(*peers: str) -> None:
    for peer in peers:
        if reason := why_missing(peer):
            pytest.skip(reason)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("writer", WRITERS)
def test_what_does_not_hold_is_explained(matrix: Matrix, writer: str, reader: str) -> None:
    """A client that cannot do something, or does it otherwise, is no surprise to anybody."""
    skip_without(writer, reader)
    failures = {
        cell.case.title: f"{outcome.culprit}: {outcome.detail}"
        for cell, outcome in matrix.cells(writer, reader)
        if outcome.culprit and not explain(cell)
    }
    assert failures == {}


@pytest.mark.parametrize("deviation", read_deviations(), ids=lambda deviation: str(deviation.line))
def test_what_is_explained_does_not_hold(matrix: Matrix, deviation: Deviation) -> None:
    """A line of `exceptions.txt` goes when it is no longer true of all that it covers."""
    cells = [Cell(*pair, case) for pair in pairs() for case in CASES]
    covered = [cell for cell in cells if deviation.covers(cell)]
    assert covered, "this line covers nothing"
    here = [cell for cell in covered if {cell.writer, cell.reader} <= matrix.peers.keys()]
    if not here:
        skip_without(*PEERS)
    holding = [
        f"{cell.writer} -> {cell.reader}, {cell.case.title}"
        for cell in here
        if not matrix.outcome(cell).culprit
    ]
    assert holding == []


def pairs() -> list[tuple[str, str]]:
    return [(writer, reader) for writer in WRITERS for reader in READERS]


@pytest.mark.parametrize("peer", [peer for peer in PEERS if peer != "objstore"])
def test_objstore_is_not_the_one_that_fails(matrix: Matrix, peer: str) -> None:
    """It writes everything, and reads whatever another could write, under its right name."""
    skip_without(peer)
    outcomes = [*matrix.cells("objstore", peer)]
    outcomes += matrix.cells(peer, "objstore") if peer in WRITERS else []
    failures = [cell.case.title for cell, outcome in outcomes if outcome.culprit == "objstore"]
    # Stored under another name; `test_foreign_metas.py` reads it all the same.
    assert failures == (["Names: `é`"] if peer == "nats.js" else [])


def test_page_is_up_to_date(matrix: Matrix) -> None:
    """`python -m tests.interop` writes it."""
    skip_without(*PEERS)
    assert PAGE.read_text(encoding="utf-8") == render(matrix)
