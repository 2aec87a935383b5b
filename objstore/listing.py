"""
All metas of a bucket at one moment, the newest of each object.

A listing that ends "when nothing is pending" misses objects that are overwritten while it
runs. Three ways miss none:

- a direct get of the last message of every subject: a snapshot, of up to 1,024 objects;
- for more, a consumer of all metas, read until the server has no more;
- where the server knows no such snapshot, the subjects that it has and then the last
  message of each, of the leader. It takes twice the time, but the consumers of nats-server
  2.9 skip what is overwritten, and wait for what is no longer there.

The first two may come from a replica, or a mirror, that lags. So the leader is asked which
meta is the last one, and a listing that ends before it is not the end.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from itertools import chain, islice
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
from objstore.exchange import Exchange
from objstore.jetstream.api import encode_last_by_subject, message_or_none
from objstore.jetstream.consumer import OrderedConsumer
from objstore.jetstream.direct import DirectGet
from objstore.jetstream.messages import StreamMessage
from objstore.models import ObjectInfo

__all__ = ["Horizon", "decode_or_skip", "iterate_infos", "iterate_metas", "iterate_names", "newest"]

_T = TypeVar("_T")

logger = logging.getLogger(__name__)

#: Objects that one direct get can list, and the code of the refusal of more (nats-server).
_MAX_SNAPSHOT = 1024
_TOO_MANY = 413
#: Bytes of a meta: with it comes how many may be asked for at once.
_META_SIZE = 256
#: Dots in the subject of a meta that belongs to a name.
_META_DOTS = 3
#: Messages that are asked for at once, one by one.
_BATCH = 512
#: Seconds without a message after which a snapshot is given up.
_SILENCE = 2.0
#: Times that the end of a bucket is looked for that never rests.
_HORIZONS = 3
#: Seconds that a replica which lags gets to catch up before it is asked again.
_LAG = 0.001


class Horizon:
    """
    Where a bucket ends for who reads its metas with a consumer, while others write.

    A consumer says that there is no more when it serves a replica that lags, and also when
    metas are being replaced, for its count of what is left suffers from that. So the leader
    says where the end is; more than once, for what was replaced while the way there was
    gone is behind it.
    """

    def __init__(self) -> None:
        self._left = _HORIZONS
        self._seq: int | None = None

    def is_reached(self, seq: int, last: int) -> bool:
        """
        Whether who has come to `seq` has seen what there was.

        Args:
            last: Sequence of the last meta that the leader has now.
        """
        if seq >= last:
            return True
        if self._seq is None or seq >= self._seq:
            if not self._left:
                return True
            self._left -= 1
            self._seq = last
        return False


def iterate_metas(bucket: Bucket, deadline: Deadline) -> Iterator[StreamMessage]:
    """Yield the last message of every meta subject, whatever it holds, in order."""
    yield from newest(chain.from_iterable(_pages(bucket, deadline)))


def iterate_infos(bucket: Bucket, deadline: Deadline) -> Iterator[ObjectInfo]:
    """Yield the info of every object, deleted ones too, in the order of their last change."""
    infos = _newest(_decoded(bucket, deadline)).values()
    # Twice is a name only where another client has stored it elsewhere.
    if len({info.name for info in infos}) == len(infos):
        yield from infos
        return
    found: dict[str, ObjectInfo] = {}
    for info in infos:
        shown = found.get(info.name)
        if shown is None:
            found[info.name] = info
        elif _rank(info) >= _rank(shown):
            # Out and in again, so that the order is that of the last change.
            del found[info.name]
            found[info.name] = info
    yield from found.values()


def iterate_names(bucket: Bucket, deadline: Deadline) -> Iterator[str]:
    """
    Yield the name of every object that is not deleted, in the order of their last change.

    Of each no more than that is held, however many there are. A name that does not lead to
    its object, for another client has stored that elsewhere, is none.
    """
    names: dict[str, None] = {}
    for subject, info in _decoded(bucket, deadline):
        if subject.count(".") != _META_DOTS:
            continue  # belongs to no name
        if info is None or info.subject:
            names.pop(naming.name_of(subject) or "", None)
            continue
        # Out and in again, so that the order is that of the last change.
        names.pop(info.name, None)
        if not info.deleted:
            names[info.name] = None
    yield from names


def _decoded(bucket: Bucket, deadline: Deadline) -> Iterator[tuple[str, ObjectInfo | None]]:
    """Yield subject and info of every meta; None for one that cannot be read."""
    for messages in _pages(bucket, deadline):
        for message in messages if bucket.replicated else ():
            bucket.session.saw(message.subject, message.stream_seq, listed=True)
        for message in messages:
            yield message.subject, decode_or_skip(bucket, message)


def _pages(bucket: Bucket, deadline: Deadline) -> Iterable[list[StreamMessage]]:
    """Return every meta that there is, in order; of a subject there may be several."""
    try:
        messages = _snapshot(bucket, deadline)
    except JetStreamError as error:
        if error.code != _TOO_MANY:
            raise
        return _consume(bucket, deadline)
    if messages is None:
        messages = bucket.js.persist(lambda: list(_fetch(bucket, deadline)), deadline)
    return [sorted(messages, key=lambda message: message.stream_seq)]


def _newest(items: Iterable[tuple[str, _T | None]]) -> dict[str, _T]:
    """Return the last item of each subject, in order; without those that are None."""
    last: dict[str, _T] = {}
    for subject, item in items:
        # Out and in again, so that the order is that of the last change.
        last.pop(subject, None)
        if item is not None:
            last[subject] = item
    return last


def _rank(info: ObjectInfo) -> tuple[bool, bool]:
    """
    Tell which of two entries of one name is to be shown: the greater one.

    Some clients store names under subjects of their own. What is there counts more than
    what is deleted; and then, what `get` finds by the name.
    """
    return not info.deleted, not info.subject


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


def _snapshot(bucket: Bucket, deadline: Deadline) -> list[StreamMessage] | None:
    """
    Return the last message of every meta subject, from whoever answers for the bucket.

    Returns:
        The messages; None if nobody answers, or if that one lags behind the leader.

    Raises:
        JetStreamError: If there are too many, with code 413.
    """
    if not bucket.allow_direct:
        return None
    leader = bucket.ask_last_meta(deadline)
    try:
        messages = bucket.js.persist(lambda: _take_snapshot(bucket, deadline), deadline)
        if messages is None:
            return None
        horizon = bucket.take_last_meta_seq(leader, deadline)
    finally:
        leader.forget()
    last = max((message.stream_seq for message in messages), default=0)
    return messages if last >= horizon else None


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
    except NoRespondersError:
        return None  # no direct gets
    except JetStreamError as error:
        if error.code == _TOO_MANY:
            raise
        return None  # too old a server
    finally:
        batch.close()
    return messages


def _fetch(bucket: Bucket, deadline: Deadline) -> Iterator[StreamMessage]:
    """Yield the last message of every meta subject, each asked for by itself, of the leader."""
    ask_last = bucket.js.subject(f"STREAM.MSG.GET.{bucket.stream}")
    with bucket_errors(bucket.name):
        subjects = bucket.js.stored_subjects(
            bucket.stream, naming.meta_subjects(bucket.name), deadline
        )
        while batch := list(islice(subjects, _BATCH)):
            with Exchange(bucket, deadline) as exchange:
                for number, subject in enumerate(batch):
                    exchange.add(number, ask_last, encode_last_by_subject(subject))
                exchange.send()
                for _, answer in exchange.answers():
                    message = message_or_none(answer)
                    if message is not None:  # else it was purged meanwhile
                        yield message


def _consume(bucket: Bucket, deadline: Deadline) -> Iterator[list[StreamMessage]]:
    """Yield every meta message that there is, as many at a time as come together."""
    horizon = Horizon()
    patience = Deadline(deadline.timeout)
    with bucket_errors(bucket.name):
        consumer = OrderedConsumer(
            bucket.js,
            bucket.stream,
            naming.meta_subjects(bucket.name),
            deadline,
            message_size=_META_SIZE,
            until_empty=True,
        )
        try:
            while True:
                messages = consumer.page(deadline.remaining())
                if messages:
                    deadline.extend()
                    patience.extend()
                    yield messages
                    continue
                if not consumer.exhausted or patience.expired:
                    raise _no_progress(bucket, deadline)
                if horizon.is_reached(consumer.stream_seq, bucket.last_meta_seq(deadline)):
                    return
                bucket.js.connection.closing.wait(_LAG)
                consumer.follow(until_empty=True)
        finally:
            consumer.close()


def _no_progress(bucket: Bucket, deadline: Deadline) -> RequestTimeoutError:
    return RequestTimeoutError(f"bucket {bucket.name}: no listing for {deadline.timeout} s")
