"""What disappears while it is used is missed by name, and soon: nothing waits for ever."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from objstore.client import Client
from objstore.errors import BucketNotFoundError, ObjectChangedError
from objstore.reader import ObjectReader
from objstore.store import ObjectStore
from objstore.writer import ObjectWriter
from tests.fake_bucket import FakeBucket
from tests.fake_server import Command, FakeConnection, FakeServer
from tests.helpers import pattern

#: Seconds until an error must be there.
SOON = 5.0

#: Sizes that are read in different ways: one message, a batch, a consumer.
SIZES = [1000, 1_000_000, 20_000_000]


@contextmanager
def soon() -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < SOON


# A bucket


def watch_to_the_end(store: ObjectStore) -> None:
    for _ in store.watch():
        pass


#: Every operation of a store, each with its default timeout of 30 seconds.
OPERATIONS: dict[str, Callable[[ObjectStore], Any]] = {
    "put": lambda store: store.put("b", b"data"),
    "put over": lambda store: store.put("a", b"data"),
    "put nothing": lambda store: store.put("b", b""),
    "put much": lambda store: store.put("b", pattern(5_000_000)),
    "put if absent": lambda store: store.put("b", b"data", if_absent=True),
    "put many": lambda store: store.put_many({"b": b"data", "c": b"data"}),
    "open to write": lambda store: store.open("b", "wb").close(),
    "get": lambda store: store.get("a"),
    "get bytes": lambda store: store.get_bytes("a"),
    "get many": lambda store: list(store.get_many(["a"])),
    "get through a link": lambda store: store.get("link"),
    "info": lambda store: store.get_info("a"),
    "in": lambda store: "a" in store,
    "update_meta": lambda store: store.update_meta("a", description="d"),
    "rename": lambda store: store.update_meta("a", new_name="b"),
    "delete": lambda store: store.delete("a"),
    "delete if there": lambda store: store.delete("a", missing_ok=True),
    "add_bucket_link": lambda store: store.add_bucket_link("b", store.bucket),
    "list": lambda store: store.list(),
    "iteration": lambda store: list(store),
    "watch": watch_to_the_end,
    "watch for updates": lambda store: store.watch(updates_only=True),
    "status": lambda store: store.status(),
    "seal": lambda store: store.seal(),
    "copy": lambda store: store.copy("a", "b"),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_bucket_is_missed_by_every_operation(
    client: Client, store: ObjectStore, operation: str
) -> None:
    """Its store object is no use any more, and says so."""
    store.add_link("link", store.put("a", b"data"))
    client.delete_object_store(store.bucket)
    with soon(), pytest.raises(BucketNotFoundError) as caught:
        OPERATIONS[operation](store)
    assert caught.value.bucket == store.bucket


def read_on(reader: ObjectReader, read: bytearray) -> None:
    while piece := reader.read(100_000):
        read += piece


@pytest.mark.parametrize("begun", [0, 500])
@pytest.mark.parametrize("size", SIZES)
def test_bucket_is_missed_by_a_reader(
    client: Client, store: ObjectStore, size: int, begun: int
) -> None:
    """Whatever has arrived already, no byte after that is made up."""
    data = pattern(size)
    store.put("a", data)
    with store.get("a") as reader:
        read = bytearray(reader.read(begun))
        client.delete_object_store(store.bucket)
        if size == SIZES[0]:
            read_on(reader, read)  # all of it came with the meta
            assert read == data
            return
        with soon(), pytest.raises(BucketNotFoundError) as caught:
            read_on(reader, read)
    assert caught.value.bucket == store.bucket
    assert data.startswith(read)


def write_and_close(writer: ObjectWriter, data: bytes) -> None:
    writer.write(data)
    writer.close()


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 1000, 5_000_000])
def test_bucket_is_missed_by_a_writer(client: Client, store: ObjectStore, size: int) -> None:
    """At the next write or at the end, and the writer is closed then."""
    writer = store.put("a")
    writer.write(pattern(2_000_000))
    client.delete_object_store(store.bucket)
    with soon(), pytest.raises(BucketNotFoundError):
        write_and_close(writer, pattern(size))
    assert writer.closed


@pytest.mark.parametrize("begun", [False, True])
def test_bucket_is_missed_by_a_watcher(client: Client, store: ObjectStore, begun: bool) -> None:
    """While it waits for changes, which it does without a timeout."""
    with store.watch() as watcher:
        if begun:
            assert watcher.next(timeout=SOON) is None
        with ThreadPoolExecutor(1) as executor:
            future = executor.submit(lambda: list(watcher))
            client.delete_object_store(store.bucket)
            error = future.exception(timeout=SOON)
    assert isinstance(error, BucketNotFoundError)
    assert error.bucket == store.bucket


def test_bucket_of_a_links_target_is_missed(client: Client, store: ObjectStore) -> None:
    """By its own name, not that of the bucket with the link."""
    other = client.create_object_store(f"{store.bucket}-other")
    store.add_link("link", other.put("a", b"data"))
    client.delete_object_store(other.bucket)
    with soon(), pytest.raises(BucketNotFoundError) as caught:
        store.get("link")
    assert caught.value.bucket == other.bucket


# An object


CHANGES: dict[str, Callable[[ObjectStore], Any]] = {
    "deleted": lambda store: store.delete("a"),
    "deleted without a trace": lambda store: store.delete("a", purge=True),
    "overwritten": lambda store: store.put("a", b"new"),
    "overwritten by nothing": lambda store: store.put("a", b""),
    "replaced by a link": lambda store: (
        store.delete("a"),
        store.add_bucket_link("a", store.bucket),
    ),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("change", CHANGES)
def test_object_is_missed_by_a_reader(store: ObjectStore, change: str, size: int) -> None:
    """A reader that has begun goes on with its own version, or says that it is gone."""
    data = pattern(size)
    store.put("a", data)
    with store.get("a") as reader:
        CHANGES[change](store)
        if size == SIZES[0]:
            assert reader.readall() == data  # all of it came with the meta
            return
        with soon(), pytest.raises(ObjectChangedError) as caught:
            reader.readall()
        assert (caught.value.bucket, caught.value.name) == (store.bucket, "a")
        with soon(), pytest.raises(ObjectChangedError):
            reader.read(1)


@pytest.mark.parametrize("change", CHANGES)
def test_object_is_missed_in_the_middle(store: ObjectStore, change: str) -> None:
    """What was read before is right, and so is what still comes."""
    data = pattern(20_000_000)
    store.put("a", data)
    with store.get("a") as reader:
        read = bytearray(reader.read(3_000_000))
        CHANGES[change](store)
        with soon(), pytest.raises(ObjectChangedError):
            read_on(reader, read)
    assert data.startswith(read)
    assert len(read) < len(data)


# A request


class DyingBucket(FakeBucket):
    """
    A bucket that is deleted when it has taken a certain request, which nobody answers then.

    Attributes:
        last: Kind of that request.
    """

    def __init__(self) -> None:
        api = ("get", "purge", "info", "create", "delete")
        published = ("chunk", "meta", "direct", "pull")
        not_found = {"error": {"code": 404, "err_code": 10059, "description": "stream not found"}}
        no_responders = b"NATS/1.0 503\r\n\r\n"
        super().__init__(
            **{kind: partial(self._take, kind, payload=not_found) for kind in api},
            **{kind: partial(self._take, kind, headers=no_responders) for kind in published},
        )
        self.last = ""
        self.gone = False

    def _take(
        self,
        kind: str,
        conn: FakeConnection,
        command: Command,
        go_on: Callable[[], None],
        **answer: Any,
    ) -> None:
        if self.gone and command.reply:
            conn.reply(command, **answer)
        elif kind == self.last:
            self.gone = True
        elif not self.gone:
            go_on()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("last", "operation"),
    [
        ("chunk", "put"),
        ("chunk", "put many"),
        ("meta", "put"),
        ("direct", "get bytes"),
        ("direct", "get many"),
        ("direct", "list"),
        ("pull", "watch"),
    ],
)
def test_request_that_died_with_its_bucket_is_not_waited_for(last: str, operation: str) -> None:
    """A stream that is deleted forgets what it has taken and not answered yet."""
    bucket = DyingBucket()
    with FakeServer(bucket) as server, bucket.open(server) as store:
        store.put("a", b"data")
        bucket.last = last
        with soon(), pytest.raises(BucketNotFoundError):
            OPERATIONS[operation](store)
    assert bucket.gone
