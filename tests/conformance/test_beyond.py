"""What no other client tests: foreign data, races, links in circles, interrupts, fast paths."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from objstore.client import Client
from objstore.errors import (
    BadObjectMetaError,
    ConnectionLostError,
    LinkLoopError,
    ObjectChangedError,
    ObjectNotFoundError,
    ObjStoreError,
    PermissionsViolationError,
    PreconditionFailedError,
    TruncatedObjectError,
)
from objstore.models import ObjectLink
from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.conformance.helpers import (
    KIB,
    MIB,
    random_bytes,
    server_version,
    take,
    take_initial,
)
from tests.helpers import wait_until
from tests.proxy import Proxy
from tests.raw_bucket import RawBucket, digest_of

MakeStore = Callable[..., ObjectStore]
MakeServer = Callable[..., LocalServer]


# What other clients have stored


def test_tombstone_of_nats_py(store: ObjectStore, raw: RawBucket) -> None:
    """Empty `mtime` and `digest`, which break other clients, and a header that is no list."""
    info = store.put("A", b"data")
    tombstone = {
        **raw.meta("A"),
        "deleted": True,
        "size": 0,
        "chunks": 0,
        "digest": "",
        "mtime": "",
        "headers": {"key": "value"},
        "description": None,
    }
    raw.purge(raw.chunk_subject(info.nuid))
    raw.put_meta("A", tombstone)
    assert store.list() == []
    (shown,) = store.list(show_deleted=True)
    assert shown == store.get_info("A", show_deleted=True)
    assert (shown.deleted, shown.headers) == (True, {"key": ["value"]})
    with pytest.raises(ObjectNotFoundError):
        store.get("A")
    store.delete("A")
    store.put("A", b"again")  # and mends it
    assert store.get_bytes("A") == b"again"


def test_link_of_nats_js(make_store: MakeStore, client: Client) -> None:
    """No id, size or chunks, the bucket is the target's, and there is no rollup."""
    store, other = make_store(), make_store()
    raw = RawBucket(client._connection, other.bucket)
    target = store.put("target", b"data")
    link = {"bucket": store.bucket, "name": "target"}
    meta = {"name": "link", "bucket": store.bucket, "options": {"link": link}}
    raw.put_meta("link", meta, rollup=False)
    info = other.get_info("link")
    assert (info.bucket, info.nuid, info.size) == (other.bucket, "", 0)
    assert info.link == ObjectLink(store.bucket, "target")
    assert other.list() == [info]
    assert other.get_bytes("link") == b"data"
    other.update_meta("link", description="changed")
    assert other.get_bytes("link") == b"data"
    other.add_link("link", target)
    other.delete("link")
    assert other.list() == []
    assert store.get_bytes("target") == b"data"


def test_update_of_nats_js(store: ObjectStore, raw: RawBucket) -> None:
    """Several metas of one name, for want of a rollup: the last one counts, everywhere."""
    store.put("A", b"data")
    for number in range(3):
        meta = {**raw.meta("A"), "description": f"version {number}", "revision": 7}
        raw.put_meta("A", meta, rollup=False)
    store.put("B", b"data")
    assert raw.subjects()[raw.meta_subject("A")] == 4
    info = store.get_info("A")
    assert info.description == "version 2"
    assert [entry.name for entry in store.list()] == ["A", "B"]
    assert store.list()[0] == info
    with store.watch() as watcher:
        assert take_initial(watcher)[0] == info
    with store.watch(include_history=True) as watcher:
        seen = [entry.description for entry in take_initial(watcher)]
        assert seen == ["", "version 0", "version 1", "version 2", ""]
    store.put("A", b"mine")
    assert raw.subjects()[raw.meta_subject("A")] == 1


