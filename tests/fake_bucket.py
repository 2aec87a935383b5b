"""
A bucket on a `FakeServer`: does what a server does, but for what the test says.

    def refuse(conn, command, go_on):
        if bucket.count["chunk"] == 3:
            conn.reply(command, {"error": {...}})
        else:
            go_on()

    bucket = FakeBucket(chunk=refuse)
    with FakeServer(bucket) as server, bucket.open(server) as store:
        store.put("a", data)

Handlers are called with the connection, the command and a function that does the ordinary
thing. There is one for each kind of request: `chunk`, `probe` (a chunk for another stream),
`meta`, `get` (a message at the leader), `remove` (a message), `direct`, `purge`, `info`,
`create` (a consumer), `pull`, `delete` (a consumer).
What was asked for is in `log`, in order.
"""

from __future__ import annotations

import base64
import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from objstore.client import Client
from objstore.store import ObjectStore
from tests.fake_server import Command, FakeConnection, FakeServer

__all__ = ["FakeBucket", "Stored"]

#: Seconds that `wait_for` waits.
TIMEOUT = 10.0

Handler = Callable[[FakeConnection, Command, Callable[[], None]], object]

_TIME = "2026-01-02T03:04:05.678901234Z"

_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
_EXPECTED_END = "Nats-Expected-Last-Sequence"

#: First tokens of the subjects of the API, and what they ask for.
_OPERATIONS = {
    "STREAM.MSG.GET": "get",
    "STREAM.MSG.DELETE": "remove",
    "STREAM.PURGE": "purge",
    "STREAM.INFO": "info",
    "DIRECT.GET": "direct",
    "CONSUMER.CREATE": "create",
    "CONSUMER.MSG.NEXT": "pull",
    "CONSUMER.DELETE": "delete",
}


class Stored(NamedTuple):
    """A stored message."""

    seq: int
    subject: str
    payload: bytes
    headers: dict[str, list[str]]


