"""The progress line: drawn at a terminal only, not too often, and gone at the end."""

from __future__ import annotations

import io
import os
import sys
import types
from typing import Any

import pytest

from objstore.cli import progress
from objstore.cli.progress import Progress


class Screen(io.StringIO):
    """A terminal to look at."""

    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that stands still until it is set."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """A terminal of 40 columns as standard error, and no tqdm."""
    screen = Screen()
    # Not sys.stderr itself: that is exchanged between a fixture and its test.
    monkeypatch.setattr(progress, "sys", types.SimpleNamespace(stderr=screen))
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(progress.shutil, "get_terminal_size", lambda: os.terminal_size((40, 25)))
    return screen


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the progress line goes by."""
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_line(screen: Screen, clock: Clock) -> None:
    """It shows what is done, of how much, and is wiped out."""
    with Progress("a\x1b.jpg", quiet=False) as bar:
        bar.total = 4 << 20
        bar.update(1 << 20)
        assert screen.getvalue() == ""  # small files need none
        clock.now += 0.2
        bar.update(1 << 20)
        assert screen.getvalue() == "\r" + r"a\x1b.jpg  2.0 MiB of 4.0 MiB  50%" + "\r"
        bar.update(1)
        assert screen.getvalue().count("%") == 1  # not so soon again
    assert screen.getvalue().endswith(f"\r{' ' * 34}\r")


def test_line_without_a_total(screen: Screen, clock: Clock) -> None:
    """Of a pipe nobody knows the size."""
    with Progress("pipe", quiet=False) as bar:
        bar.update(1)
        clock.now += 0.2
        bar.update(1024)
        assert screen.getvalue() == "\rpipe  1.0 KiB\r"


def test_line_is_cut_to_the_terminal(screen: Screen, clock: Clock) -> None:
    """A line that wraps could not be wiped out."""
    with Progress("x" * 100, quiet=False) as bar:
        bar.update(1)
        clock.now += 0.2
        bar.update(1)
        assert screen.getvalue() == f"\r{'x' * 39}\r"


def test_line_is_gone_after_an_error(screen: Screen, clock: Clock) -> None:
    """The message that follows starts on a clean line."""

    def fail() -> None:
        with Progress("a", quiet=False) as bar:
            bar.update(1)
            clock.now += 0.2
            bar.update(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert screen.getvalue().endswith(" \r")


def test_nothing_is_shown_when_quiet(screen: Screen, clock: Clock) -> None:
    """That is what -q is for."""
    with Progress("a", quiet=True) as bar:
        bar.update(1)
        clock.now += 0.2
        bar.update(1)
    assert screen.getvalue() == ""


def test_nothing_is_shown_without_a_terminal(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Logs are not for progress."""
    with Progress("a", quiet=False) as bar:
        bar.update(1)
        clock.now += 0.2
        bar.update(1)
    assert capsys.readouterr().err == ""


def test_tqdm_draws_if_it_is_there(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    """It learns label and total, and every step."""
    log: list[Any] = []

    class Bar:
        def __init__(self, **options: Any) -> None:
            log.append((options["desc"], options["total"], options["file"], options["leave"]))

        def update(self, count: int) -> None:
            log.append(count)

        def close(self) -> None:
            log.append("closed")

    tqdm = types.ModuleType("tqdm")
    tqdm.tqdm = Bar  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tqdm", tqdm)
    with Progress("a", quiet=False) as bar:
        bar.total = 30
        bar.update(10)
        bar.update(20)
    assert log == [("a", 30, screen, False), 10, 20, "closed"]
