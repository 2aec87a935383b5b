"""
Many small objects with several in flight, from one thread.

A batch of objects goes through the steps of `put` or `get` side by side: all its requests
go out in one write, then all answers are taken. What is not small, or does not go as
expected, takes the way of a single object.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from typing import Any, NamedTuple, TypeVar

from objstore import naming
from objstore.at_once import CommitAtOnce
from objstore.bucket import EXPECTED, Bucket
from objstore.commit import (
    ACK_TIMEOUT,
    Commit,
    Committed,
    Previous,
    check_meta_size,
    purge_chunks,
    purge_replaced,
    read_previous,
)
from objstore.core.connection import State
from objstore.core.deadline import Deadline
from objstore.core.nuid import next_nuid
from objstore.core.protocol import Buffer, Message
from objstore.core.request import Request
from objstore.digest import format_digest, new_hash, parse_digest
from objstore.errors import (
    ConnectionLostError,
    JetStreamError,
    NoRespondersError,
    ObjStoreError,
    RequestTimeoutError,
)
from objstore.exchange import Exchange
from objstore.jetstream.api import ErrorCode, encode_last_by_subject, may_pass, message_or_none
from objstore.jetstream.messages import from_direct
from objstore.jetstream.publisher import (
    MESSAGE_ID,
    parse_ack,
    pauses,
)
from objstore.models import DEFAULT_CHUNK_SIZE, ObjectInfo, ObjectMeta
from objstore.small import is_small

__all__ = ["SmallObject", "get_small", "put_small", "windows"]

#: Objects, and their bytes, that are in flight at once.
_BATCH = 128
_BATCH_BYTES = 4 << 20

#: Seconds without an answer after which it is asked whether there will be one.
_DOUBT = 1.0
#: Seconds without an answer after which every object is asked for by itself.
_PATIENCE = 1.0
#: Seconds, beside the pause, to learn whether the bucket is still there.
_DOUBT_TIMEOUT = 0.1
#: Seconds, twice as many as a failure waits for the fate of the chunks on their way.
_MAX_SETTLE = 1.0

_T = TypeVar("_T")


class SmallObject(NamedTuple):
    """An object of one chunk, or none, to be stored."""

    meta: ObjectMeta
    data: Buffer


def windows(
    items: Iterable[_T], size: Callable[[_T], int], name: Callable[[_T], str] | None = None
) -> Iterator[list[_T]]:
    """Cut `items` into batches that may be in flight at once, with no `name` twice in one."""
    batch: list[_T] = []
    names: set[str] = set()
    total = 0
    for item in items:
        full = len(batch) == _BATCH or total + size(item) > _BATCH_BYTES
        if batch and (full or (name is not None and name(item) in names)):
            yield batch
            batch, names, total = [], set(), 0
        batch.append(item)
        total += size(item)
        if name is not None:
            names.add(name(item))
    if batch:
        yield batch


# Put


def put_small(bucket: Bucket, objects: list[SmallObject], deadline: Deadline) -> list[ObjectInfo]:
    """
    Store a batch of small objects; return their infos in the same order.

    When one fails, those after it may be stored or not, each of them wholly.
    """
    infos = _describe(bucket, objects, deadline)
    commits: list[Commit] = []
    committed: dict[int, Committed] = {}
    try:
        end = _end_for(bucket, infos)
        if end:
            commits.append(_make_at_once(bucket, objects, infos, end))
        else:
            previous = _put_chunks(bucket, objects, infos, deadline)
            commits += [
                Commit(bucket, info, previous[number], conditional=False, uploaded=True)
                for number, info in enumerate(infos)
            ]
        _commit_all(bucket, commits, committed, deadline)
        _purge_all(bucket, _replaced(committed), deadline)
        for one in committed.values():
            if one.spared is not None:
                purge_replaced(bucket, one._replace(replaced=()), deadline.timeout)
    except BaseException as error:
        rest = deadline.aftermath()
        if not isinstance(error, Exception):
            _complete(commits, committed, rest)
        stored = {number for number, commit in enumerate(commits) if commit.may_be_stored}
        failed = [info.nuid for n, info in enumerate(infos) if info.chunks and n not in stored]
        _purge_all(bucket, failed + _replaced(committed), rest)
        raise
    return [info.with_fields(revision=committed[n].revision) for n, info in enumerate(infos)]


def _describe(bucket: Bucket, objects: list[SmallObject], deadline: Deadline) -> list[ObjectInfo]:
    """
    Return what the metas will say, but for the digests.

    One that is too large is refused before anything is sent.
    """
    max_payload = bucket.js.connection.max_payload(deadline)
    most = bucket.max_chunk_size(deadline)
    infos = []
    for meta, data in objects:
        fields: dict[str, Any] = {
            "bucket": bucket.name,
            "name": meta.name,
            "nuid": next_nuid(),
            "size": len(data),
            "chunks": 1 if len(data) else 0,
            "digest": "",
            "mtime": datetime.now(timezone.utc),
            "chunk_size": min(meta.chunk_size or DEFAULT_CHUNK_SIZE, most),
        }
        if meta.description or meta.headers or meta.metadata:
            fields["description"] = meta.description
            fields["headers"] = {key: list(values) for key, values in meta.headers.items()}
            fields["metadata"] = dict(meta.metadata)
        info = ObjectInfo.of_fields(fields)
        check_meta_size(info, max_payload)
        infos.append(info)
    return infos


def _end_for(bucket: Bucket, infos: list[ObjectInfo]) -> int:
    """Return which sequence may be the stream's last, to store an object at once; or 0."""
    if len(infos) > 1 or not bucket.takes_both or not infos[0].chunks:
        return 0
    return bucket.recent.end(infos[0].name)


