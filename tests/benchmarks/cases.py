"""What is measured: a table."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

__all__ = ["CASES", "CLIENTS", "Case", "object_names", "scaled", "show_size"]

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

#: Names that readers know, and modules of `clients`, in the order of their turns.
CLIENTS = {"objstore": "objstore", "raw": "raw", "natsrpy": "natsrpy", "nats-py": "nats_py"}

_QUADRATIC = "appends to bytes: quadratic, minutes for this size"


@dataclass(frozen=True)
class Case:
    """
    Something to be measured.

    Attributes:
        key: For command lines and results.
        text: For people; `{size}` and `{count}` are filled in.
        operation: What the clients do.
        unit: What comes out: `MB/s`, `op/s`, `ms`, or what is told apart from time: `MiB` of
            memory, `calls` of the system per chunk, `copies` of every byte.
        size: Bytes of an object.
        count: Calls per sample.
        many: Objects per call, for operations that take several names.
        stored: Objects that there must be before.
        shared: Whether all samples may use one bucket: nothing is left behind in it.
        workers: Threads, or tasks, that share the calls.
        apart: Whether each of them has a connection of its own.
        tls: Whether the connection is encrypted.
        busy: Whether a thread computes beside it.
        extra: Other figures of the samples that are worth a word.
        once: Whether one round is enough: what is counted does not drift.
        only: Clients that can be asked; all of those that have the operation if empty.
        left_out: Clients that are not asked, and why.
    """

    key: str
    text: str
    operation: str
    unit: str = "MB/s"
    size: int = 0
    count: int = 1
    many: int = 0
    stored: int = 0
    shared: bool = False
    workers: int = 1
    apart: bool = False
    tls: bool = False
    busy: bool = False
    extra: tuple[str, ...] = ()
    once: bool = False
    only: tuple[str, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The text, with numbers."""
        count = self.many or (self.stored if self.operation in ("list", "iterate") else self.count)
        return self.text.format(size=show_size(self.size), count=f"{count:,}")

    @property
    def fresh(self) -> bool:
        """Whether each sample needs a process that has done nothing before."""
        return self.unit in ("MiB", "calls", "copies")

    @property
    def calls(self) -> list[Any]:
        """What the operation is called with."""
        if self.many:
            return [object_names(self.many)] * self.count
        names = object_names(self.stored or self.count)
        return [names[number % len(names)] for number in range(self.count)]

    @property
    def objects(self) -> int:
        """Objects that one sample moves."""
        return self.count * max(1, self.many)


def object_names(count: int) -> list[str]:
    """Names of so many objects."""
    return [f"o{number}" for number in range(count)]


