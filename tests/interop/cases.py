"""
The table of cases: what one client writes, and what another must find.

A case is a list of steps of a writer and a reader, all in the bucket `here` unless they say
otherwise; a step with `expect` is a question.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.helpers import pattern

__all__ = ["CASES", "Case", "Step"]

#: Bytes per chunk where nobody chooses another number.
CHUNK = 128 * 1024

_NO_QUESTION = object()


class Step(NamedTuple):
    """
    One operation of a peer.

    Attributes:
        role: Who does it: `writer` or `reader`.
        operation: One of those in `peers/__init__.py`.
        arguments: Of the operation; `size` stands for the file of so many bytes.
        expected: What must be answered, if that matters.
    """

    role: str
    operation: str
    arguments: dict[str, Any]
    expected: object

    @property
    def is_question(self) -> bool:
        """Whether the answer matters."""
        return self.expected is not _NO_QUESTION


class Case(NamedTuple):
    """
    Steps, and the buckets that the writer makes before them.

    Attributes:
        group: Heading under which it stands.
    """

    group: str
    name: str
    steps: list[Step]
    buckets: tuple[str, ...] = ("here",)

    @property
    def title(self) -> str:
        """Both as one."""
        return f"{self.group}: {self.name}"


class _Role:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, operation: str) -> Callable[..., Step]:
        def step(expect: object = _NO_QUESTION, bucket: str = "here", **arguments: Any) -> Step:
            return Step(self._name, operation, {"bucket": bucket, **arguments}, expect)

        return step


def data(size: int) -> list[Any]:
    """What `get` answers for an object of so many bytes."""
    return [size, hashlib.sha256(pattern(size)).hexdigest()]


def info(**fields: Any) -> dict[str, Any]:
    """What `info` answers for an object of one byte, named `a`."""
    nothing = {"description": "", "headers": {}, "metadata": {}, "link": None}
    return {"name": "a", "size": 1, **nothing, **fields}


def status(**fields: Any) -> dict[str, Any]:
    """What `status` answers for a bucket that nobody has configured."""
    return {
        "description": "",
        "ttl": None,
        "max_bytes": -1,
        "storage": "file",
        "compression": False,
        "metadata": {},
        **fields,
    }


writer = _Role("writer")
reader = _Role("reader")

_SIZES = {
    "0 bytes": 0,
    "1 byte": 1,
    "a chunk less a byte": CHUNK - 1,
    "a chunk": CHUNK,
    "a chunk and a byte": CHUNK + 1,
    "3 chunks": 3 * CHUNK,
    "5,000,001 bytes": 5_000_001,
}

_NAMES = {
    "with spaces": " a  b ",
    "`*`": "*",
    "`>`": ">",
    "with `/`": "/a/b.c/",
    "with `?` and `~`": "my?file~",
    "`é`": "é",
    "an emoji": "🦉",
    "with a newline": "a\nb",
    "2,900 bytes long": "long" * 725,
}

_FIELDS: dict[str, dict[str, Any]] = {
    "a description": {"description": "Über alles 🦉"},
    "headers": {"headers": {"Content-Type": ["text/plain"]}},
    "headers with several values": {"headers": {"X-Two": ["1", "2"]}},
    "metadata": {"metadata": {"colour": "blue", "Größe": "é"}},
}

_CONFIG = {"description": "photos", "ttl": 3600, "max_bytes": 50_000_000, "storage": "memory"}

CASES = [
    *(
        Case(
            "Sizes",
            name,
            [
                writer.put(name="a", size=size),
                reader.get(name="a", expect=data(size)),
                reader.info(name="a", expect=info(size=size)),
            ],
        )
        for name, size in _SIZES.items()
    ),
    Case(
        "Sizes",
        "chunks of 1,000 bytes",
        [
            writer.put(name="a", size=CHUNK, chunk_size=1000),
            reader.get(name="a", expect=data(CHUNK)),
        ],
    ),
    *(
        Case(
            "Names",
            label,
            [
                writer.put(name=name, size=1),
                reader.get(name=name, expect=data(1)),
                reader.list(expect=[name]),
            ],
        )
        for label, name in _NAMES.items()
    ),
    *(
        Case(
            "Fields",
            label,
            [
                writer.put(name="a", size=1, **fields),
                reader.info(name="a", expect=info(**fields)),
                reader.get(name="a", expect=data(1)),
            ],
        )
        for label, fields in _FIELDS.items()
    ),
    Case(
        "Changes",
        "overwrite",
        [
            writer.put(name="a", size=3 * CHUNK),
            writer.put(name="a", size=5),
            reader.get(name="a", expect=data(5)),
        ],
    ),
    Case(
        "Changes",
        "overwrite by the reader",
        [
            writer.put(name="a", size=3 * CHUNK),
            reader.put(name="a", size=5),
            writer.get(name="a", expect=data(5)),
        ],
    ),
    Case(
        "Changes",
        "delete",
        [
            writer.put(name="a", size=1),
            writer.put(name="b", size=1),
            writer.delete(name="a"),
            reader.get(name="a", expect=None),
            reader.info(name="a", expect=None),
            reader.list(expect=["b"]),
        ],
    ),
    Case(
        "Changes",
        "delete by the reader",
        [
            writer.put(name="a", size=1),
            writer.put(name="b", size=1),
            reader.delete(name="a"),
            writer.get(name="a", expect=None),
            writer.list(expect=["b"]),
        ],
    ),
    Case(
        "Changes",
        "put by the reader after a delete",
        [
            writer.put(name="a", size=1),
            writer.delete(name="a"),
            reader.put(name="a", size=5),
            writer.get(name="a", expect=data(5)),
        ],
    ),
    Case(
        "Changes",
        "change of the description",
        [
            writer.put(name="a", size=1),
            writer.update_meta(name="a", description="changed"),
            reader.info(name="a", expect=info(description="changed")),
            reader.get(name="a", expect=data(1)),
        ],
    ),
    Case(
        "Changes",
        "change of the description by the reader",
        [
            writer.put(name="a", size=1),
            reader.update_meta(name="a", description="changed"),
            writer.info(name="a", expect=info(description="changed")),
            writer.get(name="a", expect=data(1)),
        ],
    ),
    Case(
        "Changes",
        "rename",
        [
            writer.put(name="a", size=1),
            writer.update_meta(name="a", new_name="b"),
            reader.get(name="b", expect=data(1)),
            reader.get(name="a", expect=None),
            reader.list(expect=["b"]),
        ],
    ),
    Case(
        "Changes",
        "rename by the reader",
        [
            writer.put(name="a", size=1),
            reader.update_meta(name="a", new_name="b"),
            writer.get(name="b", expect=data(1)),
            writer.get(name="a", expect=None),
        ],
    ),
    Case(
        "Links",
        "to an object",
        [
            writer.put(name="a", size=5),
            writer.link(name="l", to_bucket="here", to_name="a"),
            reader.get(name="l", expect=data(5)),
            reader.info(name="l", expect=info(name="l", size=0, link=["here", "a"])),
            reader.list(expect=["a", "l"]),
        ],
    ),
    Case(
        "Links",
        "to an object in another bucket",
        [
            writer.put(bucket="there", name="a", size=5),
            writer.link(name="l", to_bucket="there", to_name="a"),
            reader.get(name="l", expect=data(5)),
        ],
        buckets=("here", "there"),
    ),
    Case(
        "Links",
        "to a bucket",
        [
            writer.link_bucket(name="l", to_bucket="there"),
            reader.info(name="l", expect=info(name="l", size=0, link=["there", None])),
        ],
        buckets=("here", "there"),
    ),
    Case(
        "Links",
        "to an object that is deleted later",
        [
            writer.put(name="a", size=5),
            writer.link(name="l", to_bucket="here", to_name="a"),
            writer.delete(name="a"),
            reader.get(name="l", expect=None),
        ],
    ),
    Case(
        "Links",
        "deleted by the reader",
        [
            writer.put(name="a", size=5),
            writer.link(name="l", to_bucket="here", to_name="a"),
            reader.delete(name="l"),
            writer.get(name="l", expect=None),
            writer.get(name="a", expect=data(5)),
        ],
    ),
    Case(
        "Links",
        "overwritten by the reader",
        [
            writer.put(name="a", size=5),
            writer.link(name="l", to_bucket="here", to_name="a"),
            reader.put(name="l", size=1),
            writer.get(name="l", expect=data(1)),
            writer.get(name="a", expect=data(5)),
        ],
    ),
    Case("Listing", "list of an empty bucket", [reader.list(expect=[])]),
    Case(
        "Listing",
        "list of an emptied bucket",
        [
            writer.put(name="a", size=1),
            writer.delete(name="a"),
            reader.list(expect=[]),
        ],
    ),
    Case(
        "Listing",
        "watch",
        [
            writer.put(name="a", size=1),
            reader.watch(count=1, expect=[["a", False]]),
            writer.put(name="b", size=1),
            writer.delete(name="a"),
            reader.watch(count=2, expect=[["b", False], ["a", True]]),
        ],
    ),
    Case(
        "Buckets",
        "open",
        [
            writer.create(),
            reader.bind(expect=True),
            reader.bind(bucket="there", expect=None),
        ],
        buckets=(),
    ),
    Case(
        "Buckets",
        "configuration",
        [writer.create(**_CONFIG), reader.status(expect=status(**_CONFIG))],
        buckets=(),
    ),
    Case(
        "Buckets",
        "compression",
        [
            writer.create(compression=True),
            reader.status(expect=status(compression=True)),
            writer.put(name="a", size=3 * CHUNK),
            reader.get(name="a", expect=data(3 * CHUNK)),
        ],
        buckets=(),
    ),
    Case(
        "Buckets",
        "metadata",
        [
            writer.create(metadata={"colour": "blue"}),
            reader.status(expect=status(metadata={"colour": "blue"})),
        ],
        buckets=(),
    ),
    Case(
        "Buckets",
        "created again by the reader",
        [writer.create(**_CONFIG), reader.create(**_CONFIG), reader.bind(expect=True)],
        buckets=(),
    ),
    Case(
        "Buckets",
        "changed by the reader",
        [
            writer.create(**_CONFIG),
            reader.update(description="changed"),
            writer.status(expect=status(**{**_CONFIG, "description": "changed"})),
        ],
        buckets=(),
    ),
]
