"""
A store that does what most clients do: no condition on the meta, and a purge on any error.

It exists to be convicted. Its faults are those of the usual algorithm: read the meta, send
the chunks, publish the meta; purge the own chunks if anything failed, else those of the
meta that was read.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

from objstore.client import Client
from objstore.core.nuid import next_nuid
from objstore.errors import ConnectionLostError, ObjectNotFoundError, ObjStoreError
from objstore.models import ObjectInfo
from tests.raw_bucket import RawBucket, digest_of

__all__ = ["NaiveStore"]

_CHUNK_SIZE = 1000


class NaiveStore:
    """As much of a store as the tests need."""

    def __init__(self, client: Client, bucket: str) -> None:
        self._raw = RawBucket(client._connection, bucket)

    def put(self, name: str, data: bytes, **_: Any) -> ObjectInfo:
        old = self._live(name)
        nuid = next_nuid()
        meta = {
            "name": name,
            "nuid": nuid,
            "size": len(data),
            "chunks": -(-len(data) // _CHUNK_SIZE),
            "digest": digest_of(data),
        }
        try:
            for start in range(0, len(data), _CHUNK_SIZE):
                self._raw.put_chunk(nuid, data[start : start + _CHUNK_SIZE])
            revision = self._raw.put_meta(name, meta)
        except ObjStoreError:
            self._purge(nuid)
            raise
        if old is not None:
            self._purge(old["nuid"])
        return _info(meta, revision)

    def delete(self, name: str, **_: Any) -> None:
        old = self._live(name)
        if old is not None:
            self._raw.put_meta(name, {**old, "deleted": True, "size": 0, "chunks": 0})
            self._purge(old["nuid"])

    def get_info(self, name: str, **_: Any) -> ObjectInfo:
        message = self._raw.meta_message(name)
        meta = None if message is None else json.loads(message["data"])
        if message is None or meta.get("deleted"):
            raise ObjectNotFoundError(self._raw.name, name, "it does not exist")
        return _info(meta, message["seq"])

    def _live(self, name: str) -> dict[str, Any] | None:
        message = self._raw.meta_message(name)
        meta = None if message is None else dict(json.loads(message["data"]))
        return None if meta is None or meta.get("deleted") else meta

    def _purge(self, nuid: str) -> None:
        for _ in range(3):
            try:
                self._raw.purge(self._raw.chunk_subject(nuid))
                return
            except ConnectionLostError:
                pass


def _info(meta: dict[str, Any], revision: int) -> ObjectInfo:
    return ObjectInfo(
        bucket="",
        name=meta["name"],
        nuid=meta["nuid"],
        size=meta["size"],
        chunks=meta["chunks"],
        digest=meta["digest"],
        mtime=datetime.now(timezone.utc),
        revision=revision,
    )
