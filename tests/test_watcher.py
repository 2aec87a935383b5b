"""`ObjectWatcher`: what is there, then one None, then what changes, and nothing is lost."""

from __future__ import annotations

import gc
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from objstore import naming
from objstore.client import Client
from objstore.errors import (
    BucketNotFoundError,
    ConnectionLostError,
    RequestTimeoutError,
)
from objstore.jetstream import consumer as consumer_module
from objstore.models import ObjectInfo
from objstore.server import LocalServer
from objstore.store import ObjectStore
from objstore.watcher import ObjectWatcher
from tests.fake_bucket import FakeBucket
from tests.fake_server import Command, FakeConnection, FakeServer
from tests.helpers import wait_until
from tests.proxy import Proxy
from tests.raw_bucket import RawBucket

TIMEOUT = 15.0
SHORT = 0.1


def take(watcher: ObjectWatcher, count: int) -> list[str | None]:
    """The names of the next infos, those of deleted objects with a minus."""
    return [describe(watcher.next(TIMEOUT)) for _ in range(count)]


def describe(info: ObjectInfo | None) -> str | None:
    return None if info is None else f"{'-' if info.deleted else ''}{info.name}"


def assert_quiet(watcher: ObjectWatcher) -> None:
    with pytest.raises(RequestTimeoutError):
        watcher.next(SHORT)


# What is seen


def test_what_is_there_comes_first_then_what_changes(store: ObjectStore) -> None:
    """In the order of the last change, with one None between."""
    for name in "bac":
        store.put(name, b"x")
    store.put("b", b"y")
    store.delete("c")
    with store.watch() as watcher:
        assert take(watcher, 4) == ["a", "b", "-c", None]
        assert_quiet(watcher)
        info = store.put("d", b"x")
        store.update_meta("a", description="d")
        store.delete("d")
        found = [watcher.next(TIMEOUT) for _ in range(3)]
        assert [describe(one) for one in found] == ["d", "a", "-d"]
        assert found[0] is not None and found[0].nuid == info.nuid
        assert found[0].revision == info.revision
        assert found[1] == store.get_info("a")
        assert_quiet(watcher)


def test_empty_bucket_begins_with_the_none(store: ObjectStore) -> None:
    with store.watch() as watcher:
        assert take(watcher, 1) == [None]
        store.put("a", b"x")
        assert take(watcher, 1) == ["a"]


def test_bucket_of_deleted_objects_alone(store: ObjectStore) -> None:
    """The None comes, whether they are shown or not."""
    store.put("a", b"x")
    store.delete("a")
    with store.watch() as watcher:
        assert take(watcher, 2) == ["-a", None]
    with store.watch(ignore_deletes=True) as watcher:
        assert take(watcher, 1) == [None]
        assert_quiet(watcher)


def test_deletes_are_ignored_if_asked_for(store: ObjectStore) -> None:
    store.put("a", b"x")
    store.put("b", b"x")
    store.delete("a")
    with store.watch(ignore_deletes=True) as watcher:
        assert take(watcher, 2) == ["b", None]
        store.delete("b")
        store.put("c", b"x")
        assert take(watcher, 1) == ["c"]


def test_updates_only_leaves_out_what_is_there(store: ObjectStore) -> None:
    """And the None; what changes from the call on is seen, also before the first `next`."""
    store.put("a", b"x")
    with store.watch(updates_only=True) as watcher:
        store.put("b", b"x")
        assert take(watcher, 1) == ["b"]
        assert_quiet(watcher)
        store.delete("a")
        assert take(watcher, 1) == ["-a"]


def test_history_shows_every_version_that_is_stored(store: ObjectStore, raw: RawBucket) -> None:
    """More than one where a client does not roll up."""
    store.put("a", b"x")
    fields = raw.meta("a")
    store.put("b", b"x")
    raw.put_meta("a", {**fields, "description": "second"}, rollup=False)
    with store.watch(include_history=True) as watcher:
        assert take(watcher, 4) == ["a", "b", "a", None]
    with store.watch() as watcher:
        assert take(watcher, 3) == ["b", "a", None]
    store.put("c", b"x")
    with store.watch(include_history=True) as watcher:
        assert take(watcher, 5) == ["a", "b", "a", "c", None]


def test_history_without_what_is_there_is_refused(store: ObjectStore) -> None:
    with pytest.raises(ValueError, match="exclude"):
        store.watch(include_history=True, updates_only=True)


def test_prefix_chooses(store: ObjectStore) -> None:
    for name in ("a/1", "b/1", "a"):
        store.put(name, b"x")
    with store.watch(prefix="a/") as watcher:
        assert take(watcher, 2) == ["a/1", None]
        for name in ("b/2", "a/2"):
            store.put(name, b"x")
        assert take(watcher, 1) == ["a/2"]


