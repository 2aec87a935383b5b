"""
What a server may answer, besides what it should: an error of ours at once, whatever the
timeout, never a success, and the next call works if the connection still stands.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

import objstore
from objstore.errors import ConnectionLostError, ObjStoreError, ProtocolError
from tests.fake_bucket import FakeBucket
from tests.fake_server import Command, FakeConnection, FakeServer
from tests.helpers import wait_until

BIG = b"x" * (1 << 20)

#: Answers that are no ack of a message.
ACKS: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"hello",
    "null": b"null",
    "a list": b"[]",
    "another stream": b'{"stream":"OBJ_other","seq":1}',
    "no stream": b'{"seq":1}',
    "seq 0": b'{"stream":"OBJ_b","seq":0}',
    "negative seq": b'{"stream":"OBJ_b","seq":-1}',
    "seq in quotes": b'{"stream":"OBJ_b","seq":"1"}',
    "seq of a fraction": b'{"stream":"OBJ_b","seq":1.5}',
    "seq of NaN": b'{"stream":"OBJ_b","seq":NaN}',
    "error in quotes": b'{"error":"no"}',
    "error of a list": b'{"error":[1]}',
    "error without a code": b'{"error":{"description":"no"}}',
    "error of odd types": b'{"error":{"code":"x","err_code":[],"description":{}}}',
    "huge": b'{"x":"' + BIG + b'"}',
    "huge error": b'{"error":{"description":"' + BIG + b'"}}',
    "deep": b"[" * 100_000,
    "long number": b'{"stream":"OBJ_b","seq":' + b"9" * 5000 + b"}",
    "not UTF-8": b"\xff\xfe",
}


def answer(payload: bytes) -> Callable[[FakeConnection, Command, Callable[[], None]], None]:
    def handler(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        conn.reply(command, payload)

    return handler


@pytest.mark.parametrize("kind", ["chunk", "meta"])
@pytest.mark.parametrize("ack", ACKS)
def test_what_is_no_ack_is_no_success(kind: str, ack: str) -> None:
    """Of a chunk or of the meta."""
    bucket = FakeBucket(**{kind: answer(ACKS[ack])})
    with FakeServer(bucket) as server, bucket.open(server) as store:
        with pytest.raises(ObjStoreError) as caught:
            store.put("name", b"content", timeout=None)
        assert len(str(caught.value)) < 3000
        assert "name" not in store


#: Answers to a request for a stored message.
MESSAGES: dict[str, bytes] = {
    **{key: value for key, value in ACKS.items() if "seq" not in key and "stream" not in key},
    "no message": b"{}",
    "message in quotes": b'{"message":"x"}',
    "message of nothing": b'{"message":{}}',
    "no base64": b'{"message":{"subject":"a","seq":1,"time":"2026-01-01T00:00:00Z","data":"*"}}',
    "no time": b'{"message":{"subject":"a","seq":1,"data":""}}',
    "odd time": b'{"message":{"subject":"a","seq":1,"data":"","time":"soon"}}',
    "huge year": b'{"message":{"subject":"a","seq":1,"data":"","time":"9999999-01-01T00:00:00Z"}}',
    "seq in quotes": b'{"message":{"seq":"1","subject":"a","time":"2026-01-01T00:00:00Z"}}',
    "headers that are none": json.dumps(
        {
            "message": {
                "subject": "a",
                "seq": 1,
                "time": "2026-01-01T00:00:00Z",
                "data": "",
                "hdrs": base64.b64encode(b"HTTP/1.1 200 OK\r\n\r\n").decode(),
            }
        }
    ).encode(),
}


@pytest.mark.parametrize("message", MESSAGES)
def test_what_is_no_message_is_an_error(message: str) -> None:
    """For all that reads a meta."""
    bucket = FakeBucket(allow_direct=False, get=answer(MESSAGES[message]))
    with FakeServer(bucket) as server, bucket.open(server) as store:
        for call in (
            lambda: store.get_info("name", timeout=None),
            lambda: store.get_bytes("name", timeout=None),
            lambda: store.delete("name", timeout=None),
        ):
            with pytest.raises(ObjStoreError) as caught:
                call()
            assert len(str(caught.value)) < 3000
        store.status()  # the connection is as it was


#: What breaks the protocol: it cannot be gone on with.
BREACHES: dict[str, bytes] = {
    **{
        f"MSG of {size} bytes": f"MSG a 1 {size}\r\n".encode()
        for size in ("-1", "+5", "1_000", "\uff10\uff15", "9" * 14, "9" * 30, "x", "1.5", "0x5")
    },
    "MSG without size": b"MSG a 1\r\n",
    "MSG of words": b"MSG a 1 2 3 4 5\r\n",
    "MSG whose payload is longer": b"MSG a 1 2\r\nhello\r\n",
    "HMSG with headers beyond its end": b"HMSG a 1 50 10\r\n",
    "HMSG without a version": b"HMSG a 1 12 12\r\nHTTP/1.0\r\n\r\n\r\n",
    "HMSG with 2 MiB of headers": b"HMSG a 1 2097152 2097152\r\n",
    "unknown command": b"HELLO\r\n",
    "line without an end": b"x" * 70_000,
    "INFO without an end": b"INFO {" + b" " * (1 << 20) + b" " * 10,
    "INFO that is none": b"INFO []\r\n",
    "INFO of depth": b"INFO " + b"[" * 60_000 + b"\r\n",
    "INFO with a payload of nothing": b'INFO {"headers":true,"max_payload":0}\r\n',
    "INFO with a payload in quotes": b'INFO {"headers":true,"max_payload":"1"}\r\n',
    "INFO without headers": b'INFO {"headers":false,"max_payload":1}\r\n',
}


@pytest.mark.parametrize("breach", BREACHES)
def test_breach_of_the_protocol_ends_the_connection(breach: str) -> None:
    """At once for whoever waits; the next connection is a new beginning."""

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        for command in conn:
            if command.verb == "PUB":
                if conn.number:
                    conn.reply(command, b"fine")
                else:
                    conn.send(BREACHES[breach])

    with FakeServer(script) as server, objstore.connect(server.url) as client:
        with pytest.raises(ConnectionLostError) as caught:
            client.request("x", timeout=None)
        assert isinstance(caught.value.__cause__, ProtocolError)
        assert len(str(caught.value)) < 300
        assert client.request("x", timeout=10).payload == b"fine"


#: What is odd, and no reason to leave.
ODDITIES: dict[str, bytes] = {
    "message for nobody": b"MSG a 999999999 5\r\nhello\r\n",
    "lower case": b"ping\r\n+ok\r\n",
    "many +OK": b"+OK\r\n" * 100_000,
    "many PING": b"PING\r\n" * 20_000,
    "many PONG": b"PONG\r\n" * 10_000,
    "many INFO": b'INFO {"headers":true,"max_payload":1048576,"connect_urls":["a:1"]}\r\n' * 2000,
    "many servers": b'INFO {"headers":true,"max_payload":9999,"connect_urls":['
    + b",".join(b'"10.0.%d.%d:1"' % (i // 250, i % 250) for i in range(20_000))
    + b"]}\r\n",
    "empty lines": b"\r\n" * 10_000,
    "errors": b"-ERR 'x'\r\n" * 1000,
    "a long error": b"-ERR '" + b"x" * 60_000 + b"'\r\n",
    "an error of nothing": b"-ERR\r\n-ERR ''\r\n",
    "odd headers": b"HMSG a 999 27 27\r\nNATS/1.0 abc\r\nno colon\0\r\n\r\n\r\n\r\n",
}


@pytest.mark.parametrize("oddity", ODDITIES)
def test_oddity_is_passed_over(oddity: str) -> None:
    """The answer behind it arrives."""

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        for command in conn:
            if command.verb == "PUB":
                conn.send(ODDITIES[oddity])
                conn.reply(command, b"fine")

    with FakeServer(script) as server, objstore.connect(server.url) as client:
        assert client.request("x", timeout=None).payload == b"fine"
        assert len(client._connection.pool._servers) <= 64
        assert client.is_connected
    assert len(server.connections) == 1


def test_answer_to_another_request_is_ignored() -> None:
    """Late, or made up: only the inbox that waits for it takes an answer."""

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        sid = conn.expect("SUB").sid
        command = conn.expect("PUB")
        prefix, _, _ = command.reply.rpartition(".")
        head, _, token = prefix.rpartition(".")
        for reply in (f"{head}.{int(token) + 1}.0", f"{head}.x.0", "_INBOX.other.1.0", head, "a"):
            conn.msg(sid, reply, b"wrong")
        conn.msg(sid + 100, command.reply, b"wrong")
        conn.reply(command, b"right")
        list(conn)

    with FakeServer(script) as server, objstore.connect(server.url) as client:
        assert client.request("x", timeout=10).payload == b"right"


def test_endless_messages_fill_no_memory() -> None:
    """A subscription that nobody reads ends at its limit, and the connection goes on."""
    count = 80

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        sid = conn.expect("SUB").sid
        for _ in range(count):
            conn.msg(sid, "news", BIG[:-100])
        for command in conn:
            if command.verb == "PUB":
                conn.reply(command, b"fine")

    with FakeServer(script) as server, objstore.connect(server.url) as client:
        subscription = client._connection.subscribe("news")
        wait_until(lambda: subscription.ended)
        assert client.request("x", timeout=10).payload == b"fine"


def test_table_is_large_enough() -> None:
    """A table that shrinks is no table."""
    tables: list[dict[str, Any]] = [ACKS, MESSAGES, BREACHES, ODDITIES]
    assert sum(map(len, tables)) >= 75
