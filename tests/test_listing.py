"""Listing: every object that is there, once, whatever happens meanwhile."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import pytest

from objstore import listing, naming
from objstore.client import Client
from objstore.core.deadline import Deadline
from objstore.errors import JetStreamError
from objstore.store import ObjectStore
from tests.helpers import wait_until
from tests.raw_bucket import RawBucket

TIMEOUT = 20.0


@pytest.fixture(params=["snapshot", "consumer", "one by one"])
def listed(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    client: Client,
    store: ObjectStore,
    raw: RawBucket,
) -> ObjectStore:
    """A bucket that is listed in one of the three ways."""
    if request.param == "consumer":
        refusal = JetStreamError(413, 0, "Too Many Results")
        monkeypatch.setattr(listing, "_take_snapshot", Mock(side_effect=refusal))
    elif request.param == "one by one":
        raw.call("STREAM.UPDATE.%", {**raw.config, "allow_direct": False})
    return client.object_store(store.bucket)


def names(store: ObjectStore, **options: object) -> list[str]:
    return [info.name for info in store.list(**options)]  # type: ignore[arg-type]


def test_empty_bucket_is_an_empty_list(listed: ObjectStore) -> None:
    assert listed.list() == list(listed) == []
    assert listed.list(show_deleted=True, prefix="a") == []


def test_objects_come_in_the_order_of_their_last_change(listed: ObjectStore) -> None:
    for name in "badc":
        listed.put(name, name.encode())
    listed.put("a", b"again")
    listed.update_meta("b", description="d")
    assert names(listed) == list(listed) == ["d", "c", "a", "b"]


def test_infos_are_those_of_the_objects(listed: ObjectStore) -> None:
    """Links among them."""
    listed.put("a", b"data", description="d", headers={"k": "v"}, metadata={"m": "n"})
    listed.add_link("l", listed.get_info("a"))
    assert listed.list() == [listed.get_info("a"), listed.get_info("l")]


def test_deleted_objects_are_shown_if_asked_for(listed: ObjectStore) -> None:
    for name in "abc":
        listed.put(name, b"x")
    listed.delete("b")
    listed.delete("c", purge=True)
    assert names(listed) == list(listed) == ["a"]
    infos = listed.list(show_deleted=True)
    assert [(info.name, info.deleted) for info in infos] == [("a", False), ("b", True)]


def test_prefix_chooses(listed: ObjectStore) -> None:
    """It is the beginning of a name, and no more: `/` and `*` are letters."""
    for name in ("a", "a/b", "a/c", "ab", "b/a", "*"):
        listed.put(name, b"x")
    assert names(listed, prefix="a/") == ["a/b", "a/c"]
    assert names(listed, prefix="a") == ["a", "a/b", "a/c", "ab"]
    assert names(listed, prefix="*") == ["*"]
    assert names(listed, prefix="x") == []


def test_last_of_several_metas_of_a_name_is_listed(listed: ObjectStore, raw: RawBucket) -> None:
    """Some clients do not roll up."""
    info = listed.put("a", b"data")
    fields = raw.meta("a")
    raw.put_meta("a", {**fields, "description": "second"}, rollup=False)
    listed.put("b", b"x")
    raw.put_meta("a", {**fields, "description": "third"}, rollup=False)
    assert [(i.name, i.description) for i in listed.list()] == [("b", ""), ("a", "third")]
    assert listed.list()[1].nuid == info.nuid


def test_entry_that_cannot_be_read_is_left_out(
    listed: ObjectStore, raw: RawBucket, caplog: pytest.LogCaptureFixture
) -> None:
    """At any place, with a warning; the rest is listed."""
    for name in "abcd":
        listed.put(name, b"x")
    raw.put_meta("b", b"{")
    listed.put("e", b"x")
    seq = raw.put_meta("f", {"name": "", "nuid": "x"})
    with caplog.at_level(logging.WARNING):
        assert names(listed) == ["a", "c", "d", "e"]
    assert f"skipped message {seq}" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("count", [1023, 1024, 1025, 2500])
def test_any_number_of_objects_is_listed(store: ObjectStore, raw: RawBucket, count: int) -> None:
    """More than a snapshot holds, too; no consumer is left behind."""
    store.put_many((f"{number}", b"") for number in range(count))
    assert names(store) == [f"{number}" for number in range(count)]
    assert sum(1 for _ in store) == count
    wait_until(lambda: raw.consumers == 0)


@pytest.mark.slow
def test_listing_misses_nothing_while_others_write(listed: ObjectStore) -> None:
    """Each of the names is there all the time, so each is in every listing, once."""
    wanted = {f"{number}" for number in range(60)}
    listed.put_many((name, b"") for name in wanted)

    def overwrite() -> None:
        for _ in range(20):
            listed.put_many((name, b"") for name in wanted)

    with ThreadPoolExecutor() as pool:
        writing = pool.submit(overwrite)
        while not writing.done():
            found = names(listed)
            assert len(found) == len(wanted) and set(found) == wanted
        writing.result(TIMEOUT)


def test_snapshot_of_one_that_lags_is_not_believed(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica, or a mirror, that has not seen the last change yet: the leader is asked."""
    for stored in ([], ["a"]):
        old = listing._take_snapshot(store._bucket, Deadline(TIMEOUT))
        monkeypatch.setattr(listing, "_take_snapshot", Mock(return_value=old))
        store.put("ab"[len(stored)], b"x")
        assert names(store) == [*stored, "ab"[len(stored)]]
        monkeypatch.undo()


def test_iterating_may_stop_early(listed: ObjectStore, raw: RawBucket) -> None:
    """And leaves nothing on the server."""
    listed.put_many((f"{number}", b"") for number in range(50))
    for _ in listed:
        break
    wait_until(lambda: raw.consumers == 0)


def test_changing_the_store_while_iterating_is_fine(listed: ObjectStore) -> None:
    """What is iterated over is as it was."""
    listed.put_many((f"{number}", b"") for number in range(20))
    for name in listed:
        del listed[name]
        listed.put(f"new-{name}", b"")
    assert names(listed) == [f"new-{number}" for number in range(20)]


@pytest.mark.parametrize("call", [lambda store: store.list(), lambda store: list(store)])
def test_listing_needs_no_room(
    client: Client, bucket: str, call: Callable[[ObjectStore], list[object]]
) -> None:
    """Also of a bucket that is full."""
    store = client.create_object_store(bucket, max_bytes=10_000)
    store.put("a", bytes(9_000))
    assert len(call(store)) == 1
    client.delete_object_store(bucket)


def test_names_are_those_that_lead_to_objects(listed: ObjectStore, raw: RawBucket) -> None:
    """Whatever is stored where, each of them once, and none that is gone."""
    for name in "abcde":
        listed.put(name, b"x")
    fields = raw.meta("a")
    subject = naming.meta_subject(listed.bucket, "b")
    raw.put_meta("b", {**fields, "name": "a"})  # stored where another name belongs
    raw.put_meta("c", b"{")
    listed.delete("d")
    deeper = subject.replace(".M.", ".M.x.")
    raw.publish(deeper, json.dumps({**fields, "name": "b"}).encode())
    assert list(listed) == ["a", "e"]
    listed.put("b", b"again")
    assert list(listed) == ["a", "e", "b"]
    assert names(listed) == ["a", "e", "b"]
