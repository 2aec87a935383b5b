"""
One bucket as the store's rooms see it: its stream, its metas, its errors.

Metas are read at the stream's leader, so that what was written is seen. Nothing is purged
but by a complete, literal subject; that is checked here and in `naming`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from types import TracebackType
from typing import Any

from objstore import naming
from objstore.core.deadline import Deadline
from objstore.core.request import Request
from objstore.errors import (
    BadObjectMetaError,
    BucketFullError,
    BucketNotFoundError,
    BucketSealedError,
    InvalidNameError,
    JetStreamError,
    NoRespondersError,
    ObjStoreError,
    ProtocolError,
    RequestTimeoutError,
)
from objstore.jetstream.api import REPEAT_INTERVAL, ErrorCode, JetStream, parse_purged
from objstore.jetstream.messages import StreamMessage
from objstore.jetstream.publisher import HEADER_SIZE
from objstore.meta_json import decode_info
from objstore.models import ObjectInfo
from objstore.recent import Recent
from objstore.session import Session

__all__ = ["ALIAS", "EXPECTED", "FULL", "LINEAGE", "Bucket", "bucket_errors", "lineage_of"]

#: Header of a meta that names the version which it replaces.
EXPECTED = "Nats-Expected-Last-Subject-Sequence"
#: Header of a meta with the other name that its chunks may have, encoded as in subjects.
ALIAS = "Objstore-Alias"
_ALIAS = ALIAS.encode()
#: Header of a meta with the ids of the changes before it, the last one first.
LINEAGE = "Objstore-Lineage"
_MAX_LINEAGE = 32
_OWN_ID = re.compile(rb"\r\nNats-Msg-Id: *([\w.-]+)\r\n")
_OLDER_IDS = re.compile(rb"\r\nObjstore-Lineage: *([\w. -]+)\r\n")
#: Nanoseconds since 1970 of times as servers count them: in 63 bits.
_MAX_TIME = 1 << 63
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


#: Level of the API from which on a publish can name another subject in its condition, also
#: should the bucket get replicas: that of nats-server 2.12.
_LEAST_LEVEL = 2
#: Seconds that it may take to learn why nobody takes a publish.
_EXPLAIN_TIMEOUT = 5.0


def _level(config: dict[str, Any]) -> int:
    """Return the level of the API that the stream's server has; 0 before there were any."""
    metadata = config.get("metadata")
    level = metadata.get("_nats.level") if isinstance(metadata, dict) else None
    return int(level) if isinstance(level, str) and re.fullmatch("[0-9]{1,9}", level) else 0


def lineage_of(block: bytes | None) -> tuple[str, ...]:
    """
    Return the ids of the last changes of an object, from the header block of its meta.

    Each id ends with the revision that its change has replaced, and so they tell without a
    gap which versions there were. Empty if a client that gives no ids has written it.
    """
    own = None if block is None else _OWN_ID.search(block)
    if block is None or own is None:
        return ()
    older = _OLDER_IDS.search(block)
    ids = own[1] if older is None else own[1] + b" " + older[1]
    return tuple(ids.decode().split()[:_MAX_LINEAGE])


class _BucketErrors:
    """Raise the bucket's own errors in place of JetStream's."""

    __slots__ = ("_bucket",)

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not isinstance(error, JetStreamError):
            return
        if error.err_code == ErrorCode.STREAM_NOT_FOUND:
            raise BucketNotFoundError(self._bucket, "it does not exist") from error
        if error.err_code == ErrorCode.STREAM_SEALED:
            raise BucketSealedError(self._bucket, "it is sealed and cannot be changed") from error
        if error.err_code in FULL:
            raise BucketFullError(
                self._bucket,
                f"it has no room ({error.description}); delete objects or raise the limit",
            ) from error


bucket_errors = _BucketErrors  # for `with`: a class is quicker than a generator


