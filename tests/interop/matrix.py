"""The matrix: every case, with every client that writes and every client that reads."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import objstore
from tests.helpers import pattern
from tests.interop.cases import CASES, Case, Step
from tests.interop.process import PEERS, Peer, PeerError

__all__ = [
    "READERS",
    "WRITERS",
    "Cell",
    "Deviation",
    "Matrix",
    "Outcome",
    "explain",
    "read_deviations",
]

#: pynats2 knows nothing of object stores: it only reads, and takes what it finds literally.
WRITERS = [name for name in PEERS if name != "pynats2"]
READERS = list(PEERS)


class Cell(NamedTuple):
    """One place in the matrix."""

    writer: str
    reader: str
    case: Case


class Outcome(NamedTuple):
    """
    How a case went.

    Attributes:
        culprit: Name of the client that failed or gave a wrong answer; empty if none did.
        detail: What it said.
    """

    culprit: str
    detail: str


class Deviation(NamedTuple):
    """
    A line of `exceptions.txt`.

    Attributes:
        line: Its number.
        writers, readers, cases: Patterns, separated by semicolons.
    """

    line: int
    writers: str
    readers: str
    cases: str
    reason: str

    def covers(self, cell: Cell) -> bool:
        """Whether this is the reason for what happens in `cell`."""
        pairs = [
            (cell.writer, self.writers),
            (cell.reader, self.readers),
            (cell.case.title, self.cases),
        ]
        return all(
            any(fnmatchcase(value, pattern.strip()) for pattern in patterns.split(";"))
            for value, patterns in pairs
        )


@functools.cache
def read_deviations() -> list[Deviation]:
    """Return what is known of what clients cannot do, or do otherwise."""
    text = (Path(__file__).parent / "exceptions.txt").read_text(encoding="utf-8")
    return [
        Deviation(number, *(field.strip() for field in line.split("|")))
        for number, line in enumerate(text.splitlines(), 1)
        if line and not line.startswith("#")
    ]


def explain(cell: Cell) -> str:
    """Return why a case does not hold; empty if nobody knows."""
    return next((known.reason for known in read_deviations() if known.covers(cell)), "")


class Matrix:
    """
    Runs cases, each once, when somebody asks how it went.

    Args:
        client: Of the server that is the peers' own.
        files: Folder for what is put.
    """

    def __init__(self, client: objstore.Client, peers: Mapping[str, Peer], files: Path) -> None:
        self.peers = peers
        self._client = client
        # Stays: a server may fail to make a stream while it deletes its last one.
        client.create_object_store("keep")
        self._files = files
        self._outcomes: dict[tuple[str, str, str], Outcome] = {}
        self._counter = itertools.count(1)

    def cells(self, writer: str, reader: str) -> Iterator[tuple[Cell, Outcome]]:
        """Yield how every case went with these two."""
        for case in CASES:
            cell = Cell(writer, reader, case)
            yield cell, self.outcome(cell)

    def outcome(self, cell: Cell) -> Outcome:
        """Return how one case went."""
        key = (cell.writer, cell.reader, cell.case.title)
        if key not in self._outcomes:
            number = next(self._counter)
            buckets = {name: f"{name}-{number}" for name in ("here", "there")}
            self._outcomes[key] = self._run(cell, buckets)
            for bucket in buckets.values():
                with contextlib.suppress(objstore.BucketNotFoundError):
                    self._client.delete_object_store(bucket)
        return self._outcomes[key]

    def _run(self, cell: Cell, buckets: dict[str, str]) -> Outcome:
        names = {"writer": cell.writer, "reader": cell.reader}
        made = [Step("writer", "create", {"bucket": bucket}, None) for bucket in cell.case.buckets]
        for step in [*made, *cell.case.steps]:
            name = names[step.role]
            arguments = _replace(self._arguments(step), buckets)
            try:
                answer = self.peers[name].call(step.operation, **arguments)
            except PeerError as error:
                return Outcome(name, f"{step.operation}: {error}")
            expected = _replace(step.expected, buckets)
            if step.is_question and answer != expected:
                return Outcome(name, f"{step.operation}: {answer}, expected {expected}")
        return Outcome("", "")

    def _arguments(self, step: Step) -> dict[str, Any]:
        """Return the arguments of a step, with a file in place of a size."""
        arguments = dict(step.arguments)
        if "size" in arguments:
            size = arguments.pop("size")
            file = self._files / f"{size}.bin"
            if not file.exists():
                file.write_bytes(pattern(size))
            arguments["file"] = str(file)
        return arguments


def _replace(value: Any, names: dict[str, str]) -> Any:
    """Return a value with the names of buckets in it replaced, however nested they are."""
    if isinstance(value, dict):
        return {key: _replace(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_replace(item, names) for item in value]
    return names.get(value, value) if isinstance(value, str) else value
