"""`ObjectReader`: a file like any other, and nothing unverified at its end."""

from __future__ import annotations

import bz2
import csv
import gc
import gzip
import hashlib
import io
import json
import lzma
import pickle
import shutil
import tarfile
import threading
import wave
import weakref
import zipfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from objstore.client import Client
from objstore.errors import (
    BadObjectMetaError,
    DigestMismatchError,
    ObjectChangedError,
    TruncatedObjectError,
)
from objstore.reader import ObjectReader
from objstore.store import ObjectStore
from tests.conftest import Traffic
from tests.helpers import pattern, wait_until
from tests.io_checks import TEXT, check_raw_reader
from tests.raw_bucket import RawBucket, digest_of

TIMEOUT = 10.0
KIB = 1 << 10
MIB = 1 << 20


# A file


@pytest.mark.parametrize("chunk_size", [1, 97, 4096, None])
@pytest.mark.slow
def test_reader_keeps_the_rules_of_io(store: ObjectStore, chunk_size: int | None) -> None:
    """Whatever the chunks are, a reader is a raw file, and its reads are full."""
    store.put("a", TEXT, chunk_size=chunk_size)
    check_raw_reader(lambda: store.get("a"))


def test_reader_has_what_consumers_ask_for(store: ObjectStore) -> None:
    """Name, mode, size and info; nothing that promises memory or a path."""
    info = store.put("dir/a.txt", b"12345")
    with store.get("dir/a.txt") as reader:
        assert (reader.name, reader.mode, reader.size) == ("dir/a.txt", "rb", 5)
        assert reader.info == store.get_info("dir/a.txt")
        assert reader.info.nuid == info.nuid
        assert not hasattr(reader, "getbuffer") and not hasattr(reader, "__fspath__")
        assert store.bucket in repr(reader) and "at 0 of 5" in repr(reader)
    assert "closed" in repr(reader)


class FileMachine(RuleBasedStateMachine):
    """One sequence of calls on a reader and on a local file has the same results."""

    def __init__(self, store: ObjectStore, path: Path) -> None:
        super().__init__()
        self.reader = store.get("a")
        self.file = open(path, "rb")  # noqa: SIM115

    sizes = st.one_of(st.none(), st.integers(-1, 400), st.just(5000))

    @rule(size=sizes)
    def read(self, size: int | None) -> None:
        assert self.reader.read(size) == self.file.read(size)

    @rule(size=st.integers(0, 400))
    def readinto(self, size: int) -> None:
        ours, theirs = bytearray(size), bytearray(size)
        assert self.reader.readinto(ours) == self.file.readinto(theirs)
        assert ours == theirs

    @rule(offset=st.integers(-100, 3000), whence=st.integers(0, 2))
    def seek(self, offset: int, whence: int) -> None:
        try:
            place: int | None = self.file.seek(offset, whence)
        except (OSError, ValueError):
            place = None
        if place is None:
            with pytest.raises(OSError):
                self.reader.seek(offset, whence)
        else:
            assert self.reader.seek(offset, whence) == place

    @rule(size=sizes)
    def readline(self, size: int | None) -> None:
        assert self.reader.readline(size) == self.file.readline(-1 if size is None else size)

    @rule(hint=st.one_of(st.none(), st.integers(-1, 1000)))
    def readlines(self, hint: int | None) -> None:
        assert self.reader.readlines(hint) == self.file.readlines(-1 if hint is None else hint)

    @rule()
    def readall(self) -> None:
        assert self.reader.readall() == self.file.read()

    @rule(size=st.integers(-1, 400))
    def read1(self, size: int) -> None:
        data = self.reader.read1(size)
        assert data == self.file.read(len(data))
        if not data and size:
            assert self.file.read(1) == b""

    @rule()
    def peek(self) -> None:
        data, place = self.reader.peek(), self.file.tell()
        assert data == self.file.read(len(data))
        if not data:
            assert self.file.read(1) == b""
        self.file.seek(place)

    @rule(count=st.integers(0, 30))
    def iterate(self, count: int) -> None:
        assert list(islice(self.reader, count)) == list(islice(self.file, count))

    @invariant()
    def position_is_the_same(self) -> None:
        assert self.reader.tell() == self.file.tell()

    def teardown(self) -> None:
        self.reader.close()
        self.file.close()


