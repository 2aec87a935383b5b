"""
A small object under a new name in one round trip: chunk and meta go out in one write.

So the meta is sent before anybody knows that the chunk is stored, and the server is told to
see to it. Of the two messages

- the chunk is stored only while nothing is stored under the name,
- the meta only if the last message of the chunk's subject is the one after what we take for
  the end of the stream,
- and only if that one is the end of the stream now.

A meta that is stored therefore has its chunk, and came right after it: the name was new.
Whoever else writes makes the guess of the end a wrong one. Then the chunk is stored at the
most, and the general way goes on from there.

Source: server API, `Nats-Expected-Last-Sequence`, and from nats-server 2.12 on
`Nats-Expected-Last-Subject-Sequence-Subject`. Streams tell by their level that they know it.
"""

from __future__ import annotations

from collections.abc import Callable

from objstore import naming
from objstore.bucket import EXPECTED, Bucket
from objstore.commit import ACK_TIMEOUT, Commit, Committed, Previous, purge_chunks
from objstore.core.deadline import Deadline
from objstore.core.protocol import Buffer
from objstore.errors import ObjStoreError, PermissionsViolationError
from objstore.exchange import Exchange
from objstore.jetstream.messages import StreamMessage
from objstore.jetstream.publisher import MESSAGE_ID
from objstore.meta_json import encode_info
from objstore.models import ObjectInfo

__all__ = ["CommitAtOnce"]

#: The stream's last sequence, and the subject of which the last sequence is expected.
_EXPECTED_END = "Nats-Expected-Last-Sequence"
_EXPECTED_SUBJECT = f"{EXPECTED}-Subject"
#: Bytes of a chunk from which on it is sent ahead, and hashed while the server stores it.
_SEND_FIRST = 1 << 14


class CommitAtOnce(Commit):
    """
    Stores a chunk and its meta, together if nothing comes in between.

    Args:
        info: What to store; it may lack the digest yet.
        end: Sequence of what may be the last message of the stream.
        describe: Returns the info with the digest.
        put_chunk: Makes sure that the chunk is stored; returns what the object replaces.
    """

    def __init__(
        self,
        bucket: Bucket,
        info: ObjectInfo,
        data: Buffer,
        *,
        end: int,
        describe: Callable[[], ObjectInfo],
        put_chunk: Callable[[Deadline], Previous],
    ) -> None:
        super().__init__(bucket, info, Previous(0, ""), conditional=False, uploaded=True)
        self._data = data
        self._end = end
        self._describe = describe
        self._put_chunk = put_chunk
        self._is_tried = False

    def run(self, deadline: Deadline) -> Committed:
        """Store both, whatever it takes; raises as `Commit.run`."""
        if not self._is_tried:
            self._is_tried = True
            committed = self._try(deadline)
            self._bucket.recent.guessed(is_right=committed is not None)
            if committed is not None:
                return committed
        self._add_digest()
        try:
            previous = self._put_chunk(deadline)
        except ObjStoreError as error:
            if self.may_be_stored:
                raise self._unknown() from error
            raise
        if not self.may_be_stored:
            self._previous = previous
        committed = super().run(deadline)
        if not committed.revision:
            # Whoever replaced it may have purged the chunk before it was sent once more.
            purge_chunks(self._bucket, self._info.nuid, deadline)
        return committed

    def _try(self, deadline: Deadline) -> Committed | None:
        """Send both and take the one answer; None if that does not say that they are stored."""
        chunk_subject = naming.chunk_subject(self._bucket.name, self._info.nuid)
        is_new = {
            MESSAGE_ID: f"{self._info.nuid}.0",
            EXPECTED: "0",
            _EXPECTED_SUBJECT: self._subject,
        }
        end = str(self._end + 1)
        is_next = {EXPECTED: end, _EXPECTED_END: end, _EXPECTED_SUBJECT: chunk_subject}
        is_next = self._headers() | is_next
        try:
            with Exchange(self._bucket, Deadline(deadline.at_most(ACK_TIMEOUT))) as exchange:
                self._begin()
                exchange.tell(chunk_subject, self._data, is_new)
                if len(self._data) > _SEND_FIRST:
                    exchange.send()
                self._add_digest()
                exchange.add(0, self._subject, encode_info(self._info), is_next)
                exchange.send()
                return self.take(exchange.answer(0))
        except PermissionsViolationError as error:
            # To be denied the answer is another matter than to be denied the publish.
            if error.subject in (self._subject, chunk_subject):
                self.may_be_stored = False
        except ValueError:
            self.may_be_stored = False  # with so many headers it is too large to be sent
        except ObjStoreError:
            pass  # a refusal is noted; of what is lost the general way finds out
        return None

    def _add_digest(self) -> None:
        if not self._info.digest:
            self._info = self._describe()

    def _was_stored(self, message: StreamMessage | None) -> bool | None:
        if message is not None and message.stream_seq <= self._end:
            return False  # it was there before ours was sent
        return super()._was_stored(message)
