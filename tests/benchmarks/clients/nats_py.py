"""nats-py."""

from __future__ import annotations

import ssl
import time
from typing import Any

import nats

from tests.benchmarks.clients.base import AsyncioClient
from tests.benchmarks.clients.data import Pattern, Sink, pipe_from, pipe_to

__all__ = ["Client"]


class Client(AsyncioClient):
    package = "nats"

    async def open(self) -> None:
        self.connection = await self._connect()
        self.js = self.connection.jetstream()

    async def _connect(self) -> Any:
        if self.ca is None:
            return await nats.connect(self.url)
        return await nats.connect(self.url, tls=ssl.create_default_context(cafile=self.ca))

    async def shut(self) -> None:
        await self.connection.close()

    async def bind(self) -> None:
        self.store = await self.js.object_store(self.job.bucket)

    async def put_memory(self, name: str) -> None:
        await self._put(name, Pattern(self.job.size))

    async def _put(self, name: str, data: Any) -> None:
        assert (await self.store.put(name, data)).size == self.job.size

    async def put_bytes(self, name: str) -> None:
        await self._put(name, self.data)

    async def put_file(self, name: str) -> None:
        with self.job.source.open("rb") as file:
            await self._put(name, file)

    async def put_pipe(self, name: str) -> None:
        with pipe_from(self.job.source) as pipe:
            await self._put(name, pipe)

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
        assert len((await self.store.get(name)).data) == self.job.size

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
        self.figures["found"] = len(await self.store.list())

    async def connect(self, _: str) -> float:
        start = time.perf_counter()
        connection = await self._connect()
        seconds = time.perf_counter() - start
        await connection.close()
        return seconds
