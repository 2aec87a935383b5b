"""natsrpy: async-nats, the Rust client, with Python's hands."""

from __future__ import annotations

import io
import os
import time
from typing import Any

from natsrpy import Nats

from tests.benchmarks.clients.base import AsyncioClient
from tests.benchmarks.clients.data import Sink, pipe_to

__all__ = ["Client"]

#: Bytes of a chunk. Its own default is 24 MB, more than a server takes.
CHUNK_SIZE = 128 << 10


class Client(AsyncioClient):
    package = "natsrpy"

    async def open(self) -> None:
        if self.ca is not None:
            os.environ["SSL_CERT_FILE"] = str(self.ca)  # it has no option
        self.connection = Nats([self.url])
        await self.connection.startup()
        self.js = await self.connection.jetstream()

    async def shut(self) -> None:
        await self.connection.shutdown()

    async def bind(self) -> None:
        self.store = await self.js.object_store.get(self.job.bucket)

    async def put_bytes(self, name: str) -> None:
        await self.store.put(name, self.data, chunk_size=CHUNK_SIZE)

    async def put_file(self, name: str) -> None:
        await self.store.put_file(name, self.job.source, chunk_size=CHUNK_SIZE)

    async def _get(self, name: str, sink: Any) -> None:
        await self.store.get(name, sink)

    async def get_null(self, name: str) -> None:
        sink = Sink()
        await self._get(name, sink)
        assert sink.size == self.job.size

    async def get_pipe(self, name: str) -> None:
        with pipe_to() as pipe:
            await self._get(name, pipe)

    async def get_file(self, name: str) -> None:
        with self.job.target.open("wb") as file:
            await self._get(name, file)

    async def get_bytes(self, name: str) -> None:
        whole = io.BytesIO()
        await self._get(name, whole)
        assert len(whole.getvalue()) == self.job.size

    async def first_byte(self, name: str) -> float:
        sink = Sink()
        start = time.perf_counter()
        await self._get(name, sink)
        return sink.first - start

    async def info(self, name: str) -> None:
        await self.store.get_info(name)

    async def delete(self, name: str) -> None:
        await self.store.delete(name)

    async def list(self, _: str) -> None:
        count = 0
        async for _info in await self.store.list():
            count += 1
        self.figures["found"] = count

    async def connect(self, _: str) -> float:
        start = time.perf_counter()
        connection = Nats([self.url])
        await connection.startup()
        seconds = time.perf_counter() - start
        await connection.shutdown()
        return seconds
