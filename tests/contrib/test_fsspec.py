"""`objstore://`: a filesystem that lists once, reads ranges, and commits nothing by accident."""

from __future__ import annotations

import gc
import json
import multiprocessing
import pickle
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

fsspec = pytest.importorskip("fsspec")

from fsspec.callbacks import Callback  # noqa: E402
from fsspec.transaction import Transaction  # noqa: E402

from objstore.client import Client  # noqa: E402
from objstore.contrib.fsspec import ObjectStoreFileSystem, _clients  # noqa: E402
from objstore.contrib.tree import Tree  # noqa: E402
from objstore.errors import (  # noqa: E402
    ConnectError,
    ObjectChangedError,
    ObjectNotFoundError,
    PreconditionFailedError,
)
from objstore.server import LocalServer  # noqa: E402
from objstore.store import ObjectStore  # noqa: E402
from tests.helpers import pattern  # noqa: E402
from tests.raw_bucket import RawBucket  # noqa: E402

CHUNK = 128 << 10

NAMES = ["a", "d/b", "d/c", "d/e/f", "g/h"]


@pytest.fixture
def fs(filesystem: ObjectStoreFileSystem) -> ObjectStoreFileSystem:
    return filesystem


@pytest.fixture
def b(store: ObjectStore) -> str:
    """A bucket with a few objects in a few directories; each holds its name."""
    for name in NAMES:
        store.put_string(name, name)
    return store.bucket


