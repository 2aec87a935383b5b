"""
What clients did and what they were told: the record that a run is judged by.

A value is the digest of an object's bytes. Every put has bytes of its own, so a digest
names the put that it comes from; `ABSENT` stands for a name under which nothing is.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from objstore.errors import (
    ObjectAlreadyExistsError,
    ObjectNotFoundError,
    ObjStoreError,
    OutcomeUnknownError,
    PreconditionFailedError,
)
from objstore.models import ObjectInfo
from objstore.store import ObjectStore
from tests.raw_bucket import digest_of

__all__ = ["ABSENT", "FAILED", "OK", "UNKNOWN", "Client", "History", "Operation"]

ABSENT = ""

OK = "ok"
FAILED = "failed"
UNKNOWN = "unknown"


@dataclass(eq=False, slots=True)
class Operation:
    """
    One call of one client, as far as it concerns one name.

    Attributes:
        kind: `write` and `read`; `create` writes only what is absent, `replace` only what
            has `before` as its value.
        value: What was written or read.
        before: For `replace`: what has to be there.
        invoked, returned: Moments; a call of unknown outcome may still take effect.
        outcome: `ok`, `failed` (it changed nothing) or `unknown`.
        revision: Of the version that was written or read; 0 if it was not told.
        took: Seconds that the call took.
        refused: Whether a `create` or `replace` failed because of what it found.
    """

    client: int
    kind: str
    name: str
    value: str
    before: str = ""
    invoked: float = 0.0
    returned: float = float("inf")
    outcome: str = UNKNOWN
    revision: int = 0
    refused: bool = False
    error: str = ""
    took: float = 0.0

    @property
    def writes(self) -> bool:
        return self.kind != "read"

    def __str__(self) -> str:
        text = f"client {self.client}: {self.kind} {self.name} {self.value[8:16] or 'nothing'}"
        text += f" at {self.invoked:.4f} for {self.took:.4f} s, {self.outcome}"
        text += f", revision {self.revision}" if self.revision else ""
        return text + (f", {self.error}" if self.error else "")


@dataclass
class History:
    """All operations of a run; clients of many threads append to it."""

    operations: list[Operation] = field(default_factory=list)
    slowest: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _start: float = field(default_factory=time.monotonic)

    def now(self) -> float:
        return time.monotonic() - self._start

    def by_name(self) -> dict[str, list[Operation]]:
        """Return the operations of each name, in order of their beginning."""
        found: dict[str, list[Operation]] = {}
        for operation in sorted(self.operations, key=lambda each: each.invoked):
            found.setdefault(operation.name, []).append(operation)
        return found

    def client(self, store: ObjectStore, *, timeout: float) -> Client:
        """Return a client whose calls are recorded."""
        return Client(self, next(self._numbers), store, timeout)

    @contextmanager
    def record(self, *operations: Operation) -> Iterator[None]:
        """
        Take down when a call begins, when it ends and how.

        Errors of the package are the end of the call and not raised; others are.
        """
        began = self.now()
        for operation in operations:
            operation.invoked = began
        with self._lock:
            self.operations += operations
        outcome, error, refused = UNKNOWN, "", False
        try:
            yield
            outcome = OK
        except OutcomeUnknownError as caught:
            error = f"{caught!r} from {caught.__cause__!r}"
        except (PreconditionFailedError, ObjectAlreadyExistsError) as caught:
            outcome, error, refused = FAILED, repr(caught), True
        except ObjStoreError as caught:
            outcome, error = FAILED, repr(caught)
        finally:
            ended = self.now()
            self.slowest = max(self.slowest, ended - began)
            for operation in operations:
                # A call of unknown outcome has no end: it may still take effect.
                operation.returned = float("inf") if outcome is UNKNOWN else ended
                operation.outcome, operation.error = outcome, error
                operation.refused = refused
                operation.took = ended - began


class Client:
    """
    A store whose calls are recorded. For one thread.

    Attributes:
        number: What the history calls it.
        hung: Calls that took longer than their timeout and a tenth, and for how long.
    """

    def __init__(self, history: History, number: int, store: ObjectStore, timeout: float) -> None:
        self.number = number
        self.hung: list[str] = []
        self._history = history
        self._store = store
        self._timeout = timeout

    def put(self, name: str, data: bytes, **options: Any) -> Operation:
        return self._put("write", name, data, **options)

    def put_if_absent(self, name: str, data: bytes, **options: Any) -> Operation:
        return self._put("create", name, data, if_absent=True, **options)

    def replace(self, before: Operation, data: bytes, **options: Any) -> Operation:
        """Put on the condition that nobody has changed the name since `before`."""
        operation = self._new("replace", before.name, digest_of(data))
        operation.before = before.value
        revision = before.revision
        with self._history.record(operation):
            self._take(
                operation, self._store.put(before.name, data, if_revision=revision, **options)
            )
        return operation

    def _put(self, kind: str, name: str, data: bytes, **options: Any) -> Operation:
        operation = self._new(kind, name, digest_of(data))
        with self._history.record(operation):
            options.setdefault("timeout", self._timeout)
            self._take(operation, self._store.put(name, data, **options))
        return operation

    def delete(self, name: str) -> Operation:
        operation = self._new("write", name, ABSENT)
        with self._history.record(operation):
            self._store.delete(name, missing_ok=True, timeout=self._timeout)
        return operation

    def rename(self, name: str, new_name: str, value: str) -> Operation:
        """Rename an object whose value nobody but this client changes."""
        source = self._new("replace", name, ABSENT)
        source.before = value
        target = self._new("create", new_name, value)
        with self._history.record(source, target):
            info = self._store.update_meta(name, new_name=new_name, timeout=self._timeout)
            target.revision = info.revision
        source.refused = False  # it is the new name that was taken
        return target

    def get(self, name: str) -> Operation:
        """Read all bytes; the value is what the bytes say, not what the info does."""
        operation = self._new("read", name, ABSENT)
        with self._history.record(operation):
            try:
                with self._store.get(name, timeout=self._timeout) as reader:
                    data = reader.read()
                    operation.value = digest_of(data)
                    operation.revision = reader.info.revision
                    if reader.info.digest != operation.value:
                        raise AssertionError(f"{name}: these bytes are not those of {reader.info}")
            except ObjectNotFoundError:
                pass
        return operation

    def get_info(self, name: str) -> Operation:
        operation = self._new("read", name, ABSENT)
        with self._history.record(operation):
            try:
                self._take(operation, self._store.get_info(name, timeout=self._timeout))
            except ObjectNotFoundError:
                pass
            else:
                operation.value = self._digest
        return operation

    def list(self, names: Callable[[str], bool]) -> list[Operation]:
        """List; every chosen name is read by it, also those that are not there."""
        known = sorted(set(filter(names, self._history.by_name())))
        operations = [self._new("read", name, ABSENT) for name in known]
        with self._history.record(*operations):
            infos = {info.name: info for info in self._store.list(timeout=self._timeout)}
            for operation in operations:
                if info := infos.get(operation.name):
                    operation.value, operation.revision = info.digest, info.revision
        return operations

    def _new(self, kind: str, name: str, value: str) -> Operation:
        return Operation(self.number, kind, name, value)

    def _take(self, operation: Operation, info: ObjectInfo) -> None:
        operation.revision = info.revision
        self._digest = info.digest
