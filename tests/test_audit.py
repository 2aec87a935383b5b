"""check finds what is broken; sweep removes what belongs to nobody, and nothing else."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from objstore import audit
from objstore.client import Client
from objstore.core.deadline import Deadline
from objstore.core.nuid import next_nuid
from objstore.errors import (
    BucketNotFoundError,
    BucketSealedError,
    DigestMismatchError,
    ProtocolError,
    TruncatedObjectError,
)
from objstore.jetstream import publisher
from objstore.jetstream.api import JetStream
from objstore.models import ObjectLink
from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.fake_bucket import FakeBucket
from tests.fake_server import Command, FakeConnection, FakeServer
from tests.helpers import pattern, wait_until
from tests.raw_bucket import RawBucket

CHUNK = 1000
GRACE = audit._GRACE  # as it is outside of these tests


@pytest.fixture(autouse=True)
def _no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wants something between the two looks of a sweep puts it there."""
    monkeypatch.setattr(audit, "_GRACE", 0.0)


@pytest.fixture(params=["direct", "no-direct"])
def audited(
    request: pytest.FixtureRequest, client: Client, store: ObjectStore, raw: RawBucket
) -> ObjectStore:
    """A bucket with direct gets, and one without."""
    if request.param == "direct":
        return store
    raw.call("STREAM.UPDATE.%", {**raw.config, "allow_direct": False})
    return client.object_store(store.bucket)


@pytest.fixture
def other(server: LocalServer, store: ObjectStore) -> Iterator[ObjectStore]:
    """The same bucket in the hands of somebody else."""
    with Client(server.url) as client:
        yield client.object_store(store.bucket)


def put_chunked(store: ObjectStore, name: str, size: int) -> Any:
    """Store an object of many chunks."""
    with store.put(name, chunk_size=CHUNK) as writer:
        writer.write(pattern(size))
    return writer.info


def leave_orphan(raw: RawBucket, count: int = 3) -> str:
    """Store chunks without a meta, as a writer that was killed does."""
    nuid = next_nuid()
    for number in range(count):
        raw.put_chunk(nuid, bytes([number]) * CHUNK)
    return nuid


def kinds(report: Any) -> tuple[list[str], list[str]]:
    return [p.kind for p in report.problems], [w.kind for w in report.warnings]


# Check


def test_empty_bucket_is_well(audited: ObjectStore) -> None:
    report = audited.check(read_data=True)
    assert report
    assert (report.objects, report.links, report.size, report.chunks, report.read) == (0,) * 5


@pytest.mark.parametrize("read_data", [False, True])
def test_good_bucket_is_well(audited: ObjectStore, read_data: bool) -> None:
    """Of objects of all sizes, links, and what was deleted, replaced and renamed."""
    store = audited
    put_chunked(store, "a", 10 * CHUNK + 1)
    store.put("empty", b"")
    store.put("b", b"old")
    store.put("b", b"new")
    store.put("gone", b"x")
    store.delete("gone")
    store.put("c", b"moved")
    store.update_meta("c", new_name="d")
    store.add_link("l", store.get_info("a"))
    store.add_bucket_link("bucket", store)
    report = store.check(read_data=read_data)
    assert kinds(report) == ([], [])
    assert report.ok
    assert (report.objects, report.links) == (4, 2)
    assert (report.size, report.chunks) == (10 * CHUNK + 1 + 3 + 5, 13)
    assert report.read == (4 if read_data else 0)


def test_fraction_of_the_objects_is_read(store: ObjectStore) -> None:
    store.put_many({f"{number}": b"data" for number in range(20)})
    assert [store.check(read_data=f).read for f in (0, 0.01, 0.25, 1, 1.0)] == [0, 1, 5, 20, 20]


@pytest.mark.parametrize("read_data", [-0.1, 1.1, float("nan")])
def test_fraction_of_nonsense_is_refused(store: ObjectStore, read_data: float) -> None:
    with pytest.raises(ValueError, match="read_data"):
        store.check(read_data=read_data)
    with pytest.raises(TypeError, match="read_data"):
        store.check(read_data="all")  # type: ignore[arg-type]


