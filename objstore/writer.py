"""
`ObjectWriter`: a file that becomes an object when it is closed.

Bytes are gathered into blocks of about 1 MiB, each hashed at once and sent as full chunks
in one write. The meta goes out when every chunk is acked. Until then nothing is visible,
and whatever goes wrong purges the chunks again.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Callable
from datetime import datetime, timezone
from types import TracebackType
from typing import TYPE_CHECKING, Any

from objstore import naming
from objstore.bucket import Bucket, bucket_errors
from objstore.commit import (
    Commit,
    Previous,
    check_meta_size,
    purge_chunks,
    purge_replaced,
    purge_unless_live,
    read_previous,
)
from objstore.core.deadline import Deadline
from objstore.core.nuid import next_nuid
from objstore.core.protocol import Buffer
from objstore.core.request import Request
from objstore.digest import format_digest, new_hash
from objstore.errors import (
    ConnectionLostError,
    ObjectAlreadyExistsError,
    ObjStoreError,
    PreconditionFailedError,
)
from objstore.jetstream.messages import StreamMessage
from objstore.jetstream.publisher import Publisher
from objstore.models import DEFAULT_CHUNK_SIZE, ObjectInfo, ObjectMeta

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["ObjectWriter", "TextWriter"]

#: Bytes hashed and sent at once, and chunks, should they be small.
_BLOCK_SIZE = 1 << 20
_BLOCK_CHUNKS = 256
#: Seconds to wait for the present meta before it is asked for again.
_PATIENCE = 3.0
#: Seconds, twice as many as a failure waits for the fate of the chunks on their way.
_MAX_SETTLE = 1.0


class ObjectWriter(io.RawIOBase):
    """
    A file that becomes an object when it is closed. For one thread, like any file.

    `close()` commits, and so does leaving a `with` block; an exception in the block, or
    `abort()`, leaves everything as it was. A writer that is dropped without `close()` is
    abandoned with a `ResourceWarning`: its chunks stay behind and are never visible.

    Attributes:
        name: Name of the object.
        mode: Always `wb`.

    Raises:
        PreconditionFailedError: If `if_absent` or `if_revision` does not hold; when it is
            made, or when it is closed.
        BucketNotFoundError, BucketSealedError, BucketFullError: From `write` and `close`.
        RequestTimeoutError: If there is no progress for `timeout` seconds.

    Source: ADR-20, "Put".
    """

    _opened = False

    def __init__(
        self,
        bucket: Bucket,
        meta: ObjectMeta,
        *,
        if_absent: bool = False,
        if_revision: int | None = None,
        exclusive: bool = False,
        callback: Callable[[int], object] | None = None,
        timeout: float | None,
    ) -> None:
        super().__init__()
        self._pid = os.getpid()  # a forked child has no part in what its parent uploads
        self.name = meta.name
        self.mode = "wb"
        self._bucket = bucket
        self._meta = meta
        self._callback = callback
        self._conditional = if_absent or exclusive or if_revision is not None
        self._exclusive = exclusive
        self._deadline = Deadline(timeout)
        self._info: ObjectInfo | None = None
        self._nuid = next_nuid()
        self._hash = new_hash()
        self._size = 0
        self._chunks = 0
        self._free: list[bytearray] = []
        self._block: bytearray | None = None
        self._filled = 0
        self._publisher: Publisher | None = None
        limit = bucket.js.connection.max_payload(self._deadline)
        most = bucket.max_chunk_size(self._deadline)
        self._chunk_size = min(meta.chunk_size or DEFAULT_CHUNK_SIZE, most)
        chunks = min(max(_BLOCK_SIZE // self._chunk_size, 1), _BLOCK_CHUNKS)
        self._block_size = chunks * self._chunk_size
        self._draft = self._describe()
        check_meta_size(self._draft, limit)
        # Goes out in one write with the first chunks, and is answered while they are on their way.
        self._previous_request: Request | None = None
        self._previous: Previous | None = None
        with contextlib.suppress(ConnectionLostError):  # it will be asked for again
            self._previous_request = bucket.ask_meta(self.name, self._deadline, ahead=True)
        if self._conditional:
            self._check_condition(if_absent or exclusive, if_revision)
        self._opened = True

    def __repr__(self) -> str:
        state = f"{self._size + self._filled} bytes"
        if self.closed:
            state = "not committed" if self._info is None else "committed"
        return f"<ObjectWriter {self.name!r:.60} in {self._bucket.name}: {state}>"

    def _describe(self) -> ObjectInfo:
        """Return what is known of the object before its bytes."""
        return ObjectInfo(
            bucket=self._bucket.name,
            name=self.name,
            nuid=self._nuid,
            size=0,
            chunks=0,
            digest="",
            mtime=datetime.now(timezone.utc),
            description=self._meta.description,
            headers={key: list(values) for key, values in self._meta.headers.items()},
            metadata=dict(self._meta.metadata),
            chunk_size=self._chunk_size,
        )

    # What is replaced

    def _take_previous(self) -> Previous:
        if self._previous is None:
            message = self._take_previous_message()
            self._previous = read_previous(self._bucket, self.name, message, self._deadline)
        return self._previous

    def _take_previous_message(self) -> StreamMessage | None:
        """Take the present meta, which was asked for in the beginning."""
        request, self._previous_request = self._previous_request, None
        return self._bucket.take_meta_message(self.name, request, self._deadline)

    def _check_condition(self, if_absent: bool, if_revision: int | None) -> None:
        """Refuse before a byte is sent, rather than when all of them are."""
        message = self._take_previous_message()
        info = None if message is None else self._bucket.decode(message, self.name)
        self._previous = read_previous(self._bucket, self.name, message, self._deadline)
        revision = self._previous.revision
        detail = ""
        if if_absent and info is not None and not info.deleted:
            detail = f"it exists, with revision {revision}"
        elif if_revision is not None and if_revision != revision:
            detail = f"its revision is {revision}, not {if_revision}"
        if detail:
            raise self._failed(
                PreconditionFailedError(self._bucket.name, self.name, detail, revision)
            )

    def _failed(self, error: PreconditionFailedError) -> ObjStoreError:
        """Return a failed condition in the words of who set it: `x` of `open` has its own."""
        if not self._exclusive:
            return error
        return ObjectAlreadyExistsError(self._bucket.name, self.name, "it exists")

    # Writing

    def writable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Return the number of bytes written."""
        self._check_open()
        return self._size + self._filled

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError(f"write to closed object {self.name!r:.60}")
        if self._pid != os.getpid():
            # Whatever a child commits under the parent's id, the parent may purge.
            self._release()
            raise ConnectionLostError("the upload stayed in the parent process")

    def write(self, data: ReadableBuffer, /) -> int:
        """
        Take all of `data`; send it as soon as a block is full.

        Returns:
            The number of bytes: always all of them.
        """
        self._check_open()
        if isinstance(data, str):
            raise TypeError("a bytes-like object is required, not str; open with 'w' for text")
        view = memoryview(data).cast("B")
        total = len(view)
        try:
            if not self._filled and isinstance(data, bytes):
                # Nobody can change these bytes: they need no copy of ours.
                whole = total - total % self._block_size
                self._send_whole(view[:whole])
                view = view[whole:]
            while view:
                room = self._room()
                count = min(len(room), len(view))
                room[:count] = view[:count]
                view = view[count:]
                self._fill(count)
        except BaseException:
            self.abort()
            raise
        return total

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Refused: objects are written as a whole."""
        raise io.UnsupportedOperation("an object that is open to write cannot be read")

    def write_all(self, data: Buffer) -> None:
        """Send `data` to the last byte, without a copy: it may not change until `close`."""
        try:
            self._send_whole(memoryview(data).cast("B"))
        except BaseException:
            self.abort()
            raise

    def write_from(self, source: Any) -> None:
        """Send what a binary file gives until its end; the file stays open."""
        try:
            # A buffered file's `readinto` waits, deaf to interrupts, until all of the block
            # is there; `readinto1` takes what comes.
            readinto = getattr(source, "readinto1", None) or getattr(source, "readinto", None)
            while True:
                room = self._room()
                if readinto is not None:
                    count = readinto(room)
                else:
                    data = source.read(len(room))
                    if isinstance(data, str):
                        raise TypeError(
                            "the file gives str: open it in binary mode, or put_string(name, text)"
                        )
                    count = None if data is None else len(data)
                    if count:
                        self.write(data)
                        continue
                if count is None:
                    raise BlockingIOError("the file has no data now; put needs a blocking one")
                if not count:
                    return
                if not 0 < count <= len(room):
                    raise ValueError(f"readinto of the file says {count} of {len(room)} bytes")
                self._fill(count)
        except BaseException:
            self.abort()
            raise

    def _room(self) -> memoryview:
        """Return what is free in the current block, never empty."""
        if self._block is None:
            self._block = self._free.pop() if self._free else bytearray(self._block_size)
        return memoryview(self._block)[self._filled : self._block_size]

    def _fill(self, count: int) -> None:
        """Count bytes put into the room; send the block when it is full."""
        self._filled += count
        if self._filled == self._block_size:
            self._send_block()
        if self._callback is not None:
            self._callback(count)

    def _send_block(self) -> None:
        block, filled = self._block, self._filled
        if block is None or not filled:
            return
        self._block, self._filled = None, 0
        # The block's memory is ours again when its last chunk is acked.
        self._send(memoryview(block)[:filled], lambda: self._free.append(block))

    def _send_whole(self, view: memoryview) -> None:
        """Send memory that stays as it is."""
        for start in range(0, len(view), self._block_size):
            block = view[start : start + self._block_size]
            self._send(block, None)
            if self._callback is not None:
                self._callback(len(block))

    def _send(self, block: memoryview, release: Callable[[], None] | None) -> None:
        """Hash a block and publish its chunks."""
        if self._publisher is None:
            subject = naming.chunk_subject(self._bucket.name, self._nuid)
            self._publisher = Publisher(
                self._bucket.js,
                self._bucket.stream,
                subject,
                self._nuid,
                self._deadline,
                doubt=self._bucket.check_exists,
            )
        self._hash.update(block)
        # Another server of the cluster may take less than the one that we began with.
        step = min(self._chunk_size, self._bucket.max_chunk_size(self._deadline))
        chunks = [block[start : start + step] for start in range(0, len(block), step)]
        self._deadline.extend()
        with bucket_errors(self._bucket.name):
            self._publisher.publish(chunks, self._deadline, release=release)
        self._size += len(block)
        self._chunks += len(chunks)

    # The end

    @property
    def info(self) -> ObjectInfo:
        """
        What was stored.

        Raises:
            ValueError: Before `close()` has committed.
        """
        if self._info is None:
            detail = "was not committed" if self.closed else "is not committed; close() does it"
            raise ValueError(f"object {self.name!r:.60} {detail}")
        return self._info

    def finish(self) -> None:
        """
        Send what is left and wait for every ack; nothing is visible before `close`.

        For those who commit several at once. Nothing can be written afterwards.
        """
        self._check_open()
        try:
            self._deadline.extend()
            self._send_block()
            if self._publisher is not None:
                with bucket_errors(self._bucket.name):
                    self._publisher.finish(self._deadline)
        except BaseException:
            self.abort()
            raise
        self._free.clear()

    def close(self) -> None:
        """Send what is left, wait for every ack, and make the object visible."""
        if self.closed:
            return
        self.finish()
        try:
            info = self._finished()
            commit = Commit(
                self._bucket,
                info,
                self._take_previous(),
                conditional=self._conditional,
                uploaded=True,
            )
        except BaseException:
            self.abort()
            raise
        self._deadline.extend()
        try:
            committed = commit.run(self._deadline)
            self._info = info.with_fields(revision=committed.revision)
            purge_replaced(self._bucket, committed, self._deadline.timeout)
        except BaseException as error:
            # Once the object may be live its chunks are not ours to purge.
            if not commit.may_be_stored:
                self.abort()
            elif isinstance(error, PreconditionFailedError):
                purge_unless_live(self._bucket, self._nuid, self._deadline.aftermath())
            elif not isinstance(error, Exception):
                self._complete(commit)
            if isinstance(error, PreconditionFailedError):
                raise self._failed(error) from error
            raise
        finally:
            self._release()

    def _complete(self, commit: Commit) -> None:
        """After an interrupt: what may be stored is stored in full, and leaves nothing behind."""
        with contextlib.suppress(ObjStoreError):
            committed = commit.run(self._deadline.aftermath())
            purge_replaced(self._bucket, committed, self._deadline.aftermath().timeout)

    def _finished(self) -> ObjectInfo:
        """Return what is known of the object when all of its bytes are stored."""
        return self._draft.with_fields(
            size=self._size,
            chunks=self._chunks,
            digest=format_digest(self._hash.digest()),
            mtime=datetime.now(timezone.utc),
        )

    def abort(self) -> None:
        """Give up: purge what was sent. The object stays as it was. Twice is fine."""
        if self.closed:
            return
        super().close()  # whatever happens next, this is not tried twice
        try:
            if self._publisher is not None and self._publisher.sent and self._pid == os.getpid():
                self._remove_chunks(self._publisher, self._deadline.aftermath())
        finally:
            self._release()

    def _remove_chunks(self, publisher: Publisher, deadline: Deadline) -> None:
        try:
            # A chunk that lands after the purge would stay for ever.
            publisher.settle(Deadline(deadline.at_most(_MAX_SETTLE) / 2))
        finally:
            # Also if somebody is impatient.
            purge_chunks(self._bucket, self._nuid, deadline)

    def _release(self) -> None:
        """Let go of everything and count as closed."""
        if self._previous_request is not None:
            self._previous_request.forget()
        if self._publisher is not None:
            self._publisher.close()
        self._block = None
        self._filled = 0
        self._free.clear()
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
        # io.IOBase would call close() here, and so commit half an object.
        if self._opened and not self.closed:
            warnings.warn(f"unclosed {self!r}: upload abandoned", ResourceWarning, 2, source=self)
            if self._previous_request is not None:
                self._previous_request.abandon()
            if self._publisher is not None:
                self._publisher.abandon()


class TextWriter(io.TextIOWrapper):
    """A text file over an `ObjectWriter`: an exception, or dropping it, commits nothing."""

    def __init__(self, raw: ObjectWriter, **options: Any) -> None:
        super().__init__(raw, **options)
        self._raw_writer = raw

    @property
    def mode(self) -> str:
        """Always `w`."""
        return "w"

    @property
    def info(self) -> ObjectInfo:
        """
        What was stored.

        Raises:
            ValueError: Before `close()` has committed.
        """
        return self._raw_writer.info

    def abort(self) -> None:
        """Give up: the object stays as it was."""
        self._raw_writer.abort()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is not None:
            self.abort()
        else:
            self.close()

    def __del__(self) -> None:
        # The raw writer warns for itself; io.TextIOWrapper would close, and so commit.
        pass
