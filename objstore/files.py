"""
What users hand to `put` and get from `get_file`: bytes, files, iterables and paths.

Files that others opened are never closed, and read from where they stand. A file of ours
appears at once and as a whole, or not at all.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from objstore.core.nuid import next_nuid
from objstore.errors import shorten
from objstore.reader import ObjectReader
from objstore.writer import ObjectWriter

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, SupportsRead

__all__ = ["PutData", "check_data", "is_buffer", "write_data", "write_file"]

#: What can be put.
PutData: TypeAlias = (
    "ReadableBuffer | SupportsRead[bytes] | Iterable[ReadableBuffer] | os.PathLike[str]"
)

#: Bytes copied at once.
_BLOCK_SIZE = 1 << 20


def check_data(data: object) -> None:
    """
    Refuse what cannot be stored, before anything is sent.

    Raises:
        TypeError: With the cure.
    """
    if isinstance(data, bytes):
        return
    if isinstance(data, str):
        raise TypeError(
            "data is a str: put_string(name, text) stores text, "
            "put_file(path) or put(name, pathlib.Path(…)) a file"
        )
    if isinstance(data, io.TextIOBase):
        raise TypeError("data is a text file: open it in binary mode ('rb')")
    if isinstance(data, Mapping) or not (
        isinstance(data, (os.PathLike, Iterable)) or hasattr(data, "read") or is_buffer(data)
    ):
        raise TypeError(
            "data must be bytes-like, a binary file, an iterable of bytes or a path, "
            f"not {shorten(data)}"
        )


def is_buffer(data: Any) -> bool:
    """Whether `data` is bytes-like."""
    try:
        memoryview(data).release()
    except TypeError:
        return False
    return True


def write_data(writer: ObjectWriter, data: Any) -> None:
    """Write all of `data`, of any kind but a path, to an object."""
    if is_buffer(data):
        view = memoryview(data)
        writer.write_all(view.cast("B") if view.c_contiguous else view.tobytes())
    elif hasattr(data, "read"):
        writer.write_from(data)
    else:
        for piece in data:
            if isinstance(piece, (str, int)):
                raise TypeError(f"the iterable gives {shorten(piece)}, not bytes")
            writer.write(piece)


def write_file(reader: ObjectReader, path: str) -> None:
    """
    Write all of `reader` to a new file, and put that in the place of `path`.

    Until all of it is there and verified nobody else can read it; then it has the mode of
    the file that it replaces, or that of any new file. A symbolic link is replaced.

    Raises:
        OSError: If that fails; the file at `path` is as it was.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(f"{path!r} is no regular file, and would be replaced by one")
    mode = _mode(path)
    directory, base = os.path.split(path)
    temporary = os.path.join(directory, f".{base[:100]}.{next_nuid()}.part")
    # O_EXCL and O_NOFOLLOW: nobody's file or link can stand in the way.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    flags |= getattr(os, "O_BINARY", 0)
    try:
        # Without a mode to keep, the system says what the umask leaves of the usual one.
        handle = os.open(temporary, flags, 0o666 if mode is None else 0o600)
    except OSError as error:
        # The name of the temporary file would say nothing to anybody.
        raise OSError(error.errno, error.strerror, path) from error
    try:
        with open(handle, "wb", buffering=0) as file:
            if mode is None:
                mode = os.fstat(handle).st_mode & 0o777
                os.chmod(temporary, 0o600)
            _copy(reader, file)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _mode(path: str) -> int | None:
    """Return the mode of the file at `path`; None if there is none, or a link to one."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return None
    return None if stat.S_ISLNK(mode) else mode & 0o777


def _copy(reader: ObjectReader, file: io.FileIO) -> None:
    buffer = memoryview(bytearray(_BLOCK_SIZE))
    while count := reader.readinto(buffer):
        rest = buffer[:count]
        while rest:
            rest = rest[file.write(rest) :]
