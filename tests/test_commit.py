"""
The moment at which an object changes: whatever is lost on the way, the outcome is known.

Lost acks are made twice: by a proxy before a real server, and by a scripted one that says
exactly what is stored and what is answered.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from typing import Any

import pytest

from objstore import commit as commit_module
from objstore.bucket import EXPECTED, LINEAGE, Bucket
from objstore.client import Client
from objstore.commit import Commit, Committed, Previous
from objstore.core.deadline import Deadline
from objstore.errors import (
    BadObjectMetaError,
    BucketFullError,
    BucketNotFoundError,
    BucketSealedError,
    ConnectionLostError,
    JetStreamError,
    NoRespondersError,
    ObjectNotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    ProtocolError,
)
from objstore.models import DEFAULT_CHUNK_SIZE, ObjectInfo
from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.fake_bucket import FakeBucket
from tests.fake_server import Command, FakeConnection, FakeServer
from tests.helpers import Interruption, wait_until
from tests.proxy import Proxy
from tests.raw_bucket import RawBucket

TIMEOUT = 10.0
#: What takes two chunks.
LARGE = bytes(DEFAULT_CHUNK_SIZE + 1)

GoOn = Callable[[], None]


# A lost ack, on a real server


@contextmanager
def behind_proxy(server: LocalServer, store: ObjectStore) -> Iterator[tuple[Proxy, ObjectStore]]:
    """The bucket, through a proxy."""
    with Proxy(server.port) as proxy, Client(proxy.url) as client:
        yield proxy, client.object_store(store.bucket)


def meta_command(store: ObjectStore) -> bytes:
    """How the publish of a meta begins."""
    return b"HPUB $O." + store.bucket.encode() + b".M."


def lose(
    proxy: Proxy,
    store: ObjectStore,
    what: str,
    *,
    nth: int = 1,
    then: Callable[[], object] = lambda: None,
) -> threading.Event:
    """Break the connection before the server has the publish of a meta, or its client the ack."""

    def cut() -> None:
        then()
        proxy.cut()
        proxy.release_s2c()

    if what == "publish":
        return proxy.on(meta_command(store), cut, nth=nth, before=True)
    proxy.on(meta_command(store), proxy.hold_s2c, nth=nth, before=True)
    return proxy.on(meta_command(store), cut, nth=nth)


#: Changes of the object `a`, and whether it is there afterwards.
CHANGES: dict[str, tuple[Callable[[ObjectStore], Any], bool]] = {
    "put": (lambda store: store.put("a", b"new"), True),
    "put of nothing": (lambda store: store.put("a", b""), True),
    "put of much": (lambda store: store.put("a", bytes(3_000_000)), True),
    "put_many": (lambda store: store.put_many({"a": b"new"}), True),
    "update_meta": (lambda store: store.update_meta("a", description="new"), True),
    "delete": (lambda store: store.delete("a"), False),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("lost", ["ack", "publish"])
def test_change_whose_ack_is_lost_is_made_once(
    server: LocalServer, store: ObjectStore, raw: RawBucket, change: str, lost: str
) -> None:
    """The connection breaks before or after the server has it: the call succeeds either way."""
    store.put("a", b"old")
    call, is_there = CHANGES[change]
    with behind_proxy(server, store) as (proxy, far):
        fired = lose(proxy, store, lost)
        call(far)
        assert fired.wait(TIMEOUT) and proxy.connections == 2
    assert ("a" in store) == is_there
    assert raw.subjects(f"$O.{store.bucket}.M.>") == {raw.meta_subject("a"): 1}
    live = store.get_info("a") if is_there else None
    assert set(raw.chunks) == ({live.nuid} if live and live.size else set())
    if live:
        store.get_bytes("a")


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["ack", "publish"])
def test_conditional_put_whose_ack_is_lost_and_that_others_replace(
    server: LocalServer, store: ObjectStore, raw: RawBucket, lost: str
) -> None:
    """Those that follow tell which change came first, ours or another's."""
    revision = store.put("a", b"old").revision

    def replace_twice() -> None:
        if lost == "ack":
            wait_until(lambda: store.get_bytes("a") == b"mine")
        store.put("a", b"second")
        store.put("a", b"third")

    with behind_proxy(server, store) as (proxy, far):
        fired = lose(proxy, store, lost, then=replace_twice)
        if lost == "ack":
            assert far.put("a", b"mine", if_revision=revision).revision == 0
            assert len(raw.chunks) == 1
        else:
            with pytest.raises(PreconditionFailedError):
                far.put("a", b"mine", if_revision=revision)
        assert fired.wait(TIMEOUT)
    assert store.get_bytes("a") == b"third"
    assert len(raw.chunks) == 1


