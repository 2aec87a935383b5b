"""natsrpy: async-nats, the Rust client, with Python's hands."""

from __future__ import annotations

import asyncio
import hashlib
import io
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from natsrpy import Nats
from natsrpy.exceptions import NatsrpyBaseError
from natsrpy.js import ObjectStoreConfig, StorageType

from tests.interop.peers.serve import serve


def is_missing(error: NatsrpyBaseError) -> bool:
    """Its errors are of one class and differ in their text."""
    return "not found" in str(error)


class Peer:
    def __init__(self, js: Any) -> None:
        self.js = js
        self.watchers: dict[str, Any] = {}

    def version(self) -> str:
        return f"natsrpy {version('natsrpy')}"

    # Buckets

    async def create(
        self, bucket: str, ttl: float | None = None, storage: str = "file", **config: Any
    ) -> None:
        config["max_age"] = ttl
        config["storage"] = StorageType.MEMORY if storage == "memory" else StorageType.FILE
        await self.js.object_store.create(ObjectStoreConfig(bucket, **config))

    async def bind(self, bucket: str) -> bool | None:
        try:
            await self.js.object_store.get(bucket)
        except NatsrpyBaseError as error:
            if is_missing(error):
                return None
            raise
        return True

    # Objects

    async def put(self, bucket: str, name: str, file: str, **fields: Any) -> None:
        store = await self.js.object_store.get(bucket)
        # Its own default is 24 MB, more than a server takes.
        fields.setdefault("chunk_size", 128 * 1024)
        await store.put(name, Path(file).read_bytes(), **fields)

    async def get(self, bucket: str, name: str) -> list[Any] | None:
        store = await self.js.object_store.get(bucket)
        whole = io.BytesIO()
        try:
            await store.get(name, whole)
        except NatsrpyBaseError as error:
            if is_missing(error):
                return None
            raise
        data = whole.getvalue()
        return [len(data), hashlib.sha256(data).hexdigest()]

    async def info(self, bucket: str, name: str) -> dict[str, Any] | None:
        store = await self.js.object_store.get(bucket)
        try:
            info = await store.get_info(name)
        except NatsrpyBaseError as error:
            if is_missing(error):
                return None
            raise
        if info.deleted:
            return None
        headers = {
            key: [values] if isinstance(values, str) else values
            for key, values in (info.headers or {}).items()
        }
        return {
            "name": info.name,
            "size": info.size,
            "description": info.description or "",
            "headers": headers,
            "metadata": info.metadata or {},
            "link": [info.link.bucket, info.link.name] if info.link else None,
        }

    async def update_meta(self, bucket: str, name: str, **fields: Any) -> None:
        await (await self.js.object_store.get(bucket)).update_metadata(name, **fields)

    async def delete(self, bucket: str, name: str) -> None:
        await (await self.js.object_store.get(bucket)).delete(name)

    async def link(self, bucket: str, name: str, to_bucket: str, to_name: str) -> None:
        if to_bucket != bucket:
            raise NotImplementedError("there is no link to another bucket's object")
        await (await self.js.object_store.get(bucket)).link_object(to_name, name)

    async def link_bucket(self, bucket: str, name: str, to_bucket: str) -> None:
        await (await self.js.object_store.get(bucket)).link_bucket(to_bucket, name)

    async def list(self, bucket: str) -> list[str]:
        store = await self.js.object_store.get(bucket)
        return sorted([info.name async for info in await store.list()])

    async def watch(self, bucket: str, count: int) -> list[tuple[str, bool]]:
        if bucket not in self.watchers:
            store = await self.js.object_store.get(bucket)
            self.watchers[bucket] = await store.watch(with_history=True)
        watcher = self.watchers[bucket]
        infos = [await asyncio.wait_for(anext(watcher), 5) for _ in range(count)]
        return [(info.name, info.deleted) for info in infos]


async def main() -> None:
    client = Nats([sys.argv[1]])
    await client.startup()
    await serve(Peer(await client.jetstream()))
    await client.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