class Bucket:
    """
    A bucket that exists.

    Attributes:
        js: The JetStream API.
        name: Name of the bucket.
        stream: Name of the stream behind it.
        api_get: Subject to ask the leader for a message.
        direct_get: Subject to ask any replica for a message, but for the message's own.
        allow_direct: Whether replicas answer for the leader.
        atomic: Whether several messages can be stored as one.
        replicated: Whether it has replicas, which may lag behind the leader.
        takes_both: Whether a chunk and its meta can be stored at once; see `at_once`.
        session: What was seen of it.
        recent: What names led to lately.
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
        self.api_get = js.subject(f"STREAM.MSG.GET.{self.stream}")
        self.direct_get = js.subject(f"DIRECT.GET.{self.stream}")
        config = stream_info["config"]
        self.allow_direct = bool(config.get("allow_direct"))
        self.atomic = config.get("allow_atomic") is True
        self.replicated = (config.get("num_replicas") or 1) > 1
        # With replicas a leader would have to know what it has proposed and not yet stored.
        self.takes_both = not self.replicated and _level(config) >= _LEAST_LEVEL
        self.session = Session() if self.replicated else Session(0)
        self.recent = Recent()
        self._stream_info = {"config": config}  # for another process

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.owner, self.name, self._stream_info)

    def stream_info(self, deadline: Deadline) -> dict[str, Any]:
        """Return what the server says of the stream."""
        with bucket_errors(self.name):
            return self.js.persist(lambda: self.js.stream_info(self.stream, deadline), deadline)

    def sibling(self, name: str) -> Bucket:
        """Return another bucket, of which it is not known whether it exists."""
        # Whether it allows direct gets shows when the first is tried; that it has replicas
        # is assumed.
        config = {"config": {"allow_direct": True, "num_replicas": 3}}
        return Bucket(self.js, name, config, owner=self.owner)

    def max_chunk_size(self, deadline: Deadline) -> int:
        """Return the bytes of the largest chunk that the server takes."""
        limit = self.js.connection.max_payload(deadline)
        return max(limit - HEADER_SIZE, 1)

    # Metas

    def meta_subject(self, name: str | ObjectInfo) -> str:
        """Return the subject of an object's meta: of a name, or where an info comes from."""
        if not isinstance(name, ObjectInfo):
            return naming.meta_subject(self.name, name)
        if name.subject:
            return naming.check_meta_subject(self.name, name.subject)
        return naming.meta_subject(self.name, name.name)

    def ask_meta(
        self, name: str | ObjectInfo, deadline: Deadline, *, ahead: bool = False
    ) -> Request:
        """Ask the leader for an object's meta, `ahead` with the next; for `take_meta`."""
        return self.js.ask_last(self.stream, self.meta_subject(name), deadline, ahead=ahead)

    def take_meta(
        self, name: str | ObjectInfo, request: Request | None, deadline: Deadline
    ) -> ObjectInfo | None:
        """
        Return an object's meta, deleted objects included; None if there is none.

        Args:
            request: As of `take_meta_message`.

        Raises:
            BadObjectMetaError: If the meta cannot be used.
        """
        message = self.take_meta_message(name, request, deadline)
        if message is None:
            return None
        return self.decode(message, name.name if isinstance(name, ObjectInfo) else name)

    def take_meta_message(
        self, name: str | ObjectInfo, request: Request | None, deadline: Deadline
    ) -> StreamMessage | None:
        """
        Return the message that holds an object's meta, and is no older than what was seen.

        Args:
            request: What `ask_meta` has sent, if it has: answers that are lost, or too old,
                are asked for again.
        """
        subject = self.meta_subject(name)
        message = self._last(
            subject, lambda seq: self.session.is_old(subject, seq), deadline, request
        )
        if message is not None:
            self.session.saw(subject, message.stream_seq)
        return message

    def _last(
        self,
        subject: str,
        is_old: Callable[[int], bool],
        deadline: Deadline,
        request: Request | None = None,
    ) -> StreamMessage | None:
        """
        Return the last message of a subject from a leader that knows all that was seen.

        One that was paused may not have learnt yet that another was elected. Or what was
        seen has been removed since: then the stream has got as far, and is believed.
        """
        is_sure = False
        with bucket_errors(self.name):
            while True:
                last = self.js.last_message(self.stream, subject, deadline, asked=request)
                if is_sure or not is_old(0 if last is None else last.stream_seq):
                    return last
                if deadline.expired:
                    raise RequestTimeoutError(
                        f"bucket {self.name}: only answers older than what was seen "
                        f"for {deadline.timeout} s"
                    )
                request = None
                state = self.stream_info(deadline).get("state", {})
                is_sure = state.get("last_seq", 0) >= self.session.newest
                if not is_sure:
                    self.js.connection.closing.wait(deadline.at_most(_RETRY_INTERVAL))

    def meta(self, name: str | ObjectInfo, deadline: Deadline) -> ObjectInfo | None:
        """Return an object's meta, deleted objects included; None if there is none."""
        return self.take_meta(name, None, deadline)

    def shares_chunks(self, info: ObjectInfo, deadline: Deadline) -> bool:
        """Whether a rename that was not finished has left the chunks another name, too."""
        if not info.size or not info.alias:
            return False
        try:
            other = self.meta(info.alias, deadline)
        except BadObjectMetaError:
            return True  # it may
        return other is not None and not other.deleted and other.nuid == info.nuid

    def ask_last_meta(self, deadline: Deadline) -> Request:
        """Ask the leader for the last meta of all; the answer is for `take_last_meta_seq`."""
        return self.js.ask_last(self.stream, naming.meta_subjects(self.name), deadline)

    def take_last_meta_seq(self, request: Request | None, deadline: Deadline) -> int:
        """Return the sequence of the last meta of all, as the leader has it; 0 without one."""
        subject = naming.meta_subjects(self.name)
        last = self._last(subject, lambda seq: seq < self.session.newest, deadline, request)
        return 0 if last is None else last.stream_seq

    def last_meta_seq(self, deadline: Deadline) -> int:
        """Return the sequence of the last meta of all, as the leader has it; 0 without one."""
        return self.take_last_meta_seq(None, deadline)

    def decode(self, message: StreamMessage, name: str | None = None) -> ObjectInfo:
        """
        Return the info in a meta message; `name` is the one that was asked for.

        Raises:
            BadObjectMetaError: If it cannot be used.
        """
        mtime: datetime | int
        if isinstance(message.time, int) and 0 < message.time < _MAX_TIME:
            mtime = message.time
        else:
            try:
                mtime = message.stored_at
            except (ValueError, OverflowError) as error:
                raise ProtocolError(f"the server gives {message.time!r:.60} as a time") from error
        info = decode_info(
            self.name,
            name,
            bytes(message.payload),
            mtime=mtime,
            revision=message.stream_seq,
            block=None if name is None else message.block,  # a listing has no use for it
        )
        if message.block is not None and _ALIAS in message.block:
            aliases = message.headers.get(ALIAS)
            if aliases:
                info = info.with_fields(alias=self._name_in(aliases[0]))
        if message.subject.endswith(f".{naming.encode_name(info.name)}"):
            return info
        return info.with_fields(subject=message.subject)

    def _name_in(self, token: str) -> str:
        """Return the name that is encoded in a header; "" if it can be none."""
        name = naming.name_of(token) or ""
        try:
            self.meta_subject(name)
        except InvalidNameError:
            return ""
        return name

    # Removal

    def purge_chunks(self, nuid: str, deadline: Deadline, *, up_to_seq: int | None = None) -> None:
        """
        Delete the chunks of one version of an object; an id that is none purges nothing.

        Args:
            up_to_seq: Spare what is stored after this sequence.
        """
        if naming.is_nuid(nuid):
            self._purge(naming.chunk_subject(self.name, nuid), up_to_seq, deadline)

    def _purge(self, subject: str, up_to_seq: int | None, deadline: Deadline) -> int | None:
        """
        Purge a subject, again when the answer is lost: twice is the same as once.

        Returns:
            The number of messages deleted; None if that was the work of an earlier attempt.
        """
        copies = 0

        def purge() -> int:
            nonlocal copies
            copies += 1
            request = self.js.ask_purge(self.stream, subject, deadline, up_to_seq)
            try:
                return parse_purged(request.answer(deadline, again=REPEAT_INTERVAL))
            finally:
                copies += request.copies - 1

        with bucket_errors(self.name):
            purged = self.js.persist(purge, deadline)
        return None if copies > 1 and not purged else purged

    def ask_purge_chunks(self, nuid: str, deadline: Deadline) -> Request:
        """Send what `purge_chunks` sends; the answer is for `take_purge`."""
        return self.js.ask_purge(self.stream, naming.chunk_subject(self.name, nuid), deadline)

    def take_purge(self, request: Request, deadline: Deadline) -> int:
        """Return how many messages were deleted."""
        with bucket_errors(self.name):
            return parse_purged(request.answer(deadline))

    def purge_meta(self, name: str | ObjectInfo, revision: int, deadline: Deadline) -> bool:
        """Delete an object's meta, but no later version; return whether it was there."""
        subject = self.meta_subject(name)
        purged = self._purge(subject, revision, deadline)
        if purged is None:
            # An attempt whose answer was lost did it, unless somebody replaced the version.
            with bucket_errors(self.name):
                message = self.js.last_message(self.stream, subject, deadline)
            purged = message is None or message.headers.get(EXPECTED) != [str(revision)]
        if purged:
            self.session.saw_go(subject, revision)
        return bool(purged)

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

    def check_exists(self, timeout: float) -> bool:
        """
        Make sure that there still is somebody to wait for.

        What a stream takes in its last moment is never answered.

        Returns:
            Whether the leader has answered, so that what it has not answered may be lost.

        Raises:
            BucketNotFoundError: If the bucket is gone; if that cannot be learnt in time,
                nothing.
        """
        try:
            # Just once: who asks has no time to wait for a leader.
            with bucket_errors(self.name):
                self.js.call(f"STREAM.INFO.{self.stream}", None, Deadline(timeout))
        except BucketNotFoundError:
            raise
        except ObjStoreError:
            return False
        return True


def _restore(owner: Any, name: str, stream_info: dict[str, Any]) -> Bucket:
    """Make a bucket of a client that came from another process; asks nobody."""
    return Bucket(owner._js, name, stream_info, owner=owner)
