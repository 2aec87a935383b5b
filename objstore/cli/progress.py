"""How far a transfer is, for people who wait: a line on the terminal, drawn by tqdm if there."""

from __future__ import annotations

import importlib
import shutil
import sys
import time
from types import TracebackType
from typing import Any

from objstore.display import escape, format_size

__all__ = ["Progress"]

#: Seconds before the line is drawn for the first time, and between two times.
_REDRAW_INTERVAL = 0.1


class Progress:
    """
    How far a transfer is, shown on standard error while it goes on; then it is gone.

    Drawn by tqdm where that is installed.

    Attributes:
        total: Bytes that there will be; None if nobody knows.
    """

    def __init__(self, label: str, *, quiet: bool) -> None:
        self.total: int | None = None
        self._label = escape(label)
        self._shown = not quiet and sys.stderr.isatty()
        self._bar: Any = None

    def update(self, count: int) -> None:
        """Count bytes."""
        if self._shown and self._bar is None:
            self._bar = _make_bar(self._label, self.total)
        if self._bar is not None:
            self._bar.update(count)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()


def _make_bar(label: str, total: int | None) -> Any:
    try:
        tqdm = importlib.import_module("tqdm")
    except ImportError:
        return _ProgressLine(label, total)
    return tqdm.tqdm(
        desc=label,
        total=total,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        leave=False,
        file=sys.stderr,
    )


class _ProgressLine:
    """A line that is written over and over, and wiped out at the end."""

    def __init__(self, label: str, total: int | None) -> None:
        self._label = label
        self._total = total
        self._done = 0
        self._drawn = 0  # characters on the terminal
        self._next = time.monotonic() + _REDRAW_INTERVAL

    def update(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _REDRAW_INTERVAL
            self._draw(self._text())

    def _text(self) -> str:
        done = format_size(self._done)
        if not self._total:
            return f"{self._label}  {done}"
        percent = 100 * self._done // self._total
        return f"{self._label}  {done} of {format_size(self._total)}  {percent}%"

    def _draw(self, text: str) -> None:
        text = text[: shutil.get_terminal_size().columns - 1]
        sys.stderr.write(f"\r{text.ljust(self._drawn)}\r")
        sys.stderr.flush()
        self._drawn = len(text)

    def close(self) -> None:
        if self._drawn:
            self._draw("")
