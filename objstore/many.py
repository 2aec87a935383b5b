"""
Many small objects with several in flight, from one thread.

A batch of objects goes through the steps of `put` or `get` side by side: all its requests
go out in one write, then all answers are taken. What is not small, or does not go as
expected, takes the way of a single object.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from typing import NamedTuple, TypeVar

from objstore import naming
from objstore.bucket import Bucket
from objstore.commit import (
    ACK_TIMEOUT,
    Commit,
    Committed,
    Previous,
    check_meta_size,
    purge_replaced,
    read_previous,
)
from objstore.core.deadline import Deadline
from objstore.core.nuid import next_nuid
from objstore.core.protocol import Buffer
from objstore.digest import format_digest, new_hash, parse_digest
from objstore.errors import ConnectionLostError, ObjStoreError, RequestTimeoutError
from objstore.exchange import Exchange
from objstore.jetstream.api import encode_body, message_or_none
from objstore.jetstream.messages import from_direct
from objstore.jetstream.publisher import parse_ack
from objstore.models import DEFAULT_CHUNK_SIZE, ObjectInfo, ObjectMeta

__all__ = ["SMALL", "SmallObject", "get_small", "put_small", "windows"]

#: Bytes of the largest object that is small: it is a single chunk.
SMALL = DEFAULT_CHUNK_SIZE

#: Objects, and their bytes, that are in flight at once.
_BATCH = 128
_BATCH_BYTES = 4 << 20

#: Seconds for the purge after a failure: it may not hide the failure for long.
_PURGE_TIMEOUT = 5.0

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
    max_payload = bucket.js.connection.max_payload(deadline)
    infos = [_describe(bucket, small, max_payload) for small in objects]
    for info in infos:
        check_meta_size(info, max_payload)
    commits: list[Commit] = []
    committed: dict[int, Committed] = {}
    try:
        previous = _put_chunks(bucket, objects, infos, deadline)
        commits += [
            Commit(bucket, info, previous[number], conditional=False)
            for number, info in enumerate(infos)
        ]
        _commit_all(bucket, commits, committed, deadline)
    except BaseException:
        stored = {number for number, commit in enumerate(commits) if commit.may_be_stored}
        _purge_chunks(bucket, [i for n, i in enumerate(infos) if i.chunks and n not in stored])
        raise
    _purge_all(bucket, list(committed.values()), deadline)
    return [replace(info, revision=committed[n].revision) for n, info in enumerate(infos)]


def _describe(bucket: Bucket, small: SmallObject, max_payload: int) -> ObjectInfo:
    hasher = new_hash()
    hasher.update(small.data)
    return ObjectInfo(
        bucket=bucket.name,
        name=small.meta.name,
        nuid=next_nuid(),
        size=len(small.data),
        chunks=1 if len(small.data) else 0,
        digest=format_digest(hasher.digest()),
        mtime=datetime.now(timezone.utc),
        description=small.meta.description,
        headers={key: list(values) for key, values in small.meta.headers.items()},
        metadata=dict(small.meta.metadata),
        chunk_size=min(small.meta.chunk_size or DEFAULT_CHUNK_SIZE, max_payload),
    )


def _put_chunks(
    bucket: Bucket, objects: list[SmallObject], infos: list[ObjectInfo], deadline: Deadline
) -> list[Previous]:
    """Send the chunks, and ask what the objects replace; return that when all is stored."""
    previous = [Previous(0, "")] * len(objects)
    ask_last = bucket.js.subject(f"STREAM.MSG.GET.{bucket.stream}")
    with Exchange(bucket, deadline) as exchange:
        for number, (small, info) in enumerate(zip(objects, infos, strict=True)):
            body = encode_body({"last_by_subj": bucket.meta_subject(info.name)})
            exchange.add(2 * number, ask_last, body)
            if info.chunks:
                exchange.add(
                    2 * number + 1, naming.chunk_subject(bucket.name, info.nuid), small.data
                )
        exchange.send()
        for number, answer in exchange.answers():
            with bucket.publish_errors():
                if number % 2:
                    parse_ack(answer, bucket.stream)
                else:
                    name = infos[number // 2].name
                    message = message_or_none(answer)
                    previous[number // 2] = read_previous(bucket, name, message)
    return previous


def _commit_all(
    bucket: Bucket, commits: list[Commit], committed: dict[int, Committed], deadline: Deadline
) -> None:
    """Publish all metas; fill in `committed` as they are stored."""
    doubtful = set(range(len(commits)))
    patience = Deadline(deadline.at_most(ACK_TIMEOUT))
    with Exchange(bucket, patience) as exchange:
        for number, commit in enumerate(commits):
            exchange.add(number, *commit.prepare())
        with contextlib.suppress(RequestTimeoutError, ConnectionLostError):
            exchange.send()
            for number, answer in exchange.answers():
                with contextlib.suppress(ObjStoreError):
                    committed[number] = commits[number].take(answer)
                    doubtful.remove(number)
    for number in sorted(doubtful):
        committed[number] = commits[number].run(deadline)


def _purge_all(bucket: Bucket, committed: list[Committed], deadline: Deadline) -> None:
    """Purge what was replaced."""
    nuids = [nuid for one in committed for nuid in one.replaced]
    requests = [bucket.ask_purge_chunks(nuid, deadline) for nuid in nuids]
    for nuid, request in zip(nuids, requests, strict=True):
        try:
            bucket.take_purge(request, deadline)
        except ObjStoreError:
            purge_replaced(bucket, Committed(0, (nuid,)))


def _purge_chunks(bucket: Bucket, infos: list[ObjectInfo]) -> None:
    """After a failure: purge the chunks of what is certainly not stored."""
    deadline = Deadline(_PURGE_TIMEOUT)
    with contextlib.suppress(ObjStoreError):  # no server, no purge
        requests = [bucket.ask_purge_chunks(info.nuid, deadline) for info in infos]
        for request in requests:
            bucket.take_purge(request, deadline)


# Get


def get_small(bucket: Bucket, names: list[str], deadline: Deadline) -> list[bytes | None]:
    """
    Return the bytes of small objects; None for each that is none, or needs a closer look.
    """
    infos = _get_infos(bucket, names, deadline)
    found: list[bytes | None] = [None] * len(names)
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
    return found


def _get_infos(bucket: Bucket, names: list[str], deadline: Deadline) -> list[ObjectInfo | None]:
    """Return the infos of those names that are small objects."""
    infos: list[ObjectInfo | None] = [None] * len(names)
    ask_last = bucket.js.subject(f"STREAM.MSG.GET.{bucket.stream}")
    with Exchange(bucket, deadline) as exchange:
        for number, name in enumerate(names):
            body = encode_body({"last_by_subj": bucket.meta_subject(name)})
            exchange.add(number, ask_last, body)
        exchange.send()
        for number, answer in exchange.answers():
            try:
                message = message_or_none(answer)
                info = None if message is None else bucket.decode(message, names[number])
            except ObjStoreError:
                continue  # the way of a single object will say what is wrong
            if info is not None and _is_small(info):
                infos[number] = info
    return infos


def _is_small(info: ObjectInfo) -> bool:
    if info.is_link or info.deleted or info.size > SMALL or info.chunks > 1:
        return False
    try:
        return bool(parse_digest(info.digest))
    except ValueError:
        return False