@pytest.mark.slow
def test_reader_does_what_a_local_file_does(store: ObjectStore, tmp_path: Path) -> None:
    """Any calls in any order, over chunks that fit nothing."""
    data = b"".join(b"%d\n" % number * (number % 7) for number in range(200))
    path = tmp_path / "a"
    path.write_bytes(data)
    store.put("a", data, chunk_size=97)
    run_state_machine_as_test(
        lambda: FileMachine(store, path),
        settings=settings(max_examples=60, stateful_step_count=25),
    )


def test_lines_heed_what_is_done_in_between(store: ObjectStore) -> None:
    """As with a file, where the lines and all other calls share one position."""
    data = b"".join(b"%d\n" % number for number in range(100_000))
    lines = data.splitlines(keepends=True)
    store.put("a", data)
    counts: list[int] = []
    with store.get("a", callback=counts.append) as reader:
        iterator = iter(reader)
        assert [next(iterator) for _ in range(3)] == lines[:3]
        assert reader.readline() == lines[3] and next(iterator) == lines[4]
        assert next(reader) == lines[5] and next(iterator) == lines[6]
        assert reader.tell() == 14
        reader.seek(-6, io.SEEK_END)
        assert next(iterator) == lines[-1]
        reader.seek(0)
        assert list(reader) == lines and reader.verified
        assert sum(counts) == 14 + 6 + len(data)
        reader.seek(0)
        iterator = iter(reader)
        assert [next(iterator), next(iterator)] == lines[:2]
    with pytest.raises(ValueError, match="closed"):
        next(iterator)
    with pytest.raises(ValueError, match="closed"):
        iter(reader)


# Consumers


def make_tar(mode: str) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=f"w{mode}") as tar:
        for number in range(5):
            member = tarfile.TarInfo(f"{number}")
            member.size = 3000
            tar.addfile(member, io.BytesIO(pattern(3000)))
    return target.getvalue()


def read_tar(mode: str) -> Callable[[ObjectReader], object]:
    def read(reader: ObjectReader) -> None:
        with tarfile.open(fileobj=reader, mode=mode) as tar:
            seen = 0
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None and file.read() == pattern(3000)
                seen += 1
            assert seen == 5

    return read


def make_zip() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one", pattern(5000))
        archive.writestr("two", b"2" * 9000)
    return target.getvalue()


def read_zip(reader: ObjectReader) -> None:
    with zipfile.ZipFile(reader) as archive:
        assert archive.testzip() is None
        assert archive.read("one") == pattern(5000)


def read_lzma(reader: ObjectReader) -> None:
    with lzma.open(reader) as file:
        assert file.read() == DATA


def make_wave() -> bytes:
    target = io.BytesIO()
    with wave.open(target, "wb") as sound:
        sound.setparams((2, 2, 44100, 0, "NONE", ""))
        sound.writeframes(pattern(8000))
    return target.getvalue()


def read_wave(reader: ObjectReader) -> None:
    with wave.open(reader) as sound:
        assert sound.readframes(sound.getnframes()) == pattern(8000)


def read_whole(expected: Any, function: Callable[[ObjectReader], Any]) -> Callable[..., None]:
    def read(reader: ObjectReader) -> None:
        assert function(reader) == expected

    return read


def copy(reader: ObjectReader) -> bytes:
    target = io.BytesIO()
    shutil.copyfileobj(reader, target)
    return target.getvalue()


def read_text(reader: ObjectReader) -> str:
    return io.TextIOWrapper(io.BufferedReader(reader), encoding="utf-8").read()


def read_csv(reader: ObjectReader) -> list[list[str]]:
    return list(csv.reader(io.TextIOWrapper(io.BufferedReader(reader), newline="")))