@pytest.fixture
def listings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The buckets that are listed, one by one."""
    listed = []
    list_objects = ObjectStore.list

    def spy(self: ObjectStore, **options: Any) -> Any:
        listed.append(self.bucket)
        return list_objects(self, **options)

    monkeypatch.setattr(ObjectStore, "list", spy)
    return listed


# Listing


def test_directories_are_what_slashes_make(fs: ObjectStoreFileSystem, b: str) -> None:
    assert fs.ls(b, detail=False) == [f"{b}/a", f"{b}/d", f"{b}/g"]
    assert fs.ls(f"objstore://{b}/d/", detail=False) == [f"{b}/d/b", f"{b}/d/c", f"{b}/d/e"]
    assert fs.ls(f"{b}/a", detail=False) == [f"{b}/a"]
    assert [entry["type"] for entry in fs.ls(b)] == ["file", "directory", "directory"]
    assert b in fs.ls("", detail=False) and b in fs.ls("objstore://", detail=False)
    for missing in (f"{b}/x", "no-such-bucket", "no-such-bucket/x"):
        with pytest.raises(FileNotFoundError):
            fs.ls(missing)


def test_info_tells_what_is_stored(fs: ObjectStoreFileSystem, store: ObjectStore, b: str) -> None:
    store.put("d/b", b"12345", metadata={"key": "value"}, description="numbers")
    stored = store.get_info("d/b")
    info = fs.info(f"{b}/d/b")
    assert info == {
        "name": f"{b}/d/b",
        "size": 5,
        "type": "file",
        "mtime": stored.mtime,
        "digest": stored.digest,
        "revision": stored.revision,
        "description": "numbers",
        "headers": {},
        "metadata": {"key": "value"},
    }
    assert info in fs.ls(f"{b}/d")
    assert fs.info(f"{b}/d") == {"name": f"{b}/d", "size": 0, "type": "directory"}
    assert fs.info(b)["type"] == fs.info("")["type"] == "directory"
    assert fs.modified(f"{b}/d/b") == fs.created(f"{b}/d/b") == stored.mtime
    assert fs.modified(f"{b}/d/b").utcoffset() == timedelta(0)
    with pytest.raises(IsADirectoryError):
        fs.modified(f"{b}/d")


@pytest.mark.parametrize(
    "path", ["{b}/x", "{b}/d/x", "nowhere", "nowhere/x", "in.valid/x", "{b}/d/b/x"]
)
def test_what_is_not_there_is_said_so(fs: ObjectStoreFileSystem, b: str, path: str) -> None:
    path = path.format(b=b)
    with pytest.raises(FileNotFoundError):
        fs.info(path)
    assert not fs.exists(path) and not fs.isfile(path) and not fs.isdir(path)
    assert fs.find(path) == [] and fs.glob(f"{path}/*") == [] and list(fs.walk(path)) == []


def test_server_that_is_away_is_not_an_absence(free_port: int) -> None:
    """Who asks whether something is there may be about to replace it."""
    fs = ObjectStoreFileSystem(
        servers=f"nats://127.0.0.1:{free_port}", timeout=0.1, skip_instance_cache=True
    )
    for ask in (fs.exists, fs.isdir, fs.isfile, fs.ls, fs.find):
        with pytest.raises(ConnectError):
            ask("b/x")


@pytest.fixture
def free_port() -> Iterator[int]:
    import socket

    with socket.socket() as listener:  # bound, and not listening
        listener.bind(("127.0.0.1", 0))
        yield listener.getsockname()[1]


def test_find_walk_glob_and_du(fs: ObjectStoreFileSystem, b: str) -> None:
    paths = [f"{b}/{name}" for name in NAMES]
    assert fs.find(b) == paths
    assert fs.find(b, maxdepth=1) == [f"{b}/a"]
    assert fs.find(f"{b}/a") == [f"{b}/a"]
    assert fs.find(f"{b}/d", withdirs=True) == [
        f"{b}/d", f"{b}/d/b", f"{b}/d/c", f"{b}/d/e", f"{b}/d/e/f",
    ]  # fmt: skip
    assert [entry["size"] for entry in fs.find(b, detail=True).values()] == [1, 3, 3, 5, 3]
    assert set(paths) <= set(fs.find(""))
    assert list(fs.walk(b)) == [
        (b, ["d", "g"], ["a"]),
        (f"{b}/d", ["e"], ["b", "c"]),
        (f"{b}/d/e", [], ["f"]),
        (f"{b}/g", [], ["h"]),
    ]
    assert fs.glob(f"{b}/*") == [f"{b}/a", f"{b}/d", f"{b}/g"]
    assert fs.glob(f"{b}/d/?") == [f"{b}/d/b", f"{b}/d/c", f"{b}/d/e"]
    assert fs.glob(f"{b}/**/[cf]") == [f"{b}/d/c", f"{b}/d/e/f"]
    assert fs.du(b) == 15
    assert fs.du(f"{b}/d", total=False) == {f"{b}/d/b": 3, f"{b}/d/c": 3, f"{b}/d/e/f": 5}


@pytest.mark.parametrize(
    "call",
    [
        lambda fs, b, tmp: fs.ls(f"{b}/d"),
        lambda fs, b, tmp: fs.find(b, withdirs=True),
        lambda fs, b, tmp: list(fs.walk(b)),
        lambda fs, b, tmp: fs.glob(f"{b}/**/f"),
        lambda fs, b, tmp: fs.du(b),
        lambda fs, b, tmp: fs.info(f"{b}/d"),
        lambda fs, b, tmp: fs.expand_path(f"{b}/*", recursive=True),
        lambda fs, b, tmp: fs.cat(f"{b}/d", recursive=True),
        lambda fs, b, tmp: fs.get(f"{b}/", f"{tmp}/", recursive=True),
        lambda fs, b, tmp: fs.copy(f"{b}/d", f"{b}/new", recursive=True),
        lambda fs, b, tmp: fs.mv(f"{b}/d", f"{b}/new", recursive=True),
        lambda fs, b, tmp: fs.rm(f"{b}/d", recursive=True),
    ],
)
def test_a_call_lists_a_bucket_once(
    fs: ObjectStoreFileSystem,
    b: str,
    listings: list[str],
    tmp_path: Path,
    call: Callable[..., object],
) -> None:
    """However many directories there are."""
    call(fs, b, tmp_path)
    assert listings == [b]


def test_object_that_is_there_needs_no_listing(
    fs: ObjectStoreFileSystem, b: str, listings: list[str]
) -> None:
    assert fs.cat_file(f"{b}/a") == b"a" and fs.exists(f"{b}/a") and fs.size(f"{b}/a") == 1
    with pytest.raises(FileNotFoundError):
        fs.cat_file(f"{b}/missing")
    with pytest.raises(FileNotFoundError):
        fs.open(f"{b}/missing")
    assert listings == []


def test_listing_is_never_stale(fs: ObjectStoreFileSystem, store: ObjectStore, b: str) -> None:
    fs.ls(b), fs.find(b)
    walk = fs.walk(b)
    next(walk)  # in the middle of one, other calls see what is there now
    store.put_string("new", "")
    store.delete("a")
    assert fs.ls(b, detail=False) == [f"{b}/d", f"{b}/g", f"{b}/new"]
    assert not fs.exists(f"{b}/a") and fs.exists(f"{b}/new")


def test_strange_names_are_reached(fs: ObjectStoreFileSystem, store: ObjectStore) -> None:
    names = ["/lead", "two//slashes", "a", "a/b", "ü ~%41", "x" * 300]
    for name in names:
        store.put_string(name, name)
    store.put_string("empty/", "")  # how some mark a directory
    assert fs.find(store.bucket) == sorted(f"{store.bucket}/{name}" for name in names)
    for name in names:
        assert fs.cat_file(f"objstore://{store.bucket}/{name}") == name.encode()
    assert fs.isfile(f"{store.bucket}/a")  # and a directory, too
    assert fs.ls(f"{store.bucket}/a", detail=False) == [f"{store.bucket}/a/b"]
    assert fs.isdir(f"{store.bucket}/empty") and fs.ls(f"{store.bucket}/empty") == []
    fs.rm(store.bucket, recursive=True)
    assert not fs.exists(store.bucket)


def test_deep_names_are_no_recursion() -> None:
    tree = Tree("b", [{"name": "b" + "/x" * 5000}])
    assert len(list(tree.below("b", None, True))) == 5000


def test_link_is_what_it_leads_to(fs: ObjectStoreFileSystem, store: ObjectStore, b: str) -> None:
    store.add_link("link", store.get_info("d/e/f"))
    store.add_link("gone", store.put_string("g/x", "x"))
    store.delete("g/x")
    info = fs.info(f"{b}/link")
    assert (info["size"], info["type"]) == (5, "file")
    assert (info["islink"], info["destination"]) == (True, f"{b}/d/e/f")
    assert fs.cat_file(f"{b}/link") == b"d/e/f"
    assert fs.info(f"{b}/gone")["type"] == "other"
    with pytest.raises(FileNotFoundError):
        fs.modified(f"{b}/gone")
    assert fs.du(b) == 15 + 5


# Bytes


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (None, None),
        (0, 10),
        (5, None),
        (None, 7),
        (-10, None),
        (None, -5),
        (-20, -3),
        (50, 10),
        (CHUNK - 1, CHUNK + 1),
        (-400_000, 4),
        (299_990, 400_000),
        (400_000, None),
    ],
)
def test_cat_file_takes_slices(
    fs: ObjectStoreFileSystem, store: ObjectStore, start: int | None, end: int | None
) -> None:
    data = pattern(300_000)
    store.put("a", data)
    assert fs.cat_file(f"{store.bucket}/a", start, end) == data[start:end]
    assert fs.cat_ranges([f"{store.bucket}/a"], start, end) == [data[start:end]]


def test_cat_ranges_keeps_order_and_errors(fs: ObjectStoreFileSystem, b: str) -> None:
    paths = [f"{b}/d/b", f"{b}/missing", f"{b}/a", f"{b}/d/b", f"{b}/d/e/f"] * 5
    got = fs.cat_ranges(paths, [0, 0, 0, 1, -1] * 5, [1, 9, 9, 9, None] * 5)
    assert [g for g in got if isinstance(g, bytes)] == [b"d", b"a", b"/b", b"f"] * 5
    assert [type(g) for g in got[1::5]] == [ObjectNotFoundError] * 5
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges(paths, 0, 1, on_error="raise")
    with pytest.raises(ValueError):
        fs.cat_ranges(paths, [0], 1)
    assert fs.cat_ranges([], 0, 1) == []


def test_cat_ranges_is_served_in_parallel(
    fs: ObjectStoreFileSystem, store: ObjectStore, b: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two readers wait for each other."""
    together = threading.Barrier(2, timeout=10)
    get = ObjectStore.get

    def meet(self: ObjectStore, name: Any, **options: Any) -> Any:
        together.wait()
        return get(self, name, **options)

    monkeypatch.setattr(ObjectStore, "get", meet)
    assert fs.cat_ranges([f"{b}/a", f"{b}/d/b"], 0, 9, on_error="raise") == [b"a", b"d/b"]


