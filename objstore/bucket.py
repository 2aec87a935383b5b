"""
One bucket as the store's rooms see it: its stream, its metas, its errors.

Metas are read at the stream's leader, so that what was written is seen. Nothing is purged
but by a complete, literal subject; that is checked here and in `naming`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from objstore import naming
from objstore.core.connection import State
from objstore.core.deadline import Deadline
from objstore.core.request import Request
from objstore.errors import (
    BucketFullError,
    BucketNotFoundError,
    BucketSealedError,
    ConnectionLostError,
    JetStreamError,
    NoRespondersError,
    ObjStoreError,
    ProtocolError,
    RequestTimeoutError,
)
from objstore.jetstream.api import ErrorCode, JetStream, parse_json
from objstore.jetstream.messages import StreamMessage
from objstore.meta_json import decode_info
from objstore.models import ObjectInfo

__all__ = ["EXPECTED", "FULL", "Bucket", "bucket_errors"]

#: Header of a meta that names the version which it replaces.
EXPECTED = "Nats-Expected-Last-Subject-Sequence"
#: Seconds between two attempts at what may be done twice.
_RETRY_INTERVAL = 0.05
#: Refusals for lack of room: of the bucket, the account, the server.
FULL = frozenset(
    {
        ErrorCode.STREAM_STORE_FAILED,
        ErrorCode.INSUFFICIENT_RESOURCES,
        ErrorCode.ACCOUNT_RESOURCES_EXCEEDED,
        ErrorCode.STORAGE_RESOURCES_EXCEEDED,
        ErrorCode.MEMORY_RESOURCES_EXCEEDED,
    }
)


#: Seconds that it may take to learn why nobody takes a publish.
_EXPLAIN_TIMEOUT = 5.0


@contextlib.contextmanager
def bucket_errors(bucket: str) -> Iterator[None]:
    """Raise the bucket's own errors in place of JetStream's."""
    try:
        yield
    except JetStreamError as error:
        if error.err_code == ErrorCode.STREAM_NOT_FOUND:
            raise BucketNotFoundError(bucket, "it does not exist") from error
        if error.err_code == ErrorCode.STREAM_SEALED:
            raise BucketSealedError(bucket, "it is sealed and cannot be changed") from error
        if error.err_code in FULL:
            raise BucketFullError(
                bucket, f"it has no room ({error.description}); delete objects or raise the limit"
            ) from error
        raise


class Bucket:
    """
    A bucket that exists.

    Attributes:
        js: The JetStream API.
        name: Name of the bucket.
        stream: Name of the stream behind it.
        allow_direct: Whether replicas answer for the leader.
        replicated: Whether it has replicas, which may lag behind the leader.
        owner: Who closes the connection when it is dropped; kept for as long as anything
            of the bucket is.
    """

    def __init__(
        self, js: JetStream, name: str, stream_info: dict[str, Any], *, owner: object = None
    ) -> None:
        self.js = js
        self.name = name
        self.owner = owner
        self.stream = naming.stream_name(name)
        config = stream_info["config"]
        self.allow_direct = bool(config.get("allow_direct"))
        self.replicated = (config.get("num_replicas") or 1) > 1
        self._stream_info = {"config": config}  # for another process

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.owner, self.name, self._stream_info)

    def stream_info(self, deadline: Deadline) -> dict[str, Any]:
        """Return what the server says of the stream."""
        with bucket_errors(self.name):
            return self.js.stream_info(self.stream, deadline)

    # Metas

    def meta_subject(self, name: str | ObjectInfo) -> str:
        """Return the subject of an object's meta: of a name, or where an info comes from."""
        if not isinstance(name, ObjectInfo):
            return naming.meta_subject(self.name, name)
        if name.subject:
            return naming.check_meta_subject(self.name, name.subject)
        return naming.meta_subject(self.name, name.name)

    def ask_meta(self, name: str | ObjectInfo, deadline: Deadline) -> Request:
        """Ask the leader for an object's meta; the answer is for `take_meta`."""
        return self.js.ask_last(self.stream, self.meta_subject(name), deadline)

    def take_meta(
        self, name: str | ObjectInfo, request: Request, deadline: Deadline
    ) -> ObjectInfo | None:
        """
        Return what `ask_meta` asked for, deleted objects included; None if there is none.

        Raises:
            BadObjectMetaError: If the meta cannot be used.
        """
        message = self.take_meta_message(request, deadline)
        if message is None:
            return None
        return self.decode(message, name.name if isinstance(name, ObjectInfo) else name)

    def take_meta_message(self, request: Request, deadline: Deadline) -> StreamMessage | None:
        """Return the message that holds the meta that `ask_meta` asked for."""
        with bucket_errors(self.name):
            return self.js.take_message(request, deadline)

    def meta(self, name: str | ObjectInfo, deadline: Deadline) -> ObjectInfo | None:
        """Return an object's meta, deleted objects included; None if there is none."""
        return self.take_meta(name, self.ask_meta(name, deadline), deadline)

    def ask_last_meta(self, deadline: Deadline) -> Request:
        """Ask the leader for the last meta of all; the answer is for `take_last_meta_seq`."""
        return self.js.ask_last(self.stream, naming.meta_subjects(self.name), deadline)

    def take_last_meta_seq(self, request: Request, deadline: Deadline) -> int:
        """Return the sequence of the last meta of all, as the leader has it; 0 without one."""
        message = self.take_meta_message(request, deadline)
        return 0 if message is None else message.stream_seq

    def last_meta_seq(self, deadline: Deadline) -> int:
        """Return the sequence of the last meta of all, as the leader has it; 0 without one."""
        return self.take_last_meta_seq(self.ask_last_meta(deadline), deadline)

    def decode(self, message: StreamMessage, name: str | None = None) -> ObjectInfo:
        """
        Return the info in a meta message; `name` is the one that was asked for.

        Raises:
            BadObjectMetaError: If it cannot be used.
        """
        try:
            mtime = message.stored_at
        except (ValueError, OverflowError) as error:
            raise ProtocolError(f"the server gives {message.time!r:.60} as a time") from error
        info = decode_info(
            self.name, name, bytes(message.payload), mtime=mtime, revision=message.stream_seq
        )
        if naming.name_of(message.subject) == info.name:
            return info
        return replace(info, subject=message.subject)

    # Removal

    def purge_chunks(self, nuid: str, deadline: Deadline) -> None:
        """Delete the chunks of one version of an object; an id that is none purges nothing."""
        if naming.is_nuid(nuid):
            self._purge(naming.chunk_subject(self.name, nuid), None, deadline)

    def _purge(self, subject: str, up_to_seq: int | None, deadline: Deadline) -> int | None:
        """
        Purge a subject, again when the answer is lost: twice is the same as once.

        Returns:
            The number of messages deleted; None if that was the work of an earlier attempt.
        """
        answers_lost = 0
        while True:
            try:
                with bucket_errors(self.name):
                    purged = self.js.purge(self.stream, subject, deadline, up_to_seq=up_to_seq)
            except (ConnectionLostError, RequestTimeoutError, NoRespondersError):
                if deadline.expired or self.js.connection.state is State.CLOSED:
                    raise
                answers_lost += 1
                self.js.connection.closing.wait(deadline.at_most(_RETRY_INTERVAL))
            else:
                return None if answers_lost and not purged else purged

    def ask_purge_chunks(self, nuid: str, deadline: Deadline) -> Request:
        """Send what `purge_chunks` sends; the answer is for `take_purge`."""
        return self.js.ask_purge(self.stream, naming.chunk_subject(self.name, nuid), deadline)

    def take_purge(self, request: Request, deadline: Deadline) -> int:
        """Return how many messages were deleted."""
        with bucket_errors(self.name):
            return int(parse_json(request.answer(deadline)).get("purged", 0))

    def purge_meta(self, name: str | ObjectInfo, revision: int, deadline: Deadline) -> bool:
        """Delete an object's meta, but no later version; return whether it was there."""
        subject = self.meta_subject(name)
        purged = self._purge(subject, revision, deadline)
        if purged is None:
            # An attempt whose answer was lost did it, unless somebody replaced the version.
            message = self.take_meta_message(self.ask_meta(name, deadline), deadline)
            return message is None or message.headers.get(EXPECTED) != [str(revision)]
        return purged > 0

    # Failures

    @contextlib.contextmanager
    def publish_errors(self) -> Iterator[None]:
        """Raise the bucket's own errors for what goes wrong with a publish."""
        try:
            with bucket_errors(self.name):
                yield
        except NoRespondersError as error:
            raise self.explain(error) from error

    def explain(self, error: NoRespondersError) -> ObjStoreError:
        """Return why nobody takes a publish: the bucket is gone, or its leader is."""
        try:
            self.check_exists(_EXPLAIN_TIMEOUT)
        except BucketNotFoundError as gone:
            return gone
        return error

    def check_exists(self, timeout: float) -> None:
        """
        Make sure that there still is somebody to wait for.

        What a stream takes in its last moment is never answered.

        Raises:
            BucketNotFoundError: If the bucket is gone; if that cannot be learnt in time,
                nothing.
        """
        try:
            self.stream_info(Deadline(timeout))
        except BucketNotFoundError:
            raise
        except ObjStoreError:
            pass


def _restore(owner: Any, name: str, stream_info: dict[str, Any]) -> Bucket:
    """Make a bucket of a client that came from another process; asks nobody."""
    return Bucket(owner._js, name, stream_info, owner=owner)
