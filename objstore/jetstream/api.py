"""
The JSON API of JetStream: streams, stored messages, purge.

Errors are keyed on the server's `err_code`, never on its text. Durations in the server's
JSON are nanoseconds; the fields that hold them keep the server's names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Any, TypeVar

from objstore.core.connection import Connection, State
from objstore.core.deadline import DEFAULT_TIMEOUT, Deadline
from objstore.core.fields import parse_fields
from objstore.core.protocol import Message, check_subject, encode_pub
from objstore.core.request import Request
from objstore.errors import (
    ConnectionLostError,
    JetStreamError,
    NoRespondersError,
    ObjStoreError,
    ProtocolError,
    RequestTimeoutError,
    shorten,
)
from objstore.jetstream.messages import StreamMessage, from_api

__all__ = [
    "NANOSECONDS",
    "REPEAT_INTERVAL",
    "ErrorCode",
    "JetStream",
    "encode_body",
    "encode_last_by_subject",
    "may_pass",
    "message_or_none",
    "parse_json",
    "parse_purged",
]

_T = TypeVar("_T")

#: Nanoseconds in a second.
NANOSECONDS = 1_000_000_000
#: Subjects of a page that are asked for again with the next one; a page has 100,000.
_OVERLAP = 1000


class ErrorCode(IntEnum):
    """The server's error numbers that somebody acts on (nats-server, `errors.json`)."""

    ACCOUNT_RESOURCES_EXCEEDED = 10002
    CLUSTER_NOT_AVAILABLE = 10008
    CLUSTER_NOT_LEADER = 10009
    CONSUMER_NOT_FOUND = 10014
    INSUFFICIENT_RESOURCES = 10023
    MEMORY_RESOURCES_EXCEEDED = 10028
    NO_MESSAGE_FOUND = 10037
    NOT_ENABLED_FOR_ACCOUNT = 10039
    STORAGE_RESOURCES_EXCEEDED = 10047
    STREAM_NAME_IN_USE = 10058
    STREAM_NOT_FOUND = 10059
    WRONG_LAST_SEQUENCE = 10071
    NOT_ENABLED = 10076
    STREAM_STORE_FAILED = 10077
    STREAM_SEALED = 10109
    STREAM_OFFLINE = 10118
    DUPLICATE_IN_PROCESS = 10158
    SEQUENCE_NOT_READY = 10163
    WRONG_LAST_SEQUENCE_CONSTANT = 10164
    TOO_MANY_REQUESTS = 10167
    ATOMIC_PUBLISH_DISABLED = 10174
    BATCH_MISSING_SEQUENCE = 10175
    BATCH_INCOMPLETE = 10176


#: Refusals that pass: another attempt may succeed.
_PASSING = frozenset(
    {
        ErrorCode.CLUSTER_NOT_AVAILABLE,
        ErrorCode.CLUSTER_NOT_LEADER,
        ErrorCode.DUPLICATE_IN_PROCESS,
        ErrorCode.SEQUENCE_NOT_READY,
        ErrorCode.STREAM_OFFLINE,
        ErrorCode.TOO_MANY_REQUESTS,
    }
)
#: Seconds without an answer after which what may be asked twice is asked again.
REPEAT_INTERVAL = 0.5
#: Seconds between two attempts at what was refused, or lost with the connection.
_RETRY_INTERVAL = 0.05
#: Seconds for a change of a stream: a leader that was paused, and has lost its office, never
#: answers.
_CHANGE_PATIENCE = 10.0


