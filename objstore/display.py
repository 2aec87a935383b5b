"""
How values look to people: sizes, moments, numbers of things, and tables.

Everything that comes from elsewhere is escaped. Pure.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone

__all__ = [
    "count",
    "escape",
    "format_size",
    "format_table",
    "format_time",
    "html_pairs",
    "html_table",
]


def escape(text: str) -> str:
    """Return `text` with every character that is not printable written as in a Python string."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def format_size(size: int) -> str:
    """Return a number of bytes for people: `17 B`, `3.8 MiB`."""
    power = max(size.bit_length() - 1, 0) // 10  # of 1024
    return f"{size / 1024**power:.1f} {'_KMGTPE'[power]}iB" if power else f"{size} B"


def format_time(moment: datetime, timespec: str = "seconds") -> str:
    """Return a moment in UTC, as ISO 8601 has it."""
    return moment.astimezone(timezone.utc).isoformat(timespec=timespec).replace("+00:00", "Z")


def count(number: int, what: str) -> str:
    """Return `1 object`, `2 objects`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def format_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, right: int = 0
) -> list[str]:
    """
    Return the lines of a table, the cells escaped.

    Args:
        right: Number of columns, from the left, that are aligned to the right.
    """
    table = [header, *([escape(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table)]
    lines = []
    for row in table:
        cells = [
            cell.rjust(width) if number < right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def html_table(header: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """Return an HTML table, its cells escaped."""
    lines = ["<table>"]
    if caption:
        lines.append(f"<caption>{_cell(caption)}</caption>")
    if header:
        lines.append(_row("th", header))
    lines += [_row("td", row) for row in rows]
    return "\n".join([*lines, "</table>"])


def html_pairs(pairs: Iterable[tuple[str, object]], caption: str = "") -> str:
    """Return an HTML table of names and values; what is empty is left out."""
    shown = [(name, value) for name, value in pairs if value not in ("", None, {})]
    return html_table([], shown, caption)


def _row(tag: str, cells: Sequence[object]) -> str:
    inside = "".join(f'<{tag} style="text-align: left">{_cell(cell)}</{tag}>' for cell in cells)
    return f"<tr>{inside}</tr>"


def _cell(value: object) -> str:
    return html.escape(escape(str(value)))
