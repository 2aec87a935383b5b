"""nats-py."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nats
from nats.js.api import ObjectMeta, ObjectMetaOptions, StorageType
from nats.js.errors import BucketNotFoundError, ObjectDeletedError, ObjectNotFoundError

from tests.interop.peers.serve import serve


class Peer:
    def __init__(self, connection: Any) -> None:
        self.js = connection.jetstream()
        self.watchers: dict[str, Any] = {}

    def version(self) -> str:
        return f"nats-py {version('nats-py')}"

    # Buckets

    async def create(self, bucket: str, **config: Any) -> None:
        if "storage" in config:
            config["storage"] = StorageType(config["storage"])
        await self.js.create_object_store(bucket, **config)

    async def bind(self, bucket: str) -> bool | None:
        try:
            await self.js.object_store(bucket)
        except BucketNotFoundError:
            return None
        return True

    async def status(self, bucket: str) -> dict[str, Any]:
        status = await (await self.js.object_store(bucket)).status()
        config = status.stream_info.config
        return {
            "description": status.description or "",
            "ttl": status.ttl or None,
            "max_bytes": config.max_bytes,
            "storage": status.storage_type,
            "compression": config.compression not in (None, "none"),
            "metadata": {
                key: value
                for key, value in (config.metadata or {}).items()
                if not key.startswith("_nats.")
            },
        }

    # Objects

    async def put(
        self,
        bucket: str,
        name: str,
        file: str,
        chunk_size: int | None = None,
        headers: dict[str, list[str]] | None = None,
        **fields: Any,
    ) -> None:
        store = await self.js.object_store(bucket)
        if chunk_size:
            fields["options"] = ObjectMetaOptions(max_chunk_size=chunk_size)
        if headers:
            # Its type hints say "dict"; one value is written as a str, as HTTP libraries do.
            fields["headers"] = {k: v[0] if len(v) == 1 else v for k, v in headers.items()}
        await store.put(name, Path(file).read_bytes(), ObjectMeta(**fields))

    async def get(self, bucket: str, name: str) -> list[Any] | None:
        store = await self.js.object_store(bucket)
        try:
            data = (await store.get(name)).data
        except (ObjectNotFoundError, ObjectDeletedError):
            return None
        return [len(data), hashlib.sha256(data).hexdigest()]

    async def info(self, bucket: str, name: str) -> dict[str, Any] | None:
        store = await self.js.object_store(bucket)
        try:
            info = await store.get_info(name)
        except ObjectNotFoundError:
            return None
        link = info.options.link if info.options else None
        return {
            "name": info.name,
            "size": info.size,
            "description": info.description or "",
            "headers": info.headers or {},
            "metadata": getattr(info, "metadata", None) or {},
            "link": [link.bucket, link.name] if link else None,
        }

    async def update_meta(
        self, bucket: str, name: str, new_name: str | None = None, **fields: Any
    ) -> None:
        store = await self.js.object_store(bucket)
        await store.update_meta(name, ObjectMeta(name=new_name or name, **fields))

    async def delete(self, bucket: str, name: str) -> None:
        await (await self.js.object_store(bucket)).delete(name)

    async def list(self, bucket: str) -> list[str]:
        store = await self.js.object_store(bucket)
        return sorted(info.name for info in await store.list(ignore_deletes=True))

    async def watch(self, bucket: str, count: int) -> list[tuple[str, bool]]:
        if bucket not in self.watchers:
            self.watchers[bucket] = await (await self.js.object_store(bucket)).watch()
        infos = []
        while len(infos) < count:
            info = await self.watchers[bucket].updates(timeout=5)
            if info is not None:
                infos.append((info.name, info.deleted))
        return infos


async def main() -> None:
    await serve(Peer(await nats.connect(sys.argv[1])))


if __name__ == "__main__":
    asyncio.run(main())
