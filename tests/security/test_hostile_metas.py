"""
What another writer may have stored: every operation ends with an error or does what it
should, no request is built from what is stored, and nothing else in the bucket changes.
"""

from __future__ import annotations

import json
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from objstore.core.transport import TCPTransport
from objstore.errors import (
    BadObjectMetaError,
    BucketLinkError,
    BucketNotFoundError,
    DigestMismatchError,
    LinkError,
    LinkLoopError,
    ObjectNotFoundError,
    ObjStoreError,
    TruncatedObjectError,
)
from objstore.store import ObjectStore
from tests.raw_bucket import RawBucket

NUID = "HOSTILE" + "0" * 15
OTHERS = "OTHERS" + "0" * 16

#: Texts that would do harm as a part of a subject. Each has a mark to be found by.
SUBJECTS = [
    *("HOSTILE.>", ">", "*", "HOSTILE.*", "HOSTILE a", "HOSTILE\r\nPUB pwned 0\r\n", "HOSTILE\0"),
    *("HOSTILE" + "A" * 10_000, "../HOSTILE", "HOSTILE\n", " HOSTILE", "HOSTILE\u2028"),
]


def meta(**fields: Any) -> bytes:
    digest = "SHA-256=" + "A" * 43 + "="
    whole = {"name": "evil", "bucket": "b", "nuid": NUID, "size": 5, "chunks": 1}
    whole |= {"digest": digest, **fields}
    return json.dumps(whole).encode()


def link(**target: Any) -> bytes:
    return meta(options={"link": target}, size=0, chunks=0, digest="")


BAD = BadObjectMetaError

ROWS: dict[str, tuple[bytes, type[ObjStoreError]]] = {
    **{f"nuid {text!r:.20}": (meta(nuid=text), BAD) for text in SUBJECTS},
    "nuid of another type": (meta(nuid=["a"]), BAD),
    "nested": (b'{"name":"evil","x":' + b"[" * 90_000, BAD),
    "nested in earnest": (meta(x=json.loads("[" * 200 + "]" * 200)), BAD),
    "many values": (meta()[:-1] + b',"x":[' + b"0," * 100_000 + b"0]}", TruncatedObjectError),
    "long number": (meta()[:-1].replace(b'"size": 5', b'"size": ' + b"9" * 5000) + b"}", BAD),
    "BOM": (b"\xef\xbb\xbf" + meta(), BAD),
    "huge size": (meta(size=2**62, chunks=2**31), TruncatedObjectError),
    "huge size without chunks": (meta(size=2**62, chunks=0), TruncatedObjectError),
    "no digest": (meta(digest=""), ObjStoreError),
    "other algorithm": (meta(digest="MD5=abc"), ObjStoreError),
    "chunks of nobody": (meta(), TruncatedObjectError),
    "chunks of another": (meta(nuid=OTHERS), DigestMismatchError),
    "link to itself": (link(bucket="BUCKET", name="evil"), LinkLoopError),
    "link to a missing bucket": (link(bucket="missing", name="x"), BucketNotFoundError),
    "link to a missing object": (link(bucket="BUCKET", name="missing"), ObjectNotFoundError),
    "link to a bucket": (link(bucket="BUCKET"), BucketLinkError),
    **{f"link to {t!r:.20}": (link(bucket=t, name="x"), LinkError) for t in SUBJECTS},
    "link to a long name": (link(bucket="BUCKET", name="x" * 5000), LinkError),
}


def content(raw: RawBucket) -> list[tuple[str, int]]:
    """Every subject of the bucket but that of the hostile meta, and how many messages it has."""
    evil = raw.meta_subject("evil")
    return sorted((key, count) for key, count in raw.subjects().items() if key != evil)


@pytest.fixture
def sent(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """All that the store sends."""
    sent: list[bytes] = []
    connection = store._bucket.js.connection

    def record(method: Any) -> Any:
        def wrapper(self: TCPTransport, data: Any, *arguments: Any) -> Any:
            if connection._link is not None and self is connection._link.transport:
                sent.append(b"".join([data] if isinstance(data, (bytes, memoryview)) else data))
            return method(self, data, *arguments)

        return wrapper

    for name in ("send", "try_send"):
        monkeypatch.setattr(TCPTransport, name, record(getattr(TCPTransport, name)))
    return sent


def assert_harmless(sent: list[bytes]) -> None:
    """No subject and no filter has come of what is stored, but of ids that are ids."""
    text = b"".join(sent).replace(NUID.encode(), b"")
    assert b"pwned" not in text.replace(b"\\r\\nPUB pwned 0\\r\\n", b"")
    for built in re.findall(rb"\bH?PUB [^\r\n]*|\"filter\":\"[^\"]*", text):
        assert b"HOSTILE" not in built
        assert not re.search(rb"[.](>|[*])", built)


@pytest.fixture
def bystanders(store: ObjectStore, raw: RawBucket) -> None:
    """What nothing may happen to."""
    store.put("one", b"1" * 300_000)
    store.put("two", b"2")
    raw.put_chunk(OTHERS, b"other")


@pytest.mark.usefixtures("bystanders")
@pytest.mark.parametrize("row", ROWS)
def test_hostile_meta(
    row: str, store: ObjectStore, raw: RawBucket, sent: list[bytes], tmp_path: Path
) -> None:
    """It is told apart in every operation, at once: none of them may wait its time out."""
    payload, expected = ROWS[row]
    raw.put_meta("evil", payload.replace(b'"BUCKET"', f'"{store.bucket}"'.encode()))
    before = content(raw)
    del sent[:]
    reads: list[Callable[[], object]] = [
        lambda: store.get("evil").read(),
        lambda: store.get_bytes("evil", timeout=None),
        lambda: store.get_file("evil", tmp_path / "file", timeout=None),
        lambda: dict(store.get_many(["evil"])),
        lambda: store.copy("evil", "copy", timeout=None),
    ]
    tracemalloc.start()
    try:
        for read in reads:
            with pytest.raises(expected):
                read()
        assert tracemalloc.get_traced_memory()[1] < 24 << 20, "memory for what was only claimed"
    finally:
        tracemalloc.stop()
    assert not any(tmp_path.iterdir())
    assert {"one", "two"} <= {info.name for info in store.list()}
    assert content(raw) == before
    assert_harmless(sent)
    # Now what writes over it, by whatever it says.
    store.put("evil", b"good")
    assert store.get_bytes("evil") == b"good"
    raw.put_meta("evil", payload.replace(b'"BUCKET"', f'"{store.bucket}"'.encode()))
    try:
        store.delete("evil")
    except BadObjectMetaError:
        assert expected is BadObjectMetaError
    for name in ("one", "two"):
        store.get_bytes(name)
    assert raw.chunks.get(OTHERS) == (None if row == "chunks of another" else 1)
    assert_harmless(sent)
