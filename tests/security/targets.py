"""
What can be fuzzed: pure code that reads what others have written.

Each function takes any bytes and raises nothing, or the assertion fails: an error that is
documented is caught here, and all else is a bug. What is accepted has to make sense.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from datetime import datetime, timezone

from objstore import naming
from objstore.core.denials import find_subject
from objstore.core.options import parse_url
from objstore.core.protocol import Info, Message, Parser, ServerErr, Signal
from objstore.digest import parse_digest
from objstore.errors import (
    BadObjectMetaError,
    InvalidNameError,
    InvalidURLError,
    JetStreamError,
    NoRespondersError,
    ProtocolError,
)
from objstore.jetstream.api import message_or_none
from objstore.jetstream.messages import from_consumer, from_direct
from objstore.jetstream.publisher import parse_ack
from objstore.meta_json import decode_info, encode_info
from objstore.paths import path_below

__all__ = ["SEEDS", "TARGETS"]

EPOCH = datetime.fromtimestamp(0, tz=timezone.utc)


def _events(pieces: list[bytes]) -> tuple[list[object], int]:
    """Return what a parser makes of some bytes, and how much it has left; -1 after an error."""
    parser, events = Parser(1 << 15), []
    try:
        for piece in pieces:
            for event in parser.feed(piece):
                if isinstance(event, Message):
                    status, block = event.status, event.headers
                    assert status == block.status
                    payload = bytes(event.payload)
                    events.append((event.subject, event.sid, event.reply, payload, block))
                else:
                    assert isinstance(event, Info | ServerErr | Signal)
                    events.append(event)
                    if isinstance(event, ServerErr):
                        assert isinstance(find_subject(event.text), str)
    except ProtocolError:
        return events, -1
    return events, parser.pending


def parse(data: bytes) -> None:
    """The bytes of a server, in one piece and in many: the same events, or the same error."""
    whole = _events([data])
    size = data[0] % 7 + 1 if data else 1
    pieces = _events([data[start : start + size] for start in range(0, len(data), size)])
    assert pieces[1] == whole[1]
    # Behind an error in the same piece, events that came before it are lost.
    assert pieces[0][: len(whole[0])] == whole[0]
    assert whole[1] == -1 or pieces[0] == whole[0]


def decode_meta(data: bytes) -> None:
    """A stored meta: what is accepted can be written again, and read as the same."""
    for name in (None, "name"):
        try:
            info = decode_info("bucket", name, data, mtime=EPOCH, revision=1)
        except BadObjectMetaError:
            continue
        assert info.name and info.size >= 0 and info.chunks >= 0
        if info.nuid:
            subject = naming.chunk_subject("bucket", info.nuid)
            assert subject.startswith("$O.bucket.C.") and subject.count(".") == 3
        elif not info.deleted:
            assert info.is_link
        if info.link is not None:
            with contextlib.suppress(InvalidNameError):
                naming.meta_subject(info.link.bucket, info.link.name or "x")
        again = decode_info("bucket", name, encode_info(info), mtime=EPOCH, revision=1)
        assert again == info
        with contextlib.suppress(ValueError):
            assert len(parse_digest(info.digest)) == 32
        try:
            path = path_below("/nonexistent", info.name)
            assert path == f"/nonexistent/{info.name}" and "/../" not in path
        except InvalidNameError:
            pass


def read_answer(data: bytes) -> None:
    """An answer of JetStream: headers before a NUL NUL, then the payload."""
    head, mark, payload = data.partition(b"\0\0")
    block = b"NATS/1.0" + head if mark else None
    message = Message("$JS.ACK." + data[:40].decode("latin-1"), 1, "", memoryview(payload), block)
    reply = head.decode("latin-1")
    delivered = Message("$O.b.M.x", 1, reply, memoryview(payload), block)
    for read in (
        lambda: parse_ack(message, "OBJ_bucket"),
        lambda: message_or_none(message),
        lambda: from_direct(message),
        lambda: from_consumer(delivered),
    ):
        with contextlib.suppress(ProtocolError, JetStreamError, NoRespondersError):
            read()


def parse_urls(data: bytes) -> None:
    """A URL: it is shown without its password, and shown again is the same server."""
    try:
        server = parse_url(data.decode("utf-8", "surrogateescape"))
    except InvalidURLError:
        return
    again = parse_url(str(server))
    assert (again.host, again.port, again.tls) == (server.host, server.port, server.tls)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "parser": parse,
    "meta": decode_meta,
    "answer": read_answer,
    "url": parse_urls,
}

_META = {
    "name": "name",
    "bucket": "bucket",
    "nuid": "A" * 22,
    "size": 7,
    "chunks": 1,
    "digest": "SHA-256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=",
    "headers": {"a": ["b"]},
    "metadata": {"k": "v"},
    "options": {"max_chunk_size": 131072, "link": {"bucket": "b", "name": "n"}},
    "deleted": True,
    "description": "d",
}

#: Where to begin: one of each kind.
SEEDS: dict[str, list[bytes]] = {
    "parser": [
        b'INFO {"headers":true,"max_payload":1048576,"nonce":"abc"}\r\n',
        b"MSG a.b 1 5\r\nhello\r\n",
        b"MSG a.b 1 _INBOX.x.1 0\r\n\r\n",
        b"HMSG a 1 12 17\r\nNATS/1.0\r\n\r\nhello\r\n",
        b"HMSG a 1 r 30 30\r\nNATS/1.0 503 No\r\nA: b\r\nC:d\r\n\r\n\r\n",
        b"PING\r\nPONG\r\n+OK\r\n",
        b"-ERR 'Permissions Violation for Publish to \"a\\\\b\"'\r\n",
    ],
    "meta": [json.dumps(_META).encode(), b'{"name":"\\ud800","x":1e400}', b"[[[[", b"null"],
    "answer": [
        b'\0\0{"stream":"OBJ_bucket","seq":1,"duplicate":true}',
        b'\0\0{"error":{"code":404,"err_code":10037,"description":"no"}}',
        b'\0\0{"message":{"subject":"a","seq":1,"data":"aGk=","hdrs":"TkFUUw==","time":'
        b'"2026-01-01T00:00:00.123456789Z"}}',
        b" 503\r\n\r\n\0\0",
        b"\r\nNats-Subject: a\r\nNats-Sequence: 5\r\nNats-Time-Stamp: 2026-01-01T00:00:00Z\r\n"
        b"Nats-Num-Pending: 1\r\n\r\n\0\0hello",
        b"$JS.ACK.OBJ_b.c.1.5.6.1700000000000000000.7\0\0hello",
        b"$JS.ACK._.hash.OBJ_b.c.1.5.6.1700000000000000000.7.x\0\0hello",
    ],
    "url": [b"nats://joe:x%40@demo:4222/a", b"tls://[::1]:1", b"demo"],
}
