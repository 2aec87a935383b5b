"""
How a bucket is to be, and how it is: its configuration, status, and the stream's.

Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypedDict

from objstore import naming
from objstore.checks import MAX_SIZE, check_integer, check_metadata, check_text
from objstore.display import format_size, html_pairs
from objstore.errors import shorten
from objstore.meta_json import decode_metadata

__all__ = ["ConfigKeywords", "ObjectStoreConfig", "ObjectStoreStatus", "Placement"]

#: Nanoseconds in a second: streams' durations are stored in them.
_NANOSECONDS = 1_000_000_000
#: Metadata of the server's own; never shown, and kept on update.
_SERVER_METADATA = "_nats."


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


class ConfigKeywords(TypedDict, total=False):
    """The fields of `ObjectStoreConfig` but the name, for those who pass them on."""

    description: str
    ttl: float | timedelta | None
    max_bytes: int | None
    storage: str
    replicas: int
    placement: Placement | None
    compression: bool
    metadata: Mapping[str, str]
    atomic: bool
    object_ttl: bool


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
        atomic: Allow several messages to be stored as one (nats-server 2.12). Another
            client's identical "create" of the bucket then fails.
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
        set_field(self, "description", check_text("description", self.description))
        set_field(self, "metadata", check_metadata(self.metadata))
        set_field(self, "ttl", _check_ttl(self.ttl))
        if self.max_bytes is not None and self.max_bytes != -1:
            check_integer("max_bytes", self.max_bytes, 1, MAX_SIZE)
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
        if changed.get("max_age") != stream.get("max_age"):
            # One longer than the ttl is refused; where there is none the server takes its own.
            changed.pop("duplicate_window", None)
        if "metadata" in fields:
            server = stream.get("metadata") or {}
            kept = {key: server[key] for key in server if key.startswith(_SERVER_METADATA)}
            # For nats-server 2.10 an empty one is another than none.
            changed["metadata"] = {**kept, **self.metadata} or None
        return changed

    def differences(self, stream: Mapping[str, Any]) -> list[str]:
        """
        Return the fields in which an existing stream is otherwise.

        They have our names, and the stream's where it is no choice of ours.
        """
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
        names = {stream_field: field for field, stream_field in _STREAM_FIELDS.items()}
        return [names.get(key, key) for key in wanted if wanted[key] != found.get(key)]


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
    if not 0.1 <= seconds <= MAX_SIZE / _NANOSECONDS:
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
    fields = decode_metadata(metadata)
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

    def describe(self) -> list[tuple[str, object]]:
        """Return names and values for people; texts may be empty."""
        limit = self.stream_info["config"].get("max_bytes", -1)
        return [
            ("bucket", self.bucket),
            ("description", self.description),
            ("size", f"{self.size} ({format_size(self.size)})"),
            ("limit", f"{limit} ({format_size(limit)})" if limit > 0 else ""),
            ("ttl", "" if self.ttl is None else f"{self.ttl:g} s"),
            ("storage", self.storage),
            ("replicas", self.replicas),
            ("compressed", "yes" if self.is_compressed else "no"),
            ("sealed", "yes" if self.sealed else "no"),
            *(("metadata", f"{key}={value}") for key, value in self.metadata.items()),
        ]

    def _repr_html_(self) -> str:
        return html_pairs(self.describe())
