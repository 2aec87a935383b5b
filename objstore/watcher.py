"""
`ObjectWatcher`: what is in a bucket, and then what changes.

One ordered consumer reads the metas that are there until the server has no more, and goes
on with those that come: nothing lies between the two, and a lost connection only delays.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from types import TracebackType

from objstore import naming
from objstore.bucket import Bucket, bucket_errors
from objstore.core.connection import State
from objstore.core.deadline import DEFAULT_TIMEOUT, Deadline
from objstore.errors import (
    BucketNotFoundError,
    ConnectionLostError,
    ObjStoreError,
    RequestTimeoutError,
)
from objstore.jetstream.api import may_pass
from objstore.jetstream.consumer import OrderedConsumer
from objstore.jetstream.messages import StreamMessage
from objstore.listing import Horizon, decode_or_skip, newest
from objstore.models import ObjectInfo

__all__ = ["ObjectWatcher"]

#: Seconds that a replica which lags gets to catch up before it is asked again; twice as many
#: each time that nothing comes, up to a limit.
_LAG = 0.001
_MAX_LAG = 0.25
#: Seconds that a leader gets to answer, before it is seen whether anybody still waits for that.
_PATIENCE = 1.0


class ObjectWatcher:
    """
    Yields infos of what is there, then one None, then infos of what changes.

    Iterating waits for changes for ever; `stop()`, from any thread, ends it, and so does
    leaving a `with` block, or closing the client.

    Args:
        include_history: Begin with every version that is stored, not only the last.
        ignore_deletes: Leave deleted objects out.
        updates_only: Leave out what is there, and the None.
        prefix: Only objects whose names begin so.

    Example:
        >>> with store.watch() as watcher:
        ...     for info in watcher:
        ...         if info is None:
        ...             break  # that was all there is

    Source: ADR-20, "Watch".
    """

    def __init__(
        self,
        bucket: Bucket,
        *,
        include_history: bool = False,
        ignore_deletes: bool = False,
        updates_only: bool = False,
        prefix: str = "",
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> None:
        if include_history and updates_only:
            raise ValueError("include_history and updates_only exclude each other")
        self._bucket = bucket
        self._ignore_deletes = ignore_deletes
        self._include_history = include_history
        self._prefix = prefix
        self._stopped = False
        self._ready: deque[ObjectInfo | None] = deque()
        # Metas that were there, gathered until the last of them has come.
        self._initial: list[StreamMessage] | None = None if updates_only else []
        deadline = Deadline(timeout)
        self._created = bucket.stream_info(deadline).get("created")
        start_seq = None
        if updates_only and bucket.replicated:
            # One that lags may serve us: where "now" is, only the leader knows.
            start_seq = bucket.last_meta_seq(deadline) + 1
        with bucket_errors(bucket.name):
            self._consumer = OrderedConsumer(
                bucket.js,
                bucket.stream,
                naming.meta_subjects(bucket.name),
                deadline,
                deliver_policy="new" if updates_only else "all",
                start_seq=start_seq,
                until_empty=not updates_only,
                check=self._check_is_same,
            )
        self._horizon = Horizon()
        self._lag = _LAG
        self._ask(deadline)

    def __repr__(self) -> str:
        return f"<ObjectWatcher of {self._bucket.name}{': stopped' if self._stopped else ''}>"

    def next(self, timeout: float | None = None) -> ObjectInfo | None:
        """
        Return the next info, or the one None between what was there and what changes.

        Args:
            timeout: Seconds to wait; None waits for ever.

        Raises:
            RequestTimeoutError: If nothing changes in time; the watch goes on.
            ValueError: If the watcher is stopped.
            BucketNotFoundError: If the bucket is deleted, or deleted and made anew.
            ConnectionLostError: If the client is closed.
        """
        deadline = Deadline(timeout)
        while not self._ready:
            if self._stopped:
                raise ValueError("the watcher is stopped")
            message = self._next_message(deadline)
            if message is not None:
                self._lag = _LAG
                if self._initial is None or self._include_history:
                    self._show(message)
                else:
                    self._initial.append(message)
            elif self._consumer.exhausted:
                self._end_initial(deadline)
            elif deadline.expired:
                raise RequestTimeoutError(
                    f"bucket {self._bucket.name}: no change within {timeout} s"
                )
        return self._ready.popleft()

    def _next_message(self, deadline: Deadline) -> StreamMessage | None:
        try:
            with bucket_errors(self._bucket.name):
                return self._consumer.next(deadline.remaining())
        except ConnectionLostError:
            if self._stopped:
                raise ValueError("the watcher is stopped") from None
            raise

    def _check_is_same(self, deadline: Deadline) -> None:
        """Refuse a bucket that was made anew: its revisions have nothing to do with those seen."""
        with bucket_errors(self._bucket.name):
            info = self._bucket.js.stream_info(self._bucket.stream, deadline)
        if info.get("created") != self._created:
            raise BucketNotFoundError(
                self._bucket.name, "it was deleted and made anew; watch the new one"
            )

    def _ask(self, deadline: Deadline) -> None:
        """Let changes come as they happen, before later ones of the same name replace them."""
        # If not now, then when `next` waits for one.
        with contextlib.suppress(ConnectionLostError, RequestTimeoutError):
            self._consumer.ask(deadline)

    def _end_initial(self, deadline: Deadline) -> None:
        """Show what was there, then the marker, and go on with what comes."""
        if not self._is_end(deadline):
            self._bucket.js.connection.closing.wait(deadline.at_most(self._lag))
            self._lag = min(2 * self._lag, _MAX_LAG)
            self._consumer.follow(until_empty=True)
            return
        for message in newest(iter(self._initial or ())):
            self._show(message)
        self._initial = None
        self._ready.append(None)
        self._consumer.follow()
        self._ask(deadline)

    def _is_end(self, deadline: Deadline) -> bool:
        """Whether this really is all that was there: as in a listing, the leader says so."""
        try:
            last = self._bucket.last_meta_seq(Deadline(deadline.at_most(_PATIENCE)))
            return self._horizon.is_reached(self._consumer.stream_seq, last)
        except ObjStoreError as error:
            is_over = deadline.expired or self._bucket.js.connection.state is State.CLOSED
            if is_over or not may_pass(error):
                raise
            return False  # the next leader, or connection, will tell

    def _show(self, message: StreamMessage) -> None:
        self._bucket.session.saw(message.subject, message.stream_seq, listed=True)
        info = decode_or_skip(self._bucket, message)
        if info is None or not info.name.startswith(self._prefix):
            return
        if not (info.deleted and self._ignore_deletes):
            self._ready.append(info)

    def stop(self) -> None:
        """End the watch, from any thread. Twice is fine."""
        if not self._stopped:
            self._stopped = True
            self._consumer.stop()
            self._consumer.close()

    def __iter__(self) -> Iterator[ObjectInfo | None]:
        while not self._stopped:
            try:
                info = self.next()
            except ValueError:
                if self._stopped:
                    return
                raise
            except ConnectionLostError:
                if self._bucket.js.connection.was_closed:
                    return  # our own client: that is no surprise
                raise
            yield info

    def __enter__(self) -> ObjectWatcher:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __del__(self) -> None:
        # Finalizers take no lock: the server hears of it with the next command.
        consumer = getattr(self, "_consumer", None)
        if consumer is not None and not self._stopped:
            consumer.abandon()
