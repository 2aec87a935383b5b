"""
Messages as a stream stores them, from the three shapes in which a server sends them.

Pure. The leader's answer is JSON; a direct get is the message itself with its position in
headers; a consumer puts the position into the reply subject.
"""

from __future__ import annotations

import base64
import binascii
import re
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from objstore.core.headers import parse_headers, parse_status
from objstore.core.protocol import Buffer, Message
from objstore.errors import ProtocolError, shorten

__all__ = [
    "StreamMessage",
    "from_api",
    "from_consumer",
    "from_direct",
    "from_nanoseconds",
    "parse_time",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,6})\d*)?(?:[Zz]|([+-])(\d\d):(\d\d))"
)


class StreamMessage(NamedTuple):
    """
    A stored message.

    Attributes:
        subject: What it is stored under.
        stream_seq: Its sequence in the stream.
        payload: Its bytes; a view into the receive buffer, so copy to keep it for long.
        pending: Messages that follow for the same filter; None where the server is too
            old to say.
        time: When it was stored, in the form in which the server said it.
        consumer_seq: Its place among what a consumer delivered; 0 without a consumer.
        block: Its header block; None without one, and from a direct get, whose headers say
            the above.
    """

    subject: str
    stream_seq: int
    payload: Buffer
    pending: int | None
    time: str | int
    consumer_seq: int = 0
    block: bytes | None = None

    @property
    def headers(self) -> Mapping[str, list[str]]:
        """Its headers, key to values."""
        return {} if self.block is None else parse_headers(self.block).fields

    @property
    def stored_at(self) -> datetime:
        """When it was stored; aware, UTC, in whole microseconds."""
        if isinstance(self.time, int):
            return from_nanoseconds(self.time)
        return parse_time(self.time)


def from_nanoseconds(count: int) -> datetime:
    """
    Return the moment so many nanoseconds after the beginning of 1970; aware, UTC.

    Raises:
        OverflowError: If it is beyond the year 9999.
    """
    return _EPOCH + timedelta(microseconds=count // 1000)


_new_tuple = tuple.__new__


def parse_time(text: str) -> datetime:
    """
    Parse RFC 3339 with up to nine decimals, as servers write it.

    Raises:
        ValueError: If it is none.
    """
    seconds, fraction = text[:19], text[20:-1]
    if text[19:20] == "." and text[-1:] == "Z" and fraction.isdecimal() and fraction.isascii():
        # As nearly all are.
        return datetime.fromisoformat(f"{seconds}.{fraction[:6]:0<6}+00:00")
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{shorten(text)} is not a time")
    day, clock, fraction, sign, hours, minutes = match.groups()
    moment = datetime.fromisoformat(f"{day}T{clock}+00:00")
    moment += timedelta(microseconds=int((fraction or "").ljust(6, "0")))
    if sign:
        offset = timedelta(hours=int(hours), minutes=int(minutes))
        moment = moment - offset if sign == "+" else moment + offset
    return moment


def from_api(fields: dict[str, Any]) -> StreamMessage:
    """
    Take the `message` of an answer to `$JS.API.STREAM.MSG.GET`.

    Raises:
        ProtocolError: If it is none.
    """
    try:
        return StreamMessage(
            subject=str(fields["subject"]),
            stream_seq=int(fields["seq"]),
            payload=_decode_base64(fields.get("data") or ""),
            pending=None,
            time=str(fields["time"]),
            block=_decode_block(fields.get("hdrs")),
        )
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise ProtocolError(f"a stored message cannot be read: {error!r}") from error


if sys.version_info >= (3, 11):

    def _decode_base64(text: str) -> bytes:
        return binascii.a2b_base64(text, strict_mode=True)

else:

    def _decode_base64(text: str) -> bytes:
        return base64.b64decode(text, validate=True)


def _decode_block(encoded: str | None) -> bytes | None:
    if not encoded:
        return None
    block = binascii.a2b_base64(encoded)
    parse_status(block)  # refuses what is none
    return block


def from_direct(message: Message) -> StreamMessage:
    """
    Take an answer to `$JS.API.DIRECT.GET` that is a message.

    Raises:
        ProtocolError: If its headers do not say what it is.
    """
    fields = message.headers.fields
    try:
        pending = fields.get("Nats-Num-Pending")
        # The last of several: a message that was copied with all its headers has older ones.
        return StreamMessage(
            subject=fields["Nats-Subject"][-1],
            stream_seq=int(fields["Nats-Sequence"][-1]),
            payload=message.payload,
            pending=None if pending is None else int(pending[-1]),
            time=fields["Nats-Time-Stamp"][-1],
        )
    except (KeyError, ValueError) as error:
        raise ProtocolError(f"a direct get answers without {error}") from error


def from_consumer(message: Message) -> StreamMessage:
    """
    Take a message that a consumer delivered.

    Its reply subject has 9 tokens, or 11 and more since ADR-15 (domain and account first).

    Raises:
        ProtocolError: If it has another form.
    """
    reply = message.reply
    tokens = reply.split(".")
    first = 5 if len(tokens) == 9 else 7
    if len(tokens) < first + 4 or not reply.startswith("$JS.ACK."):
        raise ProtocolError(f"the reply subject of a consumer is {shorten(reply)}")
    try:
        seq, consumer_seq, time, pending = map(int, tokens[first : first + 4])
    except ValueError as error:
        raise ProtocolError(f"the reply subject {shorten(reply)} has no number") from error
    # As its constructor does, in half the time.
    return _new_tuple(
        StreamMessage,
        (message.subject, seq, message.payload, pending, time, consumer_seq, message.block),
    )
