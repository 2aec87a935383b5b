"""
A scripted NATS server, for what a real server will not do.

    def script(conn):
        conn.handshake()
        conn.expect("SUB")
        request = conn.expect("PUB")
        conn.reply(request, b"an answer that")
        conn.send(b"MSG news 1 100\\r\\nis cut sho")
        conn.close()

    with FakeServer(script) as server:
        ...  # connect a client to server.url

The script runs in a thread of the server, once for each connection. Of a list of scripts,
the first connection gets the first one, and connections beyond the list are closed at once:
that is for clients that reconnect. When a script returns, its connection stays open and
silent until the context ends.

What a script raises is raised again at the end of the context, so a script may simply
`assert`. Two exceptions, for a client is free to leave: a failure to send, and a client that
goes away during the handshake, only end the script.

Leaving the context reads what has arrived, closes every socket and joins every thread, all
with a deadline. What the client sent is in `server.received` then.
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from types import TracebackType
from typing import Any

__all__ = ["Command", "FakeConnection", "FakeServer"]

#: Seconds that a script waits for the client, and the context for a script.
TIMEOUT = 10.0

#: Payloads: bytes are sent as they are, anything else as JSON.
Payload = Any

#: Headers: names and values, or the whole block as it goes over the wire.
Headers = dict[str, str] | dict[str, list[str]] | bytes


@dataclass(frozen=True)
class Command:
    """One command of the client. Fields that the verb does not have keep their defaults."""

    verb: str
    subject: str = ""
    reply: str = ""
    queue: str = ""
    sid: int = 0
    max_messages: int | None = None
    headers: dict[str, list[str]] = field(default_factory=dict)
    payload: bytes = b""
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        """The payload, decoded."""
        return json.loads(self.payload)


class FakeConnection:
    """The server's side of one connection; the script's only argument."""

    def __init__(self, server: FakeServer, sock: socket.socket, number: int) -> None:
        self.received = bytearray()  #: Everything read from the client, after TLS.
        self.subscriptions: dict[int, str] = {}  #: Subjects by sid.
        self.options: dict[str, Any] = {}  #: What CONNECT said.
        self.number = number  #: 0 for the first connection of the server.
        self._server = server
        self._socket = sock
        self._socket.setblocking(False)
        self._buffer = bytearray()

    # Sending

    def send(self, data: bytes) -> None:
        """Send exactly these bytes."""
        view = memoryview(data)
        while view:
            view = view[self._retry(self._socket.send, view, writing=True) :]

    def send_info(self, **overrides: Any) -> None:
        """Send INFO; keywords replace fields of the server's `info`."""
        info = {**self._server.info, "client_id": self.number + 1, **overrides}
        self.send(b"INFO " + json.dumps(info).encode() + b"\r\n")

    def msg(
        self,
        sid: int,
        subject: str,
        payload: Payload = b"",
        reply: str = "",
        headers: Headers | None = None,
    ) -> None:
        """Send MSG, or HMSG if there are headers."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        words = [subject, str(sid), reply] if reply else [subject, str(sid)]
        if headers is None:
            line = " ".join(["MSG", *words, str(len(body))])
        else:
            block = _encode_headers(headers)
            body = block + body
            line = " ".join(["HMSG", *words, str(len(block)), str(len(body))])
        self.send(line.encode() + b"\r\n" + body + b"\r\n")

    def reply(
        self, command: Command, payload: Payload = b"", headers: Headers | None = None
    ) -> None:
        """
        Answer a PUB or HPUB on its reply subject, through the client's subscription to it.

        One without a reply subject is not answered.
        """
        if not command.reply:
            return
        for sid, subject in self.subscriptions.items():
            if _matches(subject, command.reply):
                self.msg(sid, command.reply, payload, headers=headers)
                return
        raise AssertionError(f"the client has no subscription to {command.reply!r}")

    # Receiving

    def read_command(self) -> Command | None:
        """Return the next command, whatever it is; None when the client has left."""
        line = self._read_line()
        if line is None:
            return None
        command = self._parse(line)
        if command.verb == "SUB":
            self.subscriptions[command.sid] = command.subject
        elif command.verb == "UNSUB" and command.max_messages is None:
            self.subscriptions.pop(command.sid, None)
        return command

    def __iter__(self) -> Iterator[Command]:
        """Yield commands until the client leaves; PING is answered and passed over."""
        while (command := self.read_command()) is not None:
            if command.verb == "PING":
                self.send(b"PONG\r\n")
            elif command.verb != "PONG":
                yield command

    def expect(self, verb: str) -> Command:
        """
        Return the next command, which has to be of this verb.

        If the verb is another, PING is answered and passed over.
        """
        command = self.read_command() if verb in ("PING", "PONG") else next(iter(self), None)
        assert command is not None, f"the client left, expected {verb}"
        assert command.verb == verb, (
            f"the client sent {command.verb} {command.subject}, expected {verb}"
        )
        return command

    def handshake(self, **info: Any) -> dict[str, Any]:
        """Do what a server does first, with TLS if the server has it; return what CONNECT said."""
        self.send_info(**info)
        if self._server.tls is not None:
            self.start_tls(self._server.tls)
        for verb in ("CONNECT", "PING"):
            command = self.read_command()
            if command is None:
                raise ConnectionAbortedError("the client left during the handshake")
            assert command.verb == verb, (
                f"the client sent {command.verb} {command.subject}, expected {verb}"
            )
        self.send(b"PONG\r\n")
        return self.options

    # Below the protocol

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Do a TLS handshake; an OSError if the client refuses."""
        assert not self._buffer, f"the client sent {bytes(self._buffer)!r} before TLS"
        tls = context.wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
        self._socket = tls
        self._retry(tls.do_handshake)

    def close(self) -> None:
        """End the connection in order: the client reads all that was sent, then EOF."""
        with suppress(OSError):  # To close a socket with unread bytes would be a reset.
            while data := self._socket.recv(65536):
                self.received += data
        with suppress(OSError, ValueError):
            if isinstance(self._socket, ssl.SSLSocket):
                self._socket.unwrap()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        self._socket.close()

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def _parse(self, line: bytes) -> Command:
        verb, _, rest = line.decode().partition(" ")
        verb, words = verb.upper(), rest.split()
        match verb, words:
            case "CONNECT", _:
                self.options = json.loads(rest)
                return Command(verb, options=self.options)
            case "PING" | "PONG", []:
                return Command(verb)
            case "SUB", [subject, *queue, sid] if len(queue) <= 1:
                return Command(verb, subject, queue="".join(queue), sid=int(sid))
            case "UNSUB", [sid, *limit] if len(limit) <= 1:
                return Command(verb, sid=int(sid), max_messages=int(limit[0]) if limit else None)
            case "PUB", [subject, *reply, size] if len(reply) <= 1:
                return Command(verb, subject, "".join(reply), payload=self._read_body(int(size)))
            case "HPUB", [subject, *reply, header_size, size] if len(reply) <= 1:
                body = self._read_body(int(size))
                headers = _decode_headers(body[: int(header_size)])
                payload = body[int(header_size) :]
                return Command(verb, subject, "".join(reply), headers=headers, payload=payload)
        raise AssertionError(f"the client sent what is no command: {line!r}")

    def _read_line(self) -> bytes | None:
        while b"\r\n" not in self._buffer:
            if not self._receive():
                assert not self._buffer, f"the client left within {bytes(self._buffer)!r}"
                return None
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return bytes(line)

    def _read_body(self, size: int) -> bytes:
        while len(self._buffer) < size + 2:
            assert self._receive(), f"the client left within a payload of {size} bytes"
        body, end = bytes(self._buffer[:size]), self._buffer[size : size + 2]
        assert end == b"\r\n", f"the client ended a payload of {size} bytes with {bytes(end)!r}"
        del self._buffer[: size + 2]
        return body

    def _receive(self, timeout: float | None = TIMEOUT) -> bool:
        """Read some bytes into the buffer. False at EOF."""
        try:
            data = self._retry(self._socket.recv, 65536, timeout=timeout)
        except (ConnectionError, ssl.SSLEOFError):
            data = b""
        self.received += data
        self._buffer += data
        return bool(data)

    def _retry(
        self,
        operation: Callable[..., Any],
        *args: Any,
        writing: bool = False,
        timeout: float | None = TIMEOUT,
    ) -> Any:
        """Do something with the socket, which does not block, as soon as it can be done."""
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            try:
                return operation(*args)
            except ssl.SSLWantReadError:
                wait_for_writing = False
            except ssl.SSLWantWriteError:
                wait_for_writing = True
            except BlockingIOError:
                wait_for_writing = writing
            self._wait(wait_for_writing, deadline)

    def _wait(self, writing: bool, deadline: float | None) -> None:
        remaining = None if deadline is None else max(0.0, deadline - monotonic())
        stop = self._server._stop
        readers, writers = ([stop], [self._socket]) if writing else ([stop, self._socket], [])
        readable, writable, _ = select.select(readers, writers, [], remaining)
        if not readable and not writable:
            raise TimeoutError(f"the client did nothing for {TIMEOUT} seconds")
        if readable == [stop] and not writable:
            raise ConnectionAbortedError("the context of the server ended")

    def _drain(self) -> None:
        """Read until the client leaves or the context ends."""
        if self._socket.fileno() != -1:
            while self._receive(timeout=None):
                self._buffer.clear()


