"""
Break at the first frame, at the second, at the third, until the operation succeeds.

The object is old or new, what the caller was told is true, nothing hangs, and the next
operation works.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from objstore.client import Client
from objstore.core.connection import Connection
from objstore.core.options import make_options
from objstore.errors import ObjStoreError, OutcomeUnknownError
from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.faults.bench import longest, sweep
from tests.faults.history import ABSENT
from tests.faults.points import PLACES, FramePoint, Frames, Place
from tests.faults.tiers import by_tier
from tests.helpers import pattern
from tests.proxy import Direction
from tests.raw_bucket import RawBucket, digest_of

__all__: list[str] = []

#: Seconds for a call when no connection is made any more.
TIMEOUT = 0.5
#: An operation takes fewer frames than this.
MANY_FRAMES = 60
#: And fewer than this if none is sent twice.
FRAMES = 14
#: Operations at once.
WORKERS = 8

OLD, NEW = pattern(2500), pattern(3500)


class Case(NamedTuple):
    """
    An operation: what it does and what there is afterwards, name by name.

    Attributes:
        between: What may be there while it goes on.
    """

    run: Callable[[ObjectStore, float], object]
    after: dict[str, bytes]
    between: tuple[dict[str, bytes], ...] = ()


def _get(store: ObjectStore, timeout: float) -> None:
    assert store.get_bytes("n", timeout=timeout) == OLD


def _list(store: ObjectStore, timeout: float) -> None:
    assert {info.name for info in store.list(timeout=timeout)} == {"n", "other"}


def _put_new(store: ObjectStore, timeout: float) -> None:
    # The first tells where the stream ends; the second goes out in one write.
    store.put("new", OLD, timeout=timeout)
    store.put("newer", NEW, timeout=timeout)


def _put_many(store: ObjectStore, timeout: float) -> None:
    store.put("new", OLD, timeout=timeout)
    store.put_many({"newer": NEW, "newest": NEW}, timeout=timeout)


CASES = {
    "put": Case(
        lambda store, timeout: store.put("n", NEW, chunk_size=1000, timeout=timeout),
        {"n": NEW, "other": OLD},
    ),
    "put-small": Case(
        lambda store, timeout: store.put("n", NEW, timeout=timeout),
        {"n": NEW, "other": OLD},
    ),
    "put-new": Case(
        _put_new,
        {"n": OLD, "other": OLD, "new": OLD, "newer": NEW},
        ({"n": OLD, "other": OLD, "new": OLD},),
    ),
    "put-many": Case(
        _put_many,
        {"n": OLD, "other": OLD, "new": OLD, "newer": NEW, "newest": NEW},
        (
            {"n": OLD, "other": OLD, "new": OLD},
            {"n": OLD, "other": OLD, "new": OLD, "newer": NEW},
        ),
    ),
    "put-if": Case(
        lambda store, timeout: store.put("new", NEW, if_absent=True, timeout=timeout),
        {"n": OLD, "other": OLD, "new": NEW},
    ),
    "delete": Case(
        lambda store, timeout: store.delete("n", timeout=timeout),
        {"other": OLD},
    ),
    "rename": Case(
        lambda store, timeout: store.update_meta("n", new_name="m", timeout=timeout),
        {"m": OLD, "other": OLD},
        ({"n": OLD, "m": OLD, "other": OLD},),
    ),
    "get": Case(_get, {"n": OLD, "other": OLD}),
    "list": Case(_list, {"n": OLD, "other": OLD}),
}


def test_frames_are_found_in_pieces_of_any_size() -> None:
    stream = b"PING\r\nPUB a 3\r\nx\nx\r\nHPUB a r 2 4\r\nabcd\r\nPUB b 0\r\n\r\n+OK\r\n"
    ends = [6, 20, 40, 51, 56]
    for size in range(1, len(stream) + 1):
        frames = Frames()
        found: dict[Place, list[int]] = {place: [] for place in PLACES}
        for start in range(0, len(stream), size):
            for place, offset in frames.places(stream[start : start + size]):
                found[place].append(start + offset)
        assert found["after"] == ends
        assert found["before"] == [0, *ends[:-1]]
        pairs = zip(found["before"], found["half"], found["after"])
        assert all(before < half < after for before, half, after in pairs)
        assert len(found["half"]) == len(ends)


_buckets = itertools.count(1)


@pytest.fixture
def workers(server: LocalServer) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(WORKERS) as workers:
        yield workers


class _Try:
    """One operation that breaks at one frame; what is wrong afterwards."""

    def __init__(self, server: LocalServer, case: Case, direction: Direction) -> None:
        self._server = server
        self._case = case
        self._direction = direction
        self.fired = False

    def judge(self, nth: int, place: Place, *, for_ever: bool) -> list[str]:
        bucket = f"points-{next(_buckets)}"
        with Client(self._server.url) as beside:
            store = beside.create_object_store(bucket)
            connection = Connection(make_options(self._server.url))
            try:
                raw = RawBucket(connection, bucket)
                for name in ("n", "other"):
                    raw.put_object(name, [OLD[:1000], OLD[1000:]])
                with Client(self._server.url) as client:
                    store = client.object_store(bucket)
                    problems = self._break(client, store, nth, place, for_ever=for_ever)
                problems += self._look(raw, for_ever=for_ever)
            finally:
                connection.close()
                beside.delete_object_store(bucket)
        where = f"{'for ever ' if for_ever else ''}{place} {self._direction} {nth}"
        return [f"{where}: {problem}" for problem in problems]

    def _break(
        self, client: Client, store: ObjectStore, nth: int, place: Place, *, for_ever: bool
    ) -> list[str]:
        point = FramePoint(client, self._direction, nth, place, for_ever=for_ever)
        problems = []
        timeout = TIMEOUT if for_ever else 10.0
        self._error: Exception | None = None
        began = time.monotonic()
        try:
            self._case.run(store, timeout)
        except ObjStoreError as error:
            self._error = error
        seconds = time.monotonic() - began
        if seconds > longest(timeout):
            problems.append(f"took {seconds:.1f} s of {timeout}")
        self.fired = point.fired.is_set()
        point.heal()
        try:
            store.put("probe", b"probe", timeout=10)
            assert store.get_bytes("probe", timeout=10) == b"probe"
            store.delete("probe", purge=True, timeout=10)
        except (ObjStoreError, AssertionError) as error:
            problems.append(f"the next operation failed: {error!r}")
        return problems

    def _look(self, raw: RawBucket, *, for_ever: bool) -> list[str]:
        found = sweep(raw)
        problems = list(found.unreadable.items())
        if found.orphans and not (for_ever and len(found.orphans) == 1):
            problems.append(("orphans", str(found.orphans)))
        old = {"n": OLD, "other": OLD}
        states = {
            type(None): [self._case.after],
            OutcomeUnknownError: [old, *self._case.between, self._case.after],
        }.get(type(self._error), [old, *self._case.between])
        wanted = [{name: digest_of(data) for name, data in state.items()} for state in states]
        if found.objects not in wanted:
            problems.append(
                ("state", f"after {self._error!r} there is {found.objects or ABSENT}, not {wanted}")
            )
        return [f"{what}: {why}" for what, why in problems]


@pytest.mark.slow
@pytest.mark.timeout(by_tier(60, 600))
@pytest.mark.parametrize("direction", ["c2s", "s2c"])
@pytest.mark.parametrize("name", CASES)
def test_broken_at_every_frame(
    name: str, direction: Direction, server: LocalServer, workers: ThreadPoolExecutor
) -> None:
    """Once, wherever that is."""
    lock = threading.Lock()
    problems: list[str] = []

    def until_it_succeeds(place: Place) -> int:
        for nth in range(1, MANY_FRAMES):
            attempt = _Try(server, CASES[name], direction)
            found = attempt.judge(nth, place, for_ever=False)
            with lock:
                problems.extend(found)
            if not attempt.fired:
                return nth
        raise AssertionError("it never succeeds")

    counts = list(workers.map(until_it_succeeds, PLACES))
    assert not problems, "\n".join(problems)
    assert min(counts) > 1, "nothing was broken"


@pytest.mark.slow
@pytest.mark.timeout(by_tier(60, 600))
def test_broken_for_ever_at_every_frame(server: LocalServer) -> None:
    """There is no connection any more until the call has failed."""
    places: tuple[Place, ...] = by_tier(("half",), PLACES)
    directions: tuple[Direction, ...] = ("c2s", "s2c")
    jobs = []

    def judge(name: str, direction: Direction, place: Place, nth: int) -> tuple[bool, list[str]]:
        attempt = _Try(server, CASES[name], direction)
        problems = attempt.judge(nth, place, for_ever=True)
        return attempt.fired, [f"{name} {problem}" for problem in problems]

    # They wait nearly all of the time.
    with ThreadPoolExecutor(by_tier(48, 96)) as workers:
        for name, direction, place in list(itertools.product(CASES, directions, places)):
            for nth in range(1, FRAMES + 1):
                jobs.append(workers.submit(judge, name, direction, place, nth))
        results = [job.result() for job in jobs]
    problems = [problem for _, found in results for problem in found]
    assert not problems, "\n".join(problems)
    last = [fired for fired, _ in results][FRAMES - 1 :: FRAMES]
    assert any(fired for fired, _ in results) and not any(last), "more frames are needed"
