"""
Changes of an object that leave its bytes alone: meta, name, removal, links.

Each reads a version, and stores its change on the condition that this still is the last
one. On a conflict it reads again, unless the caller named the version.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, TypeVar

from objstore.bucket import Bucket
from objstore.commit import (
    Commit,
    Committed,
    Previous,
    outcome_unknown,
    purge_replaced,
    purge_unless_live,
)
from objstore.core.deadline import Deadline
from objstore.core.nuid import next_nuid
from objstore.errors import (
    BucketFullError,
    ObjectAlreadyExistsError,
    ObjectNotFoundError,
    ObjStoreError,
    OutcomeUnknownError,
    PreconditionFailedError,
)
from objstore.models import ObjectInfo, ObjectLink
from objstore.rename import rename

__all__ = ["add_link", "delete", "live_info", "not_found", "update"]

_T = TypeVar("_T")


def not_found(bucket: str, name: str | ObjectInfo, info: ObjectInfo | None) -> ObjectNotFoundError:
    """Return the error for a name under which nothing, or only a tombstone, is stored."""
    name = name.name if isinstance(name, ObjectInfo) else name
    detail = "it does not exist" if info is None else "it is deleted"
    return ObjectNotFoundError(bucket, name, detail)


def live_info(
    bucket: Bucket, name: str | ObjectInfo, if_revision: int | None, deadline: Deadline
) -> ObjectInfo:
    """Return the info of an object that exists, and has that revision if one is given."""
    info = bucket.meta(name, deadline)
    if info is None or info.deleted:
        raise not_found(bucket.name, name, info)
    _check_revision(info, if_revision)
    return info


def _check_revision(info: ObjectInfo, if_revision: int | None) -> None:
    if if_revision is not None and info.revision != if_revision:
        raise PreconditionFailedError(
            info.bucket,
            info.name,
            f"its revision is {info.revision}, not {if_revision}",
            info.revision,
        )


def _retry(attempt: Callable[[], _T], deadline: Deadline, *, once: bool) -> _T:
    """Read and change again for as long as others change the same object first."""
    while True:
        try:
            return attempt()
        except PreconditionFailedError:
            if once or deadline.expired:
                raise


def _commit(bucket: Bucket, info: ObjectInfo, previous: Previous, deadline: Deadline) -> ObjectInfo:
    """Store a meta in place of exactly the previous one."""
    committed = Commit(bucket, info, previous, conditional=True).run(deadline)
    purge_replaced(bucket, committed, deadline.timeout)
    return info.with_fields(revision=committed.revision)


def _is_overwritten(bucket: Bucket, info: ObjectInfo, deadline: Deadline) -> bool:
    """
    Whether a change of `info` whose outcome is unknown came before what is there now.

    Then it does not matter whether it was stored: nobody can tell.
    """
    if deadline.expired:
        return False
    try:
        current = bucket.meta(info, deadline)  # also where another client has put it
    except ObjStoreError:
        return False  # not known either
    return current is None or current.deleted or current.nuid != info.nuid


# Meta and name


def update(
    bucket: Bucket,
    name: str | ObjectInfo,
    new_name: str | None,
    fields: dict[str, Any],
    if_revision: int | None,
    deadline: Deadline,
) -> ObjectInfo:
    """
    Change fields of an object's info, and its name if that is given.

    With a name, what another client has put elsewhere goes to where that belongs.
    """

    def attempt() -> ObjectInfo:
        info = live_info(bucket, name, if_revision, deadline)
        changed = info.with_fields(**fields)
        if new_name is not None:
            changed = changed.with_fields(name=new_name, subject="")
        if bucket.meta_subject(changed) != bucket.meta_subject(info):
            return rename(bucket, info, changed, deadline)
        try:
            return _commit(bucket, changed, Previous.of(info), deadline)
        except OutcomeUnknownError:
            if if_revision is None and _is_overwritten(bucket, info, deadline):
                return changed.with_fields(revision=0)
            raise

    return _retry(attempt, deadline, once=if_revision is not None)


# Removal


def delete(
    bucket: Bucket, name: str | ObjectInfo, if_revision: int | None, deadline: Deadline
) -> ObjectInfo | None:
    """Delete an object; return its tombstone, or None if nothing is stored under the name."""

    def attempt() -> ObjectInfo | None:
        info = bucket.meta(name, deadline)
        if info is None:
            return None
        _check_revision(info, if_revision)
        if info.deleted:
            return info
        try:
            return _bury(bucket, info, deadline)
        except OutcomeUnknownError:
            if _is_overwritten(bucket, info, deadline):
                purge_unless_live(bucket, info.nuid, deadline)
                if if_revision is None:
                    return info.with_fields(deleted=True, revision=0)
            raise

    return _retry(attempt, deadline, once=if_revision is not None)


def _bury(bucket: Bucket, info: ObjectInfo, deadline: Deadline) -> ObjectInfo:
    """Put a tombstone in an object's place, and purge its chunks."""
    tombstone = info.with_fields(deleted=True, size=0, chunks=0, digest="", alias="")
    chunks = () if info.is_link else (info.nuid,)
    spared = None
    if bucket.shares_chunks(info, deadline):
        # Some clients delete twice, and then purge what the tombstone names.
        tombstone, chunks, spared = tombstone.with_fields(nuid=next_nuid()), (), info
    previous = Previous.of(info)._replace(nuid="")
    try:
        tombstone = _commit(bucket, tombstone, previous, deadline)
    except BucketFullError:
        # No room for the tombstone: the object goes first, and makes the room.
        with outcome_unknown(bucket, info):
            is_gone = bucket.purge_meta(info, info.revision, deadline)
        if not is_gone:
            raise PreconditionFailedError(
                bucket.name, info.name, "it was changed while it was deleted", 0
            ) from None
        purge_replaced(bucket, Committed(info.revision, chunks, spared), deadline.timeout)
        with contextlib.suppress(ObjStoreError):  # it only tells watchers
            return _commit(bucket, tombstone, Previous(0, ""), deadline)
        return tombstone
    purge_replaced(bucket, Committed(tombstone.revision, chunks, spared), deadline.timeout)
    return tombstone


# Links


def add_link(bucket: Bucket, name: str, link: ObjectLink, deadline: Deadline) -> ObjectInfo:
    """Store a link under a name that no live object has."""
    info = ObjectInfo(
        bucket=bucket.name,
        name=name,
        nuid=next_nuid(),
        size=0,
        chunks=0,
        digest="",
        mtime=datetime.now(timezone.utc),
        link=link,
    )

    def attempt() -> ObjectInfo:
        current = bucket.meta(name, deadline)
        if current is not None and not current.deleted and not current.is_link:
            raise ObjectAlreadyExistsError(bucket.name, name, "an object has this name")
        try:
            return _commit(bucket, info, Previous.of(current), deadline)
        except OutcomeUnknownError:
            if _is_overwritten(bucket, info, deadline):
                return info
            raise

    return _retry(attempt, deadline, once=False)
