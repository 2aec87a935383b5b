"""
The JSON API of JetStream: streams, stored messages, purge.

Errors are keyed on the server's `err_code`, never on its text. Durations in the server's
JSON are nanoseconds; the fields that hold them keep the server's names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import IntEnum
from typing import Any

from objstore.core.connection import Connection
from objstore.core.deadline import DEFAULT_TIMEOUT, Deadline
from objstore.core.fields import parse_fields
from objstore.core.protocol import Message, check_subject, encode_pub
from objstore.core.request import Request
from objstore.errors import JetStreamError, NoRespondersError, ProtocolError, shorten
from objstore.jetstream.messages import StreamMessage, from_api

__all__ = ["NANOSECONDS", "ErrorCode", "JetStream", "encode_body", "message_or_none", "parse_json"]

#: Nanoseconds in a second.
NANOSECONDS = 1_000_000_000


class ErrorCode(IntEnum):
    """The server's error numbers that somebody acts on (nats-server, `errors.json`)."""

    ACCOUNT_RESOURCES_EXCEEDED = 10002
    CLUSTER_NOT_AVAILABLE = 10008
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
    DUPLICATE_IN_PROCESS = 10158
    SEQUENCE_NOT_READY = 10163
    WRONG_LAST_SEQUENCE_CONSTANT = 10164
    TOO_MANY_REQUESTS = 10167


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

    def ask(self, operation: str, body: object, deadline: Deadline) -> Request:
        """Send a request of the API; its answer is for `parse_json`."""
        return Request(self.connection, self.subject(operation), encode_body(body), deadline)

    def subject(self, operation: str) -> str:
        """Return the subject of an operation, for example `STREAM.INFO.OBJ_photos`."""
        return f"{self.prefix}.{operation}"

    def call(self, operation: str, body: object, deadline: Deadline) -> dict[str, Any]:
        """
        Send a request of the API and return its answer.

        Raises:
            JetStreamError: If the server refuses.
            RequestTimeoutError: If it does not answer in time.
            NoRespondersError: If there is no JetStream.
            ConnectionLostError: If the connection breaks.
        """
        try:
            return parse_json(self.ask(operation, body, deadline).answer(deadline))
        except NoRespondersError as error:
            raise NoRespondersError(
                "JetStream does not answer: is it enabled on the server and for the account?"
            ) from error

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
        return self.call(f"STREAM.CREATE.{config['name']}", config, deadline)

    def update_stream(self, config: dict[str, Any], deadline: Deadline) -> dict[str, Any]:
        """Replace a stream's configuration; `config` is the whole of it."""
        return self.call(f"STREAM.UPDATE.{config['name']}", config, deadline)

    def stream_info(
        self, stream: str, deadline: Deadline, *, subjects_filter: str | None = None
    ) -> dict[str, Any]:
        """Return `{"config": …, "state": …}`, with `state.subjects` for a filter."""
        body = None if subjects_filter is None else {"subjects_filter": subjects_filter}
        return self.call(f"STREAM.INFO.{stream}", body, deadline)

    def delete_stream(self, stream: str, deadline: Deadline) -> None:
        """Delete a stream with all its messages and consumers."""
        self.call(f"STREAM.DELETE.{stream}", None, deadline)

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
            page = self.call(operation, {"offset": offset, "subject": subject}, Deadline(timeout))
            entries = page.get("streams") or []
            yield from entries
            offset += len(entries)
            if not entries or offset >= int(page.get("total", 0)):
                return

    # Messages

    def ask_last(self, stream: str, subject: str, deadline: Deadline) -> Request:
        """Ask the leader for a subject's last message; the answer is for `take_message`."""
        return self.ask(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject}, deadline)

    def take_message(self, request: Request, deadline: Deadline) -> StreamMessage | None:
        """Return the message that `request` asked for; None if there is none."""
        return message_or_none(request.answer(deadline))

    def last_message(self, stream: str, subject: str, deadline: Deadline) -> StreamMessage | None:
        """Return the last message stored under `subject`, as the leader has it."""
        return self.take_message(self.ask_last(stream, subject, deadline), deadline)

    def next_message(
        self, stream: str, subject: str, stream_seq: int, deadline: Deadline
    ) -> StreamMessage | None:
        """Return the first message under `subject` from `stream_seq` on, as the leader has it."""
        body = {"seq": stream_seq, "next_by_subj": subject}
        return self.take_message(self.ask(f"STREAM.MSG.GET.{stream}", body, deadline), deadline)

    def purge(
        self, stream: str, subject: str, deadline: Deadline, *, up_to_seq: int | None = None
    ) -> int:
        """
        Delete the messages stored under a subject.

        Args:
            subject: Literal: an empty one would empty the stream, so it is refused.
            up_to_seq: Spare what is stored after this sequence.

        Returns:
            Number of messages deleted.

        Source: server API `$JS.API.STREAM.PURGE`.
        """
        request = self.ask_purge(stream, subject, deadline, up_to_seq)
        return int(parse_json(request.answer(deadline)).get("purged", 0))

    def ask_purge(
        self, stream: str, subject: str, deadline: Deadline, up_to_seq: int | None = None
    ) -> Request:
        """Send what `purge` sends; the answer is for `parse_json`."""
        check_subject(subject)
        body: dict[str, Any] = {"filter": subject}
        if up_to_seq is not None:
            body["seq"] = up_to_seq + 1
        return self.ask(f"STREAM.PURGE.{stream}", body, deadline)


def encode_body(body: object) -> bytes:
    """Return the JSON of a request; nothing for None."""
    return b"" if body is None else json.dumps(body, separators=(",", ":")).encode()


def parse_json(message: Message) -> dict[str, Any]:
    """
    Return the fields of an answer of the API.

    Raises:
        JetStreamError: If the answer is an error.
        ProtocolError: If it cannot be read.
    """
    try:
        fields = parse_fields(bytes(message.payload))
    except ValueError as error:
        raise ProtocolError("an answer of JetStream is not JSON") from error
    if fields.get("error") is not None:
        raise _make_error(fields["error"])
    return fields


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
    try:
        fields = parse_json(answer).get("message")
    except JetStreamError as error:
        if error.err_code == ErrorCode.NO_MESSAGE_FOUND:
            return None
        raise
    if not isinstance(fields, dict):
        raise ProtocolError("an answer of JetStream holds no message")
    return from_api(fields)