def test_cat_and_pipe_of_many(fs: ObjectStoreFileSystem, b: str) -> None:
    values = {f"{b}/many/{number}": b"%d" % number for number in range(20)}
    fs.pipe(values)
    assert fs.cat(f"{b}/many/*") == fs.cat(f"{b}/many", recursive=True) == values
    assert fs.cat([f"{b}/a", f"{b}/x"], on_error="omit") == {f"{b}/a": b"a"}
    assert isinstance(fs.cat([f"{b}/a", f"{b}/x"], on_error="return")[f"{b}/x"], KeyError)
    with pytest.raises(FileNotFoundError):
        fs.cat([f"{b}/a", f"{b}/x"])
    mapper = fs.get_mapper(f"{b}/many")
    assert len(mapper) == 20 and mapper["7"] == b"7" and "x" not in mapper
    mapper.setitems({"x": b"1", "y": b"2"})
    assert mapper.getitems(["x", "y"]) == {"x": b"1", "y": b"2"}


# Files


def test_file_reads_only_what_is_asked_for(
    fs: ObjectStoreFileSystem, store: ObjectStore, traffic_of: Callable[[Client], Any]
) -> None:
    store.put("a", pattern(40 * CHUNK))
    traffic = traffic_of(fs._client)
    with fs.open(f"{store.bucket}/a") as file:
        assert file.size == 40 * CHUNK
        file.seek(-100, 2)
        assert file.read() == pattern(40 * CHUNK)[-100:]
    assert traffic.chunks(CHUNK) == 1


