"""
The floor: what Python can do at all with a blocking socket, SHA-256 and nothing else.

One thread that sends, waits and reads by itself. Bytes are hashed and handed over in blocks
of 1 MiB, the digest is checked, and every chunk is acknowledged. There are no timeouts, no
reconnecting, no errors worth the name and no callbacks: a client that one can use is slower.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import random
import secrets
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from tests.benchmarks.clients.base import BlockingClient
from tests.benchmarks.clients.data import Pattern, pipe_from, pipe_to

__all__ = ["Client"]

CHUNK_SIZE = 128 << 10
BLOCK_SIZE = 1 << 20
#: Bytes of a receive buffer: some blocks.
BUFFER_SIZE = 4 << 20
#: Bytes that are on their way: in blocks for a put, in requests for a get.
PUT_WINDOW = 8
GET_CHUNKS, GET_REQUESTS = 64, 2
#: Objects in flight with `put_many` and `get_many`.
BATCH = 128
RANGE = 64 << 10

Message = tuple[bytes, bytes, memoryview]  # subject, headers, payload

_prefix = secrets.token_hex(6)
_numbers = itertools.count(1)


class Client(BlockingClient):
    package = "socket, json, hashlib, base64"
    shared = False

    # The protocol

    def start(self) -> None:
        self.socket = self._connect()
        self.buffer = memoryview(bytearray(BUFFER_SIZE))
        self.start_at = self.end_at = 0
        self.inbox = f"_INBOX.{random.getrandbits(64):x}"
        self._send([f"SUB {self.inbox}.* 1\r\n".encode()])

    def _connect(self) -> socket.socket:
        host, _, port = self.url.rpartition("/")[2].rpartition(":")
        sock = socket.create_connection((host, int(port)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.recv(4096)
        if self.ca is not None:
            sock = ssl.create_default_context(cafile=self.ca).wrap_socket(
                sock, server_hostname=host
            )
        options = {"verbose": False, "headers": True, "no_responders": True}
        sock.sendall(f"CONNECT {json.dumps(options)}\r\nPING\r\n".encode())
        while not sock.recv(4096).endswith(b"PONG\r\n"):
            pass
        return sock

    def stop(self) -> None:
        self.socket.close()

    def _send(self, buffers: list[Any]) -> None:
        if self.ca is not None:
            self.socket.sendall(b"".join(buffers))
            return
        sent = self.socket.sendmsg(buffers)
        if sent < sum(map(len, buffers)):
            for buffer in buffers:
                if sent < len(buffer):
                    self.socket.sendall(memoryview(buffer)[sent:])
                sent = max(0, sent - len(buffer))

    def _more(self) -> None:
        if self.end_at == BUFFER_SIZE:
            rest = bytes(self.buffer[self.start_at :])
            self.start_at, self.end_at = 0, len(rest)
            self.buffer[: len(rest)] = rest
        count = self.socket.recv_into(self.buffer[self.end_at :])
        if not count:
            raise ConnectionError("the server closed the connection")
        self.end_at += count

    def _message(self) -> Message:
        """The next message; its payload is valid until the next call."""
        while True:
            buffer = self.buffer
            if self.start_at == self.end_at:
                self.start_at = self.end_at = 0
            line, found, _ = bytes(buffer[self.start_at : self.end_at][:512]).partition(b"\r\n")
            if not found:
                self._more()
                continue
            words = line.split()
            start = self.start_at + len(line) + 2
            if words[0] not in (b"MSG", b"HMSG"):
                self.start_at = start
                if words[0] == b"PING":
                    self._send([b"PONG\r\n"])
                elif words[0] == b"-ERR":
                    raise ConnectionError(line.decode())
                continue
            end = start + int(words[-1])
            while end + 2 > self.end_at:
                before = self.start_at
                self._more()
                start, end = start + self.start_at - before, end + self.start_at - before
            self.start_at = end + 2
            if words[1].endswith(b".pull"):
                continue  # says what has become of a request for messages
            split = start + int(words[-2]) if words[0] == b"HMSG" else start
            return words[1], bytes(buffer[start:split]), buffer[split:end]

    def _pub(self, subject: str, data: Any = b"", number: int | str = 0) -> list[Any]:
        return [f"PUB {subject} {self.inbox}.{number} {len(data)}\r\n".encode(), data, b"\r\n"]

    def _ask(self, subject: str, body: Any = None) -> tuple[bytes, memoryview]:
        self._send(self._pub(subject, b"" if body is None else json.dumps(body).encode()))
        while True:
            origin, headers, payload = self._message()
            if origin.startswith(b"_INBOX."):  # else of a consumer that is gone
                return headers, payload

    # The bucket

    def bind(self) -> None:
        self.stream = f"OBJ_{self.job.bucket}"
        self.prefix = f"$O.{self.job.bucket}"
        self.direct = f"$JS.API.DIRECT.GET.{self.stream}"

    def _meta_subject(self, name: str) -> str:
        return f"{self.prefix}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"

    def info(self, name: str) -> dict[str, Any]:
        headers, payload = self._ask(f"{self.direct}.{self._meta_subject(name)}")
        if headers.startswith(b"NATS/1.0 4"):
            raise FileNotFoundError(name)
        info = json.loads(bytes(payload))
        assert isinstance(info, dict)
        return info

    # Put

    def put_memory(self, name: str) -> None:
        self._put(name, _blocks(Pattern(self.job.size)))

    def put_bytes(self, name: str) -> None:
        data = memoryview(self.data)
        self._put(name, (data[i : i + BLOCK_SIZE] for i in range(0, len(data), BLOCK_SIZE)))

    def put_file(self, name: str) -> None:
        with self.job.source.open("rb", buffering=0) as file:
            self._put(name, _blocks(file))

    def put_pipe(self, name: str) -> None:
        with pipe_from(self.job.source) as pipe:
            self._put(name, _blocks(pipe))

    def _put(self, name: str, blocks: Iterable[memoryview]) -> None:
        nuid = _next_nuid()
        subject = f"{self.prefix}.C.{nuid}"
        sha = hashlib.sha256()
        size = chunks = acked = 0
        first = self._pub(f"{self.direct}.{self._meta_subject(name)}")  # what is replaced
        flight: deque[int] = deque()
        for block in blocks:
            sha.update(block)
            buffers = [*first] if not size else []
            acked -= not size
            for start in range(0, len(block), CHUNK_SIZE):
                buffers += self._pub(subject, block[start : start + CHUNK_SIZE], 1)
                chunks += 1
            self._send(buffers)
            size += len(block)
            flight.append(chunks)
            while len(flight) >= PUT_WINDOW:
                acked = self._ack(acked, flight.popleft())
        self._ack(acked, chunks)
        self._commit(name, nuid, size, chunks, sha.digest())

    def _ack(self, acked: int, until: int) -> int:
        while acked < until:
            _, headers, payload = self._message()
            assert headers or b'"error"' not in bytes(payload), bytes(payload)
            acked += 1
        return acked

    def _meta(
        self, name: str, nuid: str, size: int, chunks: int, digest: bytes, number: int = 0
    ) -> list[Any]:
        meta = {
            "name": name,
            "options": {"max_chunk_size": CHUNK_SIZE},
            "bucket": self.job.bucket,
            "nuid": nuid,
            "size": size,
            "chunks": chunks,
            "digest": f"SHA-256={base64.urlsafe_b64encode(digest).decode()}",
        }
        return self._rollup(name, meta, number)

    def _rollup(self, name: str, meta: dict[str, Any], number: int = 0) -> list[Any]:
        body = json.dumps(meta).encode()
        headers = b"NATS/1.0\r\nNats-Rollup: sub\r\n\r\n"
        sizes = f"{len(headers)} {len(headers) + len(body)}"
        line = f"HPUB {self._meta_subject(name)} {self.inbox}.{number} {sizes}\r\n"
        return [line.encode(), headers, body, b"\r\n"]

    def _commit(self, name: str, nuid: str, size: int, chunks: int, digest: bytes) -> None:
        self._send(self._meta(name, nuid, size, chunks, digest))
        self._ack(0, 1)

    def put_many(self, names: list[str]) -> None:
        data, digest = self.data, hashlib.sha256(self.data).digest()
        for start in range(0, len(names), BATCH):
            batch = [(name, _next_nuid()) for name in names[start : start + BATCH]]
            buffers: list[Any] = []
            for name, nuid in batch:
                buffers += self._pub(f"{self.direct}.{self._meta_subject(name)}")
                buffers += self._pub(f"{self.prefix}.C.{nuid}", data)
            self._send([b"".join(buffers)])
            self._ack(0, 2 * len(batch))
            metas = [self._meta(name, nuid, len(data), 1, digest) for name, nuid in batch]
            self._send([b"".join(piece for meta in metas for piece in meta)])
            self._ack(0, len(batch))

    # Get

    def get_null(self, name: str) -> None:
        self._get(name, len)

    def get_pipe(self, name: str) -> None:
        with pipe_to() as pipe:
            self._get(name, pipe.write)

    def get_file(self, name: str) -> None:
        with self.job.target.open("wb", buffering=0) as file:
            self._get(name, file.write)

    def get_bytes(self, name: str) -> None:
        whole = bytearray()
        self._get(name, whole.extend)
        assert len(bytes(whole)) == self.job.size

    def _get(self, name: str, write: Any) -> None:
        info = self.info(name)
        sha = hashlib.sha256()
        if info["chunks"] == 1:
            _, payload = self._ask(f"{self.direct}.{self.prefix}.C.{info['nuid']}")
            sha.update(payload)
            write(payload)
        else:
            block, filled = memoryview(bytearray(BLOCK_SIZE)), 0
            for payload in self._chunks(info):
                if filled + len(payload) > BLOCK_SIZE:
                    _hand_over(block[:filled], sha, write)
                    filled = 0
                block[filled : filled + len(payload)] = payload
                filled += len(payload)
            _hand_over(block[:filled], sha, write)
        digest = base64.urlsafe_b64decode(info["digest"].partition("=")[2])
        assert sha.digest() == digest, "the digest is wrong"

    def _chunks(self, info: dict[str, Any]) -> Iterator[memoryview]:
        left = info["chunks"]
        consumer = self._consume(f"{self.prefix}.C.{info['nuid']}", "all")
        request = self._pub(consumer, json.dumps({"batch": GET_CHUNKS}).encode(), "pull")
        try:
            self._send(request * GET_REQUESTS)
            taken = 0
            while left:
                _, _, payload = self._message()
                left -= 1
                taken += 1
                if taken % GET_CHUNKS == 0 and left > GET_CHUNKS * (GET_REQUESTS - 1):
                    self._send(request)
                yield payload
        finally:
            self._forget(consumer)

    def _consume(self, subject: str, policy: str) -> str:
        config = {
            "deliver_policy": policy,
            "ack_policy": "none",
            "filter_subject": subject,
            "inactive_threshold": 60_000_000_000,
            "num_replicas": 1,
            "mem_storage": True,
        }
        _, payload = self._ask(
            f"$JS.API.CONSUMER.CREATE.{self.stream}",
            {"stream_name": self.stream, "config": config},
        )
        self.consumer = json.loads(bytes(payload))
        return f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{self.consumer['name']}"

    def _forget(self, consumer: str) -> None:
        name = consumer.rpartition(".")[2]
        self._send(self._pub(f"$JS.API.CONSUMER.DELETE.{self.stream}.{name}", b"", "end"))
        while not self._message()[0].endswith(b".end"):
            pass

    def get_range(self, name: str) -> None:
        info = self.info(name)
        size = min(RANGE, self.job.size)
        offset = random.randrange(self.job.size - size + 1)
        first, skip = divmod(offset, CHUNK_SIZE)
        count = (skip + size - 1) // CHUNK_SIZE + 1
        body = {"seq": 1, "next_by_subj": f"{self.prefix}.C.{info['nuid']}"}
        headers, _ = self._ask(self.direct, body)
        sequence = int(headers.partition(b"Nats-Sequence: ")[2].partition(b"\r\n")[0])
        body = {**body, "seq": sequence + first, "batch": count}
        self._send(self._pub(self.direct, json.dumps(body).encode()))
        for _ in range(count + 1):
            self._message()

    def first_byte(self, name: str) -> float:
        start = time.perf_counter()
        for _ in self._chunks(self.info(name)):
            seconds = time.perf_counter() - start
            break
        return seconds

    def get_many(self, names: list[str]) -> None:
        for start in range(0, len(names), BATCH):
            batch = names[start : start + BATCH]
            metas = self._ask_all([self._meta_subject(name) for name in batch])
            infos = [json.loads(meta) for meta in metas]
            chunks = self._ask_all([f"{self.prefix}.C.{info['nuid']}" for info in infos])
            for info, chunk in zip(infos, chunks, strict=True):
                digest = base64.urlsafe_b64encode(hashlib.sha256(chunk).digest()).decode()
                assert info["digest"] == f"SHA-256={digest}", "the digest is wrong"

    def _ask_all(self, subjects: list[str]) -> list[bytes]:
        buffers: list[Any] = []
        for number, subject in enumerate(subjects):
            buffers += self._pub(f"{self.direct}.{subject}", number=number)
        self._send([b"".join(buffers)])
        answers = [b""] * len(subjects)
        for _ in subjects:
            origin, _, payload = self._message()
            answers[int(origin.rpartition(b".")[2])] = bytes(payload)
        return answers

    # The rest

    def delete(self, name: str) -> None:
        info = self.info(name)
        meta = {**info, "deleted": True, "size": 0, "chunks": 0, "digest": ""}
        body = json.dumps({"filter": f"{self.prefix}.C.{info['nuid']}"}).encode()
        purge = self._pub(f"$JS.API.STREAM.PURGE.{self.stream}", body)
        self._send([*self._rollup(name, meta), *purge])
        self._ack(0, 2)

    def list(self, _: str) -> None:
        consumer = self._consume(f"{self.prefix}.M.>", "last_per_subject")
        left = self.consumer["num_pending"]
        request = self._pub(consumer, json.dumps({"batch": 4096}).encode(), "pull")
        infos: list[Any] = []
        self._send(request)
        while left > len(infos):
            infos.append(json.loads(bytes(self._message()[2])))
            if len(infos) % 4096 == 0:
                self._send(request)
        self._forget(consumer)
        self.figures["found"] = len(infos)

    def connect(self, _: str) -> float:
        start = time.perf_counter()
        sock = self._connect()
        seconds = time.perf_counter() - start
        sock.close()
        return seconds


def _next_nuid() -> str:
    return f"{_prefix}{next(_numbers):010}"


def _blocks(file: Any) -> Iterator[memoryview]:
    """What is sent is the system's: one buffer is enough."""
    buffer = memoryview(bytearray(BLOCK_SIZE))
    filled = BLOCK_SIZE
    while filled == BLOCK_SIZE:
        filled = 0
        while filled < BLOCK_SIZE and (count := file.readinto(buffer[filled:])):
            filled += count
        if filled:
            yield buffer[:filled]


def _hand_over(block: memoryview, sha: Any, write: Any) -> None:
    sha.update(block)
    while block:
        written = write(block)
        block = block[len(block) if written is None else written :]