@pytest.mark.parametrize("chunks", [[], [b"full", b"full"], [b"full", b"x"]])
def test_trailing_empty_chunk_of_nats_net(
    store: ObjectStore, raw: RawBucket, chunks: list[bytes]
) -> None:
    """A chunk without bytes, which the meta does not count, is passed over."""
    data = b"".join(chunks)
    nuid = raw.put_object("A", [*chunks, b""], chunks=len(chunks), options={"max_chunk_size": 4})
    assert store.get_bytes("A") == data
    assert dict(store.get_many(["A"])) == {"A": data}
    with store.get("A") as reader:
        reader.seek(2)
        assert reader.read() == data[2:]
    store.delete("A")
    assert nuid not in raw.chunks


@pytest.mark.parametrize(
    ("name", "token"),
    [
        pytest.param("my?file~", "bXk/ZmlsZX4=", id="standard alphabet of nats.java"),
        pytest.param("é", "w6k", id="no padding of nats.c 3.11"),
        pytest.param("é", "6Q==", id="Latin-1 of nats.js"),
    ],
)
def test_names_that_others_encode_otherwise(
    store: ObjectStore, raw: RawBucket, name: str, token: str
) -> None:
    """They are listed, and got as they are listed; not by the name, which has another subject."""
    raw.put_object("plain", [b"theirs"])
    meta = {**raw.meta("plain"), "name": name}
    raw.put_meta(name, meta, subject=f"$O.{store.bucket}.M.{token}")
    plain, theirs = store.list()
    assert (plain.name, theirs.name) == ("plain", name)
    assert store.get_bytes(theirs) == b"theirs"
    with pytest.raises(ObjectNotFoundError):
        store.get(name)
    store.put(name, b"ours")
    assert store.get_bytes(name) == b"ours"


def test_uneven_chunks_are_sought(store: ObjectStore, raw: RawBucket) -> None:
    """Chunks of any size, as of clients that store what one read gives, among other objects'."""
    sizes = [1, 7000, 100_000, 131_072, 3, 50_000, 131_071, 131_072, 12]
    chunks = [random_bytes(size, number) for number, size in enumerate(sizes)]
    data = b"".join(chunks)
    nuid = raw.put_object("A", [], options={"max_chunk_size": 131_072}, size=len(data))
    for number, chunk in enumerate(chunks):
        raw.put_chunk(nuid, chunk)
        store.put(f"other {number}", b"in between")
    raw.put_meta("A", {**raw.meta("A"), "chunks": len(chunks), "digest": digest_of(data)})
    assert store.get_bytes("A") == data
    starts = [0]
    for size in sizes:
        starts.append(starts[-1] + size)
    with store.get("A") as reader:
        for start in [300_000, *starts, *(start - 1 for start in starts[:0:-1]), 131_072]:
            reader.seek(start)
            assert reader.read(20_000) == data[start : start + 20_000]
    with store.get("A", offset=107_000, length=200_000) as reader:
        assert reader.read() == data[107_000:307_000]


@pytest.mark.parametrize("nuid", [">", "*", "", "a.b", "x" * 22 + "\r\nPUB x 0"])
def test_hostile_id_purges_nothing(store: ObjectStore, raw: RawBucket, nuid: str) -> None:
    """A meta is foreign input: an id that is a wildcard is no id."""
    victim = store.put("victim", b"data")
    raw.put_object("evil", [], nuid=nuid)
    for call in (store.get, store.get_info, store.delete):
        with pytest.raises(BadObjectMetaError):
            call("evil")
    good = store.put("evil", b"good")  # whatever it replaces
    assert raw.chunks == {victim.nuid: 1, good.nuid: 1}
    assert store.get_bytes("victim") == b"data"


# Links


