"""Links: from a name to the object that it leads to, in this bucket or another."""

from __future__ import annotations

from objstore import naming
from objstore.bucket import Bucket
from objstore.changes import not_found
from objstore.core.deadline import Deadline
from objstore.errors import BucketLinkError, InvalidNameError, LinkError, LinkLoopError, shorten
from objstore.models import ObjectInfo

__all__ = ["follow"]

#: Links followed one after the other before it is called a loop.
_MAX_HOPS = 8


def follow(
    bucket: Bucket,
    name: str,
    known: ObjectInfo | None,
    show_deleted: bool,
    deadline: Deadline,
) -> tuple[Bucket, ObjectInfo]:
    """
    Return the object that a name leads to, and its bucket.

    Args:
        known: What is stored under the name, if that was learnt before.

    Raises:
        ObjectNotFoundError: If it does not exist, or is deleted and that was not asked for.
        BucketNotFoundError: If the bucket that a link leads to does not exist.
        BucketLinkError, LinkLoopError, LinkError: If a link leads to no object.
    """
    start = name
    seen: set[tuple[str, str]] = set()
    while True:
        info = known or bucket.meta(name, deadline)
        if info is None or (info.deleted and not show_deleted):
            error = not_found(bucket.name, name, info)
            if name != start or seen:
                error.add_context(f"the link {shorten(start)} leads to it")
            raise error
        if info.link is None or info.deleted:
            return bucket, info
        seen.add((bucket.name, name))
        target = info.link
        if target.name is None:
            raise BucketLinkError(
                bucket.name, name, f"it links to the bucket {shorten(target.bucket)}, not an object"
            )
        if (target.bucket, target.name) in seen or len(seen) > _MAX_HOPS:
            raise LinkLoopError(bucket.name, name, f"links lead in a circle from {shorten(start)}")
        try:
            naming.meta_subject(target.bucket, target.name)
        except InvalidNameError as error:
            raise LinkError(bucket.name, name, f"its target cannot be used: {error}") from error
        if target.bucket != bucket.name:
            bucket = bucket.sibling(target.bucket)
        name, known = target.name, None