Script = Callable[[FakeConnection], object]


class FakeServer:
    """
    A server on a free port of 127.0.0.1 that does what its script says. Context manager.

    Args:
        script: Called with each connection; or a sequence, one for each connection.
        info: Fields of INFO that differ from the usual ones.
        tls: Context for the server's side; `handshake()` then starts TLS after INFO.
    """

    def __init__(
        self,
        script: Script | Sequence[Script],
        *,
        info: dict[str, Any] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.connections: list[FakeConnection] = []
        self.tls = tls
        self._script = script
        self._errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        # Becomes readable when the context ends, and wakes every thread.
        self._stop, self._stopper = socket.socketpair()
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'nats' if tls is None else 'tls'}://127.0.0.1:{self.port}"
        self.info: dict[str, Any] = {
            "server_id": "FAKE",
            "server_name": "fake",
            "version": "2.12.0",
            "proto": 1,
            "host": "127.0.0.1",
            "port": self.port,
            "headers": True,
            "max_payload": 1024 * 1024,
            "jetstream": True,
            **({} if tls is None else {"tls_required": True}),
            **(info or {}),
        }

    @property
    def received(self) -> bytes:
        """What all clients have sent, one connection after the other."""
        return b"".join(bytes(conn.received) for conn in self.connections)

    def __enter__(self) -> FakeServer:
        self._start("fake-server", self._accept)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopper.close()
        deadline = monotonic() + TIMEOUT
        for thread in self._threads:  # The accepting thread is the first and adds the others.
            thread.join(max(0.0, deadline - monotonic()))
        stuck = [thread.name for thread in self._threads if thread.is_alive()]
        for sock in (self._listener, *(conn._socket for conn in self.connections), self._stop):
            sock.close()
        if self._errors:
            raise self._errors[0]
        assert not stuck, f"scripts that did not end: {stuck}"

    def _start(self, name: str, target: Callable[..., None], *args: Any) -> None:
        # Daemon: a script that hangs must not keep the test run from ending.
        thread = threading.Thread(target=target, args=args, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            readable, _, _ = select.select([self._stop, self._listener], [], [])
            if self._stop in readable:
                return
            with suppress(OSError):  # The client may have left already.
                sock, _ = self._listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                conn = FakeConnection(self, sock, len(self.connections))
                self.connections.append(conn)
                self._start(f"fake-server-{conn.number}", self._run, conn)

    def _run(self, conn: FakeConnection) -> None:
        try:
            self._script_for(conn)(conn)
            conn._drain()
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            pass  # The client has left; what that means is for the test to say.
        except BaseException as error:  # pytest's own failures are no Exception.
            self._errors.append(error)
        finally:
            conn.close()

    def _script_for(self, conn: FakeConnection) -> Script:
        if callable(self._script):
            return self._script
        if conn.number < len(self._script):
            return self._script[conn.number]
        return FakeConnection.close


def _encode_headers(headers: Headers) -> bytes:
    if isinstance(headers, bytes):
        return headers
    lines = ["NATS/1.0"]
    for name, values in headers.items():
        for value in [values] if isinstance(values, str) else values:
            lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "", ""]).encode()


def _decode_headers(block: bytes) -> dict[str, list[str]]:
    assert block.startswith(b"NATS/1.0\r\n") and block.endswith(b"\r\n\r\n"), block
    headers: dict[str, list[str]] = {}
    for line in block.decode().split("\r\n")[1:-2]:
        name, _, value = line.partition(":")
        headers.setdefault(name, []).append(value.strip())
    return headers


def _matches(pattern: str, subject: str) -> bool:
    """Tell whether a subject is one that a subscription to the pattern receives."""
    wanted, tokens = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        if len(tokens) <= len(wanted):
            return False
        del tokens[len(wanted) :]
    return len(wanted) == len(tokens) and all(w in ("*", t) for w, t in zip(wanted, tokens))