def test_link_loops(make_store: MakeStore) -> None:
    """Links that lead in a circle, of one, two or across buckets, end in an error."""
    store, other = make_store(), make_store()
    a, b = store.put("a", b"A"), other.put("b", b"B")
    store.delete("a")
    store.add_link("a", a)  # to itself
    with pytest.raises(LinkLoopError):
        store.get("a")
    assert store.get_info("a").is_link
    store.add_link("a", b)
    other.delete("b")
    other.add_link("b", a)
    for first, name in ((store, "a"), (other, "b")):
        with pytest.raises(LinkLoopError):
            first.get(name)
    other.delete("b")
    other.put("b", b"B")
    assert store.get_bytes("a") == b"B"


def test_chain_of_links(store: ObjectStore) -> None:
    """A chain, which arises when a link's target becomes a link, is followed for a while."""
    names = [f"link {number}" for number in range(10)]
    infos = [store.put(name, b"to be replaced") for name in names]
    end = store.put("end", b"data")
    for name, target in zip(names, [*infos[1:], end], strict=True):
        store.delete(name)
        store.add_link(name, target)
    assert store.get_bytes(names[2]) == b"data"
    with pytest.raises(LinkLoopError):
        store.get(names[0])


# At the same time


def test_two_writers_of_one_name_leave_no_orphan(store: ObjectStore, raw: RawBucket) -> None:
    """Whoever closes last wins, and has purged what the other one stored."""
    for first_wins in (False, True):
        first, second = store.put("A"), store.put("A")
        first.write(random_bytes(300 * KIB, 1))
        second.write(random_bytes(500 * KIB, 2))
        last, winner = (first, 1) if first_wins else (second, 2)
        for writer in (second, first) if first_wins else (first, second):
            writer.close()
        assert list(raw.chunks) == [last.info.nuid]
        assert store.get_info("A").revision == last.info.revision
        assert store.get_bytes("A") == random_bytes(300 * KIB if first_wins else 500 * KIB, winner)


def test_one_of_two_writers_on_a_condition_loses(store: ObjectStore, raw: RawBucket) -> None:
    """Of two that both found nothing, the second to close is refused, and leaves nothing."""
    first, second = store.put("A", if_absent=True), store.put("A", if_absent=True)
    first.write(b"first")
    second.write(b"second")
    first.close()
    with pytest.raises(PreconditionFailedError) as caught:
        second.close()
    assert caught.value.revision == first.info.revision
    assert list(raw.chunks) == [first.info.nuid]
    assert store.get_bytes("A") == b"first"


def test_many_threads_on_one_store(store: ObjectStore, raw: RawBucket) -> None:
    """Eight threads, names of their own and one that they share: nothing is mixed or left."""

    def work(number: int) -> None:
        for round_ in range(5):
            data = random_bytes(number * 40 * KIB, number + round_)
            store.put(f"own {number}", data)
            store.put("shared", data)
            assert store.get_bytes(f"own {number}") == data
            with contextlib.suppress(ObjectChangedError):  # rather than a mixture of versions
                assert len(store.get_bytes("shared")) % (40 * KIB) == 0
            assert f"own {number}" in [info.name for info in store.list()]

    with ThreadPoolExecutor(8) as threads:
        for future in [threads.submit(work, number) for number in range(1, 9)]:
            future.result(60)
    assert set(raw.chunks) == {info.nuid for info in store.list()}
    wait_until(lambda: raw.consumers == 0)


@pytest.mark.slow
def test_several_slow_readers_on_one_connection(store: ObjectStore) -> None:
    """Readers that take turns, small pieces each, do not hold each other up."""
    datas = [random_bytes(12 * MIB, number) for number in range(3)]
    for number, data in enumerate(datas):
        store.put(f"{number}", data)
    readers = [store.get(f"{number}", timeout=10) for number in range(3)]
    pieces: list[list[bytes]] = [[], [], []]
    for size in (1, 100, 300 * KIB, 2 * MIB, 5 * MIB, 12 * MIB):
        for number, reader in enumerate(readers):
            pieces[number].append(reader.read(size))
    for number, reader in enumerate(readers):
        assert reader.verified
        reader.close()
        assert b"".join(pieces[number]) == datas[number]


# While it is read


