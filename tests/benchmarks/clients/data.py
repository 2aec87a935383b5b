"""What is put, where it goes that is got, and pipes: the same for all clients."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

__all__ = ["PATTERN_SIZE", "Pattern", "Sink", "pattern", "pipe_from", "pipe_to", "write_pattern"]

#: Bytes after which the data repeats itself.
PATTERN_SIZE = 8 << 20


@functools.cache
def _block() -> bytes:
    return hashlib.shake_128(b"objstore").digest(PATTERN_SIZE)


@functools.lru_cache(maxsize=1)
def pattern(size: int) -> bytes:
    """So many bytes in memory."""
    starts = range(0, size, PATTERN_SIZE)
    return b"".join(memoryview(_block())[: size - start] for start in starts)


class Pattern(io.RawIOBase):
    """So many bytes to read, of which only a few are in memory."""

    def __init__(self, size: int) -> None:
        self._block = memoryview(_block())
        self._left = size
        self._start = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._block[self._start : self._start + min(len(buffer), self._left)]
        buffer[: len(piece)] = piece
        self._left -= len(piece)
        self._start = (self._start + len(piece)) % len(self._block)
        return len(piece)


def write_pattern(path: Path, size: int) -> None:
    """Make a file with so many bytes."""
    with path.open("wb") as file:
        for _ in range(size // PATTERN_SIZE):
            file.write(_block())
        file.write(_block()[: size % PATTERN_SIZE])


class Sink(io.RawIOBase):
    """Takes bytes, keeps none, and knows when the first came."""

    def __init__(self) -> None:
        self.size = 0
        self.first = 0.0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if not self.size:
            self.first = time.perf_counter()
        self.size += len(data)
        return len(data)


@contextlib.contextmanager
def pipe_from(path: Path) -> Iterator[IO[bytes]]:
    """What another process reads from a file."""
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process.stdout


@contextlib.contextmanager
def pipe_to() -> Iterator[IO[bytes]]:
    """Where another process takes what is written."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        yield process.stdin
