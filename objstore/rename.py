"""
Another name for an object: its bytes stay where they are, under the id that they have.

In a bucket that was made with `atomic=True` old and new name change as one. Elsewhere it
takes three steps, and one that dies in between leaves two names for the same chunks. So
before there are two, the meta says which other name there may be, and who replaces or
deletes one of them looks at the other before the chunks go.
"""

from __future__ import annotations

import contextlib
import itertools

from objstore.bucket import EXPECTED, Bucket, bucket_errors
from objstore.commit import CONFLICTS, Commit, Previous, outcome_unknown, purge_unless_live
from objstore.core.connection import State
from objstore.core.deadline import Deadline
from objstore.core.nuid import next_nuid
from objstore.core.request import Request
from objstore.errors import (
    ConnectionLostError,
    JetStreamError,
    NoRespondersError,
    ObjectAlreadyExistsError,
    ObjStoreError,
    OutcomeUnknownError,
    PreconditionFailedError,
    ProtocolError,
    RequestTimeoutError,
)
from objstore.jetstream.api import ErrorCode, may_pass
from objstore.jetstream.publisher import PubAck, parse_ack
from objstore.meta_json import encode_info
from objstore.models import ObjectInfo

__all__ = ["rename"]

#: Header of the messages of a batch (ADR-50).
_BATCH_ID = "Nats-Batch-Id"
#: Seconds to wait for the ack of a batch before another is sent, and between two attempts.
_ACK_TIMEOUT = 3.0
_WAIT = 0.1
#: What is said of a batch whose first message did not arrive.
_INCOMPLETE = frozenset({ErrorCode.BATCH_MISSING_SEQUENCE, ErrorCode.BATCH_INCOMPLETE})


def rename(bucket: Bucket, info: ObjectInfo, renamed: ObjectInfo, deadline: Deadline) -> ObjectInfo:
    """
    Store `renamed`, under its name, in place of `info` under the one that it had.

    Raises:
        ObjectAlreadyExistsError: If the new name is taken.
        PreconditionFailedError: If one of the names changes meanwhile; nothing has changed.
        OutcomeUnknownError: If that could not be learnt in time.
    """
    target = bucket.meta(renamed.name, deadline)
    is_continued = _is_live(target, info.nuid)  # an earlier attempt did not come to its end
    if target is not None and not target.deleted and not is_continued:
        raise ObjectAlreadyExistsError(bucket.name, renamed.name, "the new name is taken")
    if not is_continued and bucket.shares_chunks(info, deadline):
        raise ObjectAlreadyExistsError(
            bucket.name,
            info.alias,
            f"a rename was not finished, and it has the chunks of {info.name!r:.60}, too; "
            "rename it again, or delete it",
        )
    if bucket.atomic and not is_continued:
        stored = _rename_at_once(bucket, info, renamed, target, deadline)
        if stored is not None:
            return stored
    return _rename_in_steps(bucket, info, renamed, target, deadline)


def _is_live(info: ObjectInfo | None, nuid: str) -> bool:
    return info is not None and not info.deleted and info.nuid == nuid


# As one


def _rename_at_once(
    bucket: Bucket,
    info: ObjectInfo,
    renamed: ObjectInfo,
    target: ObjectInfo | None,
    deadline: Deadline,
) -> ObjectInfo | None:
    """Store the new name and a tombstone of the old one as one; None if that is not allowed."""
    # With an id of its own: some clients delete twice, and then purge what it names.
    tombstone = info.with_fields(deleted=True, size=0, chunks=0, digest="", nuid=next_nuid())
    changes = [
        (renamed, Previous.of(target).revision),
        (tombstone, info.revision),
    ]
    renamed = renamed.with_fields(alias="")
    prefix = next_nuid()
    is_doubtful = False  # whether an earlier attempt may have been stored
    for number in itertools.count():
        failure: ObjStoreError
        try:
            ack = _publish_batch(bucket, changes, f"{prefix}.{number}", deadline)
            return _stored(bucket, renamed, info, ack.stream_seq - 1)
        except JetStreamError as error:
            failure = error
            if error.err_code in CONFLICTS:
                with outcome_unknown(bucket, renamed) if is_doubtful else contextlib.nullcontext():
                    stored = _find_stored(bucket, renamed, info, prefix, deadline)
                    if stored is not None:
                        return stored
                    _raise_conflict(bucket, renamed, info, changes, is_doubtful, deadline)
            elif not may_pass(error) and error.err_code not in _INCOMPLETE:
                if is_doubtful:
                    raise OutcomeUnknownError(bucket.name, renamed.name, info.nuid) from error
                if error.err_code == ErrorCode.ATOMIC_PUBLISH_DISABLED:
                    bucket.atomic = False
                    return None
                with bucket_errors(bucket.name):
                    raise
        except NoRespondersError as error:
            failure = error
        except (ConnectionLostError, ProtocolError, RequestTimeoutError) as error:
            failure, is_doubtful = error, True
        connection = bucket.js.connection
        connection.closing.wait(deadline.at_most(_WAIT))
        if deadline.expired or connection.state is State.CLOSED:
            if is_doubtful:
                raise OutcomeUnknownError(bucket.name, renamed.name, info.nuid) from failure
            raise failure
    raise AssertionError("there is always another attempt")


