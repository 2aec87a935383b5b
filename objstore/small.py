"""
One small object, read by the shortest way.

The question for the meta and the one for the chunk that the name led to lately go out in
one write. Whatever does not go as it nearly always goes is left to the rooms that know
every other way: here it is just None.
"""

from __future__ import annotations

from objstore import naming
from objstore.bucket import Bucket
from objstore.core.deadline import Deadline
from objstore.digest import format_digest, new_hash, parse_digest
from objstore.errors import ObjStoreError
from objstore.exchange import Exchange
from objstore.jetstream.api import encode_last_by_subject, message_or_none
from objstore.models import DEFAULT_CHUNK_SIZE, ObjectInfo

__all__ = ["SMALL", "get_small_one", "is_small"]

#: Bytes of the largest object that is small: it is a single chunk.
SMALL = DEFAULT_CHUNK_SIZE

#: Seconds without an answer after which another way is tried.
_PATIENCE = 1.0
#: The requests of an exchange.
_META, _GUESS, _CHUNK = range(3)


def get_small_one(bucket: Bucket, name: str, deadline: Deadline) -> bytes | None:
    """Return the bytes of a small object; None if it is none, or needs a closer look."""
    if not bucket.allow_direct:
        return None
    guess = bucket.recent.guess(name)
    subject = bucket.meta_subject(name)
    try:
        with Exchange(bucket, Deadline(deadline.at_most(_PATIENCE))) as exchange:
            exchange.add(_META, bucket.api_get, encode_last_by_subject(subject))
            if guess is not None:
                exchange.add(_GUESS, _direct_subject(bucket, guess), b"")
            exchange.send()
            # The chunk comes in while the meta is looked at.
            stored = message_or_none(exchange.answer(_META))
            if stored is None or bucket.session.is_old(subject, stored.stream_seq):
                return None
            bucket.session.saw(subject, stored.stream_seq)
            info = bucket.decode(stored, name)
            bucket.recent.note(info)
            if info.is_link or info.chunks != 1 or not info.size <= SMALL:
                return None
            if info.nuid == guess:
                chunk = exchange.answer(_GUESS)
            else:
                exchange.add(_CHUNK, _direct_subject(bucket, info.nuid), b"")
                exchange.send()
                chunk = exchange.answer(_CHUNK)
    except (ObjStoreError, ValueError):
        return None
    if chunk.status is not None or len(chunk.payload) != info.size:
        return None
    hasher = new_hash()
    hasher.update(chunk.payload)
    # A digest in another form is for the reader.
    return bytes(chunk.payload) if format_digest(hasher.digest()) == info.digest else None


def _direct_subject(bucket: Bucket, nuid: str) -> str:
    return f"{bucket.direct_get}.{naming.chunk_subject(bucket.name, nuid)}"


def is_small(info: ObjectInfo) -> bool:
    """Whether an object has its bytes in one chunk, or none, and a digest to tell by."""
    if info.is_link or info.deleted or info.size > SMALL or info.chunks > 1:
        return False
    try:
        return bool(parse_digest(info.digest))
    except ValueError:
        return False