@pytest.fixture
def traffic_of() -> Callable[[Client], Any]:
    from tests.conftest import Traffic

    def watch(client: Client) -> Traffic:
        client.connect()
        return Traffic(client)

    return watch


def test_open_in_every_mode(fs: ObjectStoreFileSystem, b: str) -> None:
    path = f"{b}/new"
    with fs.open(path, "xb") as file:
        file.write(b"one\n")
    with pytest.raises(FileExistsError):
        fs.open(path, "xb")
    with fs.open(path, "w") as file:
        file.write("ü\n")
    with fs.open(path, "r") as file:
        assert file.read() == "ü\n"
    with fs.open(path, "wb", metadata={"k": "v"}) as file:
        file.write(b"1\r\n")
    assert fs.info(path)["metadata"] == {"k": "v"}
    assert fs.open(path, "rt", newline="").read() == "1\r\n"
    with fs.open(path, cache_type="readahead", block_size=10) as file:
        assert file.read(2) == b"1\r"
    for mode in ("ab", "r+b", "a"):
        with pytest.raises(OSError, match="written as a whole"):
            fs.open(path, mode)
    with pytest.raises(ValueError):
        fs.open(path, "wb", encoding="utf-8")
    with pytest.raises(IsADirectoryError):
        fs.open(b)
    with pytest.raises(TypeError):
        fs.open(path, "wb", no_such_option=1)


@pytest.mark.parametrize("mode", ["wb", "w", "xb"])
@pytest.mark.parametrize("compression", [None, "infer", "xz", "zip"])
@pytest.mark.parametrize("transaction", [False, True])
def test_exception_commits_nothing(
    fs: ObjectStoreFileSystem,
    store: ObjectStore,
    raw: RawBucket,
    mode: str,
    compression: str | None,
    transaction: bool,
) -> None:
    data: Any = pattern(140_000) if "b" in mode else "text" * 50_000
    path = f"{store.bucket}/a.gz"
    if transaction:
        fs.start_transaction()
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        with fs.open(path, mode, compression=compression) as file:
            file.write(data)
            raise ZeroDivisionError
    if transaction:
        fs.end_transaction()
    assert fs.find(store.bucket) == [] and raw.chunks == {}
    with fs.open(path, mode, compression=compression) as file:
        file.write(data)
    with fs.open(path, mode.replace("w", "r").replace("x", "r"), compression=compression) as file:
        assert file.read() == data