def _overwrite(store: ObjectStore, raw: RawBucket) -> None:
    store.put("A", b"another")


def _delete(store: ObjectStore, raw: RawBucket) -> None:
    store.delete("A")


def _purge_chunks(store: ObjectStore, raw: RawBucket) -> None:
    raw.purge(raw.chunk_subject(store.get_info("A").nuid))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (_overwrite, ObjectChangedError),
        (_delete, ObjectChangedError),
        (_purge_chunks, TruncatedObjectError),
    ],
)
def test_what_happens_to_an_object_that_is_read(
    store: ObjectStore,
    raw: RawBucket,
    change: Callable[[ObjectStore, RawBucket], None],
    error: type[ObjStoreError],
) -> None:
    """An object whose chunks go away while it is read ends in an error, soon and not short."""
    store.put("A", random_bytes(30 * MIB))
    with store.get("A", timeout=60) as reader:
        assert len(reader.read(1)) == 1
        change(store, raw)
        start = time.monotonic()
        with pytest.raises(error):
            reader.read()
        assert time.monotonic() - start < 20, "it did not wait for what cannot come"
        with pytest.raises(error):
            reader.read(1)
    wait_until(lambda: raw.consumers == 0)


@pytest.mark.slow
def test_objects_expire(make_store: MakeStore) -> None:
    """With a time to live objects go by themselves; watches and listings know of them no more."""
    store = make_store(ttl=0.3)
    with store.watch() as watcher:
        assert take(watcher, 1) == [None]
        store.put("A", random_bytes(300 * KIB))
        assert take(watcher, 1) != [None]
        wait_until(lambda: store.status().stream_info["state"]["messages"] == 0)
    assert store.list(show_deleted=True) == []
    with pytest.raises(ObjectNotFoundError):
        store.get("A")
    store.put("A", b"again")
    assert store.get_info("A").size == 5


# Interrupts and refusals


def _interrupt(count: int) -> None:
    signal.raise_signal(signal.SIGINT)


def _write_until_interrupted(store: ObjectStore) -> None:
    with store.open("A", "wb") as writer:
        writer.write(random_bytes(5 * MIB))
        _interrupt(0)
        writer.write(b"never")


def test_interrupt_during_put(store: ObjectStore, raw: RawBucket) -> None:
    """Ctrl-C: nothing is stored, nothing is left, and the store goes on."""
    store.put("A", b"old")
    before = raw.subjects()
    with pytest.raises(KeyboardInterrupt):
        store.put("A", random_bytes(8 * MIB), callback=_interrupt)
    assert raw.subjects() == before
    with pytest.raises(KeyboardInterrupt):
        _write_until_interrupted(store)
    assert raw.subjects() == before
    assert store.get_bytes("A") == b"old"


def test_interrupt_during_get(store: ObjectStore, raw: RawBucket) -> None:
    """Ctrl-C: nothing is left on the server, and the store goes on."""
    data = random_bytes(20 * MIB)
    store.put("A", data)
    with pytest.raises(KeyboardInterrupt), store.get("A", callback=_interrupt) as reader:
        reader.read()
    wait_until(lambda: raw.consumers == 0)
    assert store.get_bytes("A") == data


