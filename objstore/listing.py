"""
All metas of a bucket at one moment, the newest of each object.

A listing that ends "when nothing is pending" misses objects that are overwritten while it
runs. Two ways miss none: a direct get of the last message of every subject, which is a
snapshot and serves up to 1,024 objects, and a consumer of all metas, read until the server
has no more.

Either may come from a replica that lags. So the leader is asked first which meta is the
last one, and a listing that ends before it is not the end.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import TypeVar

from objstore import naming
from objstore.bucket import Bucket, bucket_errors
from objstore.core.deadline import Deadline
from objstore.errors import (
    BadObjectMetaError,
    JetStreamError,
    NoRespondersError,
    RequestTimeoutError,
)
from objstore.jetstream.consumer import OrderedConsumer
from objstore.jetstream.direct import DirectGet
from objstore.jetstream.messages import StreamMessage
from objstore.models import ObjectInfo

__all__ = ["decode_or_skip", "iterate_infos", "iterate_metas", "iterate_names", "newest"]

_T = TypeVar("_T")

logger = logging.getLogger(__name__)

#: Objects that one direct get can list (nats-server).
_MAX_SNAPSHOT = 1024
#: Seconds without a message after which a snapshot is given up.
_SILENCE = 2.0
#: Times that the end of a bucket is looked for that never rests.
_HORIZONS = 3
#: Seconds that a replica which lags gets to catch up before it is asked again.
_LAG = 0.001


def iterate_metas(bucket: Bucket, deadline: Deadline) -> Iterator[StreamMessage]:
    """Yield the last message of every meta subject, whatever it holds, in order."""
    yield from newest(_messages(bucket, deadline))


def iterate_infos(bucket: Bucket, deadline: Deadline) -> Iterator[ObjectInfo]:
    """Yield the info of every object, deleted ones too, in the order of their last change."""
    found: dict[str, tuple[str, ObjectInfo]] = {}
    for subject, info in _newest(_decoded(bucket, deadline)).items():
        shown = found.get(info.name)
        if shown is None or _rank(subject, info) >= _rank(*shown):
            # Out and in again, so that the order is that of the last change.
            found.pop(info.name, None)
            found[info.name] = subject, info
    for _, info in found.values():
        yield info


def iterate_names(bucket: Bucket, deadline: Deadline) -> Iterator[str]:
    """
    Yield the name of every object that is not deleted, in the order of their last change.

    Of each no more than that is held, however many there are.
    """
    names = _newest(
        (subject, None if info is None or info.deleted else info.name)
        for subject, info in _decoded(bucket, deadline)
    )
    yield from dict.fromkeys(names.values())


def _decoded(bucket: Bucket, deadline: Deadline) -> Iterator[tuple[str, ObjectInfo | None]]:
    """Yield subject and info of every meta; None for one that cannot be read."""
    for message in _messages(bucket, deadline):
        bucket.session.saw(message.subject, message.stream_seq, listed=True)
        yield message.subject, decode_or_skip(bucket, message)


def _messages(bucket: Bucket, deadline: Deadline) -> Iterable[StreamMessage]:
    """Return every meta that there is, in order; of a subject there may be several."""
    horizon = bucket.last_meta_seq(deadline) if bucket.replicated else 0
    messages = _snapshot(bucket, horizon, deadline)
    return _consume(bucket, deadline) if messages is None else messages


def _newest(items: Iterable[tuple[str, _T | None]]) -> dict[str, _T]:
    """Return the last item of each subject, in order; without those that are None."""
    last: dict[str, _T] = {}
    for subject, item in items:
        # Out and in again, so that the order is that of the last change.
        last.pop(subject, None)
        if item is not None:
            last[subject] = item
    return last


def _rank(subject: str, info: ObjectInfo) -> tuple[bool, bool]:
    """
    Tell which of two entries of one name is to be shown: the greater one.

    Some clients store names under subjects of their own. What is there counts more than
    what is deleted; and then, what `get` finds by the name.
    """
    return not info.deleted, naming.name_of(subject) == info.name


def decode_or_skip(bucket: Bucket, message: StreamMessage) -> ObjectInfo | None:
    """Return the info in a meta message; None, with a warning in the log, if it has none."""
    try:
        return bucket.decode(message)
    except BadObjectMetaError as error:
        logger.warning("skipped message %d: %s", message.stream_seq, error)
        return None


def newest(messages: Iterable[StreamMessage]) -> list[StreamMessage]:
    """Return the last message of each subject, in the order of the stream."""
    return list(_newest((message.subject, message) for message in messages).values())


def _snapshot(bucket: Bucket, horizon: int, deadline: Deadline) -> list[StreamMessage] | None:
    """Return the last message of every meta subject; None if that way is closed."""
    if not bucket.allow_direct:
        return None
    patience = Deadline(deadline.timeout)
    while True:
        messages = bucket.js.persist(lambda: _take_snapshot(bucket, deadline), deadline)
        if messages is None or not horizon or (messages and messages[-1].stream_seq >= horizon):
            return messages
        horizon = _wait_for_replica(bucket, horizon, patience)


def _take_snapshot(bucket: Bucket, deadline: Deadline) -> list[StreamMessage] | None:
    body = {"multi_last": [naming.meta_subjects(bucket.name)], "batch": _MAX_SNAPSHOT}
    batch = DirectGet(bucket.js, bucket.stream, body, deadline)
    messages = []
    try:
        while not batch.exhausted:
            message = batch.next(deadline.at_most(_SILENCE))
            if message is not None:
                deadline.extend()
                messages.append(message)
                if message.pending is None:
                    return None  # an old server, which understood something else
            elif not batch.exhausted:
                return None  # who was asked is gone, and the other way will tell why
    except (JetStreamError, NoRespondersError):
        return None  # too many objects, too old a server, or no direct gets
    finally:
        batch.close()
    return sorted(messages, key=lambda message: message.stream_seq)


def _consume(bucket: Bucket, deadline: Deadline) -> Iterator[StreamMessage]:
    """
    Yield every meta message that there is.

    A consumer says that there is no more when it serves a replica that lags, and also when
    metas are being replaced, for its count of what is left suffers from that. So the leader
    says where the end is; more than once, for what was replaced while the way there was
    gone is behind it.
    """
    horizons = 0
    horizon: int | None = None
    patience = Deadline(deadline.timeout)
    with bucket_errors(bucket.name):
        consumer = OrderedConsumer(
            bucket.js,
            bucket.stream,
            naming.meta_subjects(bucket.name),
            deadline,
            until_empty=True,
        )
        try:
            while True:
                message = consumer.next(deadline.remaining())
                if message is not None:
                    deadline.extend()
                    patience.extend()
                    while message is not None:
                        yield message
                        message = consumer.ready()
                    continue
                if not consumer.exhausted or patience.expired:
                    raise _no_progress(bucket, deadline)
                last = bucket.last_meta_seq(deadline)
                if consumer.stream_seq >= last:
                    return
                if horizon is None or consumer.stream_seq >= horizon:
                    if horizons == _HORIZONS:
                        return
                    horizons += 1
                    horizon = last
                bucket.js.connection.closing.wait(_LAG)
                consumer.follow(until_empty=True)
        finally:
            consumer.close()


def _wait_for_replica(bucket: Bucket, horizon: int, patience: Deadline) -> int:
    """Let a replica catch up; return what it has to reach, should that be gone meanwhile."""
    if patience.expired:
        raise _no_progress(bucket, patience)
    bucket.js.connection.closing.wait(_LAG)
    return min(horizon, bucket.last_meta_seq(patience))


def _no_progress(bucket: Bucket, deadline: Deadline) -> RequestTimeoutError:
    return RequestTimeoutError(f"bucket {bucket.name}: no listing for {deadline.timeout} s")
