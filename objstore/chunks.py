"""
The bytes of one version of an object, from any position on, without gap or repetition.

Small pieces come by direct-get batches, which leave nothing behind on the server; long
runs by an ordered consumer, which is faster. Chunks never change, so a replica may serve
them; one that it lacks is asked of the leader before it is called missing. A broken
connection costs nothing: chunks have sequences, and the next request goes on behind the
last one that came.
"""

from __future__ import annotations

import bisect
from typing import Protocol

from objstore import naming
from objstore.bucket import Bucket
from objstore.core.connection import State
from objstore.core.deadline import Deadline
from objstore.errors import (
    BucketNotFoundError,
    ConnectionLostError,
    JetStreamError,
    NoRespondersError,
    ObjectChangedError,
    RequestTimeoutError,
    TruncatedObjectError,
)
from objstore.jetstream.api import ErrorCode
from objstore.jetstream.consumer import OrderedConsumer
from objstore.jetstream.direct import DirectGet
from objstore.jetstream.messages import StreamMessage
from objstore.models import DEFAULT_CHUNK_SIZE, ObjectInfo

__all__ = ["ChunkStream"]

#: Bytes asked for by the first batch, and by the largest: each is twice the one before.
_FIRST_BATCH = 256 << 10
_MAX_BATCH = 4 << 20
#: Bytes still to come from which a consumer is worth its creation.
_CONSUMER_FROM = 8 << 20
#: Bytes that the server counts for a chunk beside its payload.
_CHUNK_OVERHEAD = 1024
#: Seconds between attempts while the stream has no leader.
_RETRY_INTERVAL = 0.1
#: Seconds without a chunk after which the leader is asked whether there is one.
_DOUBT = 2.0


class _Source(Protocol):
    """Where chunks come from: a direct-get batch or a consumer."""

    exhausted: bool

    def next(self, timeout: float | None) -> StreamMessage | None: ...
    def close(self) -> None: ...
    def abandon(self) -> None: ...