@pytest.mark.parametrize("place", [0, 3, 9])
def test_missing_chunk_is_found(audited: ObjectStore, raw: RawBucket, place: int) -> None:
    """Without reading the data; and it is named where the hole is."""
    put_chunked(audited, "good", 2 * CHUNK)
    info = put_chunked(audited, "a", 10 * CHUNK)
    raw.remove(raw.chunk_messages(info.nuid)[place]["seq"])
    report = audited.check()
    assert kinds(report) == (["missing"], [])
    (problem,) = report.problems
    assert (problem.name, problem.nuid) == ("a", info.nuid)
    assert report.read == 1


def test_all_chunks_missing(audited: ObjectStore, raw: RawBucket) -> None:
    info = put_chunked(audited, "a", 10 * CHUNK)
    raw.purge(raw.chunk_subject(info.nuid))
    assert kinds(audited.check()) == (["missing"], [])


def test_missing_chunk_of_an_object_under_a_subject_of_its_own(
    audited: ObjectStore, raw: RawBucket
) -> None:
    """Some clients spell names otherwise: nothing under the right subject is no deletion."""
    nuid = raw.put_object("a", [b"data", b"more"])
    raw.put_meta("x", raw.meta("a"), subject=f"$O.{raw.name}.M.strange")
    raw.purge(raw.meta_subject("a"))
    assert audited.check(read_data=True)
    raw.remove(raw.chunk_messages(nuid)[0]["seq"])
    assert kinds(audited.check()) == (["missing"], [])


def test_chunk_too_many_is_found(audited: ObjectStore, raw: RawBucket) -> None:
    """With bytes in it; an empty one does no harm, but to clients that count."""
    info = put_chunked(audited, "a", 3 * CHUNK)
    raw.put_chunk(info.nuid, b"")
    assert kinds(audited.check()) == ([], ["miscounted"])
    raw.put_chunk(info.nuid, b"x")
    assert kinds(audited.check()) == (["damaged"], [])


def test_other_bytes_are_found_by_reading(audited: ObjectStore, raw: RawBucket) -> None:
    """Their number is right: only the digest tells."""
    info = put_chunked(audited, "a", CHUNK)
    audited.put("b", b"data")
    raw.purge(raw.chunk_subject(info.nuid))
    raw.put_chunk(info.nuid, bytes(CHUNK))
    assert audited.check()
    report = audited.check(read_data=True)
    assert kinds(report) == (["damaged"], [])
    assert (report.problems[0].name, report.read) == ("a", 2)
    assert info.digest in report.problems[0].detail


@pytest.mark.slow
def test_bits_that_change_on_the_disk_are_found(
    make_server: Callable[..., LocalServer], tmp_path: Path
) -> None:
    """The server leaves out what it cannot trust, and counts it all the same."""
    with make_server(directory=tmp_path) as server, Client(server.url) as client:
        info = put_chunked(client.create_object_store("b"), "a", 20 * CHUNK)
        client.object_store("b").put("good", b"data")
    (block,) = tmp_path.rglob("OBJ_b/msgs/1.blk")
    content = bytearray(block.read_bytes())
    place = content.find(pattern(20 * CHUNK)[7 * CHUNK : 8 * CHUNK])
    content[place + 10] ^= 1
    block.write_bytes(content)
    with make_server(directory=tmp_path) as server, Client(server.url) as client:
        store = client.object_store("b")
        begin = time.monotonic()
        for read in (store.get_bytes, lambda name: store.get(name, offset=6 * CHUNK).read()):
            with pytest.raises((TruncatedObjectError, DigestMismatchError)):
                read("a")
        assert time.monotonic() - begin < 2 * 5.0
        report = store.check(read_data=True)
    assert [(p.name, p.nuid) for p in report.problems] == [("a", info.nuid)]


def test_object_without_a_usable_digest_is_found(audited: ObjectStore, raw: RawBucket) -> None:
    raw.put_object("a", [b"data"], digest="MD5=abc")
    assert kinds(audited.check()) == (["unverifiable"], [])


