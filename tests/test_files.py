"""What `put` takes and `get_file` gives: other people's files stay theirs, ours appear whole."""

from __future__ import annotations

import array
import io
import mmap
import os
import resource
import signal
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from objstore.errors import ObjectNotFoundError
from objstore.store import ObjectStore
from tests.helpers import Interruption, pattern
from tests.raw_bucket import RawBucket

TIMEOUT = 10.0

DATA = pattern(300_001)


# Sources


class ShortReads(io.RawIOBase):
    """A raw file that gives a few bytes at a time, as raw files may."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        return self._file.readinto(memoryview(buffer)[:777])


class OnlyRead:
    """No more of a file than `read`, and what that gives is not always bytes."""

    def __init__(self, data: bytes, kind: Callable[[bytes], Any] = bytes, extra: int = 0) -> None:
        self._file = io.BytesIO(data)
        self._kind = kind
        self._extra = extra

    def read(self, size: int) -> Any:
        return self._kind(self._file.read(min(size, 50_000) + self._extra))


def make_pipe(data: bytes) -> io.FileIO:
    reading, writing = os.pipe()

    def write() -> None:
        with open(writing, "wb") as file:
            file.write(data)

    threading.Thread(target=write, name="pipe").start()
    return io.FileIO(reading)


def make_mmap(data: bytes) -> mmap.mmap:
    memory = mmap.mmap(-1, len(data))
    memory[:] = data
    return memory


def make_path(data: bytes) -> Path:
    handle, name = tempfile.mkstemp()
    with open(handle, "wb") as file:
        file.write(data)
    return Path(name)


def make_spooled(data: bytes) -> Any:
    file = tempfile.SpooledTemporaryFile()  # noqa: SIM115
    file.write(data)
    file.seek(0)
    return file


SOURCES: dict[str, Callable[[bytes], Any]] = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "array": lambda data: array.array("B", data),
    "array of words": lambda data: array.array("I", data[:300_000]),
    "strided memoryview": lambda data: memoryview(bytes(2 * len(data)))[::2],
    "mmap": make_mmap,
    "BytesIO": io.BytesIO,
    "buffered": lambda data: io.BufferedReader(ShortReads(data)),
    "short reads": ShortReads,
    "pipe": make_pipe,
    "spooled": make_spooled,
    "only read": OnlyRead,
    "read of bytearrays": lambda data: OnlyRead(data, bytearray),
    "read of memoryviews": lambda data: OnlyRead(data, memoryview),
    "read of more than asked for": lambda data: OnlyRead(data, extra=3_000_000),
    "generator": lambda data: (data[start : start + 1000] for start in range(0, len(data), 1000)),
    "list": lambda data: [data[:5], bytearray(data[5:70_000]), b"", memoryview(data)[70_000:]],
    "tuple": lambda data: (data,),
    "path": make_path,
}


@pytest.mark.parametrize("source", SOURCES)
def test_put_takes_whatever_holds_bytes(store: ObjectStore, source: str) -> None:
    """With the same result, and without closing what it did not open."""
    data = SOURCES[source](DATA)
    expected = DATA
    if source == "array of words":
        expected = DATA[:300_000]
    elif source == "strided memoryview":
        expected = bytes(len(DATA))
    info = store.put("a", data)
    assert (info.size, store.get_bytes("a")) == (len(expected), expected)
    if isinstance(data, Path):
        data.unlink()
    elif hasattr(data, "closed"):
        assert not data.closed
        data.close()


@pytest.mark.parametrize("source", ["bytes", "bytearray", "BytesIO", "short reads", "generator"])
def test_put_of_nothing_is_an_empty_object(store: ObjectStore, source: str) -> None:
    assert store.put("a", SOURCES[source](b"")).size == 0
    assert store.get_bytes("a") == b""


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 300, 301])
@pytest.mark.parametrize("source", ["bytes", "BytesIO", "only read", "generator"])
def test_put_cuts_any_size(store: ObjectStore, raw: RawBucket, source: str, size: int) -> None:
    """Into full chunks, without an empty one at the end."""
    info = store.put("a", SOURCES[source](DATA[:size]), chunk_size=100)
    assert info.chunks == -(-size // 100)
    assert raw.chunks == ({info.nuid: info.chunks} if size else {})
    assert store.get_bytes("a") == DATA[:size]


def test_file_is_read_from_where_it_stands(store: ObjectStore) -> None:
    """And neither rewound nor closed."""
    with tempfile.TemporaryFile() as file:
        file.write(DATA)
        file.seek(100)
        store.put("a", file)
        assert file.tell() == len(DATA)
    assert store.get_bytes("a") == DATA[100:]


def test_file_that_grows_while_it_is_read_is_stored_as_read(
    store: ObjectStore, tmp_path: Path
) -> None:
    """Size and digest are of what came, whatever the size was before."""
    path = tmp_path / "a"
    path.write_bytes(DATA)
    with open(path, "rb") as file, open(path, "ab", buffering=0) as more:
        grown = []

        def grow(count: int) -> None:
            if not grown:
                grown.append(more.write(b"more"))

        info = store.put("a", file, callback=grow)
    assert info.size == len(DATA) + 4
    assert store.get_bytes("a") == DATA + b"more"


def test_reader_of_the_same_client_is_a_source(store: ObjectStore) -> None:
    """Reading and writing over one connection at a time stand in nobody's way."""
    store.put("a", DATA)
    with store.get("a") as reader:
        store.put("b", reader)
        store.put("a", b"another")
    assert store.get_bytes("b") == DATA


