"""objstore."""

from __future__ import annotations

import random
import time
from typing import Any

import objstore
from tests.benchmarks.clients.base import BlockingClient
from tests.benchmarks.clients.data import Pattern, pipe_from, pipe_to

__all__ = ["Client"]

#: Bytes of a range, of a buffer, and at the least of what is a chunk and no answer.
RANGE = 64 << 10
BUFFER = 1 << 20
CHUNK = 4 << 10


class Client(BlockingClient):
    package = "objstore"

    def start(self) -> None:
        self.client = self._connect()

    def _connect(self) -> objstore.Client:
        if self.ca is None:
            return objstore.connect(self.url)
        return objstore.connect(self.url, tls_cacert=str(self.ca))

    def stop(self) -> None:
        self.client.close()

    def bind(self) -> None:
        self.store = self.client.object_store(self.job.bucket)

    def put_memory(self, name: str) -> None:
        self.store.put(name, Pattern(self.job.size))

    def put_bytes(self, name: str) -> None:
        self.store.put(name, self.data)

    def put_file(self, name: str) -> None:
        self.store.put_file(self.job.source, name)

    def put_pipe(self, name: str) -> None:
        with pipe_from(self.job.source) as pipe:
            self.store.put(name, pipe)

    def get_null(self, name: str) -> None:
        self._copy(name, lambda data: None)

    def get_pipe(self, name: str) -> None:
        with pipe_to() as pipe:
            self._copy(name, pipe.write)

    def _copy(self, name: str, write: Any) -> None:
        buffer = memoryview(bytearray(min(BUFFER, self.job.size)))
        with self.store.get(name) as reader:
            while count := reader.readinto(buffer):
                rest = buffer[:count]
                while rest and (written := write(rest)):
                    rest = rest[written:]

    def get_file(self, name: str) -> None:
        self.store.get_file(name, self.job.target)

    def get_bytes(self, name: str) -> None:
        assert len(self.store.get_bytes(name)) == self.job.size

    def get_range(self, name: str) -> None:
        traffic = _Traffic(self.client)
        offset = random.randrange(self.job.size - min(RANGE, self.job.size) + 1)
        with self.store.get(name, offset=offset, length=RANGE) as reader:
            assert len(reader.read()) == min(RANGE, self.job.size)
        traffic.stop()
        for key, value in (("round trips", traffic.round_trips), ("chunks", traffic.chunks)):
            self.figures[key] = max(value, self.figures.get(key, 0))

    def first_byte(self, name: str) -> float:
        start = time.perf_counter()
        with self.store.get(name) as reader:
            assert reader.read(1)
            return time.perf_counter() - start

    def put_many(self, names: list[str]) -> None:
        self.store.put_many((name, self.data) for name in names)

    def get_many(self, names: list[str]) -> None:
        assert (
            sum(len(data) for _, data in self.store.get_many(names)) == len(names) * self.job.size
        )

    def info(self, name: str) -> None:
        self.store.get_info(name)

    def delete(self, name: str) -> None:
        self.store.delete(name)

    def list(self, _: str) -> None:
        self.figures["found"] = len(self.store.list())

    def iterate(self, _: str) -> None:
        self.figures["found"] = sum(1 for _ in self.store)

    def connect(self, _: str) -> float:
        start = time.perf_counter()
        with self._connect():
            return time.perf_counter() - start


class _Traffic:
    """Counts how often the server had to be waited for, and the chunks that came."""

    def __init__(self, client: objstore.Client) -> None:
        self._connection: Any = client._connection
        self._send, self._route = self._connection.send, self._connection.route
        self._connection.send, self._connection.route = self._sent, self._received
        self._asked = False
        self.round_trips = self.chunks = 0

    def _sent(self, *arguments: Any, **options: Any) -> None:
        self._asked = True
        self._send(*arguments, **options)

    def _received(self, messages: list[Any]) -> None:
        self.round_trips += self._asked
        self._asked = False
        self.chunks += sum(len(message.payload) >= CHUNK for message in messages)
        self._route(messages)

    def stop(self) -> None:
        self._connection.send, self._connection.route = self._send, self._route