DATA = pattern(9000)
ROWS = [[str(number), "text, with a comma"] for number in range(300)]
CSV = b"".join(b'%d,"text, with a comma"\r\n' % number for number in range(300))
VALUE = {"numbers": list(range(2000)), "text": "é" * 500}
CONSUMERS: dict[str, tuple[bytes, Callable[[ObjectReader], object]]] = {
    "copyfileobj": (DATA, read_whole(DATA, copy)),
    "read": (DATA, read_whole(DATA, lambda reader: reader.read())),
    "iter": (DATA, read_whole(DATA, lambda r: b"".join(iter(lambda: r.read(700), b"")))),
    "buffered": (DATA, read_whole(DATA, lambda r: io.BufferedReader(r, 300).read())),
    "zip": (make_zip(), read_zip),
    "tar": (make_tar(""), read_tar("r:")),
    "tar-any": (make_tar(":xz"), read_tar("r:*")),
    "tar-stream": (make_tar(":gz"), read_tar("r|gz")),
    "tar-any-stream": (make_tar(":bz2"), read_tar("r|*")),
    "gzip": (gzip.compress(DATA), read_whole(DATA, lambda r: gzip.GzipFile(fileobj=r).read())),
    "bz2": (bz2.compress(DATA), read_whole(DATA, lambda r: bz2.BZ2File(r).read())),
    "lzma": (lzma.compress(DATA), read_lzma),
    "json": (json.dumps(VALUE).encode(), read_whole(VALUE, json.load)),
    "pickle": (pickle.dumps(VALUE), read_whole(VALUE, pickle.load)),
    "lines": (CSV, read_whole(CSV.splitlines(keepends=True), list)),
    "text": ("äöü\n".encode() * 900, read_whole("äöü\n" * 900, read_text)),
    "csv": (CSV, read_whole(ROWS, read_csv)),
    "wave": (make_wave(), read_wave),
}
if hasattr(hashlib, "file_digest"):  # Python 3.11
    CONSUMERS["file_digest"] = (
        DATA,
        read_whole(hashlib.md5(DATA).digest(), lambda r: hashlib.file_digest(r, "md5").digest()),
    )


@pytest.mark.parametrize("chunk_size", [1000, None])
@pytest.mark.parametrize("consumer", CONSUMERS)
def test_standard_library_reads_an_object(
    store: ObjectStore, consumer: str, chunk_size: int | None
) -> None:
    """Where short reads or a missing seek would break, nothing breaks."""
    data, read = CONSUMERS[consumer]
    store.put("a", data, chunk_size=chunk_size)
    with store.get("a") as reader:
        read(reader)


# Verification


@pytest.mark.parametrize("size", [0, 1, 96, 97, 98, 97 * 3, 70_000])
@pytest.mark.parametrize("step", [1, 50, 97, 100_000])
def test_object_is_verified_when_its_last_byte_is_handed_out(
    store: ObjectStore, size: int, step: int
) -> None:
    """Not only when somebody asks for more behind the end."""
    data = pattern(size)
    store.put("a", data, chunk_size=97 if size < 1000 else None)
    with store.get("a") as reader:
        assert reader.verified == (size == 0)
        got = b""
        while len(got) < size:
            got += reader.read(min(step, size - len(got)) if size < 1000 else step)
        assert got == data
        assert reader.verified


def test_reader_that_stops_early_is_not_verified(store: ObjectStore) -> None:
    store.put("a", pattern(300_000))
    with store.get("a") as reader:
        reader.read(299_999 - 131_072)
        assert not reader.verified
    assert not reader.verified


def test_seek_back_does_not_spoil_the_verification(store: ObjectStore) -> None:
    """Bytes that come a second time are not hashed a second time."""
    data = pattern(1000)
    store.put("a", data, chunk_size=97)
    with store.get("a") as reader:
        reader.read(500)
        reader.seek(100)
        assert reader.read() == data[100:]
        assert reader.verified


def test_range_is_not_verified(store: ObjectStore) -> None:
    """Who skips bytes has not seen them; whole ranges are verified like whole objects."""
    data = pattern(300_000)
    store.put("a", data)
    with store.get("a") as reader:
        reader.seek(200_000)
        assert reader.read() == data[200_000:]
        assert not reader.verified
    with store.get("a", offset=0, length=300_000) as reader:
        assert reader.read() == data
        assert reader.verified


#: What can be wrong with the chunks of "aaaa", "bbbb", "cccc".
DAMAGE: dict[str, tuple[Callable[[RawBucket, str, list[int]], object], type[OSError]]] = {
    "extra chunk": (
        lambda raw, nuid, seqs: raw.put_chunk(nuid, b"d"),
        DigestMismatchError,
    ),
    "first altered": (
        lambda raw, nuid, seqs: rewrite(raw, nuid, [b"aaax", b"bbbb", b"cccc"]),
        DigestMismatchError,
    ),
    "last altered": (
        lambda raw, nuid, seqs: rewrite(raw, nuid, [b"aaaa", b"bbbb", b"cccx"]),
        DigestMismatchError,
    ),
    "reordered": (
        lambda raw, nuid, seqs: rewrite(raw, nuid, [b"aaaa", b"cccc", b"bbbb"]),
        DigestMismatchError,
    ),
    "longer last chunk": (
        lambda raw, nuid, seqs: rewrite(raw, nuid, [b"aaaa", b"bbbb", b"ccccd"]),
        DigestMismatchError,
    ),
    "first missing": (lambda raw, nuid, seqs: raw.remove(seqs[0]), TruncatedObjectError),
    "middle missing": (lambda raw, nuid, seqs: raw.remove(seqs[1]), TruncatedObjectError),
    "last missing": (lambda raw, nuid, seqs: raw.remove(seqs[2]), TruncatedObjectError),
    "all missing": (
        lambda raw, nuid, seqs: raw.purge(raw.chunk_subject(nuid)),
        TruncatedObjectError,
    ),
}