class Failing:
    """A file that gives 3 MB and then does something else."""

    def __init__(self, then: Callable[[], Any]) -> None:
        self._left = 3
        self._then = then

    def read(self, size: int) -> Any:
        if not self._left:
            return self._then()
        self._left -= 1
        return bytes(1_000_000)


def throw(error: BaseException) -> Any:
    raise error


def pieces(*then: Any) -> Iterator[Any]:
    yield bytes(3_000_000)
    for value in then:
        if isinstance(value, BaseException):
            raise value
        yield value


#: Sources that fail when much was sent already, and the error that comes out.
FAILURES: dict[str, tuple[Callable[[], Any], type[BaseException]]] = {
    "OSError": (lambda: Failing(lambda: throw(OSError("no disk"))), OSError),
    "KeyboardInterrupt": (lambda: Failing(lambda: throw(KeyboardInterrupt())), KeyboardInterrupt),
    "BaseException": (lambda: Failing(lambda: throw(Interruption())), Interruption),
    "None": (lambda: Failing(lambda: None), BlockingIOError),
    "str": (lambda: Failing(lambda: "text"), TypeError),
    "int": (lambda: Failing(lambda: 5), TypeError),
    "generator raises": (lambda: pieces(ZeroDivisionError()), ZeroDivisionError),
    "generator of str": (lambda: pieces("text"), TypeError),
    "generator of int": (lambda: pieces(5), TypeError),
    "generator of None": (lambda: pieces(None), TypeError),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_error_of_the_source_comes_out_unchanged(
    store: ObjectStore, raw: RawBucket, failure: str
) -> None:
    """The object stays as it was, the chunks that were sent go, the connection is of use."""
    store.put("a", b"before")
    chunks = raw.chunks
    make, error = FAILURES[failure]
    with pytest.raises(error):
        store.put("a", make())
    assert store.get_bytes("a") == b"before"
    assert raw.chunks == chunks
    store.put("a", b"after")
    assert store.get_bytes("a") == b"after"


class WrongCount(io.RawIOBase):
    """A raw file that claims more than there was room for."""

    def __init__(self, count: Any) -> None:
        self._count = count

    def readinto(self, buffer: Any, /) -> Any:
        return self._count


@pytest.mark.parametrize("count", [-1, 2**40])
def test_source_that_lies_about_its_reads_is_refused(store: ObjectStore, count: int) -> None:
    with pytest.raises(ValueError, match="readinto"):
        store.put("a", WrongCount(count))
    assert "a" not in store


def test_nonblocking_source_without_data_is_refused(store: ObjectStore) -> None:
    """It has no end yet: to store what it gave so far would be wrong."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with open(writing, "wb", buffering=0) as pipe, open(reading, "rb", buffering=0) as file:
        pipe.write(b"begun")
        with pytest.raises(BlockingIOError):
            store.put("a", file)
    assert "a" not in store


def test_closed_source_is_refused(store: ObjectStore) -> None:
    file = io.BytesIO(DATA)
    file.close()
    with pytest.raises(ValueError, match="closed"):
        store.put("a", file)
    assert "a" not in store


def test_source_may_use_the_store(store: ObjectStore) -> None:
    """A file that reads another object while it is read."""
    store.put("b", DATA)

    def give() -> Iterator[bytes]:
        yield store.get_bytes("b")
        store.put("c", b"by the way")
        yield store.get_bytes("c")

    store.put("a", give())
    assert store.get_bytes("a") == DATA + b"by the way"


@pytest.mark.parametrize("error", [FileNotFoundError, IsADirectoryError])
def test_path_that_cannot_be_opened_is_an_error_of_the_system(
    store: ObjectStore, tmp_path: Path, error: type[OSError]
) -> None:
    path = tmp_path if error is IsADirectoryError else tmp_path / "missing"
    for put in (lambda: store.put("a", path), lambda: store.put_file(path)):
        with pytest.raises(error):
            put()
    assert store.list() == []


# Files of ours


def test_file_appears_with_the_bytes_of_the_object(store: ObjectStore, tmp_path: Path) -> None:
    info = store.put("a", DATA)
    for path in (tmp_path / "new", str(tmp_path / "text")):
        assert store.get_file("a", path).nuid == info.nuid
        assert Path(path).read_bytes() == DATA
    assert len(list(tmp_path.iterdir())) == 2


def test_file_may_be_relative(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store.put("a", DATA)
    store.get_file("a", "new")
    assert os.listdir() == ["new"]


def test_new_file_has_the_mode_that_open_would_give(store: ObjectStore, tmp_path: Path) -> None:
    """And one that replaces another has that one's."""
    store.put("a", DATA)
    (tmp_path / "plain").touch()
    store.get_file("a", tmp_path / "new")
    assert mode_of(tmp_path / "new") == mode_of(tmp_path / "plain")
    for mode in (0o600, 0o755, 0o666):
        (tmp_path / "plain").chmod(mode)
        store.get_file("a", tmp_path / "plain")
        assert mode_of(tmp_path / "plain") == mode
        assert (tmp_path / "plain").read_bytes() == DATA


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mode", [None, 0o644, 0o600, 0o755])
def test_nobody_else_reads_a_file_that_is_not_complete(
    mode: int | None, store: ObjectStore, tmp_path: Path
) -> None:
    """Whatever mode it will have."""
    store.put("object", pattern(300_000))
    path = tmp_path / "file"
    if mode is not None:
        path.touch()
        path.chmod(mode)
    seen = set()

    def look(_: int) -> None:
        (temporary,) = tmp_path.glob(".file.*.part")
        seen.add(temporary.stat().st_mode & 0o777)

    store.get_file("object", path, callback=look)
    assert seen == {0o600}
    assert path.stat().st_mode & 0o777 == (mode or 0o666 & ~_umask())


def _umask() -> int:
    os.umask(mask := os.umask(0))
    return mask


def test_file_behind_a_link_lends_no_mode(store: ObjectStore, tmp_path: Path) -> None:
    """The link goes; what it led to is of no concern."""
    store.put("object", b"content")
    victim, path = tmp_path / "victim", tmp_path / "file"
    victim.write_text("victim")
    victim.chmod(0o777)
    path.symlink_to(victim)
    store.get_file("object", path)
    assert not path.is_symlink() and path.stat().st_mode & 0o777 == 0o666 & ~_umask()
    assert victim.read_text() == "victim"


def test_symbolic_link_is_replaced(store: ObjectStore, tmp_path: Path) -> None:
    """Not followed: nobody is written to who was not named."""
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / "a").symlink_to(victim)
    store.put("a", DATA)
    store.get_file("a", tmp_path / "a")
    assert victim.read_text() == "untouched"
    assert not (tmp_path / "a").is_symlink()
    assert (tmp_path / "a").read_bytes() == DATA


