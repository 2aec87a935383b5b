"""
What `check` and `sweep` have found: values that print as a short table.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from objstore.display import count, format_size, format_table, format_time, html_table

__all__ = ["CheckReport", "ChunkSet", "Finding", "SweepReport"]


class _Report:
    """A sentence, and a table below it."""

    def _title(self) -> str:
        raise NotImplementedError

    def _table(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        raise NotImplementedError

    def __str__(self) -> str:
        header, rows = self._table()
        # The title is of numbers, and names that were checked.
        return "\n".join([self._title(), *(["", *format_table(header, rows)] if rows else [])])

    def _repr_html_(self) -> str:
        header, rows = self._table()
        return html_table(header if rows else [], rows, self._title())


@dataclass(frozen=True)
class Finding:
    """
    One thing that a check has found.

    Attributes:
        kind: What it is. Problems: `unreadable` (the stored description), `missing` (bytes),
            `damaged` (other bytes than were stored, or more), `unverifiable` (without a
            usable digest). Warnings: `orphan` (chunks without an object), `shared` (two
            names for the same chunks), `dangling` (a link that leads nowhere),
            `miscounted` (the number of chunks, which some other clients believe).
        name: Of the object; "" for chunks without one.
        nuid: Id of the chunks; "" if there are none.
        detail: For people.
    """

    kind: str
    name: str
    nuid: str
    detail: str


@dataclass(frozen=True)
class CheckReport(_Report):
    """
    What `ObjectStore.check` has found. It is true if there is no problem.

    Attributes:
        bucket: Name of the bucket.
        objects: Number of objects that are there, without links and deleted ones.
        links: Number of links.
        size: Bytes of the objects.
        chunks: Number of their chunks.
        read: Number of objects whose bytes were read and compared with their digests.
        problems: What cannot be read as it was stored.
        warnings: What does no harm now.
    """

    bucket: str
    objects: int
    links: int
    size: int
    chunks: int
    read: int
    problems: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def __bool__(self) -> bool:
        return self.ok

    def _title(self) -> str:
        links = f" and {count(self.links, 'link')}" if self.links else ""
        warnings = f", {count(len(self.warnings), 'warning')}" if self.warnings else ""
        return (
            f"bucket {self.bucket}: {count(self.objects, 'object')}{links}, "
            f"{format_size(self.size)} in {count(self.chunks, 'chunk')}; {self.read} read; "
            f"{count(len(self.problems), 'problem') if self.problems else 'no problem'}{warnings}"
        )

    def _table(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        found = [("problem", finding) for finding in self.problems]
        found += [("warning", finding) for finding in self.warnings]
        return (
            ("", "KIND", "NAME", "DETAIL"),
            [(level, f.kind, f.name or f.nuid, f.detail) for level, f in found],
        )


@dataclass(frozen=True)
class ChunkSet:
    """
    The chunks under one id.

    Attributes:
        nuid: The id.
        chunks: Number of chunks.
        size: Bytes.
        stored_at: When the last of them was stored; aware, UTC.
    """

    nuid: str
    chunks: int
    size: int
    stored_at: datetime


@dataclass(frozen=True)
class SweepReport(_Report):
    """
    What `ObjectStore.sweep` has removed, or would remove. It is true if nothing was in the way.

    Attributes:
        bucket: Name of the bucket.
        dry_run: Whether nothing was to be removed.
        min_age: Seconds since the last chunk of a set was stored, at the least.
        orphans: Sets of chunks that belong to no object: those removed, or, in a dry run or
            with something in the way, those that would be.
        young: Number of sets that belong to no object and are younger: most likely uploads
            that are going on.
        obstacles: Names of entries that cannot be read, so that nobody knows which chunks
            are theirs: nothing is removed while there are any.
    """

    bucket: str
    dry_run: bool
    min_age: float
    orphans: tuple[ChunkSet, ...] = ()
    young: int = 0
    obstacles: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing was in the way."""
        return not self.obstacles

    def __bool__(self) -> bool:
        return self.ok

    @property
    def chunks(self) -> int:
        """Number of chunks in all sets."""
        return sum(orphan.chunks for orphan in self.orphans)

    @property
    def size(self) -> int:
        """Bytes in all sets."""
        return sum(orphan.size for orphan in self.orphans)

    def _title(self) -> str:
        what = "to be removed" if self.dry_run or self.obstacles else "removed"
        young = f"; {self.young} younger than {self.min_age:g} s" if self.young else ""
        obstacles = ""
        if self.obstacles:
            entries = "entry" if len(self.obstacles) == 1 else "entries"
            obstacles = (
                f"; nothing was removed, for {len(self.obstacles)} {entries} cannot be read: "
                "put them again"
            )
        return (
            f"bucket {self.bucket}: {count(len(self.orphans), 'set')} of chunks without an "
            f"object {what}: {count(self.chunks, 'chunk')}, "
            f"{format_size(self.size)}{young}{obstacles}"
        )

    def _table(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        rows = [
            (orphan.nuid, str(orphan.chunks), format_size(orphan.size),
             format_time(orphan.stored_at))
            for orphan in self.orphans
        ]  # fmt: skip
        rows += [(name, "", "", "cannot be read") for name in self.obstacles]
        return ("ID", "CHUNKS", "SIZE", "LAST STORED"), rows