@pytest.mark.parametrize("lost", ["ack", "publish"])
def test_conditional_put_whose_ack_is_lost_is_made_once(
    server: LocalServer, store: ObjectStore, raw: RawBucket, lost: str
) -> None:
    """Its own copy is not mistaken for another's."""
    with behind_proxy(server, store) as (proxy, far):
        lose(proxy, store, lost)
        info = far.put("a", b"new", if_absent=True)
    assert store.get_info("a").nuid == info.nuid
    assert raw.chunks == {info.nuid: 1}


@pytest.mark.parametrize("lost", ["ack", "publish"])
def test_put_many_whose_acks_are_lost_is_made_once(
    server: LocalServer, store: ObjectStore, raw: RawBucket, lost: str
) -> None:
    """Each of the objects, the last of those with one name."""
    store.put("0", b"old")
    items = [(f"{number % 40}", f"{number}".encode()) for number in range(50)]
    with behind_proxy(server, store) as (proxy, far):
        fired = lose(proxy, store, lost, nth=20)
        infos = far.put_many(items)
        assert fired.wait(TIMEOUT) and proxy.connections == 2
    assert [info.name for info in infos] == [name for name, _ in items]
    assert {name: store.get_bytes(name) for name, _ in items} == dict(items)
    assert set(raw.chunks) == {info.nuid for info in store.list()}


@pytest.mark.slow
def test_change_that_finds_no_server_again_is_of_unknown_outcome(
    server: LocalServer, store: ObjectStore, raw: RawBucket
) -> None:
    """Nothing is purged then: the object is the old one or the new one, and whole."""
    store.put("a", b"old")
    with behind_proxy(server, store) as (proxy, far):
        lose(proxy, store, "ack", then=proxy.refuse)
        with pytest.raises(OutcomeUnknownError) as caught:
            far.put("a", b"new", timeout=0.3)
    assert (caught.value.bucket, caught.value.name) == (store.bucket, "a")
    assert store.get_bytes("a") in (b"old", b"new")
    if store.get_bytes("a") == b"new":
        assert caught.value.nuid == store.get_info("a").nuid
    assert {store.get_info("a").nuid, caught.value.nuid} <= set(raw.chunks)


def test_change_of_a_closed_client_is_of_unknown_outcome(
    server: LocalServer, store: ObjectStore
) -> None:
    """At once: nobody waits for a connection that will not come."""
    with behind_proxy(server, store) as (proxy, far):
        proxy.on(meta_command(store), far._bucket.js.connection.close)
        with pytest.raises(OutcomeUnknownError):
            far.put("a", b"new")


# What a scripted server says

OLD_NUID = "0000000000000000000000"
NEW_NUID = "1111111111111111111111"
OTHER_NUID = "2222222222222222222222"
META = "$O.b.M.YQ=="


def meta(nuid: str, **fields: Any) -> bytes:
    return f'{{"name":"a","bucket":"b","nuid":"{nuid}","size":1,"chunks":1}}'.encode()


def make_info(nuid: str = NEW_NUID) -> ObjectInfo:
    return ObjectInfo("b", "a", nuid, 1, 1, "", datetime.now(timezone.utc))


