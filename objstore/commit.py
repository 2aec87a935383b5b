"""
The conditional meta publish: the one moment at which an object changes.

Every meta names the version that it replaces, so of two writers one learns that it lost,
and whoever replaces a version purges exactly its chunks. A publish whose ack is lost is
ambiguous: it is sent again under the same condition, which at most one copy can fulfil,
and nothing is purged before the outcome is known.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import NamedTuple

from objstore import naming
from objstore.bucket import ALIAS, EXPECTED, LINEAGE, Bucket, bucket_errors, lineage_of
from objstore.core.connection import State
from objstore.core.deadline import DEFAULT_TIMEOUT, Deadline
from objstore.core.nuid import next_nuid
from objstore.core.protocol import Message
from objstore.core.request import Request
from objstore.errors import (
    BucketNotFoundError,
    BucketSealedError,
    ConnectionLostError,
    JetStreamError,
    NoRespondersError,
    ObjStoreError,
    OutcomeUnknownError,
    PermissionsViolationError,
    PreconditionFailedError,
    ProtocolError,
    RequestTimeoutError,
)
from objstore.jetstream.api import REPEAT_INTERVAL, ErrorCode, may_pass
from objstore.jetstream.messages import StreamMessage
from objstore.jetstream.publisher import MESSAGE_ID, parse_ack, pauses
from objstore.listing import iterate_infos
from objstore.meta_json import encode_info
from objstore.models import ObjectInfo

__all__ = [
    "ACK_TIMEOUT",
    "CONFLICTS",
    "Commit",
    "Committed",
    "Previous",
    "check_meta_size",
    "outcome_unknown",
    "purge_chunks",
    "purge_replaced",
    "purge_unless_live",
    "read_previous",
]

logger = logging.getLogger(__name__)

#: Seconds to wait for an ack before all that belongs to it is done anew.
ACK_TIMEOUT = 3.0
#: Answers in a row that are no acks after which none is expected any more.
_MAX_GARBLED = 3
#: Seconds, beside the pause, to learn whether the bucket is still there.
_DOUBT_TIMEOUT = 0.1
#: Seconds to learn whether what we stored was replaced and purged, and between two looks.
_PURGED_TIMEOUT = 1.0
_PURGED_INTERVAL = 0.1
#: Seconds for which a change is remembered by those that follow it: as long as somebody may
#: ask what became of it.
_LINEAGE_AGE = 120.0

#: Bytes of a meta's headers, and by which it grows when size, chunks and digest are known.
_META_GROWTH = 2048
#: Bytes in which every meta fits that has nothing but a name: that fits a subject, in base64.
_PLAIN_META = 32 << 10

#: The version that we expected to replace is not the last one.
CONFLICTS = frozenset({ErrorCode.WRONG_LAST_SEQUENCE, ErrorCode.WRONG_LAST_SEQUENCE_CONSTANT})


class Previous(NamedTuple):
    """
    The version to be replaced.

    Attributes:
        revision: Sequence of its meta; 0 if there is none.
        nuid: Id of its chunks; "" if it has none, or they have another name.
        spared: What is stored, if its chunks have another name, too.
        lineage: Ids of the change that it was and of those before it, if they are recent.
    """

    revision: int
    nuid: str
    spared: ObjectInfo | None = None
    lineage: tuple[str, ...] = ()

    @classmethod
    def of(cls, info: ObjectInfo | None) -> Previous:
        """Take what is stored under a name."""
        if info is None:
            return cls(0, "")
        nuid = "" if info.deleted or info.is_link else info.nuid
        age = (datetime.now(timezone.utc) - info.mtime).total_seconds()
        return cls(
            info.revision, nuid, lineage=lineage_of(info.block) if age < _LINEAGE_AGE else ()
        )


class Committed(NamedTuple):
    """
    A change that is stored.

    Attributes:
        revision: Sequence of its meta; 0 if it was overwritten before we learnt it.
        replaced: Ids whose chunks nobody refers to any more.
        spared: What it replaced, if the chunks had another name, too, when that was looked at.
    """

    revision: int
    replaced: tuple[str, ...]
    spared: ObjectInfo | None = None


class Commit:
    """
    One change of one object: to be run once.

    Args:
        info: What to store.
        previous: The version that it replaces.
        conditional: Fail if that is not the last version; otherwise replace whichever is.
        uploaded: The chunks are its own: only who replaces it purges them.
        since: Where the stream ended before it was first published, at the least.

    Attributes:
        info: What to store; may be completed until it is published.
        subject: Where.
        may_be_stored: Whether our message may be stored: then its chunks must not be purged.
    """

    def __init__(
        self,
        bucket: Bucket,
        info: ObjectInfo,
        previous: Previous,
        *,
        conditional: bool,
        uploaded: bool = False,
        since: int = 0,
    ) -> None:
        self._bucket = bucket
        self.info = info
        self._previous = previous
        self._conditional = conditional
        self._uploaded = uploaded and info.chunks > 0
        self._since = since
        self.subject = bucket.meta_subject(info)
        self._id = next_nuid()  # with the condition it tells our copies from others'
        self.may_be_stored = False
        self._may_have_been_stored = False  # before the present publish

    def run(self, deadline: Deadline) -> Committed:
        """
        Publish until the outcome is known.

        Raises:
            PreconditionFailedError: If another version came first; nothing is stored.
            OutcomeUnknownError: If `deadline` passes after a publish whose fate is unknown.
            ObjStoreError: If it is refused for another reason; nothing is stored.
        """
        try:
            return self._run(deadline)
        except OutcomeUnknownError:
            if not (self._uploaded and self._is_purged(deadline)):
                raise
            return Committed(0, self.replaced)

    def _is_purged(self, deadline: Deadline) -> bool:
        """Whether our chunks are gone: then ours was stored, and somebody has replaced it."""
        bucket = self._bucket
        subject = naming.chunk_subject(bucket.name, self.info.nuid)
        patience = Deadline(deadline.at_most(_PURGED_TIMEOUT))
        with contextlib.suppress(ObjStoreError):
            while not patience.expired:
                if bucket.js.last_message(bucket.stream, subject, patience) is None:
                    return True
                bucket.js.connection.closing.wait(patience.at_most(_PURGED_INTERVAL))
        return False

    def _run(self, deadline: Deadline) -> Committed:
        garbled = 0
        for pause in pauses():
            previous = self._previous
            try:
                return self._publish(deadline)
            except JetStreamError as error:
                failure: ObjStoreError = error
                is_conflict = error.err_code in CONFLICTS
                if is_conflict or (self.may_be_stored and not may_pass(error)):
                    committed = self._resolve(deadline, error)
                    if committed is not None:
                        return committed
                    if self._previous != previous:
                        continue  # we know better now
                if not is_conflict and not may_pass(error):
                    self._refuse(error)
            except NoRespondersError as error:
                failure = error
                self._bucket.check_exists(deadline.at_most(pause + _DOUBT_TIMEOUT))
            except PermissionsViolationError as error:
                failure = error
                self._refuse(error)
            except (RequestTimeoutError, ConnectionLostError) as error:
                failure = error
            except ProtocolError as error:
                # What is no ack may be a damaged one; but not one after the other.
                failure = error
                garbled += 1
                if garbled == _MAX_GARBLED:
                    raise self.unknown() from error
            connection = self._bucket.js.connection
            connection.closing.wait(deadline.at_most(pause))
            # Not once more without the time for an answer: it would be of unknown outcome.
            if deadline.expired or connection.state is State.CLOSED:
                if self.may_be_stored:
                    raise self.unknown() from failure
                raise failure
        raise AssertionError  # pauses do not end

    def prepare(self) -> tuple[str, bytes, dict[str, str]]:
        """Return what is about to be published: `begin`, and `message`."""
        self.begin()
        return self.message()

    def begin(self) -> None:
        """
        Note that it is about to be sent.

        From this moment to a definite refusal it may be stored, whatever happens in
        between: an interrupt, too.
        """
        self._may_have_been_stored = self.may_be_stored
        self.may_be_stored = True

    def message(
        self, conditions: dict[str, str] | None = None
    ) -> tuple[str, bytes, dict[str, str]]:
        """
        Return subject, payload and headers of the publish.

        Args:
            conditions: Headers in place of the one by which it replaces the one version.
        """
        headers = {"Nats-Rollup": "sub", MESSAGE_ID: self._message_id}
        headers |= conditions or {EXPECTED: str(self._previous.revision)}
        if self.info.alias:
            headers[ALIAS] = self._bucket.meta_subject(self.info.alias).rpartition(".")[2]
        if self._previous.lineage:
            headers[LINEAGE] = " ".join(self._previous.lineage)
        return self.subject, encode_info(self.info), headers

    def rebase(self, previous: Previous) -> None:
        """Replace another version than the one that was meant; nothing may be stored yet."""
        self._previous = previous

    def take(self, answer: Message) -> Committed:
        """
        Take the answer to the publish.

        Raises:
            JetStreamError, NoRespondersError: If it was refused.
        """
        try:
            ack = parse_ack(answer, self._bucket.stream)
        except (JetStreamError, NoRespondersError):
            self.may_be_stored = self._may_have_been_stored
            raise
        return self._stored(ack.stream_seq)

    def _publish(self, deadline: Deadline) -> Committed:
        """
        Publish until there is an answer, or the connection breaks.

        What is lost, or its ack, is sent again soon: the sooner its fate is known, the fewer
        changes have come in between.
        """
        subject, payload, headers = self.prepare()
        patience = deadline.rest()
        connection = self._bucket.js.connection
        try:
            connection.connect(patience)
        except ObjStoreError:
            self.may_be_stored = self._may_have_been_stored  # nothing was sent
            raise
        # Should sending fail from here on, nobody knows how far it has come.
        request = Request(connection, subject, payload, patience, headers)
        try:
            try:
                answer = request.answer(patience, again=REPEAT_INTERVAL)
            finally:
                self._may_have_been_stored |= request.copies > 1
            return self.take(answer)
        except (NoRespondersError, PermissionsViolationError) as error:
            # To be denied the answer is another matter than to be denied the publish.
            if getattr(error, "subject", subject) == subject:
                self.may_be_stored = self._may_have_been_stored
            raise

    @property
    def _message_id(self) -> str:
        return f"{self._id}.{self._previous.revision}"

    def _stored(self, revision: int) -> Committed:
        """Return what it means that our message is stored under `revision`."""
        self._bucket.session.saw(self.subject, revision)
        self._bucket.recent.stored(revision)
        return Committed(revision, self.replaced, self._previous.spared)

    @property
    def replaced(self) -> tuple[str, ...]:
        """Ids whose chunks nobody refers to any more when it is stored."""
        nuid = self._previous.nuid
        return (nuid,) if nuid and nuid != self.info.nuid else ()

    def _refuse(self, error: JetStreamError | PermissionsViolationError) -> None:
        """Raise a refusal: definite, unless an earlier copy may have been stored."""
        if self.may_be_stored:
            raise self.unknown() from error
        with bucket_errors(self._bucket.name):
            raise error

    def unknown(self) -> OutcomeUnknownError:
        """Return the error for a change of which nobody knows whether it is stored."""
        return OutcomeUnknownError(self._bucket.name, self.info.name, self.info.nuid)

    def _resolve(self, deadline: Deadline, error: JetStreamError) -> Committed | None:
        """
        Find out what came before us: an earlier copy of ours, or somebody else's version.

        Returns:
            The commit, if it is done; None to try again.
        """
        try:
            patience = Deadline(deadline.at_most(ACK_TIMEOUT))
            message = self._bucket.take_meta_message(self.info, None, patience)
        except BucketNotFoundError:
            raise
        except ObjStoreError:
            return None  # still not known: the next attempt will ask again
        if message is not None and message.headers.get(MESSAGE_ID) == [self._message_id]:
            return self._stored(message.stream_seq)
        current = read_previous(self._bucket, self.info.name, message, patience)
        if current.revision == self._previous.revision:
            return None  # that answer was old
        if self.may_be_stored:
            was_stored = self._was_stored(message)
            if was_stored:
                # Who replaced it purges its chunks; those that it replaced are for us.
                replaced = tuple(set(self.replaced) - {current.nuid})
                return Committed(0, replaced, self._previous.spared)
            if was_stored is None:
                if self._conditional or message is None or EXPECTED in message.headers:
                    raise self.unknown() from error
                # Who came last did not care what was there: as if ours had been just before.
                mine = {self.info.nuid, self._previous.nuid} - {current.nuid, ""}
                return Committed(0, tuple(mine), self._previous.spared)
            # A condition on there being nothing may hold again: who purges our chunks has to
            # look whether they have another name.
            self.may_be_stored = self._conditional and not self._previous.revision
        if self._conditional:
            raise PreconditionFailedError(
                self._bucket.name,
                self.info.name,
                f"its revision is {current.revision}, not {self._previous.revision}",
                current.revision,
            ) from error
        # Another has replaced the version that we were to replace: ours is not stored, and
        # its condition can never hold again. To call it overwritten would not be true: the
        # other may have asked that nobody comes between.
        self._previous = current
        return None

    def _was_stored(self, message: StreamMessage | None) -> bool | None:
        """
        Whether our copy was stored and replaced before `message`; None if nobody can tell.

        One change alone has replaced the version that we were to replace: ours, if that was
        stored. Those that followed tell which one it was, for as long as the name was not
        removed in between.
        """
        if message is None:
            return None
        if message.stream_seq <= self._since:
            return False  # it was there before ours
        revision = str(self._previous.revision)
        for one in lineage_of(message.block):
            if one.rpartition(".")[2] == revision:
                return one == self._message_id
        return False if message.headers.get(EXPECTED) == [revision] else None


@contextlib.contextmanager
def outcome_unknown(bucket: Bucket, info: ObjectInfo) -> Iterator[None]:
    """Say of a change whose answer is lost what is true: it may be done."""
    try:
        yield
    except (ConnectionLostError, NoRespondersError, ProtocolError, RequestTimeoutError) as error:
        raise OutcomeUnknownError(bucket.name, info.name, info.nuid) from error


def check_meta_size(info: ObjectInfo, max_payload: int) -> None:
    """
    Refuse a meta that no message can hold, before the bytes of its object are sent.

    Raises:
        ValueError: If it is one.
    """
    has_texts = info.description or info.headers or info.metadata or info.unknown
    if not has_texts and max_payload >= _PLAIN_META:
        return
    if len(encode_info(info)) + _META_GROWTH > max_payload:
        raise ValueError(
            f"description, headers and metadata of {info.name!r:.60} do not fit "
            f"the server's max_payload, {max_payload} bytes"
        )


def read_previous(
    bucket: Bucket, name: str, message: StreamMessage | None, deadline: Deadline
) -> Previous:
    """
    Return the version in a meta message that is to be replaced, whatever it holds.

    A meta that nobody can use is replaced all the same, but nothing is purged by it; nor
    are chunks that have another name.
    """
    if message is None:
        return Previous(0, "")
    try:
        info = bucket.decode(message, name)
        if not bucket.shares_chunks(info, deadline):
            return Previous.of(info)
    except ObjStoreError:
        return Previous(message.stream_seq, "")
    return Previous.of(info)._replace(nuid="", spared=info)


def purge_unless_live(bucket: Bucket, nuid: str, deadline: Deadline) -> None:
    """
    Purge chunks that, as far as we know, have no name any more; the listing decides.

    What there was to do is done: a failure is only warned of.
    """
    try:
        infos = list(iterate_infos(bucket, deadline))
    except ObjStoreError as error:
        logger.warning("bucket %s: chunks %s may stay behind: %s", bucket.name, nuid, error)
        return
    if all(info.deleted or info.nuid != nuid for info in infos):
        purge_replaced(bucket, Committed(0, (nuid,)), deadline.timeout)


def purge_replaced(bucket: Bucket, committed: Committed, timeout: float | None) -> None:
    """Purge what a commit replaced. It is done already: a failure is only warned of."""
    # Not for ever: to the caller it makes no difference.
    limit = DEFAULT_TIMEOUT if timeout is None else timeout
    for nuid in committed.replaced:
        purge_chunks(bucket, nuid, Deadline(limit))
    if committed.spared is not None:
        # Who had the other name may have let it go since, and spared the chunks for our
        # sake. Of two who do so, the one who commits last sees it.
        with contextlib.suppress(ObjStoreError):
            if not bucket.shares_chunks(committed.spared, Deadline(limit)):
                purge_unless_live(bucket, committed.spared.nuid, Deadline(limit))


def purge_chunks(bucket: Bucket, nuid: str, deadline: Deadline) -> None:
    """Purge chunks that nobody needs; a failure is only warned of, an interrupt put off."""
    try:
        bucket.purge_chunks(nuid, deadline)
    except (BucketNotFoundError, BucketSealedError):
        pass  # gone with the bucket, or never taken
    except ObjStoreError as error:
        logger.warning("bucket %s: chunks %s stay behind: %s", bucket.name, nuid, error)
    except BaseException:
        # Perhaps it was not even sent. Sent twice it does no harm.
        with contextlib.suppress(ObjStoreError):
            bucket.ask_purge_chunks(nuid, deadline.aftermath()).forget()
        raise
