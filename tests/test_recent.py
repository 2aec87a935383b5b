"""Meta and bytes of small objects, asked for in one write on a guess."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone

import pytest

import objstore.recent as module
from objstore import ObjectInfo, ObjectNotFoundError, ObjectStore, TruncatedObjectError
from objstore.core.deadline import Deadline
from objstore.core.nuid import next_nuid
from objstore.models import DEFAULT_CHUNK_SIZE, ObjectLink
from objstore.recent import Recent
from tests.fake_bucket import FakeBucket
from tests.fake_server import FakeServer


@pytest.fixture
def fake() -> FakeBucket:
    return FakeBucket()


@pytest.fixture
def server(fake: FakeBucket) -> Iterator[FakeServer]:
    with FakeServer([fake, fake]) as server:
        yield server


@pytest.fixture
def small(fake: FakeBucket, server: FakeServer) -> Iterator[ObjectStore]:
    """A store in which `a` was put."""
    with fake.open(server) as store:
        store.put("a", b"data")
        fake.log.clear()
        yield store


def test_meta_and_bytes_are_asked_for_at_once(fake: FakeBucket, small: ObjectStore) -> None:
    with small.get("a") as reader:
        assert fake.log == ["direct", "get"]
        assert reader.read() == b"data"
    assert fake.log == ["direct", "get"]
    assert small.get("a", length=2).read() == b"da"
    assert fake.log == ["direct", "get"] * 2


def test_who_reads_first_asks_for_the_meta_alone(
    fake: FakeBucket, server: FakeServer, small: ObjectStore
) -> None:
    with fake.open(server) as other:
        fake.log.clear()
        assert other.get_bytes("a") == b"data"
        assert fake.log == ["get", "direct"]
        assert other.get_bytes("a") == b"data"
        assert fake.log == ["get", "direct"] * 2


def test_wrong_guess_costs_an_answer(
    fake: FakeBucket, server: FakeServer, small: ObjectStore
) -> None:
    with fake.open(server) as other:
        other.put("a", b"other")
    fake.log.clear()
    assert small.get_bytes("a") == b"other"
    assert fake.log == ["get", "direct", "direct"]
    assert small.get_bytes("a") == b"other"
    assert fake.log == ["get", "direct", "direct", "get", "direct"]


def test_bytes_of_a_replaced_version_are_not_used(
    fake: FakeBucket, server: FakeServer, small: ObjectStore
) -> None:
    """Though their chunks may still be there."""
    chunk = fake.messages[0]
    with fake.open(server) as other:
        other.put("a", b"atad")
    fake.messages.append(chunk)
    assert small.get_bytes("a") == b"atad"


def test_gone_name_is_not_guessed_again(
    fake: FakeBucket, server: FakeServer, small: ObjectStore
) -> None:
    with fake.open(server) as other:
        other.delete("a")
    fake.log.clear()
    for expected in (["direct", "get"], ["direct", "get", "get"]):
        with pytest.raises(ObjectNotFoundError):
            small.get("a")
        assert fake.log == expected


def test_lost_chunk_is_no_empty_object(fake: FakeBucket, small: ObjectStore) -> None:
    fake.messages = [m for m in fake.messages if ".C." not in m.subject]
    with pytest.raises(TruncatedObjectError):
        small.get_bytes("a")


def test_unread_bytes_leave_nothing(small: ObjectStore) -> None:
    connection = small._bucket.js.connection
    for _ in range(3):
        small.get("a").close()
        small.get("a")  # dropped
        with pytest.raises(ObjectNotFoundError):
            small.get("b")
    connection.inbox(Deadline(10)).close()
    assert connection._routes.inbox_count == 1


def test_ranges_are_not_guessed(fake: FakeBucket, small: ObjectStore) -> None:
    """A seek asks for what it needs."""
    assert small.get("a", offset=1).read() == b"ata"
    assert fake.log == ["get", "direct"]


def test_without_direct_gets_there_is_nothing_to_guess(server: FakeServer) -> None:
    fake = FakeBucket(allow_direct=False)
    with FakeServer(fake) as server, fake.open(server) as store:
        store.put("a", b"data")
        fake.log.clear()
        store.get("a").close()
        assert fake.log == ["get"]


INFO = ObjectInfo(
    bucket="b",
    name="a",
    nuid=next_nuid(),
    size=DEFAULT_CHUNK_SIZE,
    chunks=1,
    digest="",
    mtime=datetime.now(timezone.utc),
)


def test_only_small_objects_are_remembered() -> None:
    recent = Recent()
    assert recent.guess("a") is None
    recent.note(INFO)
    assert recent.guess("a") == INFO.nuid
    for changes in (
        {"chunks": 2},
        {"size": DEFAULT_CHUNK_SIZE + 1},
        {"chunks": 0, "size": 0},
        {"link": ObjectLink("b", "c")},
    ):
        recent.note(INFO)
        recent.note(replace(INFO, **changes))  # type: ignore[arg-type]
        assert recent.guess("a") is None


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_NAMES", 10)
    recent = Recent()
    for number in range(95):
        recent.note(replace(INFO, name=str(number)))
        assert len(recent._ids) <= 10
    assert recent.guess("94") == INFO.nuid