class FakeBucket:
    """The script of a server that has the bucket `b`."""

    name = "b"

    def __init__(
        self,
        *,
        allow_direct: bool = True,
        replicas: int = 1,
        level: int | None = None,
        **handlers: Handler,
    ) -> None:
        self.messages: list[Stored] = []
        self.last_seq = 0
        self.log: list[str] = []
        self.count: Counter[str] = Counter()
        self._config: dict[str, Any] = {
            "name": "OBJ_b",
            "allow_direct": allow_direct,
            "num_replicas": replicas,
        }
        if level is not None:
            self._config["metadata"] = {"_nats.level": str(level)}
        self._handlers = handlers
        self._ids: dict[str, int] = {}
        self._changed = threading.Condition()

    def serve(self, *, allow_direct: bool, **handlers: Handler) -> None:
        """Do what these handlers say from now on."""
        self._config["allow_direct"] = allow_direct
        self._handlers = handlers

    @contextlib.contextmanager
    def open(self, server: FakeServer, **options: Any) -> Iterator[ObjectStore]:
        """The bucket, by a client of its own."""
        with Client(server.url, **options) as client:
            yield client.object_store("b")

    def wait_for(self, kind: str, count: int = 1) -> None:
        """Return when so many requests of a kind have come."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.count[kind] >= count, TIMEOUT), self.log

    # The script

    def __call__(self, conn: FakeConnection) -> None:
        conn.handshake()
        for command in conn:
            if command.verb in ("PUB", "HPUB"):
                self._handle(conn, command)

    def _handle(self, conn: FakeConnection, command: Command) -> None:
        kind = self._kind(command.subject)
        if kind == "chunk" and "Nats-Msg-Id" not in command.headers:
            kind = "probe"
        with self._changed:
            self.log.append(kind)
            self.count[kind] += 1
            self._changed.notify_all()

        def go_on() -> None:
            getattr(self, f"do_{kind}")(conn, command)

        handler = self._handlers.get(kind)
        if handler is None:
            go_on()
        else:
            handler(conn, command, go_on)

    def _kind(self, subject: str) -> str:
        if subject.startswith("$O.b.C."):
            return "chunk"
        if subject.startswith("$O.b.M."):
            return "meta"
        operation = subject.removeprefix("$JS.API.")
        for prefix, kind in _OPERATIONS.items():
            if operation.startswith(f"{prefix}.OBJ_b"):
                return kind
        raise AssertionError(f"nobody serves {subject}")

    # The ordinary thing

    def store(self, command: Command) -> int:
        """Store a message; return its sequence."""
        self.last_seq += 1
        if command.headers.get("Nats-Rollup") == ["sub"]:
            self.messages = [m for m in self.messages if m.subject != command.subject]
        for message_id in command.headers.get("Nats-Msg-Id", []):
            self._ids[message_id] = self.last_seq
        stored = Stored(self.last_seq, command.subject, command.payload, command.headers)
        self.messages.append(stored)
        return self.last_seq

    def do_chunk(self, conn: FakeConnection, command: Command) -> None:
        (message_id,) = command.headers["Nats-Msg-Id"]
        ack: dict[str, Any] = {"stream": "OBJ_b"}
        if message_id in self._ids:
            ack |= {"seq": self._ids[message_id], "duplicate": True}
        elif not self.is_expected(command):
            self.refuse(conn, command, 400, 10071, "wrong last sequence")
            return
        else:
            ack["seq"] = self.store(command)
        conn.reply(command, ack)

    def do_probe(self, conn: FakeConnection, command: Command) -> None:
        self.refuse(conn, command, 400, 10060, "expected stream does not match")

    def do_meta(self, conn: FakeConnection, command: Command) -> None:
        assert _EXPECTED in command.headers
        if self.is_expected(command):
            conn.reply(command, {"stream": "OBJ_b", "seq": self.store(command)})
        else:
            self.refuse(conn, command, 400, 10071, "wrong last sequence")

    def is_expected(self, command: Command) -> bool:
        """Whether the stream, and the subject that it names, end where the message says."""
        headers = command.headers
        (subject,) = headers.get(f"{_EXPECTED}-Subject", [command.subject])
        found = self.find(subject, 0)
        last = [str(found[-1].seq if found else 0)]
        end = [str(self.last_seq)]
        return headers.get(_EXPECTED, last) == last and headers.get(_EXPECTED_END, end) == end

    def do_get(self, conn: FakeConnection, command: Command) -> None:
        body = command.json
        if "last_by_subj" in body:
            pattern = body["last_by_subj"]
            found = [m for m in self.messages if self._matches(m, pattern)][-1:]
        elif "next_by_subj" in body:
            found = self.find(body["next_by_subj"], body["seq"])[:1]
        else:
            found = [m for m in self.messages if m.seq == body["seq"]]
        if not found:
            self.refuse(conn, command, 404, 10037, "no message found")
            return
        (message,) = found
        lines = "".join(f"{k}: {v}\r\n" for k, vs in message.headers.items() for v in vs)
        block = f"NATS/1.0\r\n{lines}\r\n".encode() if lines else b""
        fields = {"subject": message.subject, "seq": message.seq, "time": _TIME}
        fields["data"] = base64.b64encode(message.payload).decode()
        fields["hdrs"] = base64.b64encode(block).decode()
        conn.reply(command, {"message": fields})

    @staticmethod
    def _matches(message: Stored, pattern: str) -> bool:
        if pattern.endswith(".>"):
            return message.subject.startswith(pattern[:-1])
        return message.subject == pattern

    def find(self, subject: str, seq: int) -> list[Stored]:
        """The messages of a subject, from a sequence on."""
        return [m for m in self.messages if self._matches(m, subject) and m.seq >= seq]

    def do_direct(self, conn: FakeConnection, command: Command) -> None:
        if command.payload:
            body = command.json
            found = self.find(body["next_by_subj"], body["seq"])
            before = 0
            for left, message in enumerate(found[: body["batch"]], 1 - len(found)):
                self.send_direct(conn, command, message, pending=-left, before=before)
                before = message.seq
            if found:
                conn.reply(command, headers=b"NATS/1.0 204 EOB\r\n\r\n")
                return
        else:
            subject = command.subject.partition("OBJ_b.")[2]
            if found := self.find(subject, 0):
                self.send_direct(conn, command, found[-1], pending=None)
                return
        conn.reply(command, headers=b"NATS/1.0 404 Message Not Found\r\n\r\n")

    def send_direct(
        self,
        conn: FakeConnection,
        command: Command,
        message: Stored,
        *,
        pending: int | None,
        before: int | None = None,
    ) -> None:
        """Send a stored message as a direct get does; in a batch `before` is the last one."""
        headers = {
            "Nats-Stream": "OBJ_b",
            "Nats-Subject": message.subject,
            "Nats-Sequence": str(message.seq),
            "Nats-Time-Stamp": _TIME,
        }
        if pending is not None:
            headers["Nats-Num-Pending"] = str(pending)
        if before is not None:
            headers["Nats-Last-Sequence"] = str(before)
        conn.reply(command, message.payload, headers=headers)

    def do_remove(self, conn: FakeConnection, command: Command) -> None:
        seq = command.json["seq"]
        assert any(message.seq == seq for message in self.messages)
        self.messages = [message for message in self.messages if message.seq != seq]
        conn.reply(command, {"success": True})

    def do_purge(self, conn: FakeConnection, command: Command) -> None:
        body = command.json
        kept = [m for m in self.messages if m.subject != body["filter"]]
        purged = len(self.messages) - len(kept)
        self.messages = kept
        conn.reply(command, {"success": True, "purged": purged})

    def do_info(self, conn: FakeConnection, command: Command) -> None:
        state: dict[str, Any] = {"last_seq": self.last_seq}
        if command.payload:
            subject = command.json["subjects_filter"]
            count = len(self.find(subject, 0))
            state["subjects"] = {subject: count} if count else None
        conn.reply(command, {"config": self._config, "state": state})

    def do_create(self, conn: FakeConnection, command: Command) -> None:
        config = command.json["config"]
        self.subject = config["filter_subject"]
        self.next_seq = config.get("opt_start_seq", 1)
        self.consumer_seq = 0
        self.headers_only = config.get("headers_only", False)
        pending = len(self.find(self.subject, self.next_seq))
        conn.reply(
            command,
            {"name": config["name"], "num_pending": pending, "delivered": {"stream_seq": 0}},
        )

    def do_pull(self, conn: FakeConnection, command: Command) -> None:
        found = self.find(self.subject, self.next_seq)
        for message in found[: command.json["batch"]]:
            self.deliver(conn, command, message)
        if len(found) < command.json["batch"] and command.json.get("no_wait"):
            conn.reply(command, headers=b"NATS/1.0 404 No Messages\r\n\r\n")

    def deliver(self, conn: FakeConnection, command: Command, message: Stored) -> None:
        """Send a stored message as a consumer does."""
        self.consumer_seq += 1
        self.next_seq = message.seq + 1
        pending = len(self.find(self.subject, self.next_seq))
        self.deliver_as(conn, command, message, self.consumer_seq, pending)

    def deliver_as(
        self,
        conn: FakeConnection,
        command: Command,
        message: Stored,
        consumer_seq: int,
        pending: int,
    ) -> None:
        """Send a message with any numbers."""
        sid = max(conn.subscriptions)  # each consumer has a subscription of its own
        ack = f"$JS.ACK.OBJ_b.c.1.{message.seq}.{consumer_seq}.1767323045678901234.{pending}"
        if self.headers_only:
            size = {"Nats-Msg-Size": str(len(message.payload))}
            conn.msg(sid, message.subject, reply=ack, headers=size)
        else:
            conn.msg(sid, message.subject, message.payload, reply=ack)

    def do_delete(self, conn: FakeConnection, command: Command) -> None:
        """Asked for without a reply."""

    def refuse(
        self, conn: FakeConnection, command: Command, code: int, err_code: int, text: str = "no"
    ) -> None:
        """Answer with an error of the API."""
        error = {"code": code, "err_code": err_code, "description": text}
        conn.reply(command, {"error": error, "stream": "OBJ_b", "seq": 0})
