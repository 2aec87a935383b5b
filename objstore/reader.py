"""
`ObjectReader`: an object as a file to read.

Bytes come through a block of up to 1 MiB, so that the digest is fed in large pieces, and
size and digest are verified before the last bytes are handed out. Nothing but a small
object that was seen before is fetched before the first read; a seek is only remembered, and
the next read fetches what it needs.
"""

from __future__ import annotations

import io
import operator
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from objstore.bucket import Bucket, bucket_errors
from objstore.chunks import ChunkStream
from objstore.core.deadline import Deadline, check_timeout
from objstore.digest import format_digest, new_hash, parse_digest
from objstore.errors import BadObjectMetaError, DigestMismatchError, ObjStoreError, fresh
from objstore.jetstream.direct import DirectGet
from objstore.models import ObjectInfo

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["ObjectReader"]

#: Bytes hashed and buffered at once.
_BLOCK_SIZE = 1 << 20
#: Bytes to read at least when little is wanted: the rest is for the next read.
_LEAST_READ = 64 << 10


class ObjectReader(io.RawIOBase):
    """
    An object, or a range of it, as a file to read. For one thread, like any file.

    Reads are full: fewer bytes than asked for mean the end. Reading from the first byte to
    the last verifies size and digest before the last bytes are handed out; after a failure
    every read fails again. What is read after a seek past unread bytes, or of a range,
    cannot be verified.

    Attributes:
        info: What is stored of the object; behind a link, of its target.
        name: Name that was asked for.
        mode: Always `rb`.
        size: Bytes that there are to read.
        verified: Whether size and digest have been found right.

    Raises:
        DigestMismatchError: From any read, if the bytes are not those that were stored.
        TruncatedObjectError: If chunks are missing.
        ObjectChangedError: If the object was overwritten or deleted meanwhile.
        RequestTimeoutError: If nothing comes for `timeout` seconds.

    Source: ADR-20, "Get".
    """

    def __init__(
        self,
        bucket: Bucket,
        info: ObjectInfo,
        *,
        name: str,
        offset: int = 0,
        length: int | None = None,
        verify: bool = True,
        callback: Callable[[int], object] | None = None,
        timeout: float | None,
        ahead: DirectGet | None = None,
    ) -> None:
        super().__init__()
        self.info = info
        self.name = name
        self.mode = "rb"
        self.verified = False
        self._bucket = bucket
        self._timeout = check_timeout(timeout)
        self._callback = callback
        self._failure: ObjStoreError | None = None
        self._first = min(offset, info.size)
        end = info.size if length is None else min(self._first + length, info.size)
        self.size = end - self._first
        self._end = end
        self._position = self._first
        self._block = bytearray()
        self._block_start = 0  # position of the block's first byte in the object
        self._block_end = 0
        # The hash, and the number of bytes fed to it: the object's first ones. In one, so
        # that no interrupt comes between them.
        self._hash = (new_hash(), 0)
        self._digest = self._check_digest() if verify else None
        partial = self.size < info.size
        self._chunks: ChunkStream | None = None
        if info.size:
            self._chunks = ChunkStream(bucket, info, partial=partial, ahead=ahead)
        elif ahead is not None:
            ahead.close()
        if not info.size and self._digest is not None:
            self._verify(Deadline(self._timeout))

    def _check_digest(self) -> bytes | None:
        """Return the stored hash; None if there is nothing to be verified."""
        if self.info.deleted or (not self.info.digest and not self.info.size):
            return None
        try:
            return parse_digest(self.info.digest)
        except ValueError as error:
            super().close()
            raise BadObjectMetaError(
                self._bucket.name,
                self.info.name,
                f"{error}; verify=False reads it without a check",
            ) from error

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as what is read, and where it stands: the copy reads the same version."""
        self._check_usable()
        fields = (self._bucket, self.info, self.name, self._first, self.size)
        return _reopen, (*fields, self._digest is not None, self._timeout, self.tell())

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"at {self._position - self._first} of {self.size}"
        return f"<ObjectReader {self.name!r:.60} in {self._bucket.name}: {state}>"

    # Reading

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill `buffer`; return the number of bytes, fewer than asked for only at the end."""
        view = memoryview(buffer).cast("B")
        self._check_usable()
        filled = 0
        while filled < len(view) and self._position < self._end:
            if self._block_start <= self._position < self._block_end:
                count = self._copy_from_block(view[filled:])
            elif len(view) - filled >= min(_BLOCK_SIZE, self._end - self._position):
                # No detour through the block: nothing would be left in it.
                count = self._fetch(view[filled : filled + _BLOCK_SIZE])
                self._position += count
            else:
                self._fill_block(len(view) - filled)
                continue
            filled += count
        return self._count(filled)

    def read(self, size: int | None = -1, /) -> bytes:
        """Return `size` bytes, fewer only at the end; without a size all that are left."""
        self._check_usable()
        size = -1 if size is None else operator.index(size)
        if size < 0:
            return self.readall()
        start, end = self._position, self._position + size
        if self._block_start <= start and end <= min(self._block_end, self._end):
            self._position = end
            self._count(size)
            offset = start - self._block_start
            return bytes(memoryview(self._block)[offset : offset + size])
        return self._read_growing(size)

    def readall(self) -> bytes:
        """Return all bytes that are left."""
        self._check_usable()
        return self._read_growing(self._end - self._position)

    def _read_growing(self, size: int) -> bytes:
        """Read `size` bytes; memory grows as they come, for a stored size may be any number."""
        size = min(size, self._end - self._position)
        if 0 < size <= _BLOCK_SIZE:
            block = bytearray(size)
            return bytes(memoryview(block)[: self.readinto(block)])
        whole = io.BytesIO()
        buffer = memoryview(bytearray(max(min(size, _BLOCK_SIZE), 0)))
        while whole.tell() < size:
            count = self.readinto(buffer[: size - whole.tell()])
            whole.write(buffer[:count])
        return whole.getvalue()

    def read1(self, size: int = -1, /) -> bytes:
        """Return what is at hand, up to `size` bytes; fetch only if that is nothing."""
        self._check_usable()
        at_hand = self.peek()
        return self.read(len(at_hand) if size is None or size < 0 else min(size, len(at_hand)))

    def peek(self, size: int = 0, /) -> bytes:
        """Return what is at hand without taking it: at least one byte, except at the end."""
        self._check_usable()
        if self._position >= self._end:
            return b""
        if not self._block_start <= self._position < self._block_end:
            self._fill_block(_LEAST_READ)
        start = self._position - self._block_start
        end = min(self._block_end, self._end) - self._block_start
        return bytes(memoryview(self._block)[start:end])

    def readline(self, size: int | None = -1, /) -> bytes:
        """Return bytes up to and with the next newline, at most `size`."""
        self._check_usable()
        return self._read_line(-1 if size is None else operator.index(size), _LEAST_READ)

    def __iter__(self) -> Iterator[bytes]:
        """Return the lines that are left; other calls in between are heeded."""
        # Not the reader itself, as with other files: a generator needs no call for each line.
        self._check_usable()
        return self._iterate_lines()

    def _iterate_lines(self) -> Iterator[bytes]:
        ahead = _LEAST_READ
        while line := self._read_line(-1, ahead):
            yield line
            self._check_usable()
            # Who asks for lines asks for many: what is at hand is cut without a call for each.
            ahead = min(ahead * 2, _BLOCK_SIZE)
            position = self._position
            for line in io.BytesIO(self._whole_lines()):
                self._position = position = position + len(line)
                if self._callback is not None:
                    self._callback(len(line))
                yield line
                if self._position != position or self.closed:
                    break  # somebody read, sought or closed

    def _whole_lines(self) -> bytes:
        """Return what is at hand up to the last newline in it, without taking it."""
        if not self._block_start <= self._position < min(self._block_end, self._end):
            return b""
        start = self._position - self._block_start
        end = min(self._block_end, self._end) - self._block_start
        return bytes(memoryview(self._block)[start : self._block.rfind(b"\n", start, end) + 1])

    def _read_line(self, limit: int, ahead: int) -> bytes:
        """Return the next line; fetch so many bytes where there are none at hand."""
        pieces: list[bytes] = []
        length = 0
        while self._position < self._end and length != limit:
            if not self._block_start <= self._position < self._block_end:
                self._fill_block(ahead)
            start = self._position - self._block_start
            end = min(self._block_end, self._end) - self._block_start
            if limit >= 0:
                end = min(end, start + limit - length)
            newline = self._block.find(b"\n", start, end)
            pieces.append(self.read((end if newline < 0 else newline + 1) - start))
            length += len(pieces[-1])
            if newline >= 0:
                break
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write(self, data: ReadableBuffer, /) -> int:
        """Refused: objects are written as a whole."""
        raise io.UnsupportedOperation("an object that is open to read cannot be written")

    def _count(self, count: int) -> int:
        """Report bytes that are handed out."""
        if count and self._callback is not None:
            self._callback(count)
        return count

    # Fetching

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError(f"object {self.name!r:.60} is closed")

    def _check_usable(self) -> None:
        self._check_open()
        if self._failure is not None:
            raise fresh(self._failure)

    def _copy_from_block(self, view: memoryview) -> int:
        start = self._position - self._block_start
        count = min(len(view), min(self._block_end, self._end) - self._position)
        view[:count] = memoryview(self._block)[start : start + count]
        self._position += count
        return count

    def _fill_block(self, wanted: int) -> None:
        """Fetch at the position into the block: what is wanted, and a little more."""
        size = min(max(wanted, _LEAST_READ), _BLOCK_SIZE, self._end - self._position)
        if len(self._block) < size:
            self._block = bytearray(size)
        self._block_start = self._block_end = self._position
        self._block_end += self._fetch(memoryview(self._block)[:size])

    def _fetch(self, view: memoryview) -> int:
        """Fetch into `view` at the position, hash, and verify at the end of the object."""
        assert self._chunks is not None
        deadline = Deadline(self._timeout)
        position = self._position
        view = view[: self._end - position]
        try:
            with bucket_errors(self._bucket.name):
                self._chunks.seek(position, deadline)
                count = self._chunks.read_into(view, deadline)
                if self._digest is not None:
                    self._feed(position, view[:count], deadline)
        except ObjStoreError as error:
            self._failure = error
            self._chunks.close()
            raise
        except BaseException:
            # An interrupt: how far it came nobody knows, so the next read begins anew.
            self._chunks.lose_place()
            raise
        return count

    def _feed(self, position: int, data: memoryview, deadline: Deadline) -> None:
        """Feed the hash with what it does not know yet; verify at the end of the object."""
        hasher, hashed = self._hash
        end = position + len(data)
        if position <= hashed < end:
            hasher = hasher.copy()
            hasher.update(data[hashed - position :])
            self._hash = (hasher, end)
            if end == self.info.size:
                self._verify(deadline)

    def _verify(self, deadline: Deadline) -> None:
        """Compare what came with what was stored, and make sure that nothing follows."""
        hasher = self._hash[0].copy()
        if self._chunks is not None:
            hasher.update(self._chunks.surplus(deadline))
        if hasher.digest() != self._digest:
            raise DigestMismatchError(
                self._bucket.name,
                self.info.name,
                expected=self.info.digest,
                actual=format_digest(hasher.digest()),
            )
        self.verified = True

    # Positions

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Return the position of the next byte."""
        self._check_open()
        return self._position - self._first

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Remember a position, also one behind the end; the next read fetches there."""
        self._check_open()
        offset = operator.index(offset)
        if whence == io.SEEK_SET:
            position = offset
        elif whence == io.SEEK_CUR:
            position = self._position - self._first + offset
        elif whence == io.SEEK_END:
            position = self.size + offset
        else:
            raise ValueError(f"whence must be 0, 1 or 2, not {whence!r}")
        if position < 0:
            # An OSError for those who know files, a ValueError for those who know BytesIO.
            raise io.UnsupportedOperation(f"negative position {position}")
        self._position = self._first + position
        return position

    # The end

    def close(self) -> None:
        """Leave nothing behind on the server. Twice is fine."""
        if not self.closed and getattr(self, "_chunks", None) is not None:
            self._chunks.close()  # type: ignore[union-attr]
        super().close()

    def __enter__(self) -> ObjectReader:
        self._check_open()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # io.IOBase would call close() here, which locks and sends.
        chunks = getattr(self, "_chunks", None)
        if chunks is not None and not self.closed:
            chunks.abandon()


def _reopen(
    bucket: Bucket,
    info: ObjectInfo,
    name: str,
    offset: int,
    length: int,
    verify: bool,
    timeout: float | None,
    position: int,
) -> ObjectReader:
    """Make a reader that came from another process; fetches nothing."""
    reader = ObjectReader(
        bucket, info, name=name, offset=offset, length=length, verify=verify, timeout=timeout
    )
    reader.seek(position)
    return reader