@pytest.mark.parametrize(
    "meta",
    [b"", b"null", b"{", b"[" * 5000, b'{"name": "a"}', b'{"name": "a", "nuid": ">"}', b"\xff"],
)
def test_unreadable_meta_is_found(audited: ObjectStore, raw: RawBucket, meta: bytes) -> None:
    audited.put("b", b"data")
    raw.put_meta("a", meta)
    report = audited.check()
    assert kinds(report) == (["unreadable"], [])
    assert report.problems[0].name == "a"


def test_orphan_is_found(audited: ObjectStore, raw: RawBucket) -> None:
    """Also below a subject that is no object's."""
    nuid = leave_orphan(raw)
    raw.publish(f"$O.{raw.name}.C.strange.thing", b"x")
    audited.put("a", b"data")
    report = audited.check()
    assert kinds(report) == ([], ["orphan", "orphan"])
    assert [w.nuid for w in report.warnings] == [nuid, "strange.thing"]
    assert "3 chunks, 2.9 KiB" in report.warnings[0].detail


def test_two_names_for_the_same_chunks_are_found(audited: ObjectStore, raw: RawBucket) -> None:
    info = audited.put("a", b"data")
    raw.put_meta("b", {**raw.meta("a"), "name": "b"})
    report = audited.check()
    assert kinds(report) == ([], ["shared"])
    assert (report.warnings[0].name, report.warnings[0].nuid) == ("a", info.nuid)
    assert "'b'" in report.warnings[0].detail


def test_link_that_leads_nowhere_is_found(
    audited: ObjectStore, client: Client, bucket: str
) -> None:
    """In this bucket, another, or one that is gone."""
    away = client.create_object_store(f"{bucket}-away")
    target = audited.put("a", b"data")
    audited.add_link("here", target)
    audited.add_link("there", away.put("b", b"data"))
    audited.add_link("lost", away.put("c", b"data"))
    audited.add_bucket_link("bucket", away)
    assert kinds(audited.check()) == ([], [])
    away.delete("c")
    assert [w.name for w in audited.check().warnings] == ["lost"]
    client.delete_object_store(away.bucket)
    audited.delete("a")
    report = audited.check()
    assert report.ok
    assert sorted(w.name for w in report.warnings) == ["bucket", "here", "lost", "there"]


def test_hostile_link_is_dangling(audited: ObjectStore, raw: RawBucket) -> None:
    """No request is built from it."""
    for number, link in enumerate([ObjectLink("a.b", "x"), ObjectLink(">", None)]):
        options = {"link": {"bucket": link.bucket, "name": link.name}}
        raw.put_meta(f"l{number}", {"name": f"l{number}", "options": options})
    assert kinds(audited.check()) == ([], ["dangling", "dangling"])