def _make_at_once(
    bucket: Bucket, objects: list[SmallObject], infos: list[ObjectInfo], end: int
) -> CommitAtOnce:
    """Return what stores the only object, and puts its digest among the infos."""

    def describe() -> ObjectInfo:
        _add_digests(objects, infos)
        return infos[0]

    def put_chunk(deadline: Deadline) -> Previous:
        return _put_chunks(bucket, objects, infos, deadline, again=True)[0]

    return CommitAtOnce(
        bucket, infos[0], objects[0].data, end=end, describe=describe, put_chunk=put_chunk
    )


def _add_digests(objects: list[SmallObject], infos: list[ObjectInfo]) -> None:
    for number, info in enumerate(infos):
        if not info.digest:
            hasher = new_hash()
            hasher.update(objects[number].data)
            infos[number] = info.with_fields(digest=format_digest(hasher.digest()))


def _put_chunks(
    bucket: Bucket,
    objects: list[SmallObject],
    infos: list[ObjectInfo],
    deadline: Deadline,
    *,
    again: bool = False,
) -> dict[int, Previous]:
    """
    Send the chunks, and ask what the objects replace; return that when all is stored.

    What is not answered, or refused for the moment, is sent again. The id of a chunk, and
    the condition that it is the first one, keep it from being stored twice.

    Args:
        again: They may be stored already.
    """
    previous: dict[int, Previous] = {}
    unstored = {number for number, info in enumerate(infos) if info.chunks}
    ask_last = bucket.js.subject(f"STREAM.MSG.GET.{bucket.stream}")
    headers: dict[str, str] = {EXPECTED: "0"} if again else {}

    def send(exchange: Exchange) -> None:
        for number, (small, info) in enumerate(zip(objects, infos, strict=True)):
            if number not in previous:
                body = encode_last_by_subject(bucket.meta_subject(info.name))
                exchange.add(2 * number, ask_last, body)
            if number in unstored:
                subject = naming.chunk_subject(bucket.name, info.nuid)
                own = {**headers, MESSAGE_ID: f"{info.nuid}.0"}
                exchange.add(2 * number + 1, subject, small.data, own)
        exchange.send()
        headers[EXPECTED] = "0"
        _add_digests(objects, infos)  # while the server works

    def take(number: int, answer: Message) -> None:
        if answer.status == 503:
            raise NoRespondersError(f"nobody answers for {bucket.stream}")
        if number % 2 == 0:
            message = message_or_none(answer)
            previous[number // 2] = read_previous(
                bucket, infos[number // 2].name, message, deadline
            )
            return
        try:
            parse_ack(answer, bucket.stream)
        except JetStreamError as error:
            # Nobody else writes there: an earlier copy of it is stored.
            if error.err_code != ErrorCode.WRONG_LAST_SEQUENCE or EXPECTED not in headers:
                raise
        unstored.discard(number // 2)

    failure: ObjStoreError | None = None
    for pause in pauses():
        latest = _exchange_once(bucket, send, take, deadline)
        if latest is None:
            return previous
        if failure is None or not isinstance(latest, RequestTimeoutError):
            failure = latest  # that the time is up says less than what it was spent on
        if deadline.expired or bucket.js.connection.state is State.CLOSED:
            raise failure
        if isinstance(failure, NoRespondersError):
            bucket.check_exists(deadline.at_most(pause + _DOUBT_TIMEOUT))
        bucket.js.connection.closing.wait(deadline.at_most(pause))
    raise AssertionError  # pauses do not end


def _exchange_once(
    bucket: Bucket,
    send: Callable[[Exchange], object],
    take: Callable[[int, Message], object],
    deadline: Deadline,
) -> ObjStoreError | None:
    """
    Send requests and take their answers.

    Returns:
        What went wrong and may go well next time; None if all is well.

    Raises:
        ObjStoreError: What went wrong for good.
    """
    failure: ObjStoreError | None = None
    try:
        with Exchange(bucket, Deadline(deadline.at_most(ACK_TIMEOUT))) as exchange:
            try:
                send(exchange)
                for number, answer in exchange.answers():
                    try:
                        take(number, answer)
                        deadline.extend()
                    except ObjStoreError as error:
                        if not may_pass(error):
                            raise
                        failure = error
                        if isinstance(error, NoRespondersError):
                            exchange.hasten()
            except BaseException:
                exchange.settle(Deadline(deadline.aftermath().at_most(_MAX_SETTLE) / 2))
                raise
    except ObjStoreError as error:
        if not may_pass(error):
            raise
        # That the time is up says less than what it was spent on.
        return failure if failure and isinstance(error, RequestTimeoutError) else error
    return failure


def _commit_all(
    bucket: Bucket, commits: list[Commit], committed: dict[int, Committed], deadline: Deadline
) -> None:
    """
    Publish all metas; fill in `committed` as they are stored.

    Raises:
        ObjStoreError: The first failure, when the others have had their turn.
    """
    if len(commits) == 1:
        committed[0] = commits[0].run(deadline)
        return
    doubtful = set(range(len(commits)))
    patience = Deadline(deadline.at_most(ACK_TIMEOUT))
    with contextlib.suppress(RequestTimeoutError, ConnectionLostError):
        with Exchange(bucket, patience) as exchange:
            for number, commit in enumerate(commits):
                exchange.add(number, *commit.prepare())
            exchange.send()
            for number, answer in exchange.answers():
                with contextlib.suppress(ObjStoreError):
                    committed[number] = commits[number].take(answer)
                    doubtful.remove(number)
                    deadline.extend()
    failure: ObjStoreError | None = None
    for number in sorted(doubtful):
        if failure is not None and deadline.expired:
            break
        try:
            committed[number] = commits[number].run(deadline)
            deadline.extend()
        except ObjStoreError as error:
            failure = failure or error
    if failure is not None:
        raise failure


def _complete(commits: list[Commit], committed: dict[int, Committed], deadline: Deadline) -> None:
    """After an interrupt: what may be stored is stored in full, and leaves nothing behind."""
    for number, commit in enumerate(commits):
        if commit.may_be_stored and number not in committed and not deadline.expired:
            with contextlib.suppress(ObjStoreError):
                committed[number] = commit.run(deadline)


def _replaced(committed: dict[int, Committed]) -> list[str]:
    return [nuid for one in committed.values() for nuid in one.replaced]


def _purge_all(bucket: Bucket, nuids: list[str], deadline: Deadline) -> None:
    """Purge chunks that nobody needs, all at once; one after the other what that leaves."""
    if not nuids:
        return
    requests: dict[str, Request] = {}
    with contextlib.suppress(ObjStoreError):
        for nuid in nuids:
            requests[nuid] = bucket.ask_purge_chunks(nuid, deadline)
    for nuid in nuids:
        try:
            bucket.take_purge(requests[nuid], Deadline(deadline.at_most(ACK_TIMEOUT)))
        except (KeyError, ObjStoreError):
            purge_chunks(bucket, nuid, deadline)


# Get


def get_small(bucket: Bucket, names: list[str], deadline: Deadline) -> list[bytes | None]:
    """
    Return the bytes of small objects; None for each that is none, or needs a closer look.
    """
    infos: list[ObjectInfo | None] = [None] * len(names)
    found: list[bytes | None] = [None] * len(names)
    patience = Deadline(deadline.at_most(_PATIENCE))
    # What does not come by this way comes by that of a single object, which asks again.
    with contextlib.suppress(ConnectionLostError, RequestTimeoutError):
        _get_infos(bucket, names, infos, patience)
        _get_chunks(bucket, infos, found, patience)
    return found


def _get_chunks(
    bucket: Bucket,
    infos: list[ObjectInfo | None],
    found: list[bytes | None],
    deadline: Deadline,
) -> None:
    """Fill in the bytes of those objects that have an info."""
    with Exchange(bucket, deadline) as exchange:
        for number, info in enumerate(infos):
            if info is not None and info.size == 0:
                found[number] = b""
            elif info is not None and bucket.allow_direct:
                subject = naming.chunk_subject(bucket.name, info.nuid)
                exchange.add(
                    number, bucket.js.subject(f"DIRECT.GET.{bucket.stream}.{subject}"), b""
                )
        exchange.send()
        for number, answer in exchange.answers():
            info = infos[number]
            if info is not None and answer.status is None:
                data = bytes(from_direct(answer).payload)
                hasher = new_hash()
                hasher.update(data)
                if len(data) == info.size and hasher.digest() == parse_digest(info.digest):
                    found[number] = data


def _get_infos(
    bucket: Bucket, names: list[str], infos: list[ObjectInfo | None], deadline: Deadline
) -> None:
    """Fill in the infos of those names that are small objects."""
    ask_last = bucket.js.subject(f"STREAM.MSG.GET.{bucket.stream}")
    with Exchange(bucket, deadline) as exchange:
        for number, name in enumerate(names):
            body = encode_last_by_subject(bucket.meta_subject(name))
            exchange.add(number, ask_last, body)
        exchange.send()
        for number, answer in exchange.answers():
            try:
                message = message_or_none(answer)
                info = None if message is None else bucket.decode(message, names[number])
            except ObjStoreError:
                continue  # the way of a single object will say what is wrong
            if info is None or not is_small(info):
                continue
            subject = bucket.meta_subject(info.name)
            if not bucket.session.is_old(subject, info.revision):
                bucket.session.saw(subject, info.revision)
                infos[number] = info