#: Ways to read an object to its end, the last byte included.
READS: dict[str, Callable[[ObjectReader], object]] = {
    "read": lambda reader: reader.read(),
    "exact": lambda reader: reader.read(12),
    "pieces": lambda reader: [reader.read(5), reader.read(5), reader.read(2)],
    "readinto": lambda reader: reader.readinto(bytearray(12)),
    "readall": lambda reader: reader.readall(),
    "readline": lambda reader: reader.readline(),
    "buffered": lambda reader: read_buffered(reader),
    "copyfileobj": lambda reader: shutil.copyfileobj(reader, io.BytesIO()),
}


def read_buffered(reader: ObjectReader) -> bytes:
    buffered = io.BufferedReader(reader)
    try:
        return buffered.read(12)
    finally:
        buffered.detach()  # dropped, it would close the reader


def rewrite(raw: RawBucket, nuid: str, chunks: list[bytes]) -> None:
    """Replace the chunks of an object."""
    raw.purge(raw.chunk_subject(nuid))
    for chunk in chunks:
        raw.put_chunk(nuid, chunk)


def put_damaged(store: ObjectStore, raw: RawBucket, damage: str) -> type[OSError]:
    """Store the object `a` and damage it; return what reading it has to raise."""
    change, error = DAMAGE[damage]
    nuid = store.put("a", b"aaaabbbbcccc", chunk_size=4).nuid
    change(raw, nuid, [message["seq"] for message in raw.chunk_messages(nuid)])
    return error


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_by_every_read(
    store: ObjectStore, raw: RawBucket, damage: str, read: str
) -> None:
    """Also by reads of exactly as many bytes as there are, and by every read afterwards."""
    error = put_damaged(store, raw, damage)
    reader = store.get("a")
    with pytest.raises(error):
        READS[read](reader)
    for again in (reader.read, lambda: reader.read(1), lambda: reader.readinto(bytearray(1))):
        with pytest.raises(error):
            again()
    assert not reader.verified
    reader.close()
    wait_until(lambda: raw.consumers == 0)


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_object_reaches_no_file(
    store: ObjectStore, raw: RawBucket, damage: str, tmp_path: Path
) -> None:
    """What stood there stays, and no temporary file is left."""
    error = put_damaged(store, raw, damage)
    target = tmp_path / "a"
    target.write_text("before")
    with pytest.raises(error):
        store.get_file("a", target)
    with pytest.raises(error):
        store.get_bytes("a")
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_digest_mismatch_names_both_digests(store: ObjectStore, raw: RawBucket) -> None:
    nuid = raw.put_object("a", [b"right"])
    rewrite(raw, nuid, [b"wrong"])
    with pytest.raises(DigestMismatchError) as caught:
        store.get_bytes("a")
    assert caught.value.expected == raw.meta("a")["digest"]
    assert caught.value.actual == digest_of(b"wrong")
    assert (caught.value.bucket, caught.value.name) == (store.bucket, "a")


def test_truncation_names_the_first_missing_byte(store: ObjectStore, raw: RawBucket) -> None:
    nuid = store.put("a", b"aaaabbbbcccc", chunk_size=4).nuid
    raw.remove(raw.chunk_messages(nuid)[2]["seq"])
    with store.get("a") as reader, pytest.raises(TruncatedObjectError) as caught:
        reader.read()
    assert (caught.value.offset, caught.value.size) == (8, 12)


def test_verify_false_reads_what_does_not_match(store: ObjectStore, raw: RawBucket) -> None:
    """The way out for what other clients have stored wrongly."""
    for digest in ("SHA-256=" + "A" * 43 + "=", "MD5=AAAA", ""):
        raw.put_object("a", [b"data"], digest=digest)
        with store.get("a", verify=False) as reader:
            assert reader.read() == b"data"
            assert not reader.verified


def test_object_without_usable_digest_is_refused(store: ObjectStore, raw: RawBucket) -> None:
    """When it is opened, and with the way out in the message."""
    for digest in ("MD5=AAAA", "SHA-256=AAAA", "nonsense", "", None):
        raw.put_object("a", [b"data"], digest=digest)
        with pytest.raises(BadObjectMetaError, match="verify=False"):
            store.get("a")


