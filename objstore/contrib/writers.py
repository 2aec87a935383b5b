"""
Writers around an `ObjectWriter` that keep its promise: what is not closed, or left by an
exception, commits nothing.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from objstore.models import ObjectInfo
from objstore.writer import ObjectWriter

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["CompressedWriter", "TransactionWriter"]


class _OuterWriter(io.RawIOBase):
    """
    A writer around another one.

    Args:
        writer: What becomes an object, or does not.
        target: What takes the bytes: a compressor, or the writer itself.
    """

    def __init__(self, writer: Any, target: Any) -> None:
        super().__init__()
        self.name = writer.name
        self.mode = "wb"
        self._writer = writer
        self._target = target

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        """Take all of `data`; return the number of bytes."""
        if self.closed:
            raise ValueError(f"write to closed object {self.name!r:.60}")
        return int(self._target.write(data))

    def tell(self) -> int:
        """Return the number of bytes written."""
        return int(self._target.tell())

    @property
    def info(self) -> ObjectInfo:
        """
        What was stored.

        Raises:
            ValueError: Before it is committed.
        """
        info: ObjectInfo = self._writer.info
        return info

    def abort(self) -> None:
        """Give up: the object stays as it was. Twice is fine."""
        self._writer.abort()
        super().close()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None:
            self.close()
        else:
            self.abort()

    def __del__(self) -> None:
        # io.IOBase would close, and so commit. The inner writer warns for itself.
        pass


class _Tap(io.RawIOBase):
    """
    Hands bytes to a writer until it is shut, and then to nobody.

    Compressors write their end whenever they are closed, or collected.
    """

    def __init__(self, writer: Any) -> None:
        super().__init__()
        self._writer = writer
        self._position = 0

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        count = memoryview(data).nbytes
        if self._writer is not None:
            self._writer.write(data)
        self._position += count
        return count

    def tell(self) -> int:
        return self._position

    def shut(self) -> None:
        self._writer = None


class CompressedWriter(_OuterWriter):
    """
    A compressor and the writer below it, closed as one: compressors leave what is below open.

    Args:
        compress: Makes the compressor: `compress(file, mode="w")`.
    """

    def __init__(self, writer: Any, compress: Callable[..., Any]) -> None:
        self._tap = _Tap(writer)
        super().__init__(writer, compress(self._tap, mode="w"))

    def close(self) -> None:
        """Write the end of the compressed data, and close the writer below."""
        if self.closed:
            return
        try:
            self._target.close()
            self._writer.close()
        except BaseException:
            self.abort()
            raise
        super().close()

    def abort(self) -> None:
        """Give up: the object stays as it was. Twice is fine."""
        self._tap.shut()
        self._target.close()
        super().abort()

    def __del__(self) -> None:
        self._tap.shut()


class TransactionWriter(_OuterWriter):
    """
    A file of a transaction: `close` stores its bytes, `commit` makes them visible.

    Many may wait for the end of the transaction; none holds memory meanwhile.
    """

    def __init__(self, writer: ObjectWriter) -> None:
        super().__init__(writer, writer)

    def close(self) -> None:
        """Send what is left and wait until it is stored."""
        if not self.closed:
            self._writer.finish()
            super().close()

    def commit(self) -> None:
        """
        Make the object visible, unless the file was aborted.

        Raises:
            ValueError: If the file is still open: nobody knows what was to follow.
        """
        if not self.closed:
            self.abort()
            raise ValueError(f"object {self.name!r:.60} was not closed before the transaction")
        self._writer.close()

    def discard(self) -> None:
        """Leave the object as it was."""
        self.abort()