def show_size(size: int) -> str:
    """A size as people write it."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size} B"


def scaled(case: Case, factor: float) -> Case:
    """The same with fewer and smaller objects."""
    return replace(
        case,
        size=case.size if case.size <= 64 * KIB else max(64 * KIB, int(case.size * factor)),
        count=max(1, int(case.count * factor)),
        many=max(1, int(case.many * factor)) if case.many else 0,
        stored=max(1, int(case.stored * factor)) if case.stored else 0,
    )


def _large(key: str, text: str, operation: str, size: int = GIB, **more: object) -> Case:
    stored = 1 if operation.startswith(("get", "first")) else 0
    return Case(key, text, operation, size=size, stored=stored, shared=bool(stored), **more)  # type: ignore[arg-type]


def _small(
    key: str, text: str, operation: str, size: int = KIB, count: int = 500, **more: object
) -> Case:
    stored = 0 if operation.startswith("put") else count
    return Case(key, text, operation, "op/s", size=size, count=count, stored=stored, **more)  # type: ignore[arg-type]


CASES = [
    _large("put-memory", "put {size} from memory, piece by piece", "put_memory"),
    _large("put-bytes", "put {size} of bytes", "put_bytes", 256 * MIB),
    _large("put-file", "put {size} from a file", "put_file"),
    _large("put-pipe", "put {size} from a pipe", "put_pipe", 256 * MIB),
    _large("get-null", "get {size}, to null", "get_null"),
    _large("get-file", "get {size}, to a file", "get_file"),
    _large("get-pipe", "get {size}, to a pipe", "get_pipe", 128 * MIB),
    _large(
        "get-bytes",
        "get {size}, as bytes",
        "get_bytes",
        256 * MIB,
        left_out={"nats-py": _QUADRATIC},
    ),
    _large("get-bytes-8", "get {size}, as bytes", "get_bytes", 8 * MIB),
    _large("tls-put", "put {size} of bytes, TLS", "put_bytes", 128 * MIB, tls=True),
    _large("tls-get", "get {size} to null, TLS", "get_null", 128 * MIB, tls=True),
    _small("put-1k", "put {size}", "put_bytes"),
    _small("put-64k", "put {size}", "put_bytes", 64 * KIB, 300),
    _small("get-1k", "get {size}", "get_bytes"),
    _small("get-64k", "get {size}", "get_bytes", 64 * KIB, 300),
    _small("put-1k-8", "put {size}, 8 threads", "put_bytes", count=800, workers=8),
    _small("put-64k-8", "put {size}, 8 threads", "put_bytes", 64 * KIB, 400, workers=8),
    _small("get-1k-8", "get {size}, 8 threads", "get_bytes", count=800, workers=8),
    _small("get-64k-8", "get {size}, 8 threads", "get_bytes", 64 * KIB, 400, workers=8),
    Case("put-many", "put_many of {count} × {size}", "put_many", "op/s", KIB, count=1, many=10_000),
    Case(
        "get-many",
        "get_many of {count} × {size}",
        "get_many",
        "op/s",
        KIB,
        many=10_000,
        stored=10_000,
        shared=True,
    ),
    _small("info", "info", "info", count=1000, shared=True),
    _small("delete", "delete", "delete"),
    Case("list-10k", "list {count}", "list", "ms", 64, stored=10_000, shared=True),
    Case(
        "list-100k",
        "list {count}",
        "list",
        "ms",
        64,
        stored=100_000,
        shared=True,
        left_out={"natsrpy": "takes 0.2 ms for each, see the list of 10,000"},
    ),
    Case(
        "iterate-100k",
        "memory: iterate over {count} names",
        "iterate",
        "MiB",
        64,
        stored=100_000,
        shared=True,
        only=("objstore",),
    ),
    Case(
        "range",
        "range of 64 KiB in {size}",
        "get_range",
        "ms",
        GIB,
        count=50,
        stored=1,
        shared=True,
        extra=("round trips", "chunks"),
    ),
    _large("first-byte", "first byte of {size}", "first_byte", 16 * MIB, unit="ms", count=3),
    Case("import", "import", "import_", "ms", count=3),
    Case("connect", "connect", "connect", "ms", count=20),
    _large("memory-put", "memory: put {size}", "put_memory", unit="MiB"),
    _large("memory-get", "memory: get {size}", "get_null", unit="MiB"),
    _large("busy-put", "put {size} beside a busy thread", "put_file", 16 * MIB, busy=True),
    _large("busy-get", "get {size} beside a busy thread", "get_null", 16 * MIB, busy=True),
    Case(
        "writers-4",
        "4 writers of {size}",
        "put_bytes",
        size=64 * MIB,
        count=4,
        workers=4,
        apart=True,
    ),
    Case(
        "writers-24",
        "24 writers of {size}",
        "put_bytes",
        size=64 * MIB,
        count=24,
        workers=24,
        apart=True,
        only=("objstore", "natsrpy"),
    ),
    Case(
        "gets-in-a-row",
        "{count} gets in a row",
        "get_bytes",
        "op/s",
        KIB,
        count=5000,
        stored=5000,
        once=True,
        extra=("consumers",),
        only=("objstore",),
    ),
    _large("calls-put", "system calls: put {size}", "put_bytes", 64 * MIB, unit="calls", once=True),
    _large("calls-get", "system calls: get {size}", "get_null", 64 * MIB, unit="calls", once=True),
    _large("copies-put", "copies: put {size}", "put_file", 64 * MIB, unit="copies", once=True),
    _large("copies-get", "copies: get {size}", "get_null", 64 * MIB, unit="copies", once=True),
]
