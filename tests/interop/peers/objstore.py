"""objstore itself, as one peer among others."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from pathlib import Path
from typing import Any

import objstore
from tests.interop.peers.serve import serve


class Peer:
    def __init__(self, url: str) -> None:
        self.client = objstore.connect(url)
        self.watchers: dict[str, objstore.ObjectWatcher] = {}

    def version(self) -> str:
        return f"objstore {objstore.__version__}"

    # Buckets

    def create(self, bucket: str, **config: Any) -> None:
        self.client.create_object_store(bucket, **config)

    def update(self, bucket: str, **config: Any) -> None:
        self.client.update_object_store(bucket, **config)

    def bind(self, bucket: str) -> bool | None:
        try:
            self.client.object_store(bucket)
        except objstore.BucketNotFoundError:
            return None
        return True

    def status(self, bucket: str) -> dict[str, Any]:
        status = self.client.object_store(bucket).status()
        return {
            "description": status.description,
            "ttl": status.ttl,
            "max_bytes": status.stream_info["config"]["max_bytes"],
            "storage": status.storage,
            "compression": status.is_compressed,
            "metadata": status.metadata,
        }

    # Objects

    def put(self, bucket: str, name: str, file: str, **fields: Any) -> None:
        self.client.object_store(bucket).put(name, Path(file), **fields)

    def get(self, bucket: str, name: str) -> list[Any] | None:
        try:
            data = self.client.object_store(bucket).get_bytes(name)
        except objstore.ObjectNotFoundError:
            return None
        return [len(data), hashlib.sha256(data).hexdigest()]

    def info(self, bucket: str, name: str) -> dict[str, Any] | None:
        try:
            info = self.client.object_store(bucket).get_info(name)
        except objstore.ObjectNotFoundError:
            return None
        return {
            "name": info.name,
            "size": info.size,
            "description": info.description,
            "headers": info.headers,
            "metadata": info.metadata,
            "link": [info.link.bucket, info.link.name] if info.link else None,
        }

    def update_meta(self, bucket: str, name: str, **fields: Any) -> None:
        self.client.object_store(bucket).update_meta(name, **fields)

    def delete(self, bucket: str, name: str) -> None:
        self.client.object_store(bucket).delete(name)

    def link(self, bucket: str, name: str, to_bucket: str, to_name: str) -> None:
        target = self.client.object_store(to_bucket).get_info(to_name)
        self.client.object_store(bucket).add_link(name, target)

    def link_bucket(self, bucket: str, name: str, to_bucket: str) -> None:
        self.client.object_store(bucket).add_bucket_link(name, to_bucket)

    def list(self, bucket: str) -> list[str]:
        return sorted(self.client.object_store(bucket))

    def watch(self, bucket: str, count: int) -> list[tuple[str, bool]]:
        if bucket not in self.watchers:
            self.watchers[bucket] = self.client.object_store(bucket).watch()
        infos = []
        while len(infos) < count:
            info = self.watchers[bucket].next(timeout=5)
            if info is not None:
                infos.append((info.name, info.deleted))
        return infos


if __name__ == "__main__":
    asyncio.run(serve(Peer(sys.argv[1])))
