"""
Many small objects with several in flight, from one thread: cut into batches, and read.

What is not small, or does not go as expected, takes the way of a single object.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from objstore import naming
from objstore.bucket import Bucket
from objstore.core.deadline import Deadline
from objstore.digest import new_hash, parse_digest
from objstore.errors import ConnectionLostError, ObjStoreError, RequestTimeoutError
from objstore.exchange import Exchange
from objstore.jetstream.api import encode_last_by_subject, message_or_none
from objstore.jetstream.messages import from_direct
from objstore.models import ObjectInfo
from objstore.small import is_small

__all__ = ["get_small", "windows"]

#: Objects, and their bytes, that are in flight at once.
_BATCH = 128
_BATCH_BYTES = 4 << 20

#: Seconds without an answer after which every object is asked for by itself.
_PATIENCE = 1.0

_T = TypeVar("_T")


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
