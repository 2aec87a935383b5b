"""
A look at the whole bucket: is every object complete, and does every chunk belong to one?

Objects come and go meanwhile. So what looks wrong is looked at again by itself: an object
is read, and chunks are removed only if, a moment later, they still belong to nobody.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from objstore import naming
from objstore.bucket import Bucket, bucket_errors
from objstore.core.deadline import Deadline
from objstore.digest import parse_digest
from objstore.display import count, format_size, format_time
from objstore.errors import (
    BadObjectMetaError,
    BucketNotFoundError,
    DigestMismatchError,
    InvalidNameError,
    ObjectChangedError,
    PermissionsViolationError,
    RequestTimeoutError,
    TruncatedObjectError,
    shorten,
)
from objstore.jetstream.consumer import OrderedConsumer
from objstore.jetstream.messages import StreamMessage, parse_time
from objstore.listing import iterate_metas
from objstore.models import ObjectInfo, ObjectLink
from objstore.reader import ObjectReader
from objstore.reports import CheckReport, ChunkSet, Finding, SweepReport

__all__ = ["check", "sweep"]

#: Bytes read at once.
_BLOCK_SIZE = 1 << 20
#: Times that an object is read again that was replaced meanwhile.
_ATTEMPTS = 3
#: Seconds that a replica which lags gets to show all chunks.
_LAG_TIMEOUT = 2.0
_LAG = 0.01
#: Seconds between the two looks that must find a set of chunks without an object: some
#: clients rename in two steps, with a moment between them when no name is there.
_GRACE = 2.0


# What is there


class _Entry(NamedTuple):
    """A meta that can be read."""

    subject: str
    info: ObjectInfo


class _Catalog:
    """All metas of a bucket at one moment."""

    def __init__(self, bucket: Bucket, timeout: float | None) -> None:
        self.entries: list[_Entry] = []
        self.unreadable: list[Finding] = []
        #: Names of metas that cannot be read, and of which not even the id is known.
        self.obstacles: list[str] = []
        #: Ids that belong to an object.
        self.live: set[str] = set()
        listed = set()
        for message in iterate_metas(bucket, Deadline(timeout)):
            listed.add(message.subject)
            self._take(bucket, message)
        # Old servers may leave something out of a listing, but not of this. What depends on
        # it cannot be undone.
        with bucket_errors(bucket.name):
            pattern = naming.meta_subjects(bucket.name)
            for subject in (
                set(bucket.js.stored_subjects(bucket.stream, pattern, Deadline(timeout))) - listed
            ):
                last = bucket.js.last_message(bucket.stream, subject, Deadline(timeout))
                if last is not None:
                    self._take(bucket, last)

    def _take(self, bucket: Bucket, message: StreamMessage) -> None:
        try:
            info = bucket.decode(message)
        except BadObjectMetaError as error:
            self._take_unreadable(message, error)
            return
        self.entries.append(_Entry(message.subject, info))
        if not info.deleted:
            self.live.add(info.nuid)

    def _take_unreadable(self, message: StreamMessage, error: BadObjectMetaError) -> None:
        name = naming.name_of(message.subject) or message.subject
        nuid = _nuid_in(bytes(message.payload))
        if nuid:
            self.live.add(nuid)
        else:
            self.obstacles.append(name)
        self.unreadable.append(Finding("unreadable", name, nuid, str(error)))

    @property
    def objects(self) -> list[_Entry]:
        """What is there and no link."""
        return [e for e in self.entries if not (e.info.deleted or e.info.is_link)]

    @property
    def links(self) -> list[ObjectInfo]:
        return [e.info for e in self.entries if e.info.is_link and not e.info.deleted]


def _nuid_in(payload: bytes) -> str:
    """Return the id in a meta that cannot be used otherwise; "" if there is none for sure."""
    try:
        fields = json.loads(payload)
    except (ValueError, RecursionError):
        return ""
    nuid = fields.get("nuid") if isinstance(fields, dict) else None
    return nuid if isinstance(nuid, str) and naming.is_nuid(nuid) else ""


class _Chunks:
    """A set of chunks that grows while a bucket is scanned."""

    __slots__ = ("last", "number", "size")

    def __init__(self) -> None:
        self.number = 0
        self.size = 0
        self.last: StreamMessage | None = None

    def add(self, message: StreamMessage) -> None:
        self.number += 1
        self.size += int(message.headers.get("Nats-Msg-Size", ["0"])[0])
        self.last = message

    def as_set(self, nuid: str) -> ChunkSet:
        assert self.last is not None
        return ChunkSet(nuid, self.number, self.size, self.last.stored_at)


def _scan(bucket: Bucket, subject: str, timeout: float | None) -> dict[str, _Chunks]:
    """Return what is stored below the subject of chunks, by id; the bytes do not come along."""
    prefix = naming.chunk_subjects(bucket.name)[:-1]
    found: dict[str, _Chunks] = {}
    deadline = Deadline(timeout)
    with bucket_errors(bucket.name):
        last = bucket.js.last_message(bucket.stream, subject, deadline)
        end = 0 if last is None else last.stream_seq
        patience = Deadline(_LAG_TIMEOUT)
        consumer = OrderedConsumer(
            bucket.js,
            bucket.stream,
            subject,
            deadline,
            headers_only=True,
            message_size=0,
            until_empty=True,
        )
        try:
            while True:
                message = consumer.next(deadline.remaining())
                if message is not None:
                    deadline.extend()
                    patience.extend()
                    found.setdefault(message.subject.removeprefix(prefix), _Chunks()).add(message)
                elif not consumer.exhausted:
                    raise RequestTimeoutError(f"bucket {bucket.name}: no chunks for {timeout} s")
                elif consumer.stream_seq >= end or patience.expired:
                    return found
                else:
                    # A replica that lags, or the last chunk is gone meanwhile.
                    bucket.js.connection.closing.wait(_LAG)
                    consumer.follow(until_empty=True)
        finally:
            consumer.close()


# Check


def check(bucket: Bucket, fraction: float, timeout: float | None) -> CheckReport:
    """
    Compare what is stored with what is said of it.

    Args:
        fraction: Of the objects whose bytes are read, chosen at random.
    """
    # Chunks first: of what is stored later, both chunks and meta are missing here.
    chunks = _scan(bucket, naming.chunk_subjects(bucket.name), timeout)
    catalog = _Catalog(bucket, timeout)
    objects = catalog.objects
    chosen = set(random.sample(range(len(objects)), math.ceil(fraction * len(objects))))
    problems, warnings = catalog.unreadable, []
    read = 0
    for number, entry in enumerate(objects):
        stored = chunks.get(entry.info.nuid)
        number_of_chunks, size = (stored.number, stored.size) if stored else (0, 0)
        if number in chosen or size != entry.info.size or not _has_digest(entry.info):
            read += 1
            problem = _read(bucket, entry, timeout)
            if problem is not None:
                problems.append(problem)
        elif number_of_chunks != entry.info.chunks:
            detail = f"{number_of_chunks} chunks, of which its description says {entry.info.chunks}"
            warnings.append(Finding("miscounted", entry.info.name, entry.info.nuid, detail))
    warnings += _find_shared(objects)
    warnings += _find_dangling(bucket, catalog, timeout)
    warnings += _find_orphans(bucket, chunks, catalog.live, timeout)
    return CheckReport(
        bucket=bucket.name,
        objects=len(objects),
        links=len(catalog.links),
        size=sum(entry.info.size for entry in objects),
        chunks=sum(entry.info.chunks for entry in objects),
        read=read,
        problems=tuple(problems),
        warnings=tuple(warnings),
    )


def _has_digest(info: ObjectInfo) -> bool:
    """Whether the bytes can be compared with a digest."""
    try:
        return not info.size or bool(parse_digest(info.digest))
    except ValueError:
        return False


def _read(bucket: Bucket, entry: _Entry, timeout: float | None) -> Finding | None:
    """Read an object to its end; return what is wrong with it."""
    info = entry.info
    for _ in range(_ATTEMPTS):
        try:
            with ObjectReader(bucket, info, name=info.name, timeout=timeout) as reader:
                buffer = bytearray(_BLOCK_SIZE)
                while reader.readinto(buffer):
                    pass
            return None
        except BadObjectMetaError as error:
            return Finding("unverifiable", info.name, info.nuid, str(error))
        except DigestMismatchError as error:
            return Finding("damaged", info.name, info.nuid, str(error))
        except TruncatedObjectError as error:
            return Finding("missing", info.name, info.nuid, str(error))
        except ObjectChangedError:
            with bucket_errors(bucket.name):
                last = bucket.js.last_message(bucket.stream, entry.subject, Deadline(timeout))
            if last is None:
                return None
            if last.stream_seq == info.revision:
                # It has not changed: another client keeps it under a subject of its own.
                detail = f"not all of its {info.size} bytes are there"
                return Finding("missing", info.name, info.nuid, detail)
            info = bucket.decode(last)
            if info.deleted or info.is_link:
                return None
    return None  # it changes faster than it can be read, so it can be written


def _find_shared(objects: Iterable[_Entry]) -> list[Finding]:
    """Return objects that have the chunks of another."""
    names: dict[str, list[str]] = {}
    for _, info in objects:
        if info.size:
            names.setdefault(info.nuid, []).append(info.name)
    return [
        Finding(
            "shared",
            first,
            nuid,
            f"has the chunks of {', '.join(map(shorten, others))}, too: a rename was not "
            "finished; rename it again, or delete one of them",
        )
        for nuid, (first, *others) in names.items()
        if others
    ]


def _find_dangling(bucket: Bucket, catalog: _Catalog, timeout: float | None) -> list[Finding]:
    """Return links that lead nowhere."""
    names = {info.name for _, info in catalog.entries if not info.deleted}
    found = []
    for info in catalog.links:
        link = info.link
        assert link is not None
        if link.bucket == bucket.name:
            leads_on = link.name is None or link.name in names
        else:
            leads_on = _is_there(bucket, link, timeout)
        if not leads_on:
            target = link.bucket if link.name is None else f"{link.bucket}/{link.name}"
            found.append(Finding("dangling", info.name, "", f"leads to {shorten(target)}"))
    return found


def _is_there(bucket: Bucket, link: ObjectLink, timeout: float | None) -> bool:
    """Whether the target of a link into another bucket exists, as far as we may know."""
    deadline = Deadline(timeout)
    try:
        other = bucket.sibling(link.bucket)
        if link.name is None:
            other.stream_info(deadline)
            return True
        target = other.meta(link.name, deadline)
        return target is not None and not target.deleted
    except PermissionsViolationError:
        return True
    except (BadObjectMetaError, BucketNotFoundError, InvalidNameError):
        return False


def _find_orphans(
    bucket: Bucket, chunks: dict[str, _Chunks], live: set[str], timeout: float | None
) -> list[Finding]:
    """Return chunks that belong to no object, and are still there."""
    found = []
    for nuid in chunks.keys() - live:
        subject = naming.chunk_subjects(bucket.name)[:-1] + nuid
        with bucket_errors(bucket.name):
            if not any(
                True for _ in bucket.js.stored_subjects(bucket.stream, subject, Deadline(timeout))
            ):
                continue  # replaced or deleted meanwhile
        found.append((nuid, chunks[nuid].as_set(nuid)))
    return [
        Finding(
            "orphan",
            "",
            nuid,
            f"{count(orphan.chunks, 'chunk')}, {format_size(orphan.size)}, the last stored at "
            f"{format_time(orphan.stored_at)}: an upload is going on, or was broken off",
        )
        for nuid, orphan in sorted(found, key=lambda item: item[1].stored_at)
    ]


# Sweep


def sweep(bucket: Bucket, min_age: float, dry_run: bool, timeout: float | None) -> SweepReport:
    """Remove chunks that belong to no object and are old enough to belong to no upload."""
    latest = _server_time(bucket, timeout) - timedelta(seconds=min_age)
    ids = _ids_with_chunks(bucket, timeout)
    catalog = _Catalog(bucket, timeout)
    orphans = []
    young = 0
    for nuid in ids - catalog.live:
        subject = naming.chunk_subject(bucket.name, nuid)
        for chunks in _scan(bucket, subject, timeout).values():
            orphan = chunks.as_set(nuid)
            if orphan.stored_at <= latest:
                orphans.append(orphan)
            else:
                young += 1
    obstacles = catalog.obstacles
    if orphans and not dry_run and not obstacles:
        bucket.js.connection.closing.wait(_GRACE)
        catalog = _Catalog(bucket, timeout)
        obstacles = catalog.obstacles
        if not obstacles:
            orphans = [
                orphan
                for orphan in orphans
                if orphan.nuid not in catalog.live
                and _remove(bucket, orphan.nuid, latest, Deadline(timeout))
            ]
    return SweepReport(
        bucket=bucket.name,
        dry_run=dry_run,
        min_age=min_age,
        orphans=tuple(sorted(orphans, key=lambda orphan: orphan.stored_at)),
        young=young,
        obstacles=tuple(obstacles),
    )


def _server_time(bucket: Bucket, timeout: float | None) -> datetime:
    """Return the time by the clock that stamps the chunks; by ours before nats-server 2.10."""
    text = bucket.stream_info(Deadline(timeout)).get("ts")
    return parse_time(text) if isinstance(text, str) else datetime.now(timezone.utc)


def _ids_with_chunks(bucket: Bucket, timeout: float | None) -> set[str]:
    """Return the ids that have chunks, as the leader has it; what is no id is left alone."""
    pattern = naming.chunk_subjects(bucket.name)
    with bucket_errors(bucket.name):
        subjects = list(bucket.js.stored_subjects(bucket.stream, pattern, Deadline(timeout)))
    return {nuid for s in subjects if naming.is_nuid(nuid := s.removeprefix(pattern[:-1]))}


def _remove(bucket: Bucket, nuid: str, latest: datetime, deadline: Deadline) -> bool:
    """Purge chunks, but none that has come since the last look; return whether any were there."""
    subject = naming.chunk_subject(bucket.name, nuid)
    with bucket_errors(bucket.name):
        last = bucket.js.last_message(bucket.stream, subject, deadline)
    if last is None or last.stored_at > latest:
        return False
    bucket.purge_chunks(nuid, deadline, up_to_seq=last.stream_seq)
    return True