class ChunkStream:
    """
    The bytes of one version of an object. For one thread.

    Args:
        info: The version; not a link, and with at least one byte.

    Attributes:
        position: Of the next byte.
    """

    def __init__(self, bucket: Bucket, info: ObjectInfo) -> None:
        self._bucket = bucket
        self._info = info
        self._subject = naming.chunk_subject(bucket.name, info.nuid)
        self._chunk_size = info.chunk_size or DEFAULT_CHUNK_SIZE
        self._direct = bucket.allow_direct
        self._single = info.chunks == 1  # until a chunk says otherwise
        self._index: _ChunkIndex | None = None
        self._source: _Source | None = None
        self._sought = False  # whether the next read is the first behind a seek
        self.position = 0
        self._start_at(1, 0)

    def _start_at(self, stream_seq: int, skip: int) -> None:
        """Go on with the first chunk from a sequence on, without its first `skip` bytes."""
        self._drop_source()
        self._next_seq = stream_seq
        self._skip = skip
        self._expected: int | None = None  # index of the next chunk, if it is a guess
        self._pending: int | None = None  # chunks behind the last one taken, if known
        self._rest = memoryview(b"")  # of the last one taken
        self._batch = 0  # bytes asked for at once, the last time

    def _drop_source(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None

    def close(self) -> None:
        """Leave nothing behind on the server. Twice is fine."""
        self._drop_source()
        self._rest = memoryview(b"")

    def abandon(self) -> None:
        """Close, for finalizers."""
        if self._source is not None:
            self._source.abandon()

    # Positions

    def seek(self, position: int, deadline: Deadline) -> None:
        """Continue at `position`; finds the chunk that holds it, but does not fetch it."""
        ahead = position - self.position
        if 0 <= ahead <= len(self._rest):
            self._rest = self._rest[ahead:]
        elif position < self._chunk_size:
            # Within the first chunk, or behind it if that is a short one.
            self._start_at(1, position)
        else:
            if self._index is None:
                self._index = self._guess_index(deadline)
            self._jump(position)
        self._sought = ahead != 0
        self.position = position

    def _jump(self, position: int) -> None:
        assert self._index is not None
        self._single = False
        stream_seq, skip, expected = self._index.find(position)
        self._start_at(stream_seq, skip)
        self._expected = expected

    def _guess_index(self, deadline: Deadline) -> _ChunkIndex:
        """Find out where chunks are by the last one alone, if all are full; else by all."""
        last = self._sizes(deadline, "last")
        chunks, full = self._info.chunks, self._chunk_size
        if last:
            (last_seq, last_size), behind = last[-1], self._info.size - (chunks - 1) * full
            # None is larger than the chunk size: if the last one is what full ones before
            # it leave over, full they are. Foreign clients write short ones.
            if last_size == behind and self._info.chunk_size:
                return _EvenChunks(last_seq, chunks, full)
        return self._full_index(deadline)

    def _full_index(self, deadline: Deadline) -> _ChunkIndex:
        return _ListedChunks(self._sizes(deadline, "all"))

    def _sizes(self, deadline: Deadline, policy: str) -> list[tuple[int, int]]:
        """Return sequence and size of the last chunk, or of all, without their payloads."""
        consumer = OrderedConsumer(
            self._bucket.js,
            self._bucket.stream,
            self._subject,
            deadline,
            deliver_policy=policy,
            headers_only=True,
            message_size=0,
            until_empty=True,
        )
        sizes = []
        try:
            while not consumer.exhausted:
                message = consumer.next(deadline.remaining())
                if message is not None:
                    deadline.extend()
                    size = message.headers.get("Nats-Msg-Size", ["0"])[0]
                    sizes.append((message.stream_seq, int(size)))
                    if message.pending == 0 and policy == "last":
                        break
                elif not consumer.exhausted:
                    raise RequestTimeoutError(
                        f"{self._bucket.stream} has not sent anything for {deadline.timeout} s"
                    )
        finally:
            consumer.close()
        return sizes

    # Bytes

    def read_into(self, buffer: memoryview, deadline: Deadline) -> int:
        """
        Fill `buffer` from the current position on, up to the end of the object.

        Returns:
            The number of bytes: less than asked for only at the end.

        Raises:
            TruncatedObjectError: If chunks are missing.
            ObjectChangedError: If they are missing because the object was changed.
            RequestTimeoutError: If nothing comes for as long as `deadline` allows.
        """
        wanted = min(len(buffer), self._info.size - self.position)
        filled = 0
        while filled < wanted:
            if not self._rest:
                self._rest = self._next_chunk(wanted - filled, deadline)
            piece = self._rest[: wanted - filled]
            buffer[filled : filled + len(piece)] = piece
            self._rest = self._rest[len(piece) :]
            filled += len(piece)
            self.position += len(piece)
        return filled

    def surplus(self, deadline: Deadline) -> bytes:
        """Return a few of the bytes behind the end: there must be none."""
        while not self._rest and self._pending:
            message = self._take(1, deadline)
            if message is None:
                break
            self._rest = memoryview(message.payload)
        return bytes(self._rest[:64])

    def _next_chunk(self, wanted: int, deadline: Deadline) -> memoryview:
        """Return the next chunk with bytes in it, without those to be skipped."""
        while True:
            message = self._take(wanted, deadline)
            if message is None:
                message = self._ask_leader(deadline)
            if not self._is_expected(message):
                self._index = self._full_index(deadline)
                self._jump(self.position)
                continue
            if self._single and len(message.payload) != self._info.size:
                # The last of several, for one because an empty one was not counted.
                self._single = False
                self._start_at(1, self._skip)
                continue
            chunk = memoryview(message.payload)
            skipped = min(self._skip, len(chunk))
            self._skip -= skipped
            if len(chunk) > skipped:
                return chunk[skipped:]

    def _is_expected(self, message: StreamMessage) -> bool:
        """Whether the chunk at a guessed sequence is the one that was meant."""
        expected, self._expected = self._expected, None
        if expected is None:
            return True
        return message.pending == self._info.chunks - 1 - expected

    def _take(self, wanted: int, deadline: Deadline) -> StreamMessage | None:
        """Return the next chunk; None if where they come from there is none."""
        gave_any = True
        while True:
            try:
                if self._source is None:
                    if self._pending == 0 or not gave_any:
                        return None
                    self._source = self._open_source(wanted, deadline)
                    gave_any = False
                message = self._source.next(deadline.at_most(_DOUBT))
                silent = message is None and not self._source.exhausted
                if silent and not deadline.expired and self._is_end(deadline):
                    return None
            except ConnectionLostError:
                if self._bucket.js.connection.state is State.CLOSED:
                    raise
                self._drop_source()
                gave_any = True  # or would have: ask again
                continue
            except (NoRespondersError, JetStreamError) as error:
                if not self._direct or (isinstance(error, JetStreamError) and error.err_code):
                    self._wait_for_leader(error, deadline)
                # This bucket allows no direct get, or not now, or it is gone.
                self._direct = False
                self._drop_source()
                gave_any = True
                continue
            if message is not None:
                deadline.extend()
                self._next_seq = message.stream_seq + 1
                self._pending = message.pending
                return message
            if self._source.exhausted:
                self._drop_source()
            elif deadline.expired:
                raise RequestTimeoutError(
                    f"object {self._info.name!r:.60}: no chunk came for {deadline.timeout} s"
                )
            elif isinstance(self._source, DirectGet):
                # There is a chunk, and who answers direct gets does not answer this one.
                self._direct = False
                self._drop_source()
                gave_any = True

    def _is_end(self, deadline: Deadline) -> bool:
        """Whether nothing comes because nothing is left."""
        return self._pending == 0 or self._leader_message(deadline) is None

    def _wait_for_leader(
        self, error: NoRespondersError | JetStreamError, deadline: Deadline
    ) -> None:
        """Let a stream elect its leader, if that is what it lacks; raise what it is otherwise."""
        if isinstance(error, JetStreamError):
            if error.err_code != ErrorCode.CLUSTER_NOT_AVAILABLE or deadline.expired:
                raise error
        else:
            why = self._bucket.explain(error)
            if isinstance(why, BucketNotFoundError) or deadline.expired:
                raise why from error
        self._bucket.js.connection.closing.wait(deadline.at_most(_RETRY_INTERVAL))

    def _open_source(self, wanted: int, deadline: Deadline) -> _Source:
        """Ask for what comes next, in the way that suits its size."""
        js, stream = self._bucket.js, self._bucket.stream
        if self._direct and self._single and self._next_seq == 1:
            return DirectGet(js, f"{stream}.{self._subject}", None, deadline)
        # A batch that ended without word of what follows came from an old server.
        if self._batch and self._pending is None:
            self._direct = False
        left = self._info.size - self.position
        if self._sought:
            size = min(wanted + self._skip, _MAX_BATCH)
        else:
            size = min(max(self._batch * 2, _FIRST_BATCH, wanted), _MAX_BATCH)
        if self._direct and (left <= _CONSUMER_FROM or size < _MAX_BATCH):
            self._sought = False
            self._batch = size
            # As many chunks as that takes, unless they are so small that the rest counts.
            most = 1 + _MAX_BATCH // (self._chunk_size + _CHUNK_OVERHEAD)
            count = min(-(-size // self._chunk_size), most)
            body = {
                "seq": self._next_seq,
                "next_by_subj": self._subject,
                "batch": count,
                "max_bytes": max(size, self._chunk_size) + _CHUNK_OVERHEAD * count,
            }
            return DirectGet(js, stream, body, deadline)
        consumer = OrderedConsumer(
            js,
            stream,
            self._subject,
            deadline,
            start_seq=self._next_seq,
            message_size=self._chunk_size,
        )
        if consumer.pending == 0:
            consumer.exhausted = True
        return consumer

    def _leader_message(self, deadline: Deadline) -> StreamMessage | None:
        return self._bucket.js.next_message(
            self._bucket.stream, self._subject, self._next_seq, deadline
        )

    def _ask_leader(self, deadline: Deadline) -> StreamMessage:
        """Return the next chunk from the leader, or say why there is none."""
        message = self._leader_message(deadline)
        if message is not None:
            self._next_seq = message.stream_seq + 1
            self._pending = None
            return message
        self._drop_source()
        info = self._bucket.meta(self._info.name, deadline)
        if info is None or info.deleted:
            raise ObjectChangedError(
                self._bucket.name, self._info.name, "it was deleted while it was read"
            )
        if info.nuid != self._info.nuid:
            raise ObjectChangedError(
                self._bucket.name, self._info.name, "it was overwritten while it was read"
            )
        raise TruncatedObjectError(
            self._bucket.name, self._info.name, self.position, self._info.size
        )


class _ChunkIndex(Protocol):
    """Knows where chunks are."""

    def find(self, position: int) -> tuple[int, int, int | None]:
        """Return a sequence, the bytes to skip in that chunk, and its index if guessed."""


class _EvenChunks:
    """Full chunks, in all likelihood one after the other in the stream."""

    def __init__(self, last_seq: int, chunks: int, chunk_size: int) -> None:
        self._last_seq = last_seq
        self._chunks = chunks
        self._chunk_size = chunk_size

    def find(self, position: int) -> tuple[int, int, int | None]:
        index, skip = divmod(position, self._chunk_size)
        stream_seq = self._last_seq - (self._chunks - 1 - index)
        return max(stream_seq, 1), skip, index


class _ListedChunks:
    """Chunks of any size, anywhere in the stream."""

    def __init__(self, sizes: list[tuple[int, int]]) -> None:
        self._sequences = [stream_seq for stream_seq, _ in sizes]
        self._ends: list[int] = []
        self._end = 0
        for _, size in sizes:
            self._end += size
            self._ends.append(self._end)
        self._next_seq = self._sequences[-1] + 1 if self._sequences else 1

    def find(self, position: int) -> tuple[int, int, int | None]:
        place = bisect.bisect_right(self._ends, position)
        if place == len(self._ends):
            # Behind all there is, or all that a replica which lags knows of.
            return self._next_seq, position - self._end, None
        start = self._ends[place - 1] if place else 0
        return self._sequences[place], position - start, None