@pytest.mark.parametrize("compression", [None, "gzip", "bz2", "xz"])
@pytest.mark.parametrize("mode", ["w", "wb"])
def test_dropped_file_commits_nothing(
    fs: ObjectStoreFileSystem, store: ObjectStore, mode: str, compression: str | None
) -> None:
    file = fs.open(f"{store.bucket}/a", mode, compression=compression)
    file.write(b"x" if "b" in mode else "x")
    with pytest.warns(ResourceWarning, match="abandoned"):  # noqa: PT031
        del file
        gc.collect()
    assert fs.find(store.bucket) == []


@pytest.mark.parametrize(
    "url",
    ["{}/x.csv.gz", "{}/x.csv.bz2", "{}/x.csv", "simplecache::{}/x.csv", "filecache::{}/x.csv"],
)
def test_urls_are_opened(fs: ObjectStoreFileSystem, store: ObjectStore, url: str) -> None:
    url = url.format(f"objstore://{store.bucket}")
    plain = url.rpartition("::")[2]
    with fsspec.open(plain, "wt", compression="infer") as file:
        file.write("a,b\n" * 1000)
    with fsspec.open(url, "rt", compression="infer") as file:
        assert file.read() == "a,b\n" * 1000


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # fsspec's own
@pytest.mark.filterwarnings("ignore:Exception ignored:pytest.PytestUnraisableExceptionWarning")
def test_blocks_are_cached_by_who_wants_that(
    fs: ObjectStoreFileSystem, store: ObjectStore, tmp_path: Path
) -> None:
    store.put("a", pattern(300_000))
    with fsspec.open(
        f"blockcache::objstore://{store.bucket}/a", blockcache={"cache_storage": str(tmp_path)}
    ) as file:
        file.seek(200_000)
        assert file.read(10) == pattern(300_000)[200_000:200_010]


@pytest.mark.parametrize("cache", ["readahead", "bytes", "background", "blockcache"])
def test_cached_blocks_are_of_one_version(
    fs: ObjectStoreFileSystem, store: ObjectStore, cache: str
) -> None:
    store.put("a", b"old" * 100_000)
    with fs.open(f"{store.bucket}/a", cache_type=cache, block_size=1000) as file:
        assert file.read(3) == b"old"
        store.update_meta("a", description="the same bytes")
        assert file.seek(150_000) and file.read(3) == b"old"
        store.put("a", b"new" * 100_000)
        file.seek(270_000)
        with pytest.raises(ObjectChangedError):
            file.read(3)


# Transactions


def test_transaction_shows_all_or_nothing(
    fs: ObjectStoreFileSystem, store: ObjectStore, raw: RawBucket
) -> None:
    paths = [f"{store.bucket}/{number}" for number in range(3)]
    with fs.transaction:
        fs.pipe(dict.fromkeys(paths, pattern(300_000)))
        with fs.open(f"{store.bucket}/t.gz", "wt", compression="infer") as file:
            file.write("text")
        assert fs.find(store.bucket) == []
        assert len(raw.chunks) == 4  # stored already
    assert fs.cat(paths) == dict.fromkeys(paths, pattern(300_000))
    with fs.open(f"{store.bucket}/t.gz", "rt", compression="infer") as file:
        assert file.read() == "text"
    before = raw.chunks
    with pytest.raises(ZeroDivisionError), fs.transaction:  # noqa: PT012
        fs.pipe(dict.fromkeys(paths, b"new"))
        raise ZeroDivisionError
    assert fs.cat(paths) == dict.fromkeys(paths, pattern(300_000))
    assert raw.chunks == before
    with pytest.raises(ValueError, match="not closed"), fs.transaction:
        fs.open(f"{store.bucket}/open", "wb").write(b"half")
    assert not fs.exists(f"{store.bucket}/open")


def _complete(self: Any, commit: bool = True) -> None:
    """What fsspec did until 2025: an error leaves all as it is."""
    while self.files:
        self.files.popleft().commit()


@pytest.mark.parametrize("old", [False, True])
def test_transaction_that_fails_is_over(
    fs: ObjectStoreFileSystem,
    store: ObjectStore,
    raw: RawBucket,
    monkeypatch: pytest.MonkeyPatch,
    old: bool,
) -> None:
    """What was not committed is gone; and what is written afterwards waits for nobody."""
    if old:
        monkeypatch.setattr(Transaction, "complete", _complete)
    with pytest.raises(FileExistsError), fs.transaction:  # noqa: PT012
        for name in ("1", "2", "3"):
            with fs.open(f"{store.bucket}/{name}", "xb") as file:
                file.write(b"new")
        store.put("2", b"other")
    fs.pipe_file(f"{store.bucket}/4", b"4")
    assert dict(store.mapping()) == {"1": b"new", "2": b"other", "4": b"4"}
    assert len(raw.chunks) == 3


