"""What is shown: escaped, aligned, and never in the way of the data."""

from __future__ import annotations

import io
import logging
from datetime import datetime, timezone

import pytest

from objstore.cli.output import (
    LineFormatter,
    confirm,
    copy_bytes,
    emit,
    emit_pairs,
    emit_table,
    name_with_target,
)
from objstore.models import ObjectInfo, ObjectLink


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns are as wide as what is shown in them; lines end with no blanks."""
    emit_table(("SIZE", "NAME", "MORE"), [("1 B", "a\n", "x"), ("10.0 KiB", "b", "")])
    assert capsys.readouterr().out.splitlines() == [
        "    SIZE  NAME  MORE",
        r"     1 B  a\n   x",
        "10.0 KiB  b",
    ]
    emit_table(("SIZE", "NAME"), [])
    assert capsys.readouterr().out == ""


def test_pairs(capsys: pytest.CaptureFixture[str]) -> None:
    """What is empty is left out; zero is not empty."""
    emit_pairs([("name", "a\x1b"), ("description", ""), ("size", 0)])
    assert capsys.readouterr().out.splitlines() == [r"name  a\x1b", "size  0"]


def test_what_the_encoding_lacks_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that the terminal cannot show is no error."""
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="latin-1"))
    emit("Grüße 日", flush=True)
    assert raw.getvalue() == "Grüße \\u65e5\n".encode("latin-1")


class SlowFile(io.RawIOBase):
    """Takes three bytes at a time, as a pipe may."""

    def __init__(self) -> None:
        self.data = b""

    def writable(self) -> bool:
        return True

    def write(self, data: memoryview, /) -> int:  # type: ignore[override]
        self.data += data[:3]
        return len(data[:3])


def test_copy_to_a_file_that_takes_a_part() -> None:
    """An unbuffered standard output may do that."""
    target = SlowFile()
    copy_bytes(io.BytesIO(b"all of these bytes"), target)  # type: ignore[arg-type]
    assert target.data == b"all of these bytes"


class Terminal(io.StringIO):
    """Text that is typed, or shown."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "agreed"),
    [("y\n", True), ("Yes\n", True), ("n\n", False), ("\n", False), ("", False), ("ja\n", False)],
)
def test_confirm(typed: str, agreed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a yes is one. The question is not data."""
    screen = Terminal()
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    monkeypatch.setattr("sys.stderr", screen)
    assert confirm("delete \x1b?") is agreed
    assert screen.getvalue() == r"delete \x1b? [y/N] "


@pytest.mark.parametrize("stream", ["stdin", "stderr"])
def test_nobody_to_ask(
    stream: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal on both sides there is no question, and no agreement."""
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setattr(f"sys.{stream}", io.StringIO("y\n"))
    assert not confirm("delete?")


def test_log_lines_are_escaped() -> None:
    """A traceback keeps its lines."""
    try:
        raise ValueError("first\nsecond \x1b[2J")
    except ValueError as error:
        failure = (type(error), error, error.__traceback__)
    record = logging.LogRecord("objstore", 10, "", 0, "name %s", ("\x1b",), failure)
    lines = LineFormatter("objstore: %(message)s").format(record).splitlines()
    assert lines[0] == r"objstore: name \x1b"
    assert lines[1].startswith("Traceback")
    assert lines[-1] == r"second \x1b[2J"


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        (None, "n"),
        (ObjectLink("other", "target"), "n -> other/target"),
        (ObjectLink("other"), "n -> other"),
    ],
)
def test_links_show_where_they_lead(link: ObjectLink | None, shown: str) -> None:
    """To an object, or to a whole bucket."""
    now = datetime.now(timezone.utc)
    info = ObjectInfo("b", "n", nuid="", size=0, chunks=0, digest="", mtime=now, link=link)
    assert name_with_target(info) == shown
