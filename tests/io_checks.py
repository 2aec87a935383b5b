"""What the `io` documentation asks of a raw file, for any file that says it is one."""

from __future__ import annotations

import array
import io
from collections.abc import Callable
from typing import Any

import pytest

__all__ = ["TEXT", "check_raw_reader", "check_raw_writer"]

#: What the file has to hold: lines, short and long, and a last one without an end.
TEXT = b"first\n\nthird line\n" + b"x" * 5000 + b"\n\0\r\nthe last one"


def check_raw_reader(make: Callable[[], io.RawIOBase]) -> None:
    """Hold a readable file to the rules; `make` opens a new one on `TEXT`."""
    for check in (_check_nature, _check_reads, _check_lines, _check_positions, _check_end):
        with make() as file:
            check(file)
    with make() as file:
        buffered = io.BufferedReader(file)
        assert buffered.read(7) == TEXT[:7]
        assert buffered.seek(-12, io.SEEK_END) == len(TEXT) - 12
        assert buffered.read() == TEXT[-12:]
        assert buffered.detach() is file
    _check_closed_reader(make())


def _check_nature(file: io.RawIOBase) -> None:
    assert isinstance(file, io.RawIOBase)
    assert file.readable() and file.seekable() and not file.writable()
    assert not file.closed and not file.isatty()
    file.flush()  # nothing to do, and no error
    for refused in (file.fileno, file.truncate, lambda: file.write(b"x")):
        with pytest.raises(io.UnsupportedOperation):
            refused()


def _check_reads(file: io.RawIOBase) -> None:
    assert file.read(0) == b"" and file.tell() == 0
    assert file.read(10) == TEXT[:10]
    buffer = bytearray(5)
    assert file.readinto(buffer) == 5 and bytes(buffer) == TEXT[10:15]
    assert file.readinto(bytearray()) == 0
    words = array.array("I", bytes(8))
    assert file.readinto(words) == 8 and words.tobytes() == TEXT[15:23]
    window = memoryview(bytearray(9))[2:6]
    assert file.readinto(window) == 4 and bytes(window) == TEXT[23:27]
    with pytest.raises(TypeError):
        file.readinto(b"read only")  # type: ignore[arg-type]
    for wrong in ("1", 1.5):
        with pytest.raises(TypeError):
            file.read(wrong)  # type: ignore[arg-type]
    assert file.tell() == 27
    for read_all in (file.read, file.readall, lambda: file.read(-1), lambda: file.read(None)):
        file.seek(27)
        rest = read_all()  # type: ignore[operator]
        assert type(rest) is bytes and rest == TEXT[27:]


def _check_lines(file: io.RawIOBase) -> None:
    lines = io.BytesIO(TEXT).readlines()
    assert file.readline() == lines[0]
    assert file.readline(0) == b""
    assert [file.readline(-1), file.readline(None)] == lines[1:3]
    assert file.readline(100) == lines[3][:100]
    assert list(file) == [lines[3][100:], *lines[4:]]
    assert file.readline() == b"" and next(file, None) is None
    file.seek(0)
    assert file.readlines() == lines
    file.seek(0)
    assert file.readlines(1) == lines[:1]
    assert file.readlines(None) == lines[1:]


def _check_positions(file: io.RawIOBase) -> None:
    size = len(TEXT)
    assert file.seek(6) == file.tell() == 6
    assert file.seek(4, io.SEEK_CUR) == 10
    assert file.seek(-3, io.SEEK_CUR) == 7 and file.read(3) == TEXT[7:10]
    assert file.seek(-3, io.SEEK_END) == size - 3 and file.read() == TEXT[-3:]
    assert file.seek(0) == 0 and file.read(3) == TEXT[:3]
    assert file.seek(size + 10) == file.tell() == size + 10
    assert file.read() == file.read(1) == file.readline() == b""
    assert file.readinto(bytearray(1)) == 0
    assert file.tell() == size + 10
    for wrong in ((-1, io.SEEK_SET), (-size - 1, io.SEEK_END), (-size - 11, io.SEEK_CUR)):
        # A file says OSError, a BytesIO ValueError: both are to be caught.
        for expected in (OSError, ValueError):
            with pytest.raises(expected):
                file.seek(*wrong)
    with pytest.raises(ValueError):
        file.seek(0, 3)
    for arguments in ((0.0,), ("0",), (None,)):
        with pytest.raises(TypeError):
            file.seek(*arguments)  # type: ignore[arg-type]
    assert file.tell() == size + 10


def _check_end(file: io.RawIOBase) -> None:
    assert file.read(10**9) == TEXT
    for _ in range(2):
        assert file.read(1) == file.read() == file.readall() == b""
        assert file.readinto(bytearray(1)) == 0


def _check_closed_reader(file: io.RawIOBase) -> None:
    with file as same:
        assert same is file
    file.close()
    assert file.closed
    for refused in (
        file.read,
        file.readall,
        file.readline,
        file.readlines,
        file.tell,
        file.__enter__,
        lambda: file.readinto(bytearray(1)),
        lambda: file.seek(0),
        lambda: next(file),
    ):
        with pytest.raises(ValueError):
            refused()


def check_raw_writer(make: Callable[[], Any]) -> None:
    """Hold a writable file to the rules; `make` opens a new, empty one."""
    with make() as file:
        assert isinstance(file, io.RawIOBase)
        assert file.writable() and not file.readable() and not file.seekable()
        assert not file.closed and not file.isatty()
        assert file.tell() == 0
        assert file.write(b"12345") == 5
        assert file.write(b"") == 0
        assert file.write(bytearray(b"67")) == 2
        assert file.write(array.array("I", [1, 2])) == 8
        assert file.write(memoryview(b"abcdef")[1:4]) == 3
        file.writelines([b"x", b"yz"])
        assert file.tell() == 21
        file.flush()
        with pytest.raises(TypeError):
            file.write("text")
        for refused in (
            file.fileno,
            file.read,
            file.readall,
            file.readline,
            file.truncate,
            lambda: file.readinto(bytearray(1)),
            lambda: file.seek(0),
        ):
            with pytest.raises(io.UnsupportedOperation):
                refused()
    assert file.closed
    file.close()
    for refused in (lambda: file.write(b"x"), file.tell, file.__enter__, file.flush):
        with pytest.raises(ValueError):
            refused()
