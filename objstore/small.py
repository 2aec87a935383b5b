"""
One small object, by the shortest way.

What two requests need goes out in one write: to read, the question for the meta and the one
for the chunk that the name led to lately; to store, the chunk and the question what it
replaces. Whatever does not go as it nearly always goes is left to the rooms that know every
other way: here it is just None.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from objstore import naming
from objstore.bucket import Bucket
from objstore.commit import Previous, read_previous
from objstore.core.deadline import Deadline
from objstore.core.protocol import Buffer, Message
from objstore.core.request import SMALL_REQUEST
from objstore.digest import format_digest, new_hash, parse_digest
from objstore.errors import ObjStoreError, ProtocolError
from objstore.jetstream.api import encode_last_by_subject, message_or_none
from objstore.jetstream.publisher import MESSAGE_ID, parse_ack
from objstore.models import DEFAULT_CHUNK_SIZE, ObjectInfo

__all__ = ["SMALL", "get_small_one", "is_small", "send_small_one"]

#: Bytes of the largest object that is small: it is a single chunk.
SMALL = DEFAULT_CHUNK_SIZE

#: Seconds without an answer after which another way is tried.
_PATIENCE = 1.0
#: Seconds that an interrupt waits for the fate of what is on its way.
_MAX_SETTLE = 0.5


class _Exchange:
    """A few requests and their answers, numbered in their order."""

    def __init__(self, bucket: Bucket, deadline: Deadline) -> None:
        self._connection = bucket.js.connection
        self._deadline = Deadline(deadline.at_most(_PATIENCE))
        self._inbox = self._connection.inbox(deadline)
        self._pieces: list[Buffer] = []
        self._answers: list[Message | None] = []

    def __enter__(self) -> _Exchange:
        return self

    def __exit__(self, *_: object) -> None:
        self._inbox.close()

    def add(self, subject: str, payload: Buffer, header: str = "") -> None:
        """Add a request; all of its parts are known to be sound."""
        reply = self._inbox.subject(len(self._answers))
        size = len(header) + len(payload)
        limit = self._inbox.link.max_payload
        if size > limit:
            # Such a message would end the connection.
            raise ProtocolError(f"{self._inbox.link.server} takes {limit} bytes in a message")
        if header:
            line = f"HPUB {subject} {reply} {len(header)} {size}\r\n{header}"
        else:
            line = f"PUB {subject} {reply} {size}\r\n"
        self._pieces += [line.encode(), payload, b"\r\n"]
        self._inbox.published.add(subject)
        self._answers.append(None)

    def send(self) -> None:
        """Send what was added."""
        pieces, self._pieces = self._pieces, []
        if sum(map(len, pieces)) > SMALL_REQUEST:
            self._connection.send(pieces, self._deadline.rest(), link=self._inbox.link)
        else:
            self._connection.submit(b"".join(pieces), link=self._inbox.link)

    def answer(self, number: int) -> Message | None:
        """Wait for the answer to a request; None if it does not come."""
        while self._answers[number] is None:
            message = self._inbox.next(self._deadline.remaining())
            if message is None:
                break
            other = self._inbox.number(message)
            if 0 <= other < len(self._answers):
                self._answers[other] = message
        return self._answers[number]

    def settle(self) -> None:
        """Wait a moment for the answers, whatever they are, so that a purge comes last."""
        self._deadline = Deadline(self._deadline.at_most(_MAX_SETTLE))
        with contextlib.suppress(ObjStoreError):
            for number in range(len(self._answers)):
                self.answer(number)


def get_small_one(bucket: Bucket, name: str, deadline: Deadline) -> bytes | None:
    """Return the bytes of a small object; None if it is none, or needs a closer look."""
    if not bucket.allow_direct:
        return None
    guess = bucket.recent.guess(name)
    subject = bucket.meta_subject(name)
    try:
        with _Exchange(bucket, deadline) as exchange:
            exchange.add(bucket.api_get, encode_last_by_subject(subject))
            if guess is not None:
                exchange.add(_direct_subject(bucket, guess), b"")
            exchange.send()
            # The chunk comes in while the meta is looked at.
            meta = exchange.answer(0)
            stored = None if meta is None else message_or_none(meta)
            if stored is None or bucket.session.is_old(subject, stored.stream_seq):
                return None
            bucket.session.saw(subject, stored.stream_seq)
            info = bucket.decode(stored, name)
            bucket.recent.note(info)
            if info.is_link or info.chunks != 1 or not info.size <= SMALL:
                return None
            if info.nuid != guess:
                exchange.add(_direct_subject(bucket, info.nuid), b"")
                exchange.send()
            chunk = exchange.answer(1 if info.nuid == guess or guess is None else 2)
    except ObjStoreError:
        return None
    if chunk is None or chunk.status is not None or len(chunk.payload) != info.size:
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


def send_small_one(
    bucket: Bucket,
    info: ObjectInfo,
    data: Buffer,
    deadline: Deadline,
    *,
    meanwhile: Callable[[], None],
) -> Previous | None:
    """
    Send the only chunk of an object, and return what the object replaces.

    Args:
        meanwhile: Called while the server stores the chunk.

    Returns:
        None if it is not known whether the chunk is stored, or what it replaces.
    """
    with _Exchange(bucket, deadline) as exchange:
        try:
            exchange.add(bucket.api_get, encode_last_by_subject(bucket.meta_subject(info)))
            header = f"NATS/1.0\r\n{MESSAGE_ID}: {info.nuid}.0\r\n\r\n"
            exchange.add(naming.chunk_subject(bucket.name, info.nuid), data, header)
            exchange.send()
            meanwhile()
            meta = exchange.answer(0)
            if meta is None:
                return None
            previous = read_previous(bucket, info.name, message_or_none(meta), deadline)
            ack = exchange.answer(1)
            if ack is None:
                return None
            parse_ack(ack, bucket.stream)
            return previous
        except ObjStoreError:
            return None
        except BaseException:
            exchange.settle()
            raise