# Changes


def test_move_in_a_bucket_copies_nothing(
    fs: ObjectStoreFileSystem, store: ObjectStore, raw: RawBucket
) -> None:
    for name in ("d/a", "d/e/b"):
        store.put(name, pattern(1000))
    chunks = raw.chunks
    fs.mv(f"{store.bucket}/d", f"{store.bucket}/new", recursive=True)
    assert fs.find(store.bucket) == [f"{store.bucket}/new/a", f"{store.bucket}/new/e/b"]
    assert raw.chunks == chunks


def test_move_replaces_and_crosses_buckets(
    fs: ObjectStoreFileSystem, client: Client, b: str
) -> None:
    fs.mv(f"{b}/a", f"{b}/g/h")
    assert fs.cat_file(f"{b}/g/h") == b"a" and not fs.exists(f"{b}/a")
    fs.mkdir(f"{b}-2")
    fs.mv(f"{b}/d", f"{b}-2/d", recursive=True)
    assert fs.cat_file(f"{b}-2/d/e/f") == b"d/e/f" and not fs.exists(f"{b}/d")
    with pytest.raises(FileNotFoundError):
        fs.mv(f"{b}/missing", f"{b}-2/x")
    fs.rm(f"{b}-2", recursive=True)


def test_change_during_a_move_is_not_lost(
    fs: ObjectStoreFileSystem, store: ObjectStore, b: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = ObjectStore.copy

    def copy_then_change(self: ObjectStore, *args: Any, **options: Any) -> Any:
        result = copy(self, *args, **options)
        store.put_string("a", "changed")
        return result

    monkeypatch.setattr(ObjectStore, "copy", copy_then_change)
    with pytest.raises(PreconditionFailedError):
        fs.mv(f"{b}/a", f"{b}/d/b")
    assert fs.cat_file(f"{b}/a") == b"changed" and fs.cat_file(f"{b}/d/b") == b"a"


def test_copy_into_a_bucket_that_is_missing_is_an_error(fs: ObjectStoreFileSystem, b: str) -> None:
    """Not a copy of nothing, although fsspec passes over what is missing."""
    with pytest.raises(FileNotFoundError):
        fs.copy(f"{b}/d", "no-such-bucket/d", recursive=True)
    with pytest.raises(FileNotFoundError):
        fs.pipe_file("no-such-bucket/a", b"")


def test_removal(fs: ObjectStoreFileSystem, b: str) -> None:
    fs.rm(f"{b}/a")
    for again in (fs.rm, fs.rm_file):
        with pytest.raises(FileNotFoundError):
            again(f"{b}/a")
    for directory in (f"{b}/d", b):
        with pytest.raises(IsADirectoryError):
            fs.rm(directory)
    fs.rm(f"{b}/d", recursive=True)
    assert fs.find(b) == [f"{b}/g/h"]
    for full in (b, f"{b}/g"):
        with pytest.raises(OSError, match="not empty"):
            fs.rmdir(full)
    with pytest.raises(NotADirectoryError):
        fs.rmdir(f"{b}/g/h")
    fs.rm(b, recursive=True)
    assert not fs.exists(b)
    with pytest.raises(FileNotFoundError):
        fs.rmdir(b)


def test_bucket_is_made(fs: ObjectStoreFileSystem, client: Client, bucket: str) -> None:
    with pytest.raises(FileNotFoundError):
        fs.mkdir(f"{bucket}/d", create_parents=False)
    fs.mkdir(bucket, description="made", ttl=60)
    assert client.object_store(bucket).status().ttl == 60
    with pytest.raises(FileExistsError):
        fs.mkdir(bucket)
    with pytest.raises(FileExistsError):
        fs.makedirs(bucket)
    fs.makedirs(bucket, exist_ok=True)
    fs.mkdir(f"{bucket}/d")
    fs.rmdir(bucket)
    fs.makedirs(f"{bucket}/d/e")
    assert fs.isdir(bucket) and not fs.exists(f"{bucket}/d")
    fs.rmdir(bucket)


def test_touch_checksum_and_ukey(fs: ObjectStoreFileSystem, b: str) -> None:
    path = f"{b}/t"
    fs.touch(path)
    ukey, checksum = fs.ukey(path), fs.checksum(path)
    assert (fs.ukey(path), fs.checksum(path), fs.size(path)) == (ukey, checksum, 0)
    fs.touch(path)
    assert fs.checksum(path) == checksum and fs.ukey(path) != ukey
    fs.pipe_file(path, b"x")
    assert fs.checksum(path) != checksum
    assert isinstance(fs.checksum(b), int)


# Local files


class Counter(Callback):  # type: ignore[misc]
    def branch(self, path_1: str, path_2: str, kwargs: Any) -> None:
        kwargs["callback"] = self.child = Counter()


def test_local_files_with_progress(
    fs: ObjectStoreFileSystem, store: ObjectStore, tmp_path: Path
) -> None:
    (tmp_path / "in").write_bytes(pattern(3_000_000))
    path = f"{store.bucket}/a"
    callback = Counter()
    fs.put_file(str(tmp_path / "in"), path, callback=callback)
    assert (callback.size, callback.value) == (3_000_000, 3_000_000)
    callback = Counter()
    fs.get_file(path, str(tmp_path / "new" / "out"), callback=callback)
    assert (callback.size, callback.value) == (3_000_000, 3_000_000)
    assert (tmp_path / "new" / "out").read_bytes() == pattern(3_000_000)
    with open(tmp_path / "third", "wb") as file:
        fs.get_file(path, file)
    assert (tmp_path / "third").stat().st_size == 3_000_000
    with pytest.raises(FileExistsError):
        fs.put_file(str(tmp_path / "in"), path, mode="create")
    with pytest.raises(ValueError, match="overwrite or create"):
        fs.pipe_file(path, b"", mode="x")
    with pytest.raises(FileNotFoundError):
        fs.get_file(f"{store.bucket}/x", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


# Instances


def test_threads_share_one_client(fs: ObjectStoreFileSystem, b: str) -> None:
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(fsspec.filesystem("objstore")))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {other._client for other in found} == {fs._client}
    assert fsspec.filesystem("objstore") is fs


def test_client_goes_with_the_last_filesystem(server: LocalServer, b: str) -> None:
    fs = ObjectStoreFileSystem(servers=server.url, skip_instance_cache=True)
    assert fs.exists(b)
    count = len(_clients)
    del fs
    gc.collect()
    assert len(_clients) == count - 1


def test_environment_is_looked_at_again(
    fs: ObjectStoreFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who finds that `$NATS_URL` was wrong and sets it need not begin anew."""
    monkeypatch.setenv("NATS_URL", "nats://elsewhere.invalid:1")
    assert fsspec.filesystem("objstore") is not fs
    monkeypatch.undo()


def test_filesystem_and_open_files_are_pickled(fs: ObjectStoreFileSystem, b: str) -> None:
    assert pickle.loads(pickle.dumps(fs)) is fs
    assert b"nats://" not in pickle.dumps(fs)
    opener = pickle.loads(pickle.dumps(fsspec.open(f"objstore://{b}/d/b", "rt")))
    with opener as file:
        assert file.read() == "d/b"
    assert type(fs).from_json(fs.to_json()) is fs


def test_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="no_such_option"):
        fsspec.filesystem("objstore", no_such_option=1)


def read_in_child(path: str, results: Any) -> None:
    results.put(json.dumps([fsspec.open(path, "rt").open().read()]))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_child_process_reads(fs: ObjectStoreFileSystem, b: str, method: str) -> None:
    assert fs.cat_file(f"{b}/a") == b"a"
    context = multiprocessing.get_context(method)
    results = context.Queue()
    child = context.Process(target=read_in_child, args=(f"objstore://{b}/d/b", results))
    child.start()
    assert json.loads(results.get(timeout=20)) == ["d/b"]
    child.join(20)
    assert child.exitcode == 0
    assert fs.cat_file(f"{b}/a") == b"a"
