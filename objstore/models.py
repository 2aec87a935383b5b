"""
What users hold in their hands: objects' metas and infos, links, buckets' configuration.

Pure. Written strictly, as ADR-20 has it; read tolerantly, as contract tests of many
clients left it: nulls, missing numbers, headers in three shapes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from objstore import naming
from objstore.errors import BadObjectMetaError, shorten

__all__ = [
    "DEFAULT_CHUNK_SIZE",
    "ObjectInfo",
    "ObjectLink",
    "ObjectMeta",
    "ObjectStoreConfig",
    "ObjectStoreStatus",
    "Placement",
    "decode_info",
    "encode_info",
]

#: Bytes per chunk when the caller does not choose (ADR-20, "Default Settings").
DEFAULT_CHUNK_SIZE = 128 * 1024

#: Largest number that fits the stored fields: `max_chunk_size` and `chunks` are uint32.
_MAX_UINT32 = 2**32 - 1
_MAX_SIZE = 2**63 - 1

#: Nanoseconds in a second: streams' durations are stored in them.
_NANOSECONDS = 1_000_000_000
#: Metadata of the server's own; never shown, and kept on update.
_SERVER_METADATA = "_nats."


# Checks


def _check_text(what: str, text: object) -> str:
    if text is None:
        return ""
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a str, not {shorten(text)}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} {shorten(text)} is no valid Unicode") from error
    return text


def _check_metadata(metadata: object) -> dict[str, str]:
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata must be a mapping of str to str, not {shorten(metadata)}")
    return {
        _check_text("a metadata key", key): _check_value("a metadata value", value)
        for key, value in metadata.items()
    }


def _check_value(what: str, value: object) -> str:
    if value is None:
        raise TypeError(f"{what} must be a str, not None")
    return _check_text(what, value)


def _check_headers(headers: object) -> dict[str, list[str]]:
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers must be a mapping of str to list[str], not {shorten(headers)}")
    checked = {}
    for key, values in headers.items():
        values = [values] if isinstance(values, str) else values
        if not isinstance(values, Sequence) or isinstance(values, bytes):
            raise TypeError(f"header {shorten(key)} must have a list of str, not {shorten(values)}")
        checked[_check_text("a header key", key)] = [
            _check_value(f"header {shorten(key)}", value) for value in values
        ]
    return checked


def check_integer(what: str, number: object, least: int, most: int) -> int:
    """
    Return `number` if it is an integer within bounds.

    Raises:
        TypeError, ValueError: If it is not.
    """
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"{what} must be an int, not {shorten(number)}")
    if not least <= number <= most:
        raise ValueError(f"{what} must be from {least} to {most}, not {number}")
    return number


# Objects


@dataclass(frozen=True)
class ObjectLink:
    """
    Where a link leads.

    Attributes:
        bucket: Name of a bucket.
        name: Name of an object in it; None for the bucket itself.
    """

    bucket: str
    name: str | None = None


@dataclass(frozen=True)
class ObjectMeta:
    """
    What a writer says of an object.

    Attributes:
        name: Any text that is not empty.
        description: For people.
        headers: Key to a list of values; one str is taken for a list of one.
        metadata: Key to value.
        chunk_size: Bytes per chunk; None for 128 KiB. Cut to what the server takes.

    Raises:
        InvalidNameError, TypeError, ValueError: If a field cannot be stored.
    """

    name: str
    description: str = ""
    headers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    chunk_size: int | None = None

    def __post_init__(self) -> None:
        set_field = object.__setattr__  # the way of a frozen dataclass to normalise
        naming.check_name(self.name)
        set_field(self, "description", _check_text("description", self.description))
        set_field(self, "headers", _check_headers(self.headers))
        set_field(self, "metadata", _check_metadata(self.metadata))
        if self.chunk_size is not None:
            check_integer("chunk_size", self.chunk_size, 1, _MAX_UINT32)


@dataclass(frozen=True)
class ObjectInfo:
    """
    What is stored of an object beside its bytes.

    Attributes:
        bucket: Bucket it is in.
        name: Its name.
        nuid: Id of this version's chunks; "" for some links of other clients.
        size: Bytes.
        chunks: Number of chunks.
        digest: `SHA-256=…` of the bytes; "" for links, deleted objects.
        mtime: When it was stored; aware, UTC.
        deleted: Whether this is what a deleted object leaves behind.
        description: For people.
        headers: Key to a list of values.
        metadata: Key to value.
        link: Where it leads, if it is a link.
        chunk_size: Bytes per chunk, as the writer meant it; 0 if it did not say.
        revision: Sequence of the meta in the stream; 0 where it is not known.
    """

    bucket: str
    name: str
    nuid: str
    size: int
    chunks: int
    digest: str
    mtime: datetime
    deleted: bool = False
    description: str = ""
    headers: dict[str, list[str]] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    link: ObjectLink | None = None
    chunk_size: int = 0
    revision: int = 0
    #: Fields and options that we do not know, kept when the meta is written again.
    _extra: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_link(self) -> bool:
        """Whether it leads to another object or bucket."""
        return self.link is not None

    @property
    def meta(self) -> ObjectMeta:
        """What its writer said of it."""
        return ObjectMeta(
            self.name, self.description, self.headers, self.metadata, self.chunk_size or None
        )

    def _replace(self, **changes: Any) -> ObjectInfo:
        return dataclasses.replace(self, **changes)


#: Fields of a stored meta that `ObjectInfo` holds; the rest is kept as it is.
_KNOWN_FIELDS = frozenset(
    {
        *("name", "description", "headers", "metadata", "options", "bucket", "nuid"),
        *("size", "chunks", "digest", "deleted", "mtime", "link"),
    }
)


def encode_info(info: ObjectInfo) -> bytes:
    """
    Return the JSON of a meta, as ADR-20 has it; empty fields and `mtime` are left out.

    Raises:
        ValueError: If a text is no valid Unicode.
    """
    options = dict(info._extra.get("options", {}))
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
    for key, value in info._extra.items():
        fields.setdefault(key, value)
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def decode_info(
    bucket: str, name: str | None, payload: bytes, *, mtime: datetime, revision: int
) -> ObjectInfo:
    """
    Read the JSON of a meta, whoever wrote it.

    Args:
        name: Name that was asked for; it wins over the one in the JSON. None in listings,
            where only the JSON has it.

    Raises:
        BadObjectMetaError: If it cannot be used.
    """

    def bad(detail: str) -> BadObjectMetaError:
        return BadObjectMetaError(bucket, name or "?", f"its meta cannot be used: {detail}")

    try:
        fields = json.loads(payload, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise bad("it is not JSON") from error
    if not isinstance(fields, dict):
        raise bad("it is not a JSON object")
    stored_name = fields.get("name")
    if name is None:
        if not isinstance(stored_name, str) or not stored_name:
            raise bad(f"its name is {shorten(stored_name)}")
        name = stored_name
    options = fields.get("options")
    if not isinstance(options, dict):
        options = {}
    link = _decode_link(options.get("link") or fields.get("link"))
    deleted = fields.get("deleted") is True
    nuid = fields.get("nuid") or ""
    if not naming.is_nuid(nuid) and (nuid or link is None):
        raise bad(f"its id is {shorten(nuid)}")
    numbers = {}
    for key, most in (("size", _MAX_SIZE), ("chunks", _MAX_UINT32)):
        number = fields.get(key) or 0
        if isinstance(fields.get(key), bool) or not isinstance(number, int):
            raise bad(f"its {key} is {shorten(number)}")
        if not 0 <= number <= most:
            raise bad(f"its {key} is {number}")
        numbers[key] = number
    digest = fields.get("digest") or ""
    chunk_size = options.get("max_chunk_size")
    extra = {key: value for key, value in fields.items() if key not in _KNOWN_FIELDS}
    unknown = {key: options[key] for key in options if key not in ("link", "max_chunk_size")}
    if unknown:
        extra["options"] = unknown
    return ObjectInfo(
        bucket=bucket,
        name=name,
        nuid=nuid,
        size=numbers["size"],
        chunks=numbers["chunks"],
        digest=digest if isinstance(digest, str) else "",
        mtime=mtime,
        deleted=deleted,
        description=fields["description"] if isinstance(fields.get("description"), str) else "",
        headers=_decode_headers(fields.get("headers")),
        metadata=_decode_metadata(fields.get("metadata")),
        link=link,
        chunk_size=chunk_size if type(chunk_size) is int and 0 < chunk_size <= _MAX_UINT32 else 0,
        revision=revision,
        _extra=extra,
    )


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


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


def _decode_metadata(fields: object) -> dict[str, str]:
    if not isinstance(fields, dict):
        return {}
    return {key: value for key, value in fields.items() if isinstance(value, str)}


# Buckets


@dataclass(frozen=True)
class Placement:
    """
    Where in a cluster of clusters a bucket is to be.

    Attributes:
        cluster: Name of a cluster; "" for any.
        tags: Tags that its servers must have.
    """

    cluster: str = ""
    tags: Sequence[str] = ()


@dataclass(frozen=True)
class ObjectStoreConfig:
    """
    How a bucket is to be.

    Attributes:
        bucket: Its name: letters, digits, `-` and `_`.
        description: For people.
        ttl: Seconds, or a timedelta, after which objects expire; None for never.
        max_bytes: Bytes that all objects may take, overhead included; None for no limit.
        storage: `file` or `memory`.
        replicas: Servers that hold a copy, 1 to 5.
        placement: Which servers.
        compression: Whether the server compresses what it stores (nats-server 2.10).
        metadata: Key to value (nats-server 2.10).
        atomic: Allow atomic batches, which make renaming atomic (nats-server 2.12).
            Another client's identical "create" of the bucket then fails.
        object_ttl: Allow lifetimes of single objects (nats-server 2.11). As `atomic`.

    Raises:
        InvalidNameError, TypeError, ValueError: If a field cannot be used.
    """

    bucket: str
    description: str = ""
    ttl: float | timedelta | None = None
    max_bytes: int | None = None
    storage: str = "file"
    replicas: int = 1
    placement: Placement | None = None
    compression: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    atomic: bool = False
    object_ttl: bool = False

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        naming.check_bucket(self.bucket)
        set_field(self, "description", _check_text("description", self.description))
        set_field(self, "metadata", _check_metadata(self.metadata))
        set_field(self, "ttl", _check_ttl(self.ttl))
        if self.max_bytes is not None and self.max_bytes != -1:
            check_integer("max_bytes", self.max_bytes, 1, _MAX_SIZE)
        if self.storage not in ("file", "memory"):
            raise ValueError(f"storage must be 'file' or 'memory', not {shorten(self.storage)}")
        check_integer("replicas", self.replicas, 1, 5)
        if self.placement is not None and not isinstance(self.placement, Placement):
            raise TypeError(f"placement must be a Placement, not {shorten(self.placement)}")
        for key in ("compression", "atomic", "object_ttl"):
            if not isinstance(getattr(self, key), bool):
                raise TypeError(f"{key} must be True or False, not {getattr(self, key)!r:.60}")

    def to_stream(self) -> dict[str, Any]:
        """Return the configuration of the stream behind the bucket, as nats.go makes it."""
        config: dict[str, Any] = {
            "name": naming.stream_name(self.bucket),
            "subjects": [naming.chunk_subjects(self.bucket), naming.meta_subjects(self.bucket)],
            "retention": "limits",
            "max_bytes": -1 if self.max_bytes is None else self.max_bytes,
            "discard": "new",
            "max_age": _to_nanoseconds(self.ttl),
            "storage": self.storage,
            "num_replicas": self.replicas,
            "allow_rollup_hdrs": True,
            "allow_direct": True,
            "compression": "s2" if self.compression else "none",
        }
        if self.description:
            config["description"] = self.description
        if self.placement is not None:
            config["placement"] = _placement_fields(self.placement)
        if self.metadata:
            config["metadata"] = dict(self.metadata)
        if self.atomic:
            config["allow_atomic"] = True
        if self.object_ttl:
            config["allow_msg_ttl"] = True
        return config

    def change(self, stream: Mapping[str, Any], only: Collection[str] | None) -> dict[str, Any]:
        """
        Return the configuration of an existing stream with ours in it.

        Args:
            stream: As the server gives it; what is not ours stays.
            only: Names of our fields to take; None for all.
        """
        wanted = self.to_stream()
        fields = _STREAM_FIELDS if only is None else {key: _STREAM_FIELDS[key] for key in only}
        changed = dict(stream)
        for key in fields.values():
            if key in wanted:
                changed[key] = wanted[key]
            else:
                changed.pop(key, None)
        if "metadata" in fields:
            server = stream.get("metadata") or {}
            kept = {key: server[key] for key in server if key.startswith(_SERVER_METADATA)}
            changed["metadata"] = {**kept, **self.metadata}
        return changed

    def differences(self, stream: Mapping[str, Any]) -> list[str]:
        """Return the names of our fields in which an existing stream is otherwise."""
        wanted, found = self.to_stream(), dict(stream)
        wanted["subjects"], found["subjects"] = (
            sorted(config.get("subjects") or []) for config in (wanted, found)
        )
        wanted["metadata"], found["metadata"] = (
            _own_metadata(config.get("metadata")) for config in (wanted, found)
        )
        optional = {"description": "", "placement": None, "compression": "none"}
        opt_ins = {"allow_atomic": False, "allow_msg_ttl": False}
        for key, default in {**optional, **opt_ins}.items():
            wanted.setdefault(key, default)
            found[key] = found.get(key) or default
        # A stream without direct gets serves objects all the same.
        wanted.pop("allow_direct")
        return [key for key in wanted if wanted[key] != found.get(key)]


#: Where the fields of a bucket's configuration stand in its stream's.
_STREAM_FIELDS = {
    "description": "description",
    "ttl": "max_age",
    "max_bytes": "max_bytes",
    "storage": "storage",
    "replicas": "num_replicas",
    "placement": "placement",
    "compression": "compression",
    "metadata": "metadata",
    "atomic": "allow_atomic",
    "object_ttl": "allow_msg_ttl",
}


def _check_ttl(ttl: float | timedelta | None) -> float | None:
    seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"ttl must be a number of seconds or a timedelta, not {shorten(ttl)}")
    if seconds == 0:
        return None
    if not 0.1 <= seconds <= _MAX_SIZE / _NANOSECONDS:
        raise ValueError(f"ttl must be at least 0.1 seconds, not {seconds}")
    return float(seconds)


def _to_nanoseconds(ttl: float | timedelta | None) -> int:
    seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    return round((seconds or 0) * _NANOSECONDS)


def _placement_fields(placement: Placement) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if placement.cluster:
        fields["cluster"] = placement.cluster
    if placement.tags:
        fields["tags"] = list(placement.tags)
    return fields


def _own_metadata(metadata: object) -> dict[str, str]:
    """Return a stream's metadata without what the server put there."""
    fields = _decode_metadata(metadata)
    return {key: fields[key] for key in fields if not key.startswith(_SERVER_METADATA)}