def _publish_batch(
    bucket: Bucket, changes: list[tuple[ObjectInfo, int]], batch: str, deadline: Deadline
) -> PubAck:
    """
    Publish two metas, each on the condition of the one that it replaces.

    Source: ADR-50, "Atomic batch publishing".
    """
    connection = bucket.js.connection
    patience = Deadline(deadline.at_most(_ACK_TIMEOUT))
    for number, (info, revision) in enumerate(changes, 1):
        subject, payload = bucket.meta_subject(info), encode_info(info)
        headers: dict[str, str | list[str]] = {
            "Nats-Rollup": "sub",
            EXPECTED: str(revision),
            _BATCH_ID: batch,
            "Nats-Batch-Sequence": str(number),
        }
        if number == len(changes):
            headers["Nats-Batch-Commit"] = "1"
            request = Request(connection, subject, payload, patience, headers)
            return parse_ack(request.answer(patience), bucket.stream)
        # No ack of its own: the last one is for all.
        connection.send(connection.encode(subject, payload, "", headers, patience), patience)
    raise AssertionError("a batch has messages")


def _stored(bucket: Bucket, renamed: ObjectInfo, info: ObjectInfo, revision: int) -> ObjectInfo:
    bucket.session.saw(bucket.meta_subject(renamed), revision)
    bucket.session.saw(bucket.meta_subject(info), revision + 1)
    return renamed.with_fields(revision=revision)


def _find_stored(
    bucket: Bucket, renamed: ObjectInfo, info: ObjectInfo, prefix: str, deadline: Deadline
) -> ObjectInfo | None:
    """Return what is stored if one of the two messages of an earlier attempt is there."""
    for changed, offset in ((renamed, 0), (info, -1)):
        message = bucket.take_meta_message(changed, None, deadline)
        if message is not None:
            (batch,) = message.headers.get(_BATCH_ID, [""])[:1]
            if batch.startswith(prefix):
                return _stored(bucket, renamed, info, message.stream_seq + offset)
    return None


def _raise_conflict(
    bucket: Bucket,
    renamed: ObjectInfo,
    info: ObjectInfo,
    changes: list[tuple[ObjectInfo, int]],
    is_doubtful: bool,
    deadline: Deadline,
) -> None:
    """Say which of the two names has changed; return if, as far as we know, none has."""
    for changed, expected in ((info, info.revision), (renamed, changes[0][1])):
        message = bucket.take_meta_message(changed, None, deadline)
        revision = 0 if message is None else message.stream_seq
        if revision == expected:
            # If the old name is as it was, no attempt was stored.
            is_doubtful = is_doubtful and changed is not info
        elif is_doubtful:
            raise OutcomeUnknownError(bucket.name, renamed.name, info.nuid)
        else:
            raise PreconditionFailedError(
                bucket.name, changed.name, "it was changed while it was renamed", revision
            )


# In steps


def _rename_in_steps(
    bucket: Bucket,
    info: ObjectInfo,
    renamed: ObjectInfo,
    target: ObjectInfo | None,
    deadline: Deadline,
) -> ObjectInfo:
    """Let the old name tell of the new one, store that, and remove the old one."""
    if target is not None and _is_live(target, info.nuid):
        stored = target
    else:
        if info.size and not info.subject:  # where it belongs; else no name leads back to it
            info = _replace(bucket, info.with_fields(alias=renamed.name), info, deadline)
            renamed = renamed.with_fields(alias=info.name)
        stored = _replace(bucket, renamed, target, deadline)
    with outcome_unknown(bucket, renamed):
        is_gone = bucket.purge_meta(info, info.revision, deadline)
        if not is_gone:
            # Somebody changed the object meanwhile, and its chunks may be gone: undo.
            bucket.purge_meta(renamed.name, stored.revision, deadline)
    if not is_gone:
        purge_unless_live(bucket, info.nuid, deadline)
        raise PreconditionFailedError(
            bucket.name, info.name, "it was changed while it was renamed", 0
        )
    with contextlib.suppress(ObjStoreError):  # it is done, whatever comes now
        if info.size and not _is_live(bucket.meta(renamed.name, deadline), info.nuid):
            # Who replaced the new name saw the old one, and so has spared the chunks.
            purge_unless_live(bucket, info.nuid, deadline)
    return stored


def _replace(
    bucket: Bucket, info: ObjectInfo, previous: ObjectInfo | None, deadline: Deadline
) -> ObjectInfo:
    """Store a meta in place of exactly the previous one, whose chunks stay."""
    expected = Previous.of(previous)._replace(nuid="")
    committed = Commit(bucket, info, expected, conditional=True).run(deadline)
    return info.with_fields(revision=committed.revision)