def test_stored_size_is_no_reason_to_allocate(store: ObjectStore, raw: RawBucket) -> None:
    """A meta can claim any size; memory grows with what really comes."""
    raw.put_object("a", [b"data"], size=2**62)
    with store.get("a") as reader:
        assert reader.seek(0, io.SEEK_END) == 2**62
        reader.seek(0)
        with pytest.raises(TruncatedObjectError):
            reader.read()


# Ranges


@pytest.mark.parametrize("chunk_size", [7, 64, None])
@pytest.mark.parametrize("offset", [0, 1, 63, 64, 65, 640, 999, 1000, 2000])
@pytest.mark.parametrize("length", [None, 0, 1, 64, 500, 1000, 5000])
def test_range_is_a_file_of_its_own(
    store: ObjectStore, chunk_size: int | None, offset: int, length: int | None
) -> None:
    """Positions count from its beginning, and its end is the end."""
    data = pattern(1000)
    store.put("a", data, chunk_size=chunk_size)
    expected = data[offset:] if length is None else data[offset : offset + length]
    with store.get("a", offset=offset, length=length) as reader:
        assert reader.size == len(expected)
        assert reader.read() == expected
        assert reader.tell() == len(expected)
        assert reader.seek(-len(expected), io.SEEK_END) == 0
        assert reader.read(3) == expected[:3]


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "1", 2**63])
@pytest.mark.parametrize("argument", ["offset", "length"])
def test_range_of_nonsense_is_refused(store: ObjectStore, argument: str, wrong: Any) -> None:
    store.put("a", b"data")
    with pytest.raises((TypeError, ValueError), match=argument):
        store.get("a", **{argument: wrong})


