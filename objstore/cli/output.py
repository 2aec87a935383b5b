"""
What the command line shows: lines, tables, JSON, and questions.

Data goes to standard output, everything else to standard error. Names and messages come
from elsewhere: no control character in them reaches the terminal as it is.
"""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import os
import sys
from collections.abc import Sequence
from typing import BinaryIO

from objstore.config import ObjectStoreStatus
from objstore.display import escape, format_table, format_time
from objstore.models import ObjectInfo
from objstore.reports import CheckReport, SweepReport

__all__ = [
    "LineFormatter",
    "bucket_fields",
    "confirm",
    "copy_bytes",
    "emit",
    "emit_json",
    "emit_pairs",
    "emit_table",
    "name_with_target",
    "note",
    "object_fields",
    "open_streams",
    "report_fields",
    "settle_stdout",
]

#: Bytes copied at once.
_BLOCK_SIZE = 1 << 20


# Streams


def open_streams() -> None:
    """
    Open standard streams that the program was started without.

    Else what is opened next, a socket for one, would be one of them. What is read or written
    there fails as it would with other programs; messages go nowhere.
    """
    for name, mode, flags in (
        ("stdin", "r", os.O_WRONLY),
        ("stdout", "w", os.O_RDONLY),
        ("stderr", "w", os.O_WRONLY),
    ):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, flags)
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


# Standard output


def emit(line: str, *, flush: bool = False) -> None:
    """Print a line of data; what the terminal's encoding lacks is escaped, too."""
    encoding = sys.stdout.encoding or "utf-8"
    print(escape(line).encode(encoding, "backslashreplace").decode(encoding), flush=flush)


def emit_json(value: object, *, flush: bool = False) -> None:
    """Print JSON on one line, in ASCII."""
    print(json.dumps(value), flush=flush)


def emit_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below a header, the first column to the right; nothing if there are none."""
    for line in format_table(header, rows, right=1) if rows else ():
        emit(line)


def emit_pairs(pairs: Sequence[tuple[str, object]]) -> None:
    """Print names and values, one to a line; empty texts are left out."""
    shown = [(key, value) for key, value in pairs if value != ""]
    width = max(len(key) for key, _ in shown)
    for key, value in shown:
        emit(f"{key.ljust(width)}  {value}")


def copy_bytes(source: io.RawIOBase, target: BinaryIO) -> None:
    """Copy to the end of `source`, in bounded memory; `target` may take a part at a time."""
    buffer = memoryview(bytearray(_BLOCK_SIZE))
    while count := source.readinto(buffer):
        rest = buffer[:count]
        while rest:
            rest = rest[target.write(rest) :]
    target.flush()


def settle_stdout() -> None:
    """Leave nothing in the buffer of standard output that could fail at Python's exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# Standard error


def note(line: str) -> None:
    """Print a line that is not data."""
    print(escape(line), file=sys.stderr)


def confirm(question: str) -> bool:
    """Ask at the terminal; False where there is none."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"{escape(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


class LineFormatter(logging.Formatter):
    """Escapes what is logged; the lines of a traceback stay lines."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text for a terminal."""
        return "\n".join(map(escape, super().format(record).splitlines()))


# Objects and buckets


def object_fields(info: ObjectInfo) -> dict[str, object]:
    """Return an object's info for JSON, named as on the wire."""
    link = info.link
    return {
        "bucket": info.bucket,
        "name": info.name,
        "size": info.size,
        "mtime": format_time(info.mtime, "microseconds"),
        "chunks": info.chunks,
        "digest": info.digest,
        "nuid": info.nuid,
        "description": info.description,
        "headers": info.headers,
        "metadata": info.metadata,
        "deleted": info.deleted,
        "link": None if link is None else {"bucket": link.bucket, "name": link.name},
        "max_chunk_size": info.chunk_size,
        "revision": info.revision,
    }


def name_with_target(info: ObjectInfo) -> str:
    """Return an object's name, and behind that of a link where it leads."""
    return info.name if info.link is None else f"{info.name} -> {info.link}"


def bucket_fields(status: ObjectStoreStatus) -> dict[str, object]:
    """Return a bucket's status for JSON."""
    return {
        "bucket": status.bucket,
        "description": status.description,
        "size": status.size,
        "max_bytes": status.stream_info["config"].get("max_bytes", -1),
        "ttl": status.ttl,
        "storage": status.storage,
        "replicas": status.replicas,
        "compressed": status.is_compressed,
        "sealed": status.sealed,
        "metadata": status.metadata,
    }


# Reports


def report_fields(report: CheckReport | SweepReport) -> dict[str, object]:
    """Return a report for JSON."""
    fields = {"ok": report.ok, **dataclasses.asdict(report)}
    for orphan in fields.get("orphans", ()):
        orphan["stored_at"] = format_time(orphan["stored_at"], "microseconds")
    return fields