@pytest.mark.parametrize("act", ["put", "delete", "update_meta"])
def test_object_that_changes_meanwhile_is_no_problem(
    store: ObjectStore, other: ObjectStore, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at its meta and the one at its chunks."""
    put_chunked(store, "a", 5 * CHUNK)
    put_chunked(store, "b", 5 * CHUNK)
    acts: dict[str, Callable[[], object]] = {
        "put": lambda: other.put("a", b"new"),
        "delete": lambda: other.delete("a"),
        "update_meta": lambda: other.update_meta("a", description="d"),
    }
    read = audit._read

    def meanwhile(*args: Any) -> Any:
        if acts:
            acts.pop(act)()
            acts.clear()
        return read(*args)

    monkeypatch.setattr(audit, "_read", meanwhile)
    report = store.check(read_data=True)
    assert kinds(report) == ([], [])
    assert report.read == 2


def test_check_beside_writers(store: ObjectStore, other: ObjectStore) -> None:
    """Whatever is put, replaced, renamed and deleted meanwhile, nothing is called broken."""
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with other.put(f"{number % 7}", chunk_size=CHUNK) as writer:
                writer.write(pattern(number % 5 * CHUNK + 1))
            if number % 3 == 0:
                other.delete(f"{number % 7}")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(15):
            report = store.check(read_data=number % 2 == 0)
            assert report.problems == ()
            assert {w.kind for w in report.warnings} <= {"orphan"}
    finally:
        stop.set()
        thread.join()
    assert kinds(store.check(read_data=True)) == ([], [])


def test_missing_bucket(client: Client, store: ObjectStore) -> None:
    client.delete_object_store(store.bucket)
    for call in (store.check, store.sweep):
        with pytest.raises(BucketNotFoundError):
            call()  # type: ignore[operator]


# Sweep


def test_nothing_is_swept_that_belongs_to_an_object(audited: ObjectStore, raw: RawBucket) -> None:
    """However old: links, renamed objects, objects of other clients under their subjects."""
    put_chunked(audited, "a", 5 * CHUNK)
    audited.put("b", b"moved")
    audited.update_meta("b", new_name="c")
    audited.add_link("l", audited.get_info("a"))
    nuid = raw.put_object("d", [b"foreign"])
    raw.put_meta("d", {**raw.meta("d"), "name": "e"}, subject=f"$O.{raw.name}.M.strange")
    raw.purge(raw.meta_subject("d"))
    before = raw.chunks
    assert nuid in before
    report = audited.sweep(min_age=0, dry_run=False)
    assert report
    assert report.orphans == ()
    assert raw.chunks == before


def test_orphans_are_swept(audited: ObjectStore, raw: RawBucket) -> None:
    """First it is shown, and nothing else is the default."""
    nuids = [leave_orphan(raw), leave_orphan(raw, 1)]
    audited.put("a", b"data")
    before = raw.chunks
    assert audited.sweep().orphans == ()  # a day has not passed
    assert audited.sweep().young == 2
    report = audited.sweep(min_age=0)
    assert [(o.nuid, o.chunks, o.size) for o in report.orphans] == [
        (nuids[0], 3, 3 * CHUNK),
        (nuids[1], 1, CHUNK),
    ]
    assert report.dry_run
    assert raw.chunks == before
    swept = audited.sweep(min_age=0, dry_run=False)
    assert swept.orphans == report.orphans
    assert not swept.dry_run
    assert set(raw.chunks) == {audited.get_info("a").nuid}
    assert audited.sweep(min_age=0, dry_run=False).orphans == ()


@pytest.mark.parametrize("moment", ["before the last byte", "before the commit"])
def test_upload_that_was_swept_replaces_nothing(
    store: ObjectStore,
    other: ObjectStore,
    raw: RawBucket,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    """It paused for longer than `min_age`. What was there before is still there."""
    monkeypatch.setattr(publisher, "_LONG", 0.0)
    monkeypatch.setattr(publisher, "_COUNT_PATIENCE", 0.0)
    store.put("a", b"old")
    writer = store.put("a", chunk_size=CHUNK)
    writer.write(pattern(1000 * CHUNK))
    if moment == "before the commit":
        writer.finish()
    wait_until(lambda: raw.chunks.get(writer._nuid, 0) == 1000 - writer._filled // CHUNK)
    assert len(other.sweep(min_age=0, dry_run=False).orphans) == 1
    with pytest.raises(ProtocolError, match="messages where 1000 were stored"):
        writer.close()
    assert store.get_bytes("a") == b"old"
    assert set(raw.chunks) == {store.get_info("a").nuid}


def test_sweep_spares_what_no_writer_looks_after() -> None:
    """Who has been writing for less than the time between the two looks does not look."""
    assert publisher._LONG <= GRACE


def test_chunks_of_deleted_objects_are_swept(store: ObjectStore, raw: RawBucket) -> None:
    """Of a delete that was broken off before its purge."""
    nuid = store.put("a", b"data").nuid
    store.delete("a")
    raw.put_chunk(nuid, b"data")
    assert [orphan.nuid for orphan in store.sweep(min_age=0, dry_run=False).orphans] == [nuid]
    assert raw.chunks == {}


def test_age_is_that_of_the_last_chunk(store: ObjectStore, raw: RawBucket) -> None:
    """An upload that goes on has a young one, however old the first is."""
    nuid = leave_orphan(raw, 1)
    (first,) = raw.chunk_messages(nuid)
    old = store.sweep(min_age=0).orphans[0]
    later = leave_orphan(raw, 1)
    age = (store.sweep(min_age=0).orphans[1].stored_at - old.stored_at).total_seconds()
    raw.put_chunk(nuid, b"more")
    report = store.sweep(min_age=0)
    assert [orphan.nuid for orphan in report.orphans] == [later, nuid]
    assert report.orphans[1].stored_at > old.stored_at
    assert age > 0
    assert first["seq"] == 1


def test_clock_of_the_server_counts(store: ObjectStore, raw: RawBucket) -> None:
    """Ours may be wrong by a day."""
    leave_orphan(raw)
    server_time = audit._server_time(store._bucket, 10.0)
    orphan = store.sweep(min_age=0).orphans[0]
    assert timedelta(0) <= server_time - orphan.stored_at < timedelta(seconds=60)


@pytest.mark.parametrize("meta", [b"", b"{", b'{"nuid": ">"}', b'{"nuid": 5, "name": "a"}'])
def test_nothing_is_swept_beside_an_unreadable_meta(
    audited: ObjectStore, raw: RawBucket, meta: bytes
) -> None:
    """Its chunks might be any. When it is put again, sweeping goes on."""
    nuid = leave_orphan(raw)
    raw.put_meta("a", meta)
    report = audited.sweep(min_age=0, dry_run=False)
    assert not report
    assert report.obstacles == ("a",)
    assert [orphan.nuid for orphan in report.orphans] == [nuid]
    assert set(raw.chunks) == {nuid}
    audited.put("a", b"again")
    assert audited.sweep(min_age=0, dry_run=False)
    assert nuid not in raw.chunks


def test_unreadable_meta_keeps_the_chunks_that_it_names(store: ObjectStore, raw: RawBucket) -> None:
    """What is wrong with it is not its id."""
    nuid = raw.put_object("a", [b"data"], size=-1)
    orphan = leave_orphan(raw)
    report = store.sweep(min_age=0, dry_run=False)
    assert report
    assert [o.nuid for o in report.orphans] == [orphan]
    assert set(raw.chunks) == {nuid}


def test_object_that_a_listing_leaves_out_is_kept(
    store: ObjectStore, raw: RawBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As listings of old servers may: the subjects tell of it."""
    info = store.put("a", b"data")
    orphan = leave_orphan(raw)
    monkeypatch.setattr(audit, "iterate_metas", lambda bucket, deadline: iter(()))
    report = store.sweep(min_age=0, dry_run=False)
    assert [o.nuid for o in report.orphans] == [orphan]
    assert set(raw.chunks) == {info.nuid}
    assert store.check().objects == 1


def test_strange_subjects_are_left_alone(store: ObjectStore, raw: RawBucket) -> None:
    """What is no id is never part of a purge."""
    for token in ("short", "a.b", "x" * 23):
        raw.publish(f"$O.{raw.name}.C.{token}", b"x")
    assert store.sweep(min_age=0, dry_run=False).orphans == ()
    assert len(raw.chunks) == 3


def between_the_looks(
    store: ObjectStore, act: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Act when a sweep has chosen what to remove, and has not looked again."""

    class Closing:
        def wait(self, timeout: float) -> bool:
            act()
            return False

    class Connection:
        def __init__(self, real: Any) -> None:
            self._real = real

        closing = Closing()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

    bucket: Any = store._bucket
    js = JetStream(bucket.js.connection)
    monkeypatch.setattr(js, "connection", Connection(js.connection))
    monkeypatch.setattr(bucket, "js", js)


def test_object_that_is_committed_meanwhile_is_kept(
    store: ObjectStore, other: ObjectStore, raw: RawBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its upload took longer than the age that was given; it is there at the second look."""
    writer = other.put("a", chunk_size=CHUNK)
    writer.write(pattern(100 * CHUNK))
    orphan = leave_orphan(raw)
    seen = store.sweep(min_age=0)
    assert orphan in [o.nuid for o in seen.orphans]
    between_the_looks(store, writer.close, monkeypatch)
    report = store.sweep(min_age=0, dry_run=False)
    assert [o.nuid for o in report.orphans] == [orphan]
    assert other.get_bytes("a") == pattern(100 * CHUNK)


def test_upload_that_goes_on_meanwhile_is_kept(
    store: ObjectStore, raw: RawBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk has come since the first look: so somebody still writes."""
    nuid = leave_orphan(raw)
    between_the_looks(store, lambda: raw.put_chunk(nuid, b"more"), monkeypatch)
    report = store.sweep(min_age=0, dry_run=False)
    assert report.orphans == ()
    assert raw.chunks == {nuid: 4}


def test_meta_that_becomes_unreadable_meanwhile_stops_it(
    store: ObjectStore, raw: RawBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    nuid = leave_orphan(raw)
    between_the_looks(store, lambda: raw.put_meta("a", b"{"), monkeypatch)
    report = store.sweep(min_age=0, dry_run=False)
    assert report.obstacles == ("a",)
    assert set(raw.chunks) == {nuid}


def test_name_that_was_away_for_a_moment_is_kept(
    store: ObjectStore, raw: RawBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some clients rename by removing the old name before they store the new one."""
    info = store.put("a", b"data")
    meta = raw.meta("a")
    raw.purge(raw.meta_subject("a"))
    between_the_looks(store, lambda: raw.put_meta("b", {**meta, "name": "b"}), monkeypatch)
    assert store.sweep(min_age=0, dry_run=False).orphans == ()
    assert set(raw.chunks) == {info.nuid}
    assert store.get_bytes("b") == b"data"


def test_purge_spares_what_comes_after_the_last_look() -> None:
    """It names the sequence up to which it removes."""
    purges: list[Any] = []

    def purge(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        purges.append(json.loads(command.payload))
        go_on()

    bucket = FakeBucket(purge=purge)
    with FakeServer(bucket) as server, bucket.open(server) as store:
        nuid = store.put("a", b"data").nuid
        last = bucket.messages[0].seq
        now = audit._server_time(store._bucket, 10.0)
        assert audit._remove(store._bucket, nuid, now, Deadline(10.0))
    assert purges == [{"filter": f"$O.b.C.{nuid}", "seq": last + 1}]


def test_sweep_beside_writers(
    store: ObjectStore, other: ObjectStore, raw: RawBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an age that no upload reaches, it removes what is left over and nothing else."""
    monkeypatch.setattr(audit, "_GRACE", 0.02)
    stop = threading.Event()
    expected: dict[str, bytes] = {}

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            name, data = f"{number % 5}", pattern(number % 4 * CHUNK + 1)
            with other.put(name, chunk_size=CHUNK) as writer:
                writer.write(data)
            expected[name] = data
            if number % 4 == 0:
                other.update_meta(name, new_name=f"r{name}-{number}")
                expected[f"r{name}-{number}"] = expected.pop(name)

    nuid = leave_orphan(raw)
    thread = threading.Thread(target=write)
    thread.start()
    try:
        swept: list[str] = []
        while nuid not in swept:
            report = store.sweep(min_age=1.0, dry_run=False)
            swept += [orphan.nuid for orphan in report.orphans]
    finally:
        stop.set()
        thread.join()
    assert swept == [nuid]
    assert {name: store.get_bytes(name) for name in store} == expected
    assert kinds(store.check(read_data=True)) == ([], [])


def test_sealed_bucket_cannot_be_swept(store: ObjectStore, raw: RawBucket) -> None:
    leave_orphan(raw)
    store.seal()
    assert len(store.sweep(min_age=0).orphans) == 1
    with pytest.raises(BucketSealedError):
        store.sweep(min_age=0, dry_run=False)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"min_age": -1}, ValueError),
        ({"min_age": float("nan")}, ValueError),
        ({"min_age": float("inf")}, ValueError),
        ({"min_age": "1d"}, TypeError),
        ({"min_age": True}, TypeError),
        ({"dry_run": None}, TypeError),
        ({"dry_run": 0}, TypeError),
    ],
)
def test_nonsense_is_refused(store: ObjectStore, arguments: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(arguments))):
        store.sweep(**arguments)