class JetStream:
    """
    The JetStream API behind one connection.

    Args:
        connection: Who carries the requests.
        prefix: First tokens of the API's subjects; `$JS.<domain>.API` for a domain.
    """

    def __init__(self, connection: Connection, *, prefix: str = "$JS.API") -> None:
        check_subject(prefix)
        self.connection = connection
        self.prefix = prefix

    def ask(
        self, operation: str, body: object, deadline: Deadline, *, ahead: bool = False
    ) -> Request:
        """Send a request of the API, `ahead` with the next; its answer is for `parse_json`."""
        return Request(
            self.connection, self.subject(operation), encode_body(body), deadline, ahead=ahead
        )

    def subject(self, operation: str) -> str:
        """Return the subject of an operation, for example `STREAM.INFO.OBJ_photos`."""
        return f"{self.prefix}.{operation}"

    def call(
        self, operation: str, body: object, deadline: Deadline, *, twice: bool = False
    ) -> dict[str, Any]:
        """
        Send a request of the API and return its answer.

        Args:
            twice: Send it again while there is no answer: it may be served twice.

        Raises:
            JetStreamError: If the server refuses.
            RequestTimeoutError: If it does not answer in time.
            NoRespondersError: If there is no JetStream.
            ConnectionLostError: If the connection breaks.
        """
        try:
            request = self.ask(operation, body, deadline)
            again = REPEAT_INTERVAL if twice else None
            return parse_json(request.answer(deadline, again=again))
        except NoRespondersError as error:
            raise NoRespondersError(
                "JetStream does not answer: is it enabled on the server and for the account?"
            ) from error

    def persist(self, ask: Callable[[], _T], deadline: Deadline, *, served: bool = True) -> _T:
        """
        Do what may be done twice, again and again until it succeeds or the time is up.

        A lost connection comes back, and a stream elects another leader.

        Args:
            served: Somebody has answered such requests before, so he who is missing now
                will come back.
        """
        failure: ObjStoreError | None = None
        while True:
            try:
                return ask()
            except RequestTimeoutError as error:  # for one of an attempt that had less time
                failure = failure or error
            except (ConnectionLostError, NoRespondersError) as error:
                if isinstance(error, NoRespondersError) and not served:
                    raise
                failure = error
            except JetStreamError as error:
                if not may_pass(error):
                    raise
                failure = error
            if deadline.expired or self.connection.state is State.CLOSED:
                raise failure
            self.connection.closing.wait(deadline.at_most(_RETRY_INTERVAL))

    def say(self, operation: str, body: object) -> bytes:
        """Return a request of the API that asks for no answer, encoded."""
        return b"".join(encode_pub(self.subject(operation), encode_body(body)))

    # Streams

    def create_stream(self, config: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
        """
        Create a stream, or find the one with this very configuration.

        Returns:
            `{"config": …, "state": …, "created": …, "did_create": …}`.
        """
        return self._change(f"STREAM.CREATE.{config['name']}", config, deadline)

    def update_stream(self, config: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
        """Replace a stream's configuration; `config` is the whole of it."""
        return self._change(f"STREAM.UPDATE.{config['name']}", config, deadline)

    def _change(self, operation: str, body: object, deadline: Deadline) -> dict[str, Any]:
        """
        Ask for a change that made twice is the same.

        Two attempts may overlap, so the next one is made only when an answer is overdue.
        """

        def change() -> dict[str, Any]:
            patience = Deadline(deadline.at_most(_CHANGE_PATIENCE))
            return self.call(operation, body, patience)

        return self.persist(change, deadline, served=False)

    def stream_info(
        self, stream: str, deadline: Deadline, *, subjects_filter: str | None = None
    ) -> dict[str, Any]:
        """Return `{"config": …, "state": …}`, with `state.subjects` for a filter."""
        body = None if subjects_filter is None else {"subjects_filter": subjects_filter}
        return self._look_up(f"STREAM.INFO.{stream}", body, deadline)

    def _look_up(self, operation: str, body: object, deadline: Deadline) -> dict[str, Any]:
        """Ask for what is there."""
        return self.persist(
            lambda: self.call(operation, body, deadline, twice=True), deadline, served=False
        )

    def stored_subjects(self, stream: str, subject: str, deadline: Deadline) -> Iterator[str]:
        """
        Yield the subjects, of those that match `subject`, under which messages are stored.

        The leader is asked page by page. Its pages are cut from a sorted list, which gets
        shorter when messages are removed: so that none is passed over, they overlap.
        """
        offset, last = 0, ""
        while True:
            body = {"subjects_filter": subject, "offset": offset}
            page = self._look_up(f"STREAM.INFO.{stream}", body, deadline)
            deadline.extend()
            subjects = page["state"].get("subjects") or {}
            yield from (stored for stored in subjects if stored > last)
            end = offset + len(subjects)
            if end <= offset or end >= int(page.get("total", 0)):
                return
            offset, last = max(end - _OVERLAP, offset + 1), max(subjects)

    def delete_stream(self, stream: str, deadline: Deadline) -> None:
        """Delete a stream with all its messages and consumers."""
        attempts = 0

        def delete() -> None:
            nonlocal attempts
            attempts += 1
            patience = Deadline(deadline.at_most(_CHANGE_PATIENCE))
            self.call(f"STREAM.DELETE.{stream}", None, patience)

        try:
            self.persist(delete, deadline, served=False)
        except JetStreamError as error:
            # Gone may be the work of an attempt whose answer was lost.
            if error.err_code != ErrorCode.STREAM_NOT_FOUND or attempts == 1:
                raise

    def stream_names(self, subject: str, timeout: float | None = DEFAULT_TIMEOUT) -> Iterator[str]:
        """Yield the names of the streams that store `subject`."""
        return self._pages("STREAM.NAMES", subject, timeout)

    def streams(
        self, subject: str, timeout: float | None = DEFAULT_TIMEOUT
    ) -> Iterator[dict[str, Any]]:
        """Yield the infos of the streams that store `subject`."""
        return self._pages("STREAM.LIST", subject, timeout)

    def _pages(self, operation: str, subject: str, timeout: float | None) -> Iterator[Any]:
        """Yield the entries of a paged listing; `timeout` is for each page."""
        offset = 0
        while True:
            page = self._look_up(
                operation, {"offset": offset, "subject": subject}, Deadline(timeout)
            )
            entries = page.get("streams") or []
            yield from entries
            offset += len(entries)
            if not entries or offset >= int(page.get("total", 0)):
                return

    # Messages

    def ask_last(
        self, stream: str, subject: str, deadline: Deadline, *, ahead: bool = False
    ) -> Request:
        """
        Ask the leader for a subject's last message, `ahead` with the next; for `take_message`.
        """
        return Request(
            self.connection,
            self.subject(f"STREAM.MSG.GET.{stream}"),
            encode_last_by_subject(subject),
            deadline,
            ahead=ahead,
        )

    def take_message(self, request: Request, deadline: Deadline) -> StreamMessage | None:
        """Return the message that `request` asked for; None if there is none."""
        return message_or_none(request.answer(deadline, again=REPEAT_INTERVAL))

    def last_message(
        self, stream: str, subject: str, deadline: Deadline, *, asked: Request | None = None
    ) -> StreamMessage | None:
        """
        Return the last message stored under `subject`, as the leader has it.

        Args:
            asked: What `ask_last` has sent before: its answer will do.
        """

        def ask() -> StreamMessage | None:
            nonlocal asked
            request, asked = asked or self.ask_last(stream, subject, deadline), None
            return self.take_message(request, deadline)

        return self.persist(ask, deadline)

    def next_message(
        self, stream: str, subject: str, stream_seq: int, deadline: Deadline
    ) -> StreamMessage | None:
        """Return the first message under `subject` from `stream_seq` on, as the leader has it."""
        body = {"seq": stream_seq, "next_by_subj": subject}
        operation = f"STREAM.MSG.GET.{stream}"
        return self.persist(
            lambda: self.take_message(self.ask(operation, body, deadline), deadline), deadline
        )

    def message(self, stream: str, stream_seq: int, deadline: Deadline) -> StreamMessage | None:
        """Return the message with that sequence, as the leader has it; None if there is none."""
        request = self.ask(f"STREAM.MSG.GET.{stream}", {"seq": stream_seq}, deadline)
        return self.take_message(request, deadline)

    def delete_message(self, stream: str, stream_seq: int, deadline: Deadline) -> None:
        """
        Delete one message; its bytes stay on the disk until they are overwritten.

        Source: server API `$JS.API.STREAM.MSG.DELETE`.
        """
        body = {"seq": stream_seq, "no_erase": True}
        self.call(f"STREAM.MSG.DELETE.{stream}", body, deadline)

    def ask_purge(
        self, stream: str, subject: str, deadline: Deadline, up_to_seq: int | None = None
    ) -> Request:
        """
        Ask for the messages stored under a subject to be deleted; `parse_purged` takes the answer.

        Args:
            subject: Literal: an empty one would empty the stream, so it is refused.
            up_to_seq: Spare what is stored after this sequence.

        Source: server API `$JS.API.STREAM.PURGE`.
        """
        check_subject(subject)
        body: dict[str, Any] = {"filter": subject}
        if up_to_seq is not None:
            body["seq"] = up_to_seq + 1
        return self.ask(f"STREAM.PURGE.{stream}", body, deadline)


def may_pass(error: ObjStoreError) -> bool:
    """Whether what went wrong may go well in another attempt."""
    if isinstance(error, JetStreamError):
        # A leader that loses its office in the middle says 503, and no err_code.
        return error.err_code in _PASSING or (error.code, error.err_code) == (503, 0)
    return isinstance(error, (ConnectionLostError, NoRespondersError, RequestTimeoutError))


def encode_body(body: object) -> bytes:
    """Return the JSON of a request; nothing for None."""
    return b"" if body is None else _encode_json(body).encode()


_encode_json = json.JSONEncoder(separators=(",", ":")).encode


def encode_last_by_subject(subject: str) -> bytes:
    """Return the JSON of a request for a subject's last message: of all the most frequent."""
    return b'{"last_by_subj":%b}' % _encode_json(subject).encode()


def parse_purged(message: Message) -> int:
    """Return how many messages a purge has deleted."""
    return int(parse_json(message).get("purged", 0))


def parse_json(message: Message) -> dict[str, Any]:
    """
    Return the fields of an answer of the API.

    Raises:
        JetStreamError: If the answer is an error.
        NoRespondersError: If nobody was there to answer.
        ProtocolError: If it cannot be read.
    """
    fields = _parse_answer(message)
    if fields.get("error") is not None:
        raise _make_error(fields["error"])
    return fields


def _parse_answer(message: Message) -> dict[str, Any]:
    """Return the fields of an answer, which may be an error."""
    if message.status == 503:
        raise NoRespondersError("JetStream does not answer")
    try:
        return parse_fields(bytes(message.payload))
    except ValueError as error:
        raise ProtocolError("an answer of JetStream is not JSON") from error


def _make_error(fields: object) -> JetStreamError | ProtocolError:
    """Return the exception for the `error` of an answer."""
    if not isinstance(fields, dict):
        return ProtocolError(f"JetStream gives an error that cannot be read: {shorten(fields)}")
    code, err_code = fields.get("code"), fields.get("err_code")
    return JetStreamError(
        code if isinstance(code, int) else 0,
        err_code if isinstance(err_code, int) else 0,
        str(fields.get("description", "an error without a description"))[:1024],
    )


def message_or_none(answer: Message) -> StreamMessage | None:
    """Return the stored message in an answer; None if there is none."""
    fields = _parse_answer(answer)
    refusal = fields.get("error")
    if refusal is not None:
        # No exception for what the first put of every name is told.
        if isinstance(refusal, dict) and refusal.get("err_code") == ErrorCode.NO_MESSAGE_FOUND:
            return None
        raise _make_error(refusal)
    message = fields.get("message")
    if not isinstance(message, dict):
        raise ProtocolError("an answer of JetStream holds no message")
    return from_api(message)
