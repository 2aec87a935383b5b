"""
Small objects on their way into a bucket: one, or many with several in flight.

They go through the steps of a put side by side: the requests of a step go out together, and
then all answers are taken. Where nobody else is writing, new objects take a single step;
see `at_once`. What does not go as expected takes the way of a single object.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, NamedTuple

from objstore import at_once, naming
from objstore.bucket import EXPECTED, Bucket
from objstore.commit import (
    ACK_TIMEOUT,
    Commit,
    Committed,
    Previous,
    check_meta_size,
    purge_chunks,
    purge_replaced,
    read_previous,
)
from objstore.core.connection import State
from objstore.core.deadline import Deadline
from objstore.core.nuid import next_nuid
from objstore.core.protocol import Buffer, Message
from objstore.core.request import SMALL_REQUEST, Request
from objstore.digest import format_digest, new_hash
from objstore.errors import (
    ConnectionLostError,
    JetStreamError,
    NoRespondersError,
    ObjStoreError,
    PermissionsViolationError,
    RequestTimeoutError,
)
from objstore.exchange import Exchange
from objstore.jetstream.api import ErrorCode, encode_last_by_subject, may_pass, message_or_none
from objstore.jetstream.publisher import MESSAGE_ID, parse_ack, pauses
from objstore.models import DEFAULT_CHUNK_SIZE, ObjectInfo, ObjectMeta

__all__ = ["SmallObject", "put_small"]

#: Seconds, beside the pause, to learn whether the bucket is still there.
_DOUBT_TIMEOUT = 0.1
#: Seconds, twice as many as a failure waits for the fate of the chunks on their way.
_MAX_SETTLE = 1.0


class SmallObject(NamedTuple):
    """An object of one chunk, or none, to be stored."""

    meta: ObjectMeta
    data: Buffer


def put_small(bucket: Bucket, objects: list[SmallObject], deadline: Deadline) -> list[ObjectInfo]:
    """
    Store objects side by side, each under another name; return their infos in that order.

    When one fails, those after it may be stored or not, each of them wholly.

    Raises:
        ValueError: If the description, headers and metadata of one are too large; nothing
            has been sent then.
    """
    return _Batch(bucket, objects, deadline).put(deadline)


class _Batch:
    """Objects on their way; to be put once."""

    def __init__(self, bucket: Bucket, objects: list[SmallObject], deadline: Deadline) -> None:
        self._bucket = bucket
        self._objects = objects
        self._infos = self._describe(deadline)
        self._commits: dict[int, Commit] = {}
        self._committed: dict[int, Committed] = {}
        self._tried: set[int] = set()  # numbers of those that were sent at once
        self._unsure: set[int] = set()  # those of them whose chunks may be stored or not

    def put(self, deadline: Deadline) -> list[ObjectInfo]:
        """Store them; return their infos."""
        try:
            self._put_at_once(deadline)
            if len(self._committed) < len(self._objects):
                self._put_in_steps(deadline)
        except BaseException as error:
            rest = deadline.aftermath()
            if not isinstance(error, Exception):
                self._complete(rest)
            stored = {n for n, commit in self._commits.items() if commit.may_be_stored}
            failed = [
                info.nuid for n, info in enumerate(self._infos) if info.chunks and n not in stored
            ]
            self._purge([*failed, *self._needless], rest)
            raise
        infos = [
            info.with_fields(revision=self._committed[n].revision)
            for n, info in enumerate(self._infos)
        ]
        for info in infos:
            self._bucket.recent.note(info)
        return infos

    def _describe(self, deadline: Deadline) -> list[ObjectInfo]:
        """
        Return what the metas will say, but for the digests.

        One that is too large is refused before anything is sent.
        """
        bucket = self._bucket
        max_payload = bucket.js.connection.max_payload(deadline)
        most = self._most = bucket.max_chunk_size(deadline)
        infos = []
        for meta, data in self._objects:
            fields: dict[str, Any] = {
                "bucket": bucket.name,
                "name": meta.name,
                "nuid": next_nuid(),
                "size": len(data),
                "chunks": 1 if len(data) else 0,
                "digest": "",
                "mtime": datetime.now(timezone.utc),
                "chunk_size": min(meta.chunk_size or DEFAULT_CHUNK_SIZE, most),
            }
            if meta.description or meta.headers or meta.metadata:
                fields["description"] = meta.description
                fields["headers"] = {key: list(values) for key, values in meta.headers.items()}
                fields["metadata"] = dict(meta.metadata)
            info = ObjectInfo.of_fields(fields)
            check_meta_size(info, max_payload)
            infos.append(info)
        return infos

    def _add_digest(self, number: int) -> None:
        """Complete what the meta of an object will say."""
        info = self._infos[number]
        if info.digest:
            return
        hasher = new_hash()
        hasher.update(self._objects[number].data)
        info = self._infos[number] = info.with_fields(digest=format_digest(hasher.digest()))
        if number in self._commits:
            self._commits[number].info = info

    def _chunk_subject(self, number: int) -> str:
        return naming.chunk_subject(self._bucket.name, self._infos[number].nuid)

    # In one step

    def _put_at_once(self, deadline: Deadline) -> None:
        """Store what is likely to be new, in one round trip if nobody else writes."""
        recent = self._bucket.recent
        new = [number for number in range(len(self._objects)) if self._may_be_new(number)]
        end = recent.end() if new and self._bucket.takes_both else 0
        if not end:
            return
        try:
            with Exchange(self._bucket, Deadline(deadline.at_most(ACK_TIMEOUT))) as exchange:
                for number in new:
                    self._add_at_once(exchange, number, end)
                    end += at_once.LENGTH
                exchange.send()
                for number, answer in exchange.answers():
                    with contextlib.suppress(ObjStoreError):  # a refusal is noted
                        self._committed[number] = self._commits[number].take(answer)
                        deadline.extend()
        except PermissionsViolationError as error:
            # To be denied the answer is another matter than to be denied the publish.
            for number, commit in self._commits.items():
                if error.subject in (commit.subject, self._chunk_subject(number)):
                    commit.may_be_stored = False
        except ObjStoreError:
            pass  # what it comes to is found out in steps
        recent.guessed(is_right=len(self._committed) == len(new))

    def _may_be_new(self, number: int) -> bool:
        """Whether an object can be stored at once."""
        info = self._infos[number]
        if not info.chunks or not self._bucket.recent.may_be_new(info.name):
            return False
        # The headers of its chunk are larger than those of others.
        size = info.size + at_once.HEADER_SIZE + len(self._bucket.meta_subject(info.name))
        return size <= self._most

    def _add_at_once(self, exchange: Exchange, number: int, end: int) -> None:
        """Add chunk and meta of an object to what is sent; they are to come behind `end`."""
        info, data = self._infos[number], self._objects[number].data
        commit = Commit(
            self._bucket, info, Previous(0, ""), conditional=False, uploaded=True, since=end
        )
        subject = self._chunk_subject(number)
        headers = at_once.chunk_conditions(commit.subject)
        headers[MESSAGE_ID] = f"{info.nuid}.0"
        # From here on it may be stored, wherever we are interrupted: then it is completed.
        self._commits[number] = commit
        self._tried.add(number)
        self._unsure.add(number)
        commit.begin()
        exchange.tell(subject, data, headers)
        if len(data) > SMALL_REQUEST:
            exchange.send()  # and is hashed while the server stores it
        self._add_digest(number)
        exchange.add(number, *commit.message(at_once.meta_conditions(subject, end)))

    # In steps

    def _put_in_steps(self, deadline: Deadline) -> None:
        """Store what is left: chunks, then metas; then purge what was replaced."""
        left = [n for n in range(len(self._objects)) if n not in self._committed]
        try:
            previous = self._put_chunks(left, deadline)
        except PermissionsViolationError:
            raise
        except ObjStoreError as error:
            for number, commit in self._commits.items():
                if commit.may_be_stored and number not in self._committed:
                    raise commit.unknown() from error
            raise
        self._unsure.clear()
        for number in left:
            if number not in self._tried:
                self._commits[number] = Commit(
                    self._bucket,
                    self._infos[number],
                    previous[number],
                    conditional=False,
                    uploaded=True,
                )
            elif not self._commits[number].may_be_stored:
                self._commits[number].rebase(previous[number])
        self._commit(left, deadline)
        self._purge(self._needless, deadline)
        for number in left:
            committed = self._committed[number]
            if committed.spared is not None:
                purge_replaced(self._bucket, committed._replace(replaced=()), deadline.timeout)

    def _put_chunks(self, numbers: list[int], deadline: Deadline) -> dict[int, Previous]:
        """
        Send chunks, and ask what their objects replace; return that when all is stored.

        What is not answered, or refused for the moment, is sent again. The id of a chunk, and
        the condition that it is the first one, keep it from being stored twice.
        """
        bucket = self._bucket
        previous: dict[int, Previous] = {}
        unstored = {number for number in numbers if self._infos[number].chunks}
        # Of what was sent before an earlier copy may be stored.
        sent = set(self._commits)
        ask_last = bucket.js.subject(f"STREAM.MSG.GET.{bucket.stream}")

        def send(exchange: Exchange) -> None:
            for number in numbers:
                info = self._infos[number]
                if number not in previous:
                    body = encode_last_by_subject(bucket.meta_subject(info.name))
                    exchange.add(2 * number, ask_last, body)
                if number in unstored:
                    headers = {MESSAGE_ID: f"{info.nuid}.0"}
                    if number in sent:
                        headers[EXPECTED] = "0"
                    data = self._objects[number].data
                    exchange.add(2 * number + 1, self._chunk_subject(number), data, headers)
            exchange.send()
            sent.update(numbers)
            for number in numbers:
                self._add_digest(number)  # while the server works

        def take(number: int, answer: Message) -> None:
            number, is_chunk = divmod(number, 2)
            if answer.status == 503:
                raise NoRespondersError(f"nobody answers for {bucket.stream}")
            if not is_chunk:
                name, message = self._infos[number].name, message_or_none(answer)
                previous[number] = read_previous(bucket, name, message, deadline)
                return
            try:
                parse_ack(answer, bucket.stream)
            except JetStreamError as error:
                # Nobody else writes there: an earlier copy of it is stored.
                if error.err_code != ErrorCode.WRONG_LAST_SEQUENCE or number not in sent:
                    raise
            unstored.discard(number)

        failure: ObjStoreError | None = None
        for pause in pauses():
            latest = _exchange_once(bucket, send, take, deadline)
            if latest is None:
                return previous
            if failure is None or not isinstance(latest, RequestTimeoutError):
                failure = latest  # that the time is up says less than what it was spent on
            if deadline.expired or bucket.js.connection.state is State.CLOSED:
                raise failure
            if isinstance(failure, NoRespondersError):
                bucket.check_exists(deadline.at_most(pause + _DOUBT_TIMEOUT))
            bucket.js.connection.closing.wait(deadline.at_most(pause))
        raise AssertionError  # pauses do not end

    def _commit(self, numbers: list[int], deadline: Deadline) -> None:
        """
        Publish metas, and note those that are stored.

        Raises:
            ObjStoreError: The first failure, when the others have had their turn.
        """
        doubtful = set(numbers)
        if len(numbers) > 1:
            patience = Deadline(deadline.at_most(ACK_TIMEOUT))
            with (
                contextlib.suppress(RequestTimeoutError, ConnectionLostError),
                Exchange(self._bucket, patience) as exchange,
            ):
                for number in numbers:
                    exchange.add(number, *self._commits[number].prepare())
                exchange.send()
                for number, answer in exchange.answers():
                    with contextlib.suppress(ObjStoreError):
                        self._committed[number] = self._commits[number].take(answer)
                        doubtful.remove(number)
                        deadline.extend()
        failure: ObjStoreError | None = None
        for number in sorted(doubtful):
            if failure is not None and deadline.expired:
                break
            try:
                self._committed[number] = self._commits[number].run(deadline)
                deadline.extend()
            except ObjStoreError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    # Afterwards

    def _complete(self, deadline: Deadline) -> None:
        """After an interrupt: what may be stored is stored in full, and leaves nothing behind."""
        left = {
            number
            for number, commit in self._commits.items()
            if commit.may_be_stored and number not in self._committed
        }
        unsure = left & self._unsure
        if unsure:
            try:
                self._put_chunks(sorted(unsure), deadline)
            except ObjStoreError:
                left -= unsure  # their metas may not go out again
        for number in sorted(left):
            with contextlib.suppress(ObjStoreError):
                self._committed[number] = self._commits[number].run(deadline)

    @property
    def _needless(self) -> list[str]:
        """Ids whose chunks nobody needs any more."""
        replaced = [nuid for one in self._committed.values() for nuid in one.replaced]
        # Who has replaced ours may have purged the chunk before it was sent once more.
        return replaced + [
            self._infos[number].nuid
            for number in self._tried & self._committed.keys()
            if not self._committed[number].revision
        ]

    def _purge(self, nuids: list[str], deadline: Deadline) -> None:
        """Purge chunks that nobody needs, all at once; one after the other what that leaves."""
        if not nuids:
            return
        bucket = self._bucket
        requests: dict[str, Request] = {}
        with contextlib.suppress(ObjStoreError):
            for nuid in nuids:
                requests[nuid] = bucket.ask_purge_chunks(nuid, deadline)
        for nuid in nuids:
            try:
                bucket.take_purge(requests[nuid], Deadline(deadline.at_most(ACK_TIMEOUT)))
            except (KeyError, ObjStoreError):
                purge_chunks(bucket, nuid, deadline)


def _exchange_once(
    bucket: Bucket,
    send: Callable[[Exchange], object],
    take: Callable[[int, Message], object],
    deadline: Deadline,
) -> ObjStoreError | None:
    """
    Send requests and take their answers.

    Returns:
        What went wrong and may go well next time; None if all is well.

    Raises:
        ObjStoreError: What went wrong for good.
    """
    failure: ObjStoreError | None = None
    try:
        with Exchange(bucket, Deadline(deadline.at_most(ACK_TIMEOUT))) as exchange:
            try:
                send(exchange)
                for number, answer in exchange.answers():
                    try:
                        take(number, answer)
                        deadline.extend()
                    except ObjStoreError as error:
                        if not may_pass(error):
                            raise
                        failure = error
                        if isinstance(error, NoRespondersError):
                            exchange.hasten()
            except BaseException:
                exchange.settle(Deadline(deadline.aftermath().at_most(_MAX_SETTLE) / 2))
                raise
    except ObjStoreError as error:
        if not may_pass(error):
            raise
        # That the time is up says less than what it was spent on.
        return failure if failure and isinstance(error, RequestTimeoutError) else error
    return failure