def test_rename_is_the_new_name(store: ObjectStore) -> None:
    """The old one tells of it first; then nothing is left of it to be seen."""
    store.put("a", b"x")
    with store.watch() as watcher:
        assert take(watcher, 2) == ["a", None]
        store.update_meta("a", new_name="b")
        assert take(watcher, 2) == ["a", "b"]
        assert_quiet(watcher)


def test_entry_that_cannot_be_read_is_left_out(
    store: ObjectStore, raw: RawBucket, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where it is the last one; the None comes all the same."""
    store.put("a", b"x")
    raw.put_meta("b", b"{")
    with caplog.at_level(logging.WARNING), store.watch() as watcher:
        assert take(watcher, 2) == ["a", None]
        raw.put_meta("c", b"[]")
        store.put("d", b"x")
        assert take(watcher, 1) == ["d"]
    assert caplog.text.count("skipped") == 2


def test_watchers_do_not_disturb_each_other(store: ObjectStore) -> None:
    with store.watch() as one, store.watch(updates_only=True) as two:
        store.put("a", b"x")
        assert take(two, 1) == ["a"]
        assert set(take(one, 2)) == {"a", None}
        assert "ObjectWatcher" in repr(one) and store.bucket in repr(one)


@pytest.mark.slow
def test_every_change_of_many_is_seen(store: ObjectStore) -> None:
    """Per name the versions rise, and the last one is always seen."""
    store.put_many((f"{number % 20}", b"") for number in range(100))
    seen: dict[str, list[int]] = {}
    with store.watch() as watcher:
        while (info := watcher.next(TIMEOUT)) is not None:
            seen.setdefault(info.name, []).append(info.revision)
        assert len(seen) == 20

        def change() -> None:
            store.put_many((f"{number % 20}", b"") for number in range(2000))
            store.put("end", b"")

        with ThreadPoolExecutor() as pool:
            changing = pool.submit(change)
            while (info := watcher.next(TIMEOUT)) is not None and info.name != "end":
                seen[info.name].append(info.revision)
            changing.result(TIMEOUT)
    for name, revisions in seen.items():
        assert revisions == sorted(set(revisions))
        assert revisions[-1] == store.get_info(name).revision


@pytest.mark.slow
def test_none_comes_after_all_that_is_there(store: ObjectStore) -> None:
    """Whoever writes meanwhile: each name was there all the time, so each comes before it."""
    wanted = {f"{number}" for number in range(60)}
    store.put_many((name, b"") for name in wanted)
    done = threading.Event()

    def overwrite() -> None:
        while not done.is_set():
            store.put_many((name, b"") for name in wanted)

    with ThreadPoolExecutor() as pool:
        writing = pool.submit(overwrite)
        try:
            for _ in range(30):
                with store.watch() as watcher:
                    assert {info.name for info in iter_until_none(watcher)} == wanted
        finally:
            done.set()
        writing.result(TIMEOUT)


@pytest.mark.slow
def test_none_waits_for_a_replica_that_lags() -> None:
    """However long: the leader says that there is more."""
    meta = b'{"name":"a","bucket":"b","nuid":"0000000000000000000000","size":0,"chunks":0}'

    def lag(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        if fake.count["pull"] < 5:
            threading.Event().wait(0.7)  # longer, together, than two seconds
            conn.reply(command, headers=b"NATS/1.0 404 No Messages\r\n\r\n")
        else:
            go_on()

    fake = FakeBucket(pull=lag)
    fake.store(Command("HPUB", "$O.b.M.YQ==", payload=meta))
    with FakeServer(fake) as server, fake.open(server) as store, store.watch() as watcher:
        assert take(watcher, 2) == ["a", None]


def test_none_comes_in_a_bucket_that_never_rests() -> None:
    """Where it ends is asked a few times, and not for ever."""

    def overwrite(conn: FakeConnection, command: Command, go_on: Callable[[], None]) -> None:
        number = fake.count["pull"]
        if command.json.get("no_wait"):
            go_on()
            name = b"%d" % number
            payload = b'{"name":"%s","nuid":"0000000000000000000000"}' % name
            fake.store(Command("HPUB", naming.meta_subject("b", name.decode()), payload=payload))

    fake = FakeBucket(pull=overwrite)
    with FakeServer(fake) as server, fake.open(server) as store, store.watch() as watcher:
        assert list(iter_until_none(watcher))
        assert fake.count["pull"] < 10


def iter_until_none(watcher: ObjectWatcher) -> Iterator[ObjectInfo]:
    while (info := watcher.next(TIMEOUT)) is not None:
        yield info


# Its end


def test_timeout_is_no_end(store: ObjectStore) -> None:
    """The watch goes on; zero asks without waiting."""
    with store.watch() as watcher:
        assert take(watcher, 1) == [None]
        for timeout in (0, 0.01, 0):
            with pytest.raises(RequestTimeoutError):
                watcher.next(timeout)
        store.put("a", b"x")
        assert take(watcher, 1) == ["a"]


@pytest.mark.parametrize("way", ["next", "for"])
def test_stop_ends_it_from_another_thread(store: ObjectStore, raw: RawBucket, way: str) -> None:
    """`next` says so, a loop ends; nothing is left on the server."""
    watcher = store.watch()
    assert take(watcher, 1) == [None]
    assert raw.consumers == 1

    def wait() -> Any:
        if way == "for":
            return list(watcher)
        with pytest.raises(ValueError, match="stopped"):
            watcher.next()
        return []

    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(wait)
        threading.Event().wait(0.05)  # for it to wait; if it does not yet, all is well too
        watcher.stop()
        assert waiting.result(TIMEOUT) == []
    watcher.stop()
    with pytest.raises(ValueError, match="stopped"):
        watcher.next(0)
    assert list(watcher) == []
    assert "stopped" in repr(watcher)
    wait_until(lambda: raw.consumers == 0)


@pytest.mark.slow
def test_stop_ends_it_while_the_leader_is_asked_where_the_end_is(
    server: LocalServer, store: ObjectStore
) -> None:
    """There may be no leader to answer, for as long as it takes."""
    store.put("a", b"x")
    with Proxy(server.port) as proxy, Client(proxy.url) as client, ThreadPoolExecutor() as pool:
        watcher = client.object_store(store.bucket).watch()
        asked = proxy.on(b"$JS.API.STREAM.MSG.GET.", proxy.hold_c2s, before=True)
        waiting = pool.submit(list, watcher)
        assert asked.wait(TIMEOUT)
        watcher.stop()
        try:
            assert waiting.result(TIMEOUT) == []
        finally:
            proxy.release_c2s()


@pytest.mark.slow
def test_leader_that_does_not_answer_ends_no_watch(server: LocalServer, store: ObjectStore) -> None:
    """Only `next`, at its timeout."""
    store.put("a", b"x")
    with Proxy(server.port) as proxy, Client(proxy.url) as client:
        with client.object_store(store.bucket).watch() as watcher:
            proxy.on(b"$JS.API.STREAM.MSG.GET.", proxy.hold_c2s, before=True)
            with pytest.raises(RequestTimeoutError):
                watcher.next(1.2)
            proxy.release_c2s()
            assert [describe(watcher.next(TIMEOUT)), watcher.next(TIMEOUT)] == ["a", None]


def test_loop_may_stop_itself(store: ObjectStore, raw: RawBucket) -> None:
    store.put("a", b"x")
    seen = []
    with store.watch() as watcher:
        for info in watcher:
            if info is None:
                watcher.stop()
            else:
                seen.append(info.name)
    assert seen == ["a"]
    wait_until(lambda: raw.consumers == 0)


def test_loop_may_be_left_and_entered_again(store: ObjectStore) -> None:
    store.put("a", b"x")
    with store.watch() as watcher:
        for info in watcher:
            assert describe(info) == "a"
            break
        for info in watcher:
            assert info is None
            break
        store.put("b", b"x")
        assert describe(next(iter(watcher))) == "b"


def test_dropped_watcher_leaves_nothing_on_the_server(store: ObjectStore, raw: RawBucket) -> None:
    """In a cycle, too: the collector may run anywhere."""
    watcher: Any = store.watch()
    watcher.next(TIMEOUT)
    watcher.itself = watcher
    assert raw.consumers == 1
    del watcher
    gc.collect()
    store.put("a", b"x")  # the next to use the connection says farewell
    wait_until(lambda: raw.consumers == 0)


def test_watcher_of_a_closed_client_ends(server: LocalServer, store: ObjectStore) -> None:
    with Client(server.url) as client, ThreadPoolExecutor() as pool:
        watcher = client.object_store(store.bucket).watch()
        assert take(watcher, 1) == [None]
        waiting = pool.submit(watcher.next)
        client.close()
        with pytest.raises(ConnectionLostError):
            waiting.result(TIMEOUT)
        with pytest.raises(ConnectionLostError):
            watcher.next(TIMEOUT)
        assert list(watcher) == []  # a loop just ends
        watcher.stop()


def test_watcher_of_a_deleted_bucket_ends(
    client: Client, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason, as soon as the server's silence is noticed."""
    monkeypatch.setattr(consumer_module, "_SILENCE", 0.2)
    with store.watch() as watcher, ThreadPoolExecutor() as pool:
        assert take(watcher, 1) == [None]
        waiting = pool.submit(watcher.next)
        client.delete_object_store(store.bucket)
        with pytest.raises(BucketNotFoundError):
            waiting.result(TIMEOUT)
    with pytest.raises(BucketNotFoundError):
        store.watch()


def test_watcher_of_a_bucket_made_anew_ends(
    client: Client, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would wait for revisions that the new one reaches some day, or miss its first."""
    monkeypatch.setattr(consumer_module, "_SILENCE", 0.2)
    store.put("a", b"x")
    with store.watch() as watcher:
        assert take(watcher, 2) == ["a", None]
        client.delete_object_store(store.bucket)
        client.create_object_store(store.bucket).put("b", b"x")
        for _ in range(2):
            with pytest.raises(BucketNotFoundError, match="made anew"):
                watcher.next(TIMEOUT)


# Lost on the way


@contextmanager
def behind_proxy(server: LocalServer, bucket: str) -> Iterator[tuple[Proxy, ObjectStore]]:
    """The bucket, through a proxy."""
    with Proxy(server.port) as proxy, Client(proxy.url) as client:
        yield proxy, client.object_store(bucket)


@pytest.mark.parametrize("updates_only", [True, False])
@pytest.mark.slow
def test_lost_connection_only_delays(
    server: LocalServer, store: ObjectStore, updates_only: bool
) -> None:
    """What changed meanwhile is seen, what was seen is not repeated."""
    store.put("a", b"x")
    with behind_proxy(server, store.bucket) as (proxy, far):
        with far.watch(updates_only=updates_only) as watcher:
            if not updates_only:
                assert take(watcher, 2) == ["a", None]
            for turn in range(3):
                proxy.refuse()
                proxy.cut()
                store.put(f"{turn}", b"x")
                store.put("late", b"x")
                store.delete("late")
                proxy.accept()
                assert take(watcher, 2) == [f"{turn}", "-late"]
            assert_quiet(watcher)


@pytest.mark.parametrize("place", [1, 2, 30, 99])
def test_lost_connection_in_the_beginning_loses_nothing(
    server: LocalServer, store: ObjectStore, place: int
) -> None:
    """Cut while what is there is on its way: it comes once, and then the None."""
    store.put_many((f"{number}", b"") for number in range(100))
    meta = b"MSG $O." + store.bucket.encode() + b".M."
    with behind_proxy(server, store.bucket) as (proxy, far):
        fired = proxy.on(meta, proxy.cut, direction="s2c", nth=place, before=True)
        with far.watch() as watcher:
            assert take(watcher, 101) == [*(f"{number}" for number in range(100)), None]
        assert fired.wait(TIMEOUT)


def test_lost_connection_at_the_end_of_the_beginning_only_delays(
    server: LocalServer, store: ObjectStore
) -> None:
    """Cut when the leader is asked whether there is more."""
    store.put("a", b"x")
    with behind_proxy(server, store.bucket) as (proxy, far):
        fired = proxy.on(b'"last_by_subj"', proxy.cut, before=True)
        with far.watch() as watcher:
            assert take(watcher, 2) == ["a", None]
        assert fired.wait(TIMEOUT)


def test_deleted_consumer_is_replaced(store: ObjectStore, raw: RawBucket) -> None:
    """At once: the server says so."""
    with store.watch() as watcher:
        assert take(watcher, 1) == [None]
        raw.delete_consumers()
        store.put("a", b"x")
        assert take(watcher, 1) == ["a"]
        assert_quiet(watcher)


@pytest.mark.slow
def test_restarted_server_only_delays(make_server: Callable[..., LocalServer]) -> None:
    """It has forgotten the consumer, the watcher has not forgotten where it was."""
    server = make_server()
    with Client(server.url) as client:
        store = client.create_object_store("b")
        store.put("a", b"x")
        with store.watch() as watcher:
            assert take(watcher, 2) == ["a", None]
            changes: queue.Queue[Any] = queue.Queue()

            def follow() -> None:
                for info in watcher:
                    changes.put(describe(info))

            with ThreadPoolExecutor() as pool:
                following = pool.submit(follow)
                server.stop()
                make_server(directory=server.directory, port=server.port)
                with Client(server.url) as other:
                    other.object_store("b").put("c", b"x")
                assert changes.get(timeout=TIMEOUT) == "c"
                watcher.stop()
                following.result(TIMEOUT)
            assert changes.empty()
