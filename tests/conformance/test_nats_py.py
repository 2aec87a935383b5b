"""What nats.py asserts: `nats/tests/test_js.py`, its class `ObjectStoreTest`."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from objstore.client import Client
from objstore.errors import (
    BucketNotFoundError,
    BucketSealedError,
    InvalidNameError,
    JetStreamError,
    ObjectAlreadyExistsError,
    ObjectNotFoundError,
    RequestTimeoutError,
)
from objstore.models import ObjectMeta
from objstore.store import ObjectStore
from tests.conformance.helpers import KIB, MIB, random_bytes, take
from tests.raw_bucket import RawBucket

MakeStore = Callable[..., ObjectStore]


def test_object_basics(client: Client, make_store: MakeStore) -> None:
    """Bytes and text; chunk size 5; description, headers and options; bucket come and gone."""
    with pytest.raises(InvalidNameError):
        client.create_object_store("notok!")
    store = make_store("OBJS", description="testing")
    config = RawBucket(client._connection, "OBJS").config
    assert config["subjects"] == ["$O.OBJS.C.>", "$O.OBJS.M.>"]
    assert (config["discard"], config["retention"]) == ("new", "limits")
    assert (config["max_age"], config["allow_rollup_hdrs"]) == (0, True)

    assert store.put("bytes", b"0123456789").size == 10
    assert store.get_bytes("bytes") == b"0123456789"
    # Theirs takes str for data; here it has a method of its own.
    store.put_string("text", "plain té×t")
    assert store.get_bytes("text") == "plain té×t".encode()
    with pytest.raises(TypeError, match="put_string"):
        store.put("text", "plain text")  # type: ignore[arg-type]

    meta = ObjectMeta("obj", "A description", {"header": "value"}, chunk_size=5)
    info = store.put(meta, b"0123456789")
    assert (info.chunks, info.chunk_size, info.size) == (2, 5, 10)
    assert (info.description, info.headers) == ("A description", {"header": ["value"]})
    assert info.bucket == "OBJS" and len(info.nuid) == 22
    with store.get("obj") as reader:
        assert reader.info == store.get_info("obj")
        assert reader.read() == b"0123456789"

    client.delete_object_store("OBJS")
    with pytest.raises(BucketNotFoundError):
        client.object_store("OBJS")


def test_object_big_files(store: ObjectStore, tmp_path: Path) -> None:
    """The same digest from bytes, a file and a buffer; and a file written from an object."""
    data = b"A" * (1 * MIB + 33)
    digest = "SHA-256=mhT1pLyi9JlIaqwVmvt0wQp2x09kor_80Lirl4SDblA="
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        infos = [
            store.put("bytes", data),
            store.put("file", file),
            store.put("buffer", io.BytesIO(data)),
        ]
        assert not file.closed, "who opened it closes it"
    for info in infos:
        assert (info.size, info.chunks, info.digest) == (len(data), 9, digest)
        assert store.get_bytes(info.name) == data
    target = io.BytesIO()
    with store.get("file") as reader, (tmp_path / "target").open("wb") as written:
        shutil.copyfileobj(reader, written)
        reader.seek(0)
        shutil.copyfileobj(reader, target)
    assert target.getvalue() == (tmp_path / "target").read_bytes() == data


def test_object_file_basics(client: Client, make_store: MakeStore) -> None:
    """A file is put; the bucket is sealed; what is missing is missing, the bucket too."""
    store = make_store("FILES")
    data = random_bytes(2 * MIB + 33)
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        info = store.put("file", file)
    assert (info.size, info.chunks) == (len(data), 17)
    store.seal()
    assert store.status().sealed
    with pytest.raises(BucketSealedError) as caught:
        store.put("another", b"data")
    # Theirs is a BadRequestError; what the server said is the cause.
    assert isinstance(caught.value.__cause__, JetStreamError)
    assert (caught.value.__cause__.code, caught.value.__cause__.err_code) == (400, 10109)
    assert store.get_bytes("file") == data
    with pytest.raises(ObjectNotFoundError):
        store.get("missing")
    with pytest.raises(InvalidNameError):  # theirs is NotFoundError
        store.get("")
    client.delete_object_store("FILES")
    with pytest.raises(BucketNotFoundError):
        client.delete_object_store("FILES")


def test_object_multi_files(store: ObjectStore, tmp_path: Path) -> None:
    """Several objects do not disturb each other, and have the digests of their bytes."""
    path = tmp_path / "file"
    path.write_bytes(random_bytes(300 * KIB))
    for name in "ABC":
        store.put_string(name, name)
    store.put("file", path)
    digests = {info.name: info.digest for info in store.list()}
    assert digests["A"] == "SHA-256=VZrq0IJk1XldOQlxjN0Fq9SVcuhP5VWQ7vMaiKCP3_0="
    assert digests["B"] == "SHA-256=335w5QIVRPSDS77mSp43if68S-gUcN9inK1t2wMyClw="
    assert digests["C"] == "SHA-256=ayPA1fNdGxH5toPwsKYXNV3rESd9ka4JHTmcZVuHlA0="
    assert store.get_bytes("file") == path.read_bytes()


def test_object_watch(store: ObjectStore) -> None:
    """Marker, puts, silence, delete, overwrite, changes of meta, and those that are refused."""
    with store.watch() as watcher:
        assert take(watcher, 1) == [None]
        for name in "ABC":
            store.put_string(name, name)
        assert take(watcher, 3) == [store.get_info(name) for name in "ABC"]
        with pytest.raises(RequestTimeoutError):  # the watch goes on after it
            watcher.next(timeout=0.1)

        store.delete("B")
        (deleted,) = take(watcher, 1)
        assert deleted is not None and (deleted.name, deleted.deleted) == ("B", True)
        with pytest.raises(ObjectNotFoundError):
            store.get("B")
        assert store.get("B", show_deleted=True).info == deleted

        store.put_string("A", "overwritten")
        (overwritten,) = take(watcher, 1)
        assert overwritten is not None and (overwritten.name, overwritten.size) == ("A", 11)

        store.update_meta("C", ObjectMeta("C", "C", {"color": "red"}))
        (updated,) = take(watcher, 1)
        assert updated is not None and updated.headers == {"color": ["red"]}

        for name in ("B", "missing"):
            with pytest.raises(ObjectNotFoundError):
                store.update_meta(name, description="none")
        with pytest.raises(ObjectAlreadyExistsError):
            store.update_meta("A", new_name="C")
        # Theirs asserts that this fails, too: a slip, for the name is free.
        store.update_meta("A", new_name="D")
        # Before the new name comes, the old one says what it will be.
        told, renamed = take(watcher, 2)
        assert told is not None and (told.name, told.nuid) == ("A", overwritten.nuid)
        assert renamed is not None and (renamed.name, renamed.nuid) == ("D", told.nuid)
        assert store.get_string("D") == "overwritten"


def test_object_list(store: ObjectStore) -> None:
    """In the order of the last change; deleted objects only if asked for."""
    assert store.list() == []  # theirs raises NotFoundError, and shows deleted by default
    for name in "ABCD":
        store.put_string(name, name)
    assert [info.name for info in store.list()] == ["A", "B", "C", "D"]
    store.delete("B")
    assert [info.name for info in store.list()] == ["A", "C", "D"]
    shown = store.list(show_deleted=True)
    assert [(info.name, info.deleted) for info in shown] == [
        ("A", False),
        ("C", False),
        ("D", False),
        ("B", True),
    ]
    store.delete("A")
    store.delete("C")
    store.delete("D")
    assert store.list() == []
    assert len(store.list(show_deleted=True)) == 4
