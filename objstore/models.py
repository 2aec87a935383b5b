"""
What users hold of an object beside its bytes: what they say of it, and what is stored.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

from objstore import naming
from objstore.checks import (
    MAX_UINT32,
    check_headers,
    check_integer,
    check_metadata,
    check_text,
)
from objstore.display import format_size, format_time, html_pairs, html_table
from objstore.jetstream.messages import from_nanoseconds

__all__ = [
    "DEFAULT_CHUNK_SIZE",
    "MTIME_NS",
    "Listing",
    "ObjectInfo",
    "ObjectLink",
    "ObjectMeta",
]

#: Bytes per chunk when the caller does not choose (ADR-20, "Default Settings").
DEFAULT_CHUNK_SIZE = 128 * 1024
#: Key of an info's `mtime` that nobody has asked for yet.
MTIME_NS = "_mtime_ns"
#: Rows of a listing that a notebook shows.
_SHOWN = 100


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

    def __str__(self) -> str:
        return self.bucket if self.name is None else f"{self.bucket}/{self.name}"


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
        set_field(self, "description", check_text("description", self.description))
        set_field(self, "headers", check_headers(self.headers))
        set_field(self, "metadata", check_metadata(self.metadata))
        if self.chunk_size is not None:
            check_integer("chunk_size", self.chunk_size, 1, MAX_UINT32)


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
        subject: Where the meta is stored, if another client has put it where its name does
            not belong; "" otherwise. By the name such an object is not found.
        unknown: Fields and options of other clients, kept when the meta is written again.
        alias: Another name that the chunks may have, while a rename is going on.
        block: Header block of its meta, in which its changes are named; None in listings.
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
    subject: str = field(default="", repr=False)
    unknown: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    alias: str = field(default="", repr=False, compare=False)
    block: bytes | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of_fields(cls, fields: dict[str, Any]) -> ObjectInfo:
        """
        Return one that holds `fields`: in a listing the constructor's way takes too long.

        Those that have a default may be left out, and `mtime` be a number of nanoseconds
        since 1970 under the key `MTIME_NS`: nothing is made of them before somebody asks.
        """
        info = cls.__new__(cls)
        object.__setattr__(info, "__dict__", fields)
        return info

    if not TYPE_CHECKING:  # to checkers, no attribute but those above is there

        def __getattr__(self, key):
            """Make, once, what `of_fields` was not given."""
            if key == "mtime" and MTIME_NS in self.__dict__:
                return self.__dict__.setdefault(key, from_nanoseconds(self.__dict__[MTIME_NS]))
            if key in _FACTORIES:
                return self.__dict__.setdefault(key, _FACTORIES[key]())
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {key!r}")

    def with_fields(self, **fields: Any) -> ObjectInfo:
        """Return the same with other values: what `dataclasses.replace` does in ten times that."""
        return self.of_fields({**vars(self), **fields})

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

    def describe(self) -> list[tuple[str, object]]:
        """Return names and values for people; texts may be empty."""
        return [
            ("name", self.name),
            ("bucket", self.bucket),
            ("description", self.description),
            ("link to", "" if self.link is None else str(self.link)),
            ("size", f"{self.size} ({format_size(self.size)})"),
            ("modified", format_time(self.mtime)),
            ("chunks", self.chunks),
            ("digest", self.digest),
            ("nuid", self.nuid),
            ("revision", self.revision),
            *(
                ("header", f"{key}: {value}")
                for key, values in self.headers.items()
                for value in values
            ),
            *(("metadata", f"{key}={value}") for key, value in self.metadata.items()),
        ]

    def _repr_html_(self) -> str:
        return html_pairs(self.describe())


_FACTORIES = {
    each.name: each.default_factory for each in fields(ObjectInfo) if callable(each.default_factory)
}


class Listing(list[ObjectInfo]):
    """The infos of a bucket's objects: a list, and a table in a notebook."""

    def _repr_html_(self, title: str = "") -> str:
        rows = [
            (info.name, format_size(info.size), format_time(info.mtime), info.link or "")
            for info in self[:_SHOWN]
        ]
        hidden = len(self) - len(rows)
        title = title or f"{len(self)} objects" + (f", {hidden} not shown" if hidden else "")
        return html_table(["name", "size", "modified", "link to"], rows, title)
