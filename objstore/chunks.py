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
import itertools
from collections.abc import Sequence
from typing import NamedTuple, NoReturn, Protocol, TypeVar

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
    ObjStoreError,
    RequestTimeoutError,
    TruncatedObjectError,
)
from objstore.jetstream.api import ErrorCode
from objstore.jetstream.consumer import OrderedConsumer
from objstore.jetstream.direct import DirectGet
from objstore.jetstream.messages import StreamMessage
from objstore.models import DEFAULT_CHUNK_SIZE, ObjectInfo

__all__ = ["ChunkStream", "ask_ahead"]

_T = TypeVar("_T")

#: Bytes asked for by the first batch, and by the largest: each is twice the one before.
_FIRST_BATCH = 256 << 10
_MAX_BATCH = 4 << 20
#: Bytes still to come from which a consumer is worth its creation.
_CONSUMER_FROM = 8 << 20
#: Bytes that the server counts for a chunk beside its payload.
_CHUNK_OVERHEAD = 1024
#: Seconds between attempts while the stream has no leader.
_RETRY_INTERVAL = 0.1
#: Seconds that a replica which lags gets to catch up.
_LAG_TIMEOUT = 2.0
#: Seconds without a chunk after which the leader is asked whether there is one.
_DOUBT = 2.0


class _Source(Protocol):
    """Where chunks come from: a direct-get batch or a consumer."""

    exhausted: bool

    def next(self, timeout: float | None) -> StreamMessage | None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...
    def abandon(self) -> None: ...


def ask_ahead(bucket: Bucket, name: str, deadline: Deadline) -> DirectGet | None:
    """
    Ask for the only chunk of what a name led to lately, together with the next request.

    Returns:
        What is for the `ChunkStream`; None if the name is not known, or chunks come another
        way.
    """
    nuid = bucket.recent.guess(name) if bucket.allow_direct else None
    if nuid is None:
        return None
    target = f"{bucket.stream}.{naming.chunk_subject(bucket.name, nuid)}"
    return DirectGet(bucket.js, target, None, deadline, ahead=True)


class _Chunk(NamedTuple):
    """A chunk without its bytes."""

    stream_seq: int
    size: int
    behind: int | None  # number of chunks that follow