def test_who_reads_the_file_meanwhile_sees_old_or_new(store: ObjectStore, tmp_path: Path) -> None:
    """Never a part of it."""
    path = tmp_path / "a"
    versions = [bytes([number]) * 200_000 for number in range(2)]
    for number, version in enumerate(versions):
        store.put(f"{number}", version)
    path.write_bytes(versions[0])
    done = threading.Event()

    def look() -> set[bytes]:
        seen = set()
        while not done.is_set():
            seen.add(path.read_bytes())
        return seen

    with ThreadPoolExecutor() as pool:
        looking = pool.submit(look)
        for number in range(60):
            store.get_file(f"{number % 2}", path)
        done.set()
        assert looking.result(TIMEOUT) <= set(versions)


def test_missing_object_makes_no_file(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFoundError):
        store.get_file("a", tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "error"),
    [(".", IsADirectoryError), ("missing/a", FileNotFoundError), ("file/a", NotADirectoryError)],
)
def test_file_that_cannot_be_made_is_an_error_of_the_system(
    store: ObjectStore, tmp_path: Path, path: str, error: type[OSError]
) -> None:
    (tmp_path / "file").touch()
    store.put("a", DATA)
    with pytest.raises(error):
        store.get_file("a", tmp_path / path)
    assert os.listdir(tmp_path) == ["file"]


