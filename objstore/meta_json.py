"""
The JSON of a meta: written strictly, as ADR-20 has it, and read tolerantly.

Pure. What other clients have written is in buckets for good: nulls, missing numbers,
headers in three shapes, links at the top level.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from objstore import naming
from objstore.checks import MAX_SIZE, MAX_UINT32
from objstore.core.fields import parse_fields
from objstore.errors import BadObjectMetaError, shorten
from objstore.models import MTIME_NS, ObjectInfo, ObjectLink

__all__ = ["decode_info", "decode_metadata", "encode_info"]

#: Fields of a stored meta that `ObjectInfo` holds; the rest is kept as it is.
_USUAL_FIELDS = frozenset(
    {"name", "options", "bucket", "nuid", "size", "chunks", "digest", "mtime", "link"}
)
_KNOWN_FIELDS = _USUAL_FIELDS | {"description", "headers", "metadata", "deleted"}
_KNOWN_OPTIONS = frozenset({"link", "max_chunk_size"})


def encode_info(info: ObjectInfo) -> bytes:
    """
    Return the JSON of a meta, as ADR-20 has it; empty fields and `mtime` are left out.

    Raises:
        ValueError: If a text is no valid Unicode.
    """
    has_more = info.description or info.headers or info.metadata or info.unknown or info.link
    if not has_more and info.digest and info.chunk_size and not info.deleted:
        # As nearly all are, and in a tenth of the time.
        return (
            f'{{"name":{_quote(info.name)},"options":{{"max_chunk_size":{info.chunk_size}}},'
            f'"bucket":"{info.bucket}","nuid":"{info.nuid}","size":{info.size},'
            f'"chunks":{info.chunks},"digest":{_quote(info.digest)}}}'
        ).encode()
    options = dict(info.unknown.get("options", {}))
    if info.link is not None:
        options["link"] = {"bucket": info.link.bucket}
        if info.link.name is not None:
            options["link"]["name"] = info.link.name
    if info.chunk_size:
        options["max_chunk_size"] = info.chunk_size
    fields: dict[str, Any] = {"name": info.name}
    for key in ("description", "headers", "metadata"):
        if getattr(info, key):
            fields[key] = getattr(info, key)
    if options:
        fields["options"] = options
    fields.update(bucket=info.bucket, nuid=info.nuid, size=info.size, chunks=info.chunks)
    if info.digest:
        fields["digest"] = info.digest
    if info.deleted:
        fields["deleted"] = True
    for key, value in info.unknown.items():
        fields.setdefault(key, value)
    return _encode_json(fields).encode()


#: The meta of a plain object as `encode_info` and nats.go write it: its texts are what they
#: stand for, and its numbers within bounds. JSON written in any other way is parsed.
_PLAIN_META = re.compile(
    r'\{"name":"(TEXT+)","options":\{"max_chunk_size":([1-9][0-9]{0,8})\},"bucket":"TEXT*",'
    r'"nuid":"([0-9A-Za-z]{22})","size":(0|[1-9][0-9]{0,17}),(?:"mtime":"TEXT*",)?'
    r'"chunks":(0|[1-9][0-9]{0,8}),"digest":"(TEXT*)"\}'.replace(
        "TEXT", r'[^"\\\0-\x1f\ud800-\udfff]'
    )
)

_quote = json.encoder.encode_basestring  # as the encoder below does it
_encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def decode_info(
    bucket: str,
    name: str | None,
    payload: bytes,
    *,
    mtime: datetime | int,
    revision: int,
    block: bytes | None = None,
) -> ObjectInfo:
    """
    Read the JSON of a meta, whoever wrote it.

    Args:
        name: Name that was asked for; it wins over the one in the JSON. None in listings,
            where only the JSON has it.
        mtime: When it was stored, or the nanoseconds since 1970.

    Raises:
        BadObjectMetaError: If it cannot be used.
    """
    plain = _PLAIN_META.fullmatch(payload.decode("utf-8", "surrogateescape"))
    if plain is None:
        found = _decode_any(bucket, name, payload)
    else:
        stored_name, chunk_size, nuid, size, chunks, digest = plain.groups()
        found = {
            "name": stored_name if name is None else name,
            "nuid": nuid,
            "size": int(size),
            "chunks": int(chunks),
            "digest": digest,
            "chunk_size": int(chunk_size),
        }
    found["bucket"] = bucket
    found["revision"] = revision
    found[MTIME_NS if type(mtime) is int else "mtime"] = mtime
    if block is not None:
        found["block"] = block
    return ObjectInfo.of_fields(found)


def _decode_any(bucket: str, name: str | None, payload: bytes) -> dict[str, Any]:
    """Return the fields of an info that are in the JSON, and no more: there may be very many."""
    try:
        fields = parse_fields(payload)
        if b"\\u" in payload:
            # Escapes may stand for halves of characters, which nobody could print or store.
            whole = json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace")
            fields = json.loads(whole)
    except ValueError as error:
        raise _bad(bucket, name, "it is not JSON") from error
    get = fields.get
    if name is None:
        name = get("name")
        if not isinstance(name, str) or not name:
            raise _bad(bucket, None, f"its name is {shorten(name)}")
    options = get("options")
    if not isinstance(options, dict):
        options = {}
    link = options.get("link") or get("link")
    link = None if link is None else _decode_link(link)
    nuid = get("nuid") or ""
    if not naming.is_nuid(nuid) and (nuid or link is None):
        raise _bad(bucket, name, f"its id is {shorten(nuid)}")
    size, chunks = get("size"), get("chunks")
    if type(size) is not int or type(chunks) is not int:
        # What is empty, in whatever way, is 0.
        size, chunks = (number if number is False else number or 0 for number in (size, chunks))
        for key, number in (("size", size), ("chunks", chunks)):
            if type(number) is not int:
                raise _bad(bucket, name, f"its {key} is {shorten(number)}")
    if not 0 <= size <= MAX_SIZE:
        raise _bad(bucket, name, f"its size is {size}")
    if not 0 <= chunks <= MAX_UINT32:
        raise _bad(bucket, name, f"its chunks is {chunks}")
    digest = get("digest")
    found: dict[str, Any] = {
        "name": name,
        "nuid": nuid,
        "size": size,
        "chunks": chunks,
        "digest": digest if isinstance(digest, str) else "",
    }
    chunk_size = options.get("max_chunk_size")
    if type(chunk_size) is int and 0 < chunk_size <= MAX_UINT32:
        found["chunk_size"] = chunk_size
    if link is not None:
        found["link"] = link
    if not fields.keys() <= _USUAL_FIELDS:
        if get("deleted") is True:
            found["deleted"] = True
        description = get("description")
        if isinstance(description, str):
            found["description"] = description
        found["headers"] = _decode_headers(get("headers"))
        found["metadata"] = decode_metadata(get("metadata"))
        unknown = {key: value for key, value in fields.items() if key not in _KNOWN_FIELDS}
        if unknown:
            found["unknown"] = unknown
    if not options.keys() <= _KNOWN_OPTIONS:
        found.setdefault("unknown", {})["options"] = {
            key: value for key, value in options.items() if key not in _KNOWN_OPTIONS
        }
    return found


def _bad(bucket: str, name: str | None, detail: str) -> BadObjectMetaError:
    return BadObjectMetaError(bucket, name or "?", f"its meta cannot be used: {detail}")


def _decode_link(fields: object) -> ObjectLink | None:
    if not isinstance(fields, dict) or not isinstance(fields.get("bucket"), str):
        return None
    name = fields.get("name")
    return ObjectLink(fields["bucket"], name if isinstance(name, str) and name else None)


def _decode_headers(fields: object) -> dict[str, list[str]]:
    """Take lists (ADR-20), plain strings (nats.py) and lists wrapped in `inner` (old nats.rs)."""
    if isinstance(fields, dict) and isinstance(fields.get("inner"), dict):
        fields = fields["inner"]
    headers = {}
    for key, values in fields.items() if isinstance(fields, dict) else ():
        values = [values] if isinstance(values, str) else values
        if isinstance(values, list):
            headers[key] = [value for value in values if isinstance(value, str)]
    return headers


def decode_metadata(fields: object) -> dict[str, str]:
    """Return those pairs that are of str, of whatever stands for metadata."""
    if not isinstance(fields, dict):
        return {}
    return {key: value for key, value in fields.items() if isinstance(value, str)}
