"""
What a client does when a fault strikes, where it may strike, and what there is afterwards.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from objstore.client import Client
from objstore.errors import ObjStoreError
from objstore.store import ObjectStore
from tests.faults.bench import CHUNK_SIZE
from tests.helpers import pattern
from tests.proxy import Direction
from tests.raw_bucket import digest_of

__all__ = ["BY_KEY", "OPERATIONS", "Operation", "Point"]

SMALL, OTHER = pattern(3000), pattern(3001)
#: A hundred chunks, and more than a reader takes in small batches.
LARGE = pattern(100 * CHUNK_SIZE - 1)
MEDIUM = pattern(10 * CHUNK_SIZE + 1)


class Point(NamedTuple):
    """
    A moment: when the bytes on the wire contain a pattern.

    Attributes:
        pattern: `%` stands for the bucket.
        nth: At which occurrence.
        before: Whether what contains it is held back, or already on its way.
        direction: `c2s` to the server, `s2c` from it.
    """

    pattern: str
    nth: int = 1
    before: bool = False
    direction: Direction = "c2s"

    def __str__(self) -> str:
        what = self.pattern.replace("$JS.API.", "").strip().replace("_%", "").replace("%.", "")
        return f"{'before' if self.before else 'at'} {what} {self.nth} {self.direction}"

    def bytes(self, bucket: str) -> bytes:
        return self.pattern.replace("%", bucket).encode()


#: What a call returns: the digests of what it read, by name.
Seen = Mapping[str, str]


@dataclass(frozen=True)
class Operation:
    """
    One call, or a few that belong together.

    Attributes:
        before: What is in the bucket, name by name.
        after: What is there if the call succeeds; without, as before.
        between: What may be there if it does not.
        calls: How many there are: each has the timeout for itself.
    """

    key: str
    run: Callable[[Client, ObjectStore, Path, float], Seen]
    points: tuple[Point, ...]
    before: Mapping[str, bytes] = field(default_factory=lambda: {"n": SMALL})
    after: Mapping[str, bytes] | None = None
    between: tuple[Mapping[str, bytes], ...] = ()
    calls: int = 1


CHUNK = "PUB $O.%.C."
META = "HPUB $O.%.M."
PURGE = "$JS.API.STREAM.PURGE.OBJ_%"
ASK = "$JS.API.STREAM.MSG.GET.OBJ_%"
DATA = "$O.%.C."

_COMMIT = (Point(META, before=True), Point(META))
_REMOVAL = (Point(PURGE, before=True), Point(PURGE))


def _writing(chunks: int) -> tuple[Point, ...]:
    places = sorted({1, chunks // 2 + 1, chunks})
    points = tuple(Point(CHUNK, nth, before=True) for nth in places)
    return (*points, Point(CHUNK, chunks), *_COMMIT, *_REMOVAL)


def _reading(*places: int) -> tuple[Point, ...]:
    data = tuple(Point(DATA, nth, before=True, direction="s2c") for nth in places)
    return (Point(ASK, before=True), Point(ASK), *data)


def _create(client: Client, store: ObjectStore, directory: Path, timeout: float) -> Seen:
    client.create_object_store(f"{store.bucket}-new", timeout=timeout)
    client.object_store(f"{store.bucket}-new", timeout=timeout)
    return {}


def _put_small(client: Client, store: ObjectStore, directory: Path, timeout: float) -> Seen:
    store.put("n", OTHER, timeout=timeout)
    return {}


def _put_new(client: Client, store: ObjectStore, directory: Path, timeout: float) -> Seen:
    # The first tells where the stream ends; the second goes out in one write.
    store.put("m", SMALL, timeout=timeout)
    store.put("o", OTHER, timeout=timeout)
    return {}


def _put_large(client: Client, store: ObjectStore, directory: Path, timeout: float) -> Seen:
    store.put("n", LARGE, chunk_size=CHUNK_SIZE, timeout=timeout)
    return {}


def _put_file(client: Client, store: ObjectStore, directory: Path, timeout: float) -> Seen:
    path = directory / "source"
    path.write_bytes(MEDIUM)
    store.put_file(path, "n", timeout=timeout)
    return {}


def _put_if(client: Client, store: ObjectStore, directory: Path, timeout: float) -> Seen:
    revision = store.get_info("n", timeout=timeout).revision
    store.put("n", OTHER, if_revision=revision, timeout=timeout)
    return {}


def _get(client: Client, store: ObjectStore, directory: Path, timeout: float) -> Seen:
    return {"n": digest_of(store.get_bytes("n", timeout=timeout))}


def _get_file(client: Client, store: ObjectStore, directory: Path, timeout: float) -> Seen:
    path = directory / "target"
    path.unlink(missing_ok=True)
    try:
        store.get_file("n", path, timeout=timeout)
    except BaseException:
        assert not path.exists(), "part of a file was left behind"
        raise
    return {"n": digest_of(path.read_bytes())}


def _info(client: Client, store: ObjectStore, directory: Path, timeout: float) -> Seen:
    return {"n": store.get_info("n", timeout=timeout).digest}


def _rename(client: Client, store: ObjectStore, directory: Path, timeout: float) -> Seen:
    store.update_meta("n", description="new", timeout=timeout)
    store.update_meta("n", new_name="m", timeout=timeout)
    return {}


def _delete(client: Client, store: ObjectStore, directory: Path, timeout: float) -> Seen:
    store.delete("n", timeout=timeout)
    return {}


def _list(client: Client, store: ObjectStore, directory: Path, timeout: float) -> Seen:
    listed = {info.name: info.digest for info in store.list(timeout=timeout)}
    watched = {}
    with store.watch(timeout=timeout) as watcher:
        # It would wait for ever, as a watcher is to.
        patience = threading.Timer(timeout, watcher.stop)
        patience.start()
        try:
            for info in watcher:
                if info is None:
                    break
                watched[info.name] = info.digest
            else:
                raise ObjStoreError("a watcher did not come to the end of what is there")
        finally:
            patience.cancel()
            patience.join()
    # To be in the one and not in the other is to be missing.
    return {name: listed[name] for name in listed.keys() & watched.keys() & _MANY.keys()}


_MANY = {f"n{number}": pattern(100 + number) for number in range(20)}

#: The first four are those of the small tier.
OPERATIONS = (
    Operation("put-large", _put_large, _writing(100), after={"n": LARGE}),
    Operation("get-large", _get, _reading(1, 50, 100), before={"n": LARGE}),
    Operation("delete", _delete, (*_reading(), *_COMMIT, *_REMOVAL), after={}),
    Operation(
        "list",
        _list,
        (
            Point("PUB $JS.API.DIRECT.GET.OBJ_%", before=True),
            Point("$O.%.M.", 3, before=True, direction="s2c"),
            Point("$JS.API.CONSUMER.CREATE.OBJ_%", before=True),
            Point("$JS.API.CONSUMER.CREATE.OBJ_%"),
            Point("MSG $O.%.M.", 3, before=True, direction="s2c"),
        ),
        before=_MANY,
        calls=3,  # a list, a watch, and what it gives
    ),
    Operation(
        "create",
        _create,
        (
            Point("$JS.API.STREAM.CREATE.OBJ_%-new", before=True),
            Point("$JS.API.STREAM.CREATE.OBJ_%-new"),
            Point("$JS.API.STREAM.INFO.OBJ_%-new"),
        ),
        calls=2,
    ),
    Operation("put-small", _put_small, _writing(1), after={"n": OTHER}),
    Operation(
        "put-new",
        _put_new,
        (
            Point(CHUNK, 2, before=True),
            Point(CHUNK, 2),
            Point(META, 2, before=True),
            Point(META, 2),
        ),
        after={"n": SMALL, "m": SMALL, "o": OTHER},
        between=({"n": SMALL, "m": SMALL},),
        calls=2,
    ),
    Operation("put-file", _put_file, _writing(8), after={"n": MEDIUM}),
    Operation("put-if", _put_if, _writing(1), after={"n": OTHER}, calls=2),
    Operation("get-small", _get, _reading(1)),
    Operation("get-file", _get_file, _reading(1, 50, 100), before={"n": LARGE}),
    Operation("info", _info, _reading()),
    Operation(
        "rename",
        _rename,
        (*_COMMIT, Point(META, 2, before=True), Point(META, 2), *_REMOVAL),
        after={"m": SMALL},
        # Until the old name is removed the object has both.
        between=({"n": SMALL, "m": SMALL},),
        calls=2,
    ),
)

BY_KEY = {operation.key: operation for operation in OPERATIONS}