@dataclass(frozen=True)
class ObjectStoreStatus:
    """
    How a bucket is.

    Attributes:
        bucket: Its name.
        description: For people.
        ttl: Seconds after which objects expire; None for never.
        storage: `file` or `memory`.
        replicas: Servers that hold a copy.
        sealed: Whether it can no longer be changed.
        size: Bytes that it takes: objects, metas, what deleted objects leave, overhead.
        backing_store: Always `JetStream`.
        metadata: Key to value.
        is_compressed: Whether the server compresses what it stores.
        stream_info: What the server says of the stream behind it.
    """

    bucket: str
    description: str
    ttl: float | None
    storage: str
    replicas: int
    sealed: bool
    size: int
    backing_store: str
    metadata: dict[str, str]
    is_compressed: bool
    stream_info: dict[str, Any] = field(repr=False)

    @classmethod
    def from_stream(cls, bucket: str, info: dict[str, Any]) -> ObjectStoreStatus:
        """Take an answer to `$JS.API.STREAM.INFO`."""
        config = info["config"]
        max_age = config.get("max_age") or 0
        return cls(
            bucket=bucket,
            description=config.get("description") or "",
            ttl=max_age / _NANOSECONDS if max_age else None,
            storage=config.get("storage", "file"),
            replicas=config.get("num_replicas", 1),
            sealed=bool(config.get("sealed")),
            size=info.get("state", {}).get("bytes", 0),
            backing_store="JetStream",
            metadata=_own_metadata(config.get("metadata")),
            is_compressed=config.get("compression", "none") not in ("none", ""),
            stream_info=info,
        )
