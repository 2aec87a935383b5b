"""
A bucket as messages: what is really stored, and what other clients may have stored there.

Shares no code with the object store: it speaks the JSON API over a bare connection, builds
every subject itself, and so can say what the store would not.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from objstore.core.connection import Connection
from objstore.core.deadline import Deadline
from objstore.core.nuid import next_nuid
from objstore.errors import RequestTimeoutError

__all__ = ["RawBucket", "digest_of"]

#: Seconds to wait for an answer, and until the request is sent again.
TIMEOUT = 10.0
_PATIENCE = 3.0


def digest_of(data: bytes) -> str:
    """The digest of an object's bytes, as it is stored."""
    return "SHA-256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode()


class RawBucket:
    """The stream `OBJ_<name>`, message by message."""

    def __init__(self, connection: Connection, name: str) -> None:
        self.name = name
        self._connection = connection

    # What is there

    def call(self, operation: str, body: object = None) -> dict[str, Any]:
        """Send a request of the API, `%` standing for the stream; return the answer."""
        subject = f"$JS.API.{operation.replace('%', f'OBJ_{self.name}')}"
        payload = b"" if body is None else json.dumps(body).encode()
        deadline = Deadline(TIMEOUT)
        while True:
            try:
                message = self._connection.request(subject, payload, timeout=_PATIENCE)
            except RequestTimeoutError:
                # A leader that has lost its office does not answer, and there is another soon.
                if deadline.expired:
                    raise
                continue
            answer = dict(json.loads(bytes(message.payload)))
            # 10008: or says that there is none.
            if answer.get("error", {}).get("err_code") != 10008 or deadline.expired:
                return answer

    @property
    def config(self) -> dict[str, Any]:
        """The stream's configuration."""
        return dict(self.call("STREAM.INFO.%")["config"])

    @property
    def state(self) -> dict[str, Any]:
        """Numbers of messages, bytes, consumers, and the first and last sequence."""
        return dict(self.call("STREAM.INFO.%")["state"])

    @property
    def consumers(self) -> int:
        """Number of consumers on the server."""
        return int(self.state["consumer_count"])

    def subjects(self, pattern: str = ">") -> dict[str, int]:
        """Subjects that have messages, and how many."""
        info = self.call("STREAM.INFO.%", {"subjects_filter": pattern})
        return dict(info["state"].get("subjects") or {})

    @property
    def chunks(self) -> dict[str, int]:
        """Ids that have chunks, and how many."""
        found = self.subjects(f"$O.{self.name}.C.>")
        return {subject.rpartition(".")[2]: count for subject, count in found.items()}

    def message(self, **body: Any) -> dict[str, Any] | None:
        """A stored message by `seq`, or `last_by_subj`, or both `seq` and `next_by_subj`."""
        answer = self.call("STREAM.MSG.GET.%", body)
        if answer.get("error", {}).get("err_code") == 10037:
            return None
        message = dict(answer["message"])
        for key in ("data", "hdrs"):
            message[key] = base64.b64decode(message.get(key, ""))
        return message

    def meta_subject(self, name: str) -> str:
        """Where the meta of an object is stored."""
        return f"$O.{self.name}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"

    def chunk_subject(self, nuid: str) -> str:
        """Where the chunks of an object are stored."""
        return f"$O.{self.name}.C.{nuid}"

    def meta_message(self, name: str) -> dict[str, Any] | None:
        """The message that holds the meta of an object."""
        return self.message(last_by_subj=self.meta_subject(name))

    def meta(self, name: str) -> dict[str, Any]:
        """The fields of an object's meta."""
        message = self.meta_message(name)
        assert message is not None, f"there is no meta of {name!r}"
        return dict(json.loads(message["data"]))

    def chunk_messages(self, nuid: str) -> list[dict[str, Any]]:
        """The chunks of an object, in order."""
        found: list[dict[str, Any]] = []
        subject = self.chunk_subject(nuid)
        while True:
            after = found[-1]["seq"] + 1 if found else 1
            message = self.message(seq=after, next_by_subj=subject)
            if message is None:
                return found
            found.append(message)

    # What others may store

    def publish(
        self, subject: str, payload: bytes, headers: dict[str, str | list[str]] | None = None
    ) -> int:
        """Store a message; return its sequence."""
        answer = self._connection.request(subject, payload, headers=headers, timeout=TIMEOUT)
        ack = json.loads(bytes(answer.payload))
        assert "error" not in ack, ack
        return int(ack["seq"])

    def put_meta(
        self, name: str, fields: object, *, subject: str | None = None, rollup: bool = True
    ) -> int:
        """Store a meta: bytes as they are, anything else as JSON."""
        payload = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
        headers: dict[str, str | list[str]] = {"Nats-Rollup": "sub"} if rollup else {}
        return self.publish(subject or self.meta_subject(name), payload, headers)

    def put_chunk(self, nuid: str, data: bytes) -> int:
        """Store one chunk."""
        return self.publish(self.chunk_subject(nuid), data)

    def put_object(self, name: str, pieces: Sequence[bytes], **fields: Any) -> str:
        """
        Store an object of these chunks, as any client may have done; return its id.

        Keywords replace fields of its meta; None takes one out.
        """
        nuid = next_nuid()
        for piece in pieces:
            self.put_chunk(nuid, piece)
        data = b"".join(pieces)
        meta = {
            "name": name,
            "bucket": self.name,
            "nuid": nuid,
            "size": len(data),
            "chunks": len(pieces),
            "digest": digest_of(data),
            "options": {"max_chunk_size": max(map(len, pieces), default=131072)},
            **fields,
        }
        self.put_meta(name, {key: value for key, value in meta.items() if value is not None})
        return nuid

    # What happens to it

    def purge(self, subject: str) -> None:
        """Remove the messages of a subject."""
        assert self.call("STREAM.PURGE.%", {"filter": subject})["success"]

    def remove(self, seq: int) -> None:
        """Remove one message."""
        assert self.call("STREAM.MSG.DELETE.%", {"seq": seq, "no_erase": True})["success"]

    def delete_consumers(self) -> int:
        """Delete all consumers; return how many there were."""
        names = self.call("CONSUMER.NAMES.%", {"offset": 0})["consumers"] or []
        for name in names:
            self.call(f"CONSUMER.DELETE.%.{name}")
        return len(names)