def test_error_while_writing_leaves_the_old_file(store: ObjectStore, tmp_path: Path) -> None:
    """Whatever it is, and no temporary file."""
    path = tmp_path / "a"
    path.write_text("before")
    store.put("a", pattern(3_000_000))

    def fail(count: int) -> None:
        raise Interruption

    with pytest.raises(Interruption):
        store.get_file("a", path, callback=fail)
    assert os.listdir(tmp_path) == ["a"]
    assert path.read_text() == "before"


@pytest.mark.slow
def test_full_disk_leaves_the_old_file(store: ObjectStore, tmp_path: Path) -> None:
    """The system says so, the file is as it was."""
    path = tmp_path / "a"
    path.write_text("before")
    store.put("a", pattern(3_000_000))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(OSError):
            store.get_file("a", path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert os.listdir(tmp_path) == ["a"]
    assert path.read_text() == "before"


# Refused before anything happens


@pytest.mark.parametrize(
    ("data", "cure"),
    [
        ("text", "put_string"),
        (io.StringIO("text"), "binary mode"),
        (None, "bytes-like"),
        (5, "bytes-like"),
        (1.5, "bytes-like"),
        (object(), "bytes-like"),
        ({"a": b"b"}, "bytes-like"),
    ],
)
def test_data_of_the_wrong_kind_is_refused_with_the_cure(
    store: ObjectStore, data: Any, cure: str
) -> None:
    with pytest.raises(TypeError, match=cure):
        store.put("a", data)
    assert store.list(show_deleted=True) == []


def test_file_that_shrinks_while_it_is_put_is_stored_as_read(
    store: ObjectStore, tmp_path: Path
) -> None:
    """One consistent object, with the digest of its bytes."""
    path = tmp_path / "file"
    path.write_bytes(pattern(4_000_000))
    info = store.put_file(path, "a", callback=lambda _: os.truncate(path, 2_500_000))
    assert store.get_bytes("a") == pattern(4_000_000)[:2_500_000]
    assert info.size == 2_500_000
