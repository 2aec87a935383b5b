"""
From names to subjects: bucket to stream, object name and id to the subjects of messages.

Pure. Every subject of the object store is built here, from parts that were checked, so
that a stored id like `>` never reaches a purge.
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import lru_cache

from objstore.core.nuid import NUID_LENGTH
from objstore.core.protocol import MAX_CONTROL_LINE, check_subject
from objstore.errors import InvalidNameError, shorten

__all__ = [
    "ANY_CHUNK",
    "bucket_of_stream",
    "check_bucket",
    "check_meta_subject",
    "check_name",
    "chunk_subject",
    "chunk_subjects",
    "encode_name",
    "is_nuid",
    "meta_subject",
    "meta_subjects",
    "name_of",
    "stream_name",
]

#: Matches the chunks of every bucket: the streams of object stores are found by it.
ANY_CHUNK = "$O.*.C.>"

_STREAM_PREFIX = "OBJ_"
#: Characters of the longest bucket: a stream's name has at most 255 (nats-server).
_MAX_BUCKET = 255 - len(_STREAM_PREFIX)
_BUCKET = re.compile(r"[A-Za-z0-9_-]+")
_NUID = re.compile(rf"[0-9A-Za-z]{{{NUID_LENGTH}}}")
#: Characters of the longest meta subject: a publish has a verb, a reply subject and two
#: sizes beside it on its line.
_MAX_META_SUBJECT = MAX_CONTROL_LINE - 60


def check_bucket(bucket: str) -> str:
    """
    Return `bucket` if it can be the name of one: letters, digits, `-` and `_`.

    Raises:
        InvalidNameError: If it cannot.
        TypeError: If it is no str.
    """
    if not isinstance(bucket, str):
        raise TypeError(f"a bucket name must be a str, not {shorten(bucket)}")
    if not _is_bucket(bucket):
        raise InvalidNameError(
            f"bucket name {shorten(bucket)} must be 1 to {_MAX_BUCKET} of the characters "
            "A-Z, a-z, 0-9, '-' and '_'"
        )
    return bucket


@lru_cache(64)
def _is_bucket(name: str) -> bool:
    # fullmatch: a `$` would let a final newline pass.
    return _BUCKET.fullmatch(name) is not None and len(name) <= _MAX_BUCKET


def check_name(name: str) -> str:
    """
    Return `name` if it can be the name of an object: any text that is not empty.

    Raises:
        InvalidNameError: If it is empty or cannot be encoded as UTF-8.
        TypeError: If it is no str.
    """
    if not isinstance(name, str):
        raise TypeError(f"an object name must be a str, not {shorten(name)}")
    if not name:
        raise InvalidNameError("an object name must not be empty")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InvalidNameError(f"object name {shorten(name)} is no valid Unicode") from error
    return name


def is_nuid(text: object) -> bool:
    """Whether `text` can be the id of an object."""
    return isinstance(text, str) and _NUID.fullmatch(text) is not None


def stream_name(bucket: str) -> str:
    """Return the name of the stream behind a bucket."""
    return _STREAM_PREFIX + check_bucket(bucket)


def bucket_of_stream(stream: str) -> str | None:
    """Return the bucket that a stream is behind; None if it is behind none."""
    bucket = stream.removeprefix(_STREAM_PREFIX)
    return bucket if bucket != stream and _BUCKET.fullmatch(bucket) else None


def chunk_subjects(bucket: str) -> str:
    """Return the wildcard subject of a bucket's chunks."""
    return f"$O.{check_bucket(bucket)}.C.>"


def meta_subjects(bucket: str) -> str:
    """Return the wildcard subject of a bucket's metas."""
    return f"$O.{check_bucket(bucket)}.M.>"


def chunk_subject(bucket: str, nuid: str) -> str:
    """
    Return the subject of an object's chunks.

    Raises:
        InvalidNameError: If `nuid` is no id: nothing may be read or purged by it.
    """
    if not is_nuid(nuid):
        raise InvalidNameError(f"object id {shorten(nuid)} is no NUID")
    return f"$O.{check_bucket(bucket)}.C.{nuid}"


def meta_subject(bucket: str, name: str) -> str:
    """
    Return the subject of an object's meta: the name in padded, URL-safe base64.

    Raises:
        InvalidNameError: If the name is empty, or too long for a server's command line.
    """
    # An operation needs it several times.
    return _meta_subject(check_bucket(bucket), check_name(name))


@lru_cache(256)
def _meta_subject(bucket: str, name: str) -> str:
    subject = f"$O.{bucket}.M.{encode_name(name)}"
    if len(subject) > _MAX_META_SUBJECT:
        raise InvalidNameError(
            f"object name {shorten(name)} is too long: {len(name.encode())} bytes, "
            f"where the server takes about {(_MAX_META_SUBJECT - 7 - len(bucket)) * 3 // 4}"
        )
    return subject


def encode_name(name: str) -> str:
    """Return a name as it stands in subjects: in padded, URL-safe base64."""
    encoded = binascii.b2a_base64(name.encode(), newline=False).decode()
    return encoded.replace("+", "-").replace("/", "_")


def check_meta_subject(bucket: str, subject: str) -> str:
    """
    Return `subject` if a meta of the bucket can be stored there, by whatever client.

    Raises:
        InvalidNameError: If it cannot, or if it has wildcards.
    """
    if not subject.startswith(f"$O.{check_bucket(bucket)}.M."):
        raise InvalidNameError(f"{shorten(subject)} is no subject of metas in bucket {bucket}")
    check_subject(subject)
    return subject


def name_of(subject: str) -> str | None:
    """Return the name whose meta belongs under a subject; None if that of no name does."""
    encoded = subject.rpartition(".")[2]
    try:
        name = base64.urlsafe_b64decode(encoded).decode()
    except ValueError:
        return None
    return name if encode_name(name) == encoded else None