@pytest.mark.parametrize(
    ("denied", "call"),
    [
        ("$JS.API.STREAM.CREATE.>", lambda client, store: client.create_object_store("new")),
        ("$JS.API.STREAM.INFO.>", lambda client, store: client.object_store("photos")),
        ("$JS.API.STREAM.MSG.GET.>", lambda client, store: store.get("A")),
        ("$JS.API.STREAM.MSG.GET.>", lambda client, store: store.put("A", b"new")),
        ("$JS.API.DIRECT.GET.>", lambda client, store: store.get_bytes("A")),
        ("$JS.API.CONSUMER.CREATE.>", lambda client, store: store.watch()),
        ("$O.photos.C.>", lambda client, store: store.put_many({"B": b"B", "C": b"C"})),
        ("$O.photos.M.>", lambda client, store: store.delete("A")),
        ("$O.photos.M.>", lambda client, store: store.update_meta("A", description="new")),
    ],
)
def test_permission_denied_fails_at_once(
    deny: Callable[[str], list[Client]],
    denied: str,
    call: Callable[[Client, ObjectStore], object],
) -> None:
    """Whatever is denied, the call that needs it says so; it does not wait for its time-out."""
    owner, guest = deny(denied)
    owners = owner.create_object_store("photos")
    owners.put("A", b"data")
    guests = ObjectStore(guest._js, "photos", owners.status().stream_info)
    start = time.monotonic()
    with pytest.raises(PermissionsViolationError) as caught:
        call(guest, guests)
    assert time.monotonic() - start < 10
    assert caught.value.subject.startswith(denied[:-1])
    assert owners.get_bytes("A") == b"data"


# Fast paths


class Tap:
    """What a client asks of a server, by way of a proxy."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self.asks_consumer = proxy.on(b".CONSUMER.CREATE.", before=True)
        self.asks_direct = proxy.on(b".DIRECT.GET.", before=True)
        self.asks_leader = proxy.on(b".STREAM.MSG.GET.", before=True)

    @property
    def asked(self) -> set[str]:
        """Names of what was asked for."""
        events = {
            "consumer": self.asks_consumer,
            "direct": self.asks_direct,
            "leader": self.asks_leader,
        }
        return {name for name, event in events.items() if event.is_set()}


@pytest.fixture
def tapped(store: ObjectStore, server: LocalServer) -> Iterator[tuple[ObjectStore, Proxy]]:
    """`store` by way of a proxy."""
    with Proxy(server.port) as proxy, Client(proxy.url) as client:
        yield client.object_store(store.bucket), proxy


@pytest.mark.parametrize(
    ("size", "ways"),
    [
        pytest.param(0, {"leader"}, id="nothing to fetch"),
        pytest.param(1, {"leader", "direct"}, id="one chunk"),
        pytest.param(1 * MIB, {"leader", "direct"}, id="a batch"),
        pytest.param(20 * MIB, {"leader", "direct", "consumer"}, id="a consumer"),
    ],
)
def test_fast_paths_of_get(
    client: Client,
    store: ObjectStore,
    tapped: tuple[ObjectStore, Proxy],
    raw: RawBucket,
    size: int,
    ways: set[str],
) -> None:
    """Small objects take no consumer; one of more than a chunk does on servers before 2.11."""
    through, proxy = tapped
    data = random_bytes(size)
    store.put("A", data)
    tap = Tap(proxy)
    assert through.get_bytes("A") == data
    if server_version(client) < (2, 11) and size > 128 * KIB:
        ways = ways | {"consumer"}
    assert tap.asked == ways
    wait_until(lambda: raw.consumers == 0)


def test_fast_path_of_a_range(
    client: Client, store: ObjectStore, tapped: tuple[ObjectStore, Proxy]
) -> None:
    """A range near the beginning of a large object is fetched alone, and without a consumer."""
    through, proxy = tapped
    data = random_bytes(20 * MIB)
    store.put("A", data)
    tap = Tap(proxy)
    with through.get("A", offset=100, length=10) as reader:
        assert reader.read() == data[100:110]
    # Servers before 2.11 do not say how many chunks follow, and 2.11 counts one too many:
    # whether one is missing before this one, only a list of all can tell.
    listed = {"consumer"} if server_version(client) <= (2, 11) else set()
    assert tap.asked - listed == {"leader", "direct"}


def test_fast_path_of_list(
    client: Client, store: ObjectStore, tapped: tuple[ObjectStore, Proxy]
) -> None:
    """A listing takes no consumer: it is one request, and the leader's word on its end."""
    through, proxy = tapped
    store.put_many({f"{number}": b"data" for number in range(20)})
    tap = Tap(proxy)
    assert [info.name for info in through.list()] == [f"{number}" for number in range(20)]
    assert tap.asked == {"direct", "leader"}


