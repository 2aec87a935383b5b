"""
pynats2, which knows nothing of object stores: a reader that shares no code with anybody.

It asks the server's API for stored messages one by one, and takes what it finds by the
letter of ADR-20.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from objstore._pynats2 import NATSClient
from tests.interop.peers.serve import serve

NO_MESSAGE_FOUND = 10037


class Peer:
    def __init__(self, client: NATSClient) -> None:
        self.client = client

    def version(self) -> str:
        return f"pynats2 {version('pynats2')}"

    def call(self, operation: str, body: object = None) -> dict[str, Any]:
        payload = b"" if body is None else json.dumps(body).encode()
        return json.loads(self.client.request(f"$JS.API.{operation}", payload=payload).payload)

    def message(self, bucket: str, **which: Any) -> dict[str, Any] | None:
        answer = self.call(f"STREAM.MSG.GET.OBJ_{bucket}", which)
        if "error" in answer:
            assert answer["error"]["err_code"] == NO_MESSAGE_FOUND, answer
            return None
        message = answer["message"]
        message["data"] = base64.b64decode(message.get("data", ""))
        return message

    def messages(self, bucket: str, subject: str) -> Iterator[dict[str, Any]]:
        message = self.message(bucket, seq=1, next_by_subj=subject)
        while message is not None:
            yield message
            message = self.message(bucket, seq=message["seq"] + 1, next_by_subj=subject)

    def meta(self, bucket: str, name: str) -> dict[str, Any] | None:
        encoded = base64.urlsafe_b64encode(name.encode()).decode()
        message = self.message(bucket, last_by_subj=f"$O.{bucket}.M.{encoded}")
        return None if message is None else json.loads(message["data"])

    def bind(self, bucket: str) -> bool | None:
        return None if "error" in self.call(f"STREAM.INFO.OBJ_{bucket}") else True

    def status(self, bucket: str) -> dict[str, Any]:
        config = self.call(f"STREAM.INFO.OBJ_{bucket}")["config"]
        metadata = config.get("metadata", {})
        return {
            "description": config.get("description", ""),
            "ttl": config["max_age"] / 1e9 or None,
            "max_bytes": config["max_bytes"],
            "storage": config["storage"],
            "compression": config["compression"] == "s2",
            "metadata": {k: metadata[k] for k in metadata if not k.startswith("_nats.")},
        }

    def get(self, bucket: str, name: str) -> list[Any] | None:
        meta = self.meta(bucket, name)
        if meta is None or meta.get("deleted"):
            return None
        link = meta.get("options", {}).get("link")
        if link:
            return self.get(link["bucket"], link["name"])
        chunks = [m["data"] for m in self.messages(bucket, f"$O.{bucket}.C.{meta['nuid']}")]
        digest = hashlib.sha256(b"".join(chunks))
        assert meta["size"] == sum(map(len, chunks))
        assert meta["chunks"] == len(chunks)
        assert meta["digest"] == "SHA-256=" + base64.urlsafe_b64encode(digest.digest()).decode()
        return [meta["size"], digest.hexdigest()]

    def info(self, bucket: str, name: str) -> dict[str, Any] | None:
        meta = self.meta(bucket, name)
        if meta is None or meta.get("deleted"):
            return None
        link = meta.get("options", {}).get("link")
        return {
            "name": meta["name"],
            "size": meta.get("size", 0),
            "description": meta.get("description") or "",
            "headers": meta.get("headers") or {},
            "metadata": meta.get("metadata") or {},
            "link": [link["bucket"], link.get("name")] if link else None,
        }

    def list(self, bucket: str) -> list[str]:
        last = {
            m["subject"]: json.loads(m["data"]) for m in self.messages(bucket, f"$O.{bucket}.M.>")
        }
        return sorted(meta["name"] for meta in last.values() if not meta.get("deleted"))


if __name__ == "__main__":
    with NATSClient(sys.argv[1]) as client:
        asyncio.run(serve(Peer(client)))