class ChunkStream:
    """
    The bytes of one version of an object. For one thread.

    Args:
        info: The version; not a link, and with at least one byte.
        partial: Whether less than all is to be read, so that no digest will tell of a gap.
        ahead: What `ask_ahead` asked for.

    Attributes:
        position: Of the next byte.
    """

    def __init__(
        self,
        bucket: Bucket,
        info: ObjectInfo,
        *,
        partial: bool,
        ahead: DirectGet | None = None,
    ) -> None:
        self._bucket = bucket
        self._info = info
        self._partial = partial
        self._subject = naming.chunk_subject(bucket.name, info.nuid)
        self._chunk_size = info.chunk_size or DEFAULT_CHUNK_SIZE
        self._direct = bucket.allow_direct
        self._single = info.chunks == 1  # until a chunk says otherwise
        self._index: _ChunkIndex | None = None
        self._source: _Source | None = None
        self._closed = False
        self._sought = False  # whether the next read is the first behind a seek
        self.position = 0
        self._start_at(1, 0)
        if ahead is not None and self._single and ahead.target == self._only_target:
            self._source = ahead
        elif ahead is not None:
            ahead.close()

    @property
    def _only_target(self) -> str:
        """What a direct get asks for if there is one chunk."""
        return f"{self._bucket.stream}.{self._subject}"

    def _start_at(self, stream_seq: int, skip: int) -> None:
        """Go on with the first chunk from a sequence on, without its first `skip` bytes."""
        self._drop_source()
        self._next_seq = stream_seq
        self._skip = skip
        self._place = 0  # number of the next chunk
        self._pending: int | None = None  # chunks behind the last one taken, if known
        self._rest = memoryview(b"")  # of the last one taken
        self._batch = 0  # bytes asked for at once, the last time

    def _drop_source(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.stop()
            source.close()

    def lose_place(self) -> None:
        """Forget how far reading came: it was interrupted."""
        self._drop_source()
        self._rest = memoryview(b"")
        self.position = -1

    def close(self) -> None:
        """
        Leave nothing behind on the server. Twice is fine.

        Another thread that waits for a chunk raises ValueError.
        """
        self._closed = True
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
        if self.position >= 0 and 0 <= ahead <= len(self._rest):
            self._rest = self._rest[ahead:]
        elif position < self._chunk_size:
            # Within the first chunk, or behind it if that is a short one.
            self._start_at(1, position)
        else:
            if self._index is None:
                self._index = self._guess_index(deadline)
            self._jump(position)
        self._sought = ahead != 0
        self._partial = self._partial or self._sought
        self.position = position

    def _jump(self, position: int) -> None:
        assert self._index is not None
        self._single = False
        place, skip = self._index.find(position)
        self._start_at(self._index.sequences[place], skip)
        self._place = place

    def _guess_index(self, deadline: Deadline) -> _ChunkIndex:
        """Find out where chunks are by the first and the last, if all are full; else by all."""
        chunks, full = self._info.chunks, self._chunk_size
        first, last = self._list(deadline, "all", most=1), self._list(deadline, "last", most=1)
        if first and last and self._info.chunk_size:
            # Foreign clients write short ones. None is larger than the chunk size, so if the
            # last one is what full ones before it leave over, full they are.
            rest = self._info.size - (chunks - 1) * full
            distance = last[0].stream_seq - first[0].stream_seq
            full_ones = (last[0].size, distance, first[0].behind) == (rest, chunks - 1, chunks - 1)
            if full_ones and rest <= full:
                return _EvenChunks(first[0].stream_seq, chunks, full)
        return self._full_index(deadline)

    def _full_index(self, deadline: Deadline) -> _ChunkIndex:
        """Find out where chunks are by a list of all of them, without a gap."""
        patience = Deadline(_LAG_TIMEOUT if self._bucket.replicated else 0)
        limit = deadline.rest()
        while True:
            chunks = self._list(deadline, "all")
            if sum(chunk.size for chunk in chunks) >= self._info.size:
                return _ListedChunks(chunks)
            if limit.expired or (patience.expired and not self._leader_has_more(chunks, deadline)):
                self._raise_missing(deadline)
            self._bucket.js.connection.closing.wait(_RETRY_INTERVAL)  # for a replica that lags

    def _leader_has_more(self, chunks: list[_Chunk], deadline: Deadline) -> bool:
        """Whether these are not all of the chunks that are stored: who listed them lags."""
        if not self._bucket.replicated:
            return False
        info = self._bucket.js.stream_info(
            self._bucket.stream, deadline, subjects_filter=self._subject
        )
        return int((info["state"].get("subjects") or {}).get(self._subject, 0)) > len(chunks)

    def _list(self, deadline: Deadline, policy: str, most: int | None = None) -> list[_Chunk]:
        """Return the last chunk, or all of them, or so many, without their bytes."""
        return self._bucket.js.persist(lambda: self._list_once(deadline, policy, most), deadline)

    def _list_once(self, deadline: Deadline, policy: str, most: int | None) -> list[_Chunk]:
        consumer = OrderedConsumer(
            self._bucket.js,
            self._bucket.stream,
            self._subject,
            deadline,
            deliver_policy=policy,
            headers_only=True,
            message_size=0 if most is None else _CONSUMER_FROM,  # the fewer come ahead
            until_empty=True,
        )
        chunks: list[_Chunk] = []
        try:
            while not consumer.exhausted and len(chunks) != most:
                message = consumer.next(deadline.remaining())
                if message is not None:
                    deadline.extend()
                    size = int(message.headers.get("Nats-Msg-Size", ["0"])[0])
                    chunks.append(_Chunk(message.stream_seq, size, message.pending))
                elif not consumer.exhausted:
                    raise RequestTimeoutError(
                        f"{self._bucket.stream} has not sent anything for {deadline.timeout} s"
                    )
        finally:
            consumer.close()
        return chunks

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
        unknown = self._pending is None and not self._single
        while not self._rest and (self._pending or unknown):
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
                if isinstance(self._index, _ListedChunks):
                    self._raise_missing(deadline)
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
        """Whether this is the next chunk, and not one behind a gap."""
        place, self._place = self._place, self._place + 1
        if self._index is not None:
            sequences = self._index.sequences
            return place < len(sequences) and message.stream_seq == sequences[place]
        behind = self._info.chunks - 1 - place
        return not self._partial or self._single or message.pending == behind

    def _take(self, wanted: int, deadline: Deadline) -> StreamMessage | None:
        """Return the next chunk; None if where they come from there is none."""
        gave_any = True
        while True:
            try:
                source = self._source
                if source is None:
                    if self._pending == 0 or not gave_any:
                        return None
                    source = self._source = self._open_source(wanted, deadline)
                    gave_any = False
                message = source.next(deadline.at_most(_DOUBT))
                silent = message is None and not source.exhausted
                if silent and not deadline.expired and self._is_end(deadline):
                    return None
            except ConnectionLostError:
                if self._closed:
                    raise ValueError("the reader was closed by another thread") from None
                if self._bucket.js.connection.state is State.CLOSED or deadline.expired:
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
                if message.stream_seq < self._next_seq:
                    continue  # was taken already, whoever sends it again
                deadline.extend()
                self._next_seq = message.stream_seq + 1
                self._pending = message.pending
                return message
            if source.exhausted:
                self._drop_source()
            elif deadline.expired:
                raise RequestTimeoutError(
                    f"object {self._info.name!r:.60}: no chunk came for {deadline.timeout} s"
                )
            elif isinstance(source, DirectGet):
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
        why: ObjStoreError = error
        if isinstance(error, NoRespondersError):
            why = self._bucket.explain(error)
        elif error.err_code != ErrorCode.CLUSTER_NOT_AVAILABLE:
            raise error
        if not isinstance(why, BucketNotFoundError):
            self._bucket.js.connection.closing.wait(deadline.at_most(_RETRY_INTERVAL))
            if not deadline.expired:
                return
        raise why from error

    def _open_source(self, wanted: int, deadline: Deadline) -> _Source:
        """Ask for what comes next, in the way that suits its size."""
        js, stream = self._bucket.js, self._bucket.stream
        if self._direct and self._single and self._next_seq == 1:
            return DirectGet(js, self._only_target, None, deadline)
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
            size = js.connection.share(size)
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
        """Return the next chunk as a leader has it that knows the object; None if it has none."""
        bucket = self._bucket
        patience = Deadline(deadline.at_most(_LAG_TIMEOUT if bucket.replicated else 0))
        while True:
            message = bucket.js.next_message(bucket.stream, self._subject, self._next_seq, deadline)
            if message is not None and message.stream_seq >= self._next_seq:
                return message
            # One that was just elected, or was paused and has missed an election, may lag:
            # who has not got as far as the meta, which was stored behind the chunks.
            if patience.expired:
                return None
            if bucket.stream_info(deadline)["state"].get("last_seq", 0) >= self._info.revision:
                return None
            bucket.js.connection.closing.wait(patience.at_most(_RETRY_INTERVAL))

    def _ask_leader(self, deadline: Deadline) -> StreamMessage:
        """Return the next chunk from the leader, or say why there is none."""
        message = self._leader_message(deadline)
        if message is not None:
            # A consumer that served a replica which lags would come to this chunk yet.
            self._drop_source()
            self._next_seq = message.stream_seq + 1
            self._pending = None
            return message
        self._raise_missing(deadline)

    def _raise_missing(self, deadline: Deadline) -> NoReturn:
        """Say why there is no next chunk."""
        self._drop_source()
        info = self._bucket.meta(self._info, deadline)
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
    """
    Knows where chunks are.

    Attributes:
        sequences: Of all chunks, in order.
    """

    sequences: Sequence[int]

    def find(self, position: int) -> tuple[int, int]:
        """Return the number of the chunk that holds a position, and the bytes before it."""


class _EvenChunks:
    """Full chunks, one right after the other in the stream."""

    def __init__(self, first_seq: int, chunks: int, chunk_size: int) -> None:
        self.sequences: Sequence[int] = range(first_seq, first_seq + chunks)
        self._chunk_size = chunk_size

    def find(self, position: int) -> tuple[int, int]:
        return divmod(position, self._chunk_size)


class _ListedChunks:
    """Chunks of any size, anywhere in the stream."""

    def __init__(self, chunks: list[_Chunk]) -> None:
        self.sequences: Sequence[int] = [chunk.stream_seq for chunk in chunks]
        self._ends = list(itertools.accumulate(chunk.size for chunk in chunks))

    def find(self, position: int) -> tuple[int, int]:
        place = bisect.bisect_right(self._ends, position)
        return place, position - (self._ends[place - 1] if place else 0)