@pytest.mark.slow
def test_list_of_more_than_a_snapshot_holds(store: ObjectStore, raw: RawBucket) -> None:
    """More objects than one direct get can list are listed all the same."""
    names = [f"{number}" for number in range(1100)]
    store.put_many((name, b"") for name in names)
    assert [info.name for info in store.list()] == names
    assert list(store) == names
    wait_until(lambda: raw.consumers == 0)


# Servers


@pytest.mark.parametrize(
    ("option", "field", "version"),
    [
        ("compression", "compression", (2, 10)),
        ("object_ttl", "allow_msg_ttl", (2, 11)),
        ("atomic", "allow_atomic", (2, 12)),
    ],
)
def test_options_of_newer_servers(
    client: Client,
    make_store: MakeStore,
    caplog: pytest.LogCaptureFixture,
    option: str,
    field: str,
    version: tuple[int, int],
) -> None:
    """What the server knows it does; what it is too old for is logged, and the bucket works."""
    with caplog.at_level(logging.WARNING, "objstore"):
        store = make_store(**{option: True})
    known = server_version(client) >= version
    config = store.status().stream_info["config"]
    assert (config.get(field, False) not in (False, "none")) is known
    assert [option in record.getMessage() for record in caplog.records] == ([] if known else [True])
    store.put("A", b"data")
    store.update_meta("A", new_name="B")
    assert store.get_bytes("B") == b"data"
    assert make_store(store.bucket, **{option: True}).list() == store.list()


def test_ack_subjects_of_the_second_version(client: Client, make_server: MakeServer) -> None:
    """Consumers' messages with domain and account in their subjects are understood."""
    # The flag came with nats-server 2.14; before there is the first version only.
    known = server_version(client) >= (2, 14)
    server = make_server("feature_flags { js_ack_fc_v2: true }" if known else "")
    with Proxy(server.port) as proxy, Client(proxy.url) as through:
        store = through.create_object_store("photos")
        data = random_bytes(20 * MIB)
        store.put("A", data)
        second_version = proxy.on(b"$JS.ACK._.", direction="s2c", before=True)
        assert store.get_bytes("A") == data
        with store.watch() as watcher:
            assert take(watcher, 2) == [store.get_info("A"), None]
        with store.get("A") as reader:
            reader.seek(19 * MIB + 5)
            assert reader.read() == data[19 * MIB + 5 :]
        assert second_version.is_set() is known


# Replicas


@pytest.mark.slow
def test_replicas_that_lag_hide_nothing(replicated_store: ObjectStore) -> None:
    """Listings and watches show what was put just before, whichever replica serves them."""
    store = replicated_store
    for number in range(20):
        name = f"object {number}"
        store.put(name, b"data")
        assert store.list()[-1].name == name
        with store.watch() as watcher:
            assert name in [info.name for info in take_initial(watcher)]
        with store.watch(updates_only=True) as watcher:
            store.put("update", b"data")
            assert [info.name for info in take(watcher, 1) if info] == ["update"]
        store.delete(name)
        assert [info.name for info in store.list()] == ["update"]


# The client


def test_watch_ends_when_the_client_is_closed(server: LocalServer, store: ObjectStore) -> None:
    """A thread that waits for changes learns that another one has closed the client."""
    client = Client(server.url)
    failures: list[BaseException] = []

    def wait() -> None:
        try:
            watcher.next()
        except ObjStoreError as error:
            failures.append(error)

    with client.object_store(store.bucket).watch(updates_only=True) as watcher:
        thread = threading.Thread(target=wait)
        thread.start()
        client.close()
        thread.join(10)
        assert not thread.is_alive()
    (failure,) = failures
    assert isinstance(failure, ConnectionLostError)