@contextmanager
def scripted(**handlers: Any) -> Iterator[tuple[FakeBucket, Bucket]]:
    """A bucket with an object `a`, version 1, whose server does what the handlers say."""
    fake = FakeBucket(**handlers)
    old = Command("HPUB", META, payload=meta(OLD_NUID))
    fake.store(old)
    with FakeServer(fake) as server, fake.open(server) as store:
        yield fake, store._bucket


def run(bucket: Bucket, *, conditional: bool = False, timeout: float = 5.0) -> Any:
    commit = Commit(bucket, make_info(), Previous(1, OLD_NUID), conditional=conditional)
    return commit.run(Deadline(timeout))


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait shorter for an ack, so that a lost one is noticed soon."""
    monkeypatch.setattr(commit_module, "REPEAT_INTERVAL", 0.1)


def test_meta_names_the_version_that_it_replaces() -> None:
    """And its own, so that a copy is told from another's."""
    headers: list[dict[str, list[str]]] = []

    def look(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        headers.append(command.headers)
        go_on()

    with scripted(meta=look) as (_, bucket):
        committed = run(bucket)
    assert committed == Committed(2, (OLD_NUID,))
    (seen,) = headers
    assert seen["Nats-Rollup"] == ["sub"]
    assert seen["Nats-Expected-Last-Subject-Sequence"] == ["1"]
    (message_id,) = seen["Nats-Msg-Id"]
    assert len(message_id) > 22 and NEW_NUID not in message_id


@pytest.mark.parametrize("err_code", [10071, 10164])
def test_other_version_is_replaced_in_its_turn(err_code: int) -> None:
    """Nobody's chunks stay behind: whoever replaces a version purges it."""

    def intrude(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count["meta"] == 1:
            fake.store(Command("HPUB", META, headers={"Nats-Rollup": ["sub"]}, payload=other))
            fake.refuse(conn, command, 400, err_code)
        else:
            go_on()

    other = meta(OTHER_NUID)
    with scripted(meta=intrude) as (fake, bucket):
        assert run(bucket) == Committed(3, (OTHER_NUID,))
    assert fake.count["meta"] == 2


@pytest.mark.parametrize("err_code", [10071, 10164])
def test_other_version_fails_a_condition(err_code: int) -> None:
    def intrude(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        fake.store(Command("HPUB", META, headers={"Nats-Rollup": ["sub"]}, payload=other))
        fake.refuse(conn, command, 400, err_code)

    other = meta(OTHER_NUID)
    with scripted(meta=intrude) as (fake, bucket):
        with pytest.raises(PreconditionFailedError) as caught:
            run(bucket, conditional=True)
    assert caught.value.revision == 2
    assert fake.count["meta"] == 1


@pytest.mark.parametrize("conditional", [True, False])
@pytest.mark.parametrize("stored", [True, False])
def test_publish_without_an_ack_is_sent_again(conditional: bool, stored: bool) -> None:
    """Under the same condition and id, so that at most one copy is stored."""
    ids = set()

    def lose(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        ids.add(command.headers["Nats-Msg-Id"][0])
        if fake.count["meta"] > 1:
            go_on()
        elif stored:
            fake.store(command)

    with scripted(meta=lose) as (fake, bucket):
        assert run(bucket, conditional=conditional) == Committed(2, (OLD_NUID,))
        assert len(fake.messages) == 1
    assert len(ids) == 1


def test_duplicate_is_an_ack() -> None:
    """A cluster says so of a copy that it has."""

    def duplicate(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        conn.reply(command, {"stream": "OBJ_b", "seq": 2, "duplicate": True})

    with scripted(meta=duplicate) as (_, bucket):
        assert run(bucket) == Committed(2, (OLD_NUID,))


@pytest.mark.parametrize("stored", [True, False])
def test_lost_publish_that_another_has_replaced_succeeds(stored: bool) -> None:
    """Stored or not, it comes before one that asked for nothing; its chunks and the old go."""

    def lose(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count["meta"] > 1:
            go_on()
            return
        if stored:
            fake.store(command)
        fake.store(Command("HPUB", META, headers={"Nats-Rollup": ["sub"]}, payload=other))

    other = meta(OTHER_NUID)
    with scripted(meta=lose) as (fake, bucket):
        committed = run(bucket)
        assert fake.messages[-1].payload == other
    assert committed.revision == 0
    assert set(committed.replaced) == {OLD_NUID, NEW_NUID}


def test_lost_publish_that_another_has_forestalled_is_made_on_top() -> None:
    """
    Who replaced the version that we were to replace had no other before it.

    It may have done so on the condition that nobody else had: to call ours overwritten
    would be a story that nobody could have seen.
    """

    def lose(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count["meta"] > 1:
            go_on()
            return
        headers = {"Nats-Rollup": ["sub"], EXPECTED: command.headers[EXPECTED]}
        fake.store(Command("HPUB", META, headers=headers, payload=meta(OTHER_NUID)))

    with scripted(meta=lose) as (fake, bucket):
        committed = run(bucket)
        newest = fake.messages[-1]
        assert (newest.subject, newest.seq) == (META, committed.revision)
    assert committed.replaced == (OTHER_NUID,)


def test_chunks_of_the_version_that_stands_are_never_purged() -> None:
    """Another client's update of the old version goes on with its chunks."""

    def lose(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count["meta"] > 1:
            go_on()
            return
        payload = meta(OLD_NUID)
        fake.store(Command("HPUB", META, headers={"Nats-Rollup": ["sub"]}, payload=payload))

    with scripted(meta=lose) as (fake, bucket):
        assert run(bucket).replaced == (NEW_NUID,)


@pytest.mark.parametrize(
    ("expected", "error"),
    [("2", OutcomeUnknownError), ("1", PreconditionFailedError), (None, OutcomeUnknownError)],
)
def test_lost_conditional_publish_that_another_has_replaced(
    expected: str | None, error: type[Exception]
) -> None:
    """What the other one replaced tells whether ours was there; if it does not, nobody knows."""

    def lose(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count["meta"] > 1:
            go_on()
            return
        headers = {"Nats-Rollup": ["sub"]}
        if expected:
            headers["Nats-Expected-Last-Subject-Sequence"] = [expected]
        fake.store(Command("HPUB", META, headers=headers, payload=meta(OTHER_NUID)))

    with scripted(meta=lose) as (fake, bucket):
        with pytest.raises(error):
            run(bucket, conditional=True)


def test_stale_answer_is_no_conflict() -> None:
    """A leader that says "wrong sequence" and shows the expected one is asked again."""

    def refuse_once(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count["meta"] < 3:
            fake.refuse(conn, command, 400, 10164)
        else:
            go_on()

    with scripted(meta=refuse_once) as (fake, bucket):
        assert run(bucket, conditional=True) == Committed(2, (OLD_NUID,))


@pytest.mark.parametrize("err_code", [10008, 10158, 10163, 10167])
def test_refusal_that_passes_is_waited_for(err_code: int) -> None:
    def refuse_twice(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count["meta"] < 3:
            fake.refuse(conn, command, 503, err_code)
        else:
            go_on()

    with scripted(meta=refuse_twice) as (fake, bucket):
        assert run(bucket) == Committed(2, (OLD_NUID,))


@pytest.mark.parametrize("status", ["503", "429 Too Many Requests"])
def test_status_that_passes_is_waited_for(status: str) -> None:
    """No leader for a moment, or a full queue."""

    def refuse_twice(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count["meta"] < 3:
            conn.reply(command, headers=f"NATS/1.0 {status}\r\n\r\n".encode())
        else:
            go_on()

    with scripted(meta=refuse_twice) as (fake, bucket):
        assert run(bucket) == Committed(2, (OLD_NUID,))


def test_answer_that_is_lost_after_an_election_is_not_waited_for_long() -> None:
    """The publish is sent again soon, also when nobody led for a while."""

    def refuse_five_times(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count["meta"] <= 5:
            conn.reply(command, headers=b"NATS/1.0 503\r\n\r\n")
        elif fake.count["meta"] > 6:
            go_on()

    with scripted(meta=refuse_five_times) as (fake, bucket):
        assert run(bucket, timeout=2.5) == Committed(2, (OLD_NUID,))


@pytest.mark.parametrize(
    ("answer", "error"),
    [("503", NoRespondersError), ("10008", JetStreamError), ("10167", JetStreamError)],
)
def test_refusal_that_does_not_pass_is_raised_at_the_deadline(
    answer: str, error: type[Exception]
) -> None:
    """It was refused each time: nothing is stored, and that is known."""

    def refuse(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if answer == "503":
            conn.reply(command, headers=b"NATS/1.0 503\r\n\r\n")
        else:
            fake.refuse(conn, command, 503, int(answer))

    with scripted(meta=refuse) as (fake, bucket):
        with pytest.raises(error):
            run(bucket, timeout=0.2)
        assert fake.count["meta"] > 1


@pytest.mark.parametrize(
    ("err_code", "error"),
    [
        (10077, BucketFullError),
        (10023, BucketFullError),
        (10047, BucketFullError),
        (10002, BucketFullError),
        (10109, BucketSealedError),
        (10059, BucketNotFoundError),
        (10054, JetStreamError),
    ],
)
def test_other_refusal_is_definite(err_code: int, error: type[Exception]) -> None:
    def refuse(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        fake.refuse(conn, command, 400, err_code)

    with scripted(meta=refuse) as (fake, bucket):
        with pytest.raises(error):
            run(bucket)
        assert fake.count["meta"] == 1


def test_refusal_after_a_lost_publish_is_not_definite() -> None:
    """The lost copy may have been stored before there was a reason to refuse."""

    def lose_then_refuse(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count["meta"] > 1:
            fake.refuse(conn, command, 503, 10077)

    with scripted(meta=lose_then_refuse) as (fake, bucket):
        with pytest.raises(OutcomeUnknownError):
            run(bucket)


def test_refusal_after_a_publish_whose_ack_was_lost_is_none() -> None:
    """A bucket that is full by now has the lost copy all the same."""

    def store_then_refuse(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count["meta"] == 1:
            fake.store(command)
        else:
            fake.refuse(conn, command, 503, 10077)

    with scripted(meta=store_then_refuse) as (fake, bucket):
        assert run(bucket) == Committed(2, (OLD_NUID,))


@pytest.mark.parametrize(
    "answer",
    [b"", b"{", {"stream": "OBJ_c", "seq": 2}, {"stream": "OBJ_b", "seq": 0}, {"error": "no"}],
)
@pytest.mark.parametrize("is_lasting", [False, True])
@pytest.mark.parametrize("data", [b"new", LARGE], ids=["small", "large"])
def test_answer_that_is_no_ack_is_asked_for_again(
    answer: Any, is_lasting: bool, data: bytes
) -> None:
    """It is no success, and no failure either: nothing is purged by it."""

    def garble(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if is_lasting or fake.count["meta"] == 1:
            fake.store(command)
            conn.reply(command, answer)
        else:
            go_on()

    fake = FakeBucket(meta=garble)
    with FakeServer(fake) as server, fake.open(server) as store:
        if is_lasting:
            with pytest.raises(OutcomeUnknownError) as caught:
                store.put("a", data, timeout=0.5)
            assert isinstance(caught.value.__cause__, ProtocolError)
        else:
            store.put("a", data)
        assert fake.count["meta"] > 1
        assert fake.count["purge"] == 0
        assert store.get_bytes("a") == data


@pytest.mark.slow
def test_timeout_after_a_lost_publish_is_of_unknown_outcome() -> None:
    """Within the deadline, and without a purge."""

    def lose(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        pass

    fake = FakeBucket(meta=lose)
    with FakeServer(fake) as server, fake.open(server) as store:
        with pytest.raises(OutcomeUnknownError):
            store.put("a", b"new", timeout=0.3)
        assert fake.count["purge"] == 0


def test_interrupt_while_the_ack_is_awaited_purges_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The meta is out: the object may be live. Nor does a second interrupt change that."""

    def fail(*_: Any) -> Any:
        raise Interruption

    fake = FakeBucket()
    with FakeServer(fake) as server, fake.open(server) as store:
        monkeypatch.setattr(commit_module, "parse_ack", fail)
        with pytest.raises(Interruption):
            store.put("a", b"new")
        assert fake.count["purge"] == 0
        assert store.get_bytes("a") == b"new"


def test_purge_that_fails_afterwards_is_only_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """The object is stored; what was replaced waits for a sweep."""

    def refuse(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        fake.refuse(conn, command, 500, 10110, "purge failed")

    fake = FakeBucket(purge=refuse)
    with FakeServer(fake) as server, fake.open(server) as store:
        store.put("a", b"old")
        nuid = store.get_info("a").nuid
        with caplog.at_level(logging.WARNING):
            store.put("a", b"new")
        assert store.get_bytes("a") == b"new"
    assert nuid in caplog.text and "stay behind" in caplog.text


def test_unusable_meta_is_replaced_and_purges_nothing() -> None:
    """Nobody knows what its id would be."""
    fake = FakeBucket()
    with FakeServer(fake) as server, fake.open(server) as store:
        fake.store(Command("HPUB", META, payload=b'{"nuid":">"}'))
        with pytest.raises(BadObjectMetaError):
            store.get_info("a")
        store.put("a", b"new")
        assert fake.count["purge"] == 0
        assert store.get_bytes("a") == b"new"


def test_put_without_a_connection_is_lost(server: LocalServer, store: ObjectStore) -> None:
    """Nothing was sent, and that is known."""
    with behind_proxy(server, store) as (proxy, far):
        proxy.refuse()
        proxy.cut()
        with pytest.raises(ConnectionLostError):
            far.put("a", b"new", timeout=0.2)
    with pytest.raises(ObjectNotFoundError):
        store.get_info("a")


# What those that follow tell


#: Ids of changes: of version 1, of another's, and of who came after that.
OLD_ID, OTHER_ID, THIRD_ID = "old.0", "other.1", "third.2"


def follow(fake: FakeBucket, ids: list[str], nuid: str = OTHER_NUID) -> None:
    """Store a version in place of the last one; `ids` are its own and those before it."""
    headers = {"Nats-Rollup": ["sub"], "Nats-Msg-Id": ids[:1], EXPECTED: ["7"]}
    if ids[1:]:
        headers[LINEAGE] = [" ".join(ids[1:])]
    fake.store(Command("HPUB", META, headers=headers, payload=meta(nuid)))


@contextmanager
def forestalled(ids: list[str]) -> Iterator[tuple[FakeBucket, Bucket]]:
    """A bucket that loses the first publish, but has the version of another."""

    def lose(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count["meta"] > 1:
            go_on()
        else:
            follow(fake, ids)

    with scripted(meta=lose) as (fake, bucket):
        yield fake, bucket


@pytest.mark.parametrize("conditional", [True, False])
@pytest.mark.parametrize("more", [0, 29])
def test_lost_ack_of_a_version_that_others_have_replaced(conditional: bool, more: int) -> None:
    """However many: ours is among those before them. The chunks are for its successor."""

    def lose(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count["meta"] > 1:
            go_on()
            return
        fake.store(command)
        ids = [f"{number}.{number}" for number in range(more + 9, 9, -1)]
        follow(fake, ["last.99", *ids, *command.headers["Nats-Msg-Id"], OLD_ID])

    with scripted(meta=lose) as (fake, bucket):
        assert run(bucket, conditional=conditional) == Committed(0, (OLD_NUID,))


def test_lost_publish_that_two_have_forestalled_fails_its_condition() -> None:
    """It was not stored, and never will be: its chunks may go."""
    with forestalled([THIRD_ID, OTHER_ID, OLD_ID]) as (_, bucket):
        commit = Commit(bucket, make_info(), Previous(1, OLD_NUID), conditional=True)
        with pytest.raises(PreconditionFailedError):
            commit.run(Deadline(5.0))
    assert not commit.may_be_stored


def test_lost_publish_that_two_have_forestalled_is_made_on_top() -> None:
    """The others may have asked that nobody comes between: it is not called overwritten."""
    with forestalled([THIRD_ID, OTHER_ID, OLD_ID]) as (fake, bucket):
        committed = run(bucket)
        newest = fake.messages[-1]
        assert newest.seq == committed.revision and NEW_NUID.encode() in newest.payload
    assert committed.replaced == (OTHER_NUID,)
    assert LINEAGE not in newest.headers  # the one before is of long ago


@pytest.mark.parametrize("conditional", [True, False])
def test_lost_publish_whose_followers_do_not_tell_is_of_unknown_outcome(conditional: bool) -> None:
    """Neither done nor not done is claimed of what nobody knows."""
    with forestalled(["last.9", "before.8"]) as (_, bucket), pytest.raises(OutcomeUnknownError):
        run(bucket, conditional=conditional)


@pytest.mark.parametrize("put", ["put", "put of much", "put_many", "put of nothing"])
@pytest.mark.parametrize("is_purged", [True, False])
def test_version_whose_chunks_are_purged_was_stored(
    monkeypatch: pytest.MonkeyPatch, put: str, is_purged: bool
) -> None:
    """Only who has replaced it purges them, whether or not he tells what came before."""

    def lose(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count["meta"] > 1:
            go_on()
            return
        fake.store(command)
        follow(fake, ["last.9", "before.8"])
        if is_purged:
            fake.messages = [m for m in fake.messages if ".C." not in m.subject]

    monkeypatch.setattr(commit_module, "_PURGED_TIMEOUT", 0.05)
    fake = FakeBucket(meta=lose)
    call, _ = CHANGES[put]
    with FakeServer(fake) as server, fake.open(server) as store, ExitStack() as stack:
        if put == "put of nothing" or not is_purged:
            stack.enter_context(pytest.raises(OutcomeUnknownError))
        call(store)


@pytest.mark.parametrize("conditional", [True, False])
def test_version_whose_name_is_gone_is_of_unknown_outcome(conditional: bool) -> None:
    """Nothing is left that could tell."""

    def lose(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if fake.count["meta"] > 1:
            go_on()
            return
        fake.store(command)
        fake.messages.clear()

    with scripted(meta=lose) as (fake, bucket), pytest.raises(OutcomeUnknownError):
        run(bucket, conditional=conditional)


def test_versions_tell_which_ones_came_before_them(store: ObjectStore, raw: RawBucket) -> None:
    """The last ones, whoever changed what: with their ids, which say what they replaced."""
    for number in range(30):
        store.put("a", b"x")
        revision = store.update_meta("a", description=f"{number}").revision
    store.delete("a")
    message = raw.message(last_by_subj=raw.meta_subject("a"))
    assert message is not None
    block = message["hdrs"].decode()
    (line,) = [line for line in block.split("\r\n") if line.startswith(LINEAGE)]
    ids = line.partition(": ")[2].split(" ")
    assert len(ids) == 32
    replaced = [int(one.rpartition(".")[2]) for one in ids]
    assert replaced == sorted(set(replaced), reverse=True) and replaced[0] < revision
