"""
Changes of an object that leave its bytes alone: meta, name, removal, links.

Each reads a version, and stores its change on the condition that this still is the last
one. On a conflict it reads again, unless the caller named the version.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any, TypeVar

from objstore.bucket import Bucket
from objstore.commit import Commit, Committed, Previous, purge_replaced
from objstore.core.deadline import Deadline
from objstore.core.nuid import next_nuid
from objstore.errors import (
    BucketFullError,
    ObjectAlreadyExistsError,
    ObjectNotFoundError,
    ObjStoreError,
    PreconditionFailedError,
)
from objstore.models import ObjectInfo, ObjectLink

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


def _commit(
    bucket: Bucket, info: ObjectInfo, previous: ObjectInfo | None, deadline: Deadline
) -> ObjectInfo:
    """Store a meta in place of exactly the previous one."""
    commit = Commit(bucket, info, Previous.of(previous), conditional=True)
    committed = commit.run(deadline)
    purge_replaced(bucket, committed)
    return replace(info, revision=committed.revision)


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
        changed = replace(info, **fields)
        if new_name is not None:
            changed = replace(changed, name=new_name, subject="")
        if bucket.meta_subject(changed) == bucket.meta_subject(info):
            return _commit(bucket, changed, info, deadline)
        return _rename(bucket, info, changed, deadline)

    return _retry(attempt, deadline, once=if_revision is not None)


def _rename(
    bucket: Bucket, info: ObjectInfo, renamed: ObjectInfo, deadline: Deadline
) -> ObjectInfo:
    """Give an object another name: the new meta first, then the old one goes."""
    target = bucket.meta(renamed.name, deadline)
    if target is not None and not target.deleted and target.nuid == info.nuid:
        stored = target  # an earlier attempt did not come to its end
    elif target is not None and not target.deleted:
        raise ObjectAlreadyExistsError(bucket.name, renamed.name, "the new name is taken")
    else:
        stored = _commit(bucket, renamed, target, deadline)
    if not bucket.purge_meta(info, info.revision, deadline):
        # Somebody changed the object meanwhile, and its chunks may be gone: undo.
        bucket.purge_meta(renamed.name, stored.revision, deadline)
        raise PreconditionFailedError(
            bucket.name, info.name, "it was changed while it was renamed", 0
        )
    return stored


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
        return info if info.deleted else _bury(bucket, info, deadline)

    return _retry(attempt, deadline, once=if_revision is not None)


def _bury(bucket: Bucket, info: ObjectInfo, deadline: Deadline) -> ObjectInfo:
    """Put a tombstone in an object's place, and purge its chunks."""
    tombstone = replace(info, deleted=True, size=0, chunks=0, digest="")
    try:
        tombstone = _commit(bucket, tombstone, info, deadline)
    except BucketFullError:
        # No room for the tombstone: the object goes first, and makes the room.
        if not bucket.purge_meta(info, info.revision, deadline):
            raise PreconditionFailedError(
                bucket.name, info.name, "it was changed while it was deleted", 0
            ) from None
        if not info.is_link:
            bucket.purge_chunks(info.nuid, deadline)
        with contextlib.suppress(ObjStoreError):  # it only tells watchers
            return _commit(bucket, tombstone, None, deadline)
        return tombstone
    if not info.is_link:
        purge_replaced(bucket, Committed(tombstone.revision, (info.nuid,)))
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
        return _commit(bucket, info, current, deadline)

    return _retry(attempt, deadline, once=False)