@pytest.mark.slow
def test_only_needed_chunks_are_fetched(store: ObjectStore, traffic: Traffic) -> None:
    """Of a large object, a few bytes in the middle cost a chunk or two, the size nothing."""
    size = 64 * MIB
    store.put("a", bytes(size))
    chunk = 128 * KIB
    with store.get("a") as reader:
        traffic.start()
        assert reader.seek(0, io.SEEK_END) == size
        assert reader.tell() == size
        assert traffic.payloads == []
        reader.seek(size // 2 - 50)
        assert reader.read(100) == bytes(100)
        assert traffic.chunks(chunk) <= 2
        assert traffic.bytes <= 3 * chunk
    with store.get("a", offset=size // 2, length=100) as reader:
        traffic.start()
        assert reader.read() == bytes(100)
        assert 1 <= traffic.chunks(chunk) <= 2
    with store.get("a") as reader:
        traffic.start()
        reader.seek(-22, io.SEEK_END)  # what readers of archives do first
        assert reader.read() == bytes(22)
        assert 1 <= traffic.chunks(chunk) <= 2


def test_nothing_is_fetched_before_the_first_read(store: ObjectStore, traffic: Traffic) -> None:
    store.put("a", pattern(300_000))
    with store.get("a") as reader:
        traffic.start()
        reader.seek(1000)
        reader.tell()
        assert traffic.payloads == []


def test_seek_within_what_is_at_hand_fetches_nothing(store: ObjectStore, traffic: Traffic) -> None:
    data = pattern(10_000)
    store.put("a", data)
    with store.get("a") as reader:
        reader.read(10)
        traffic.start()
        for place in (5000, 0, 9000, 20):
            reader.seek(place)
            assert reader.read(100) == data[place : place + 100]
        assert traffic.payloads == []


def test_many_small_reads_are_few_fetches(store: ObjectStore, traffic: Traffic) -> None:
    data = pattern(300_000)
    store.put("a", data)
    with store.get("a") as reader:
        traffic.start()
        assert b"".join(iter(lambda: reader.read(100), b"")) == data
        assert sum(size > 0 for size in traffic.payloads) == 3


def test_peek_takes_nothing(store: ObjectStore) -> None:
    store.put("a", b"abcdef")
    with store.get("a") as reader:
        assert reader.peek() == reader.peek(1) == b"abcdef"
        assert reader.read(2) == b"ab"
        assert reader.peek(100) == b"cdef"
        assert reader.read1() == b"cdef"
        assert reader.peek() == reader.read1() == b""


def test_read1_fetches_only_if_nothing_is_at_hand(store: ObjectStore, traffic: Traffic) -> None:
    data = pattern(300_000)
    store.put("a", data)
    with store.get("a") as reader:
        assert reader.read1(10) == data[:10]
        traffic.start()
        more = reader.read1()
        assert len(more) > 100 and traffic.payloads == []
        assert data.startswith(more, 10)
        assert reader.read1(0) == b""


# The callback


@pytest.mark.parametrize("read", READS)
def test_callback_counts_every_byte_once(store: ObjectStore, read: str) -> None:
    """In this thread, with the increment."""
    store.put("a", b"aaaabbbbcccc", chunk_size=4)
    steps: list[int] = []
    with store.get("a", callback=steps.append) as reader:
        READS[read](reader)
        assert sum(steps) == 12 and min(steps) > 0


def test_error_of_the_callback_reaches_the_caller(store: ObjectStore) -> None:
    store.put("a", b"data")

    def fail(count: int) -> None:
        raise ZeroDivisionError

    with store.get("a", callback=fail) as reader, pytest.raises(ZeroDivisionError):
        reader.read()
    assert store.get_bytes("a") == b"data"


# The end


@pytest.mark.slow
def test_nothing_stays_on_the_server(store: ObjectStore, raw: RawBucket) -> None:
    """Neither of readers that are closed early, nor of those that are dropped."""
    store.put("a", bytes(16 * MIB))
    with store.get("a") as reader:
        reader.read(6 * MIB)
        assert raw.consumers == 1  # a long read takes one: else this test shows nothing
    wait_until(lambda: raw.consumers == 0)
    reader = store.get("a")
    reader.read(6 * MIB)
    assert raw.consumers == 1
    del reader
    gc.collect()
    store.get_info("a")  # the next to use the connection says farewell
    wait_until(lambda: raw.consumers == 0)


def test_reader_in_a_cycle_is_collected_silently(store: ObjectStore, raw: RawBucket) -> None:
    """The collector may run anywhere: nothing is locked, nothing raised, nothing warned of."""
    store.put("a", pattern(300_000))
    readers = []
    for _ in range(50):
        reader: Any = store.get("a")
        reader.read(1)
        reader.itself = reader
        readers.append(weakref.ref(reader))
        del reader
    gc.collect()
    assert not any(reference() for reference in readers)
    assert store.get_bytes("a") == pattern(300_000)
    assert raw.consumers == 0


@pytest.mark.slow
def test_wrapper_in_a_cycle_is_collected_whatever_the_thread_was_doing(
    client: Client, store: ObjectStore, raw: RawBucket
) -> None:
    """A wrapper of the standard library closes the reader, in the middle of anything."""

    class Wrapper(io.BufferedReader):
        itself: Wrapper

    store.put("a", bytes(16 * MIB))
    gc.disable()
    reader = store.get("a")
    reader.read(6 * MIB)
    wrapper = Wrapper(reader)
    wrapper.itself = wrapper
    del reader, wrapper

    def collect() -> None:
        with client._connection._lock:
            gc.collect()

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    gc.enable()
    assert not thread.is_alive()
    wait_until(lambda: raw.consumers == 0)


def test_reader_outlives_its_store_and_client_variable(server: Any, bucket: str) -> None:
    """Who holds a reader need not hold what it came from."""
    reader = make_orphan(server.url, bucket)
    gc.collect()
    with reader:
        assert reader.read() == pattern(300_000)


def make_orphan(url: str, bucket: str) -> ObjectReader:
    store = Client(url).create_object_store(bucket)
    store.put("a", pattern(300_000))
    return store.get("a")


# Changes under a reader


@pytest.mark.parametrize("change", ["overwrite", "delete"])
@pytest.mark.parametrize("size", [6 * MIB, 16 * MIB], ids=["batches", "consumer"])
@pytest.mark.slow
def test_change_under_a_reader_is_told(
    store: ObjectStore, change: str, size: int, raw: RawBucket
) -> None:
    """Within seconds, and never with bytes of another version."""
    store.put("a", bytes(size))
    with store.get("a") as reader:
        reader.read(MIB)
        if change == "overwrite":
            store.put("a", b"\1" * size)
        else:
            store.delete("a")
        with pytest.raises(ObjectChangedError):
            drain_zeros(reader)
        assert reader.tell() < size
        with pytest.raises(ObjectChangedError):
            reader.read(1)
    wait_until(lambda: raw.consumers == 0)


def drain_zeros(reader: ObjectReader) -> None:
    for data in iter(lambda: reader.read(MIB), b""):
        assert not data.strip(b"\0")
