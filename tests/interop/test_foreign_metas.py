"""
What no client that can be installed here writes, and others have written: it is read.

Made by hand, message by message. `Foreign` writes an object the way some client does, or
did; ours reads it tolerantly, and writes strictly over it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from objstore.client import Client
from objstore.core.nuid import next_nuid
from objstore.errors import (
    BadObjectMetaError,
    BucketLinkError,
    BucketNotFoundError,
    DigestMismatchError,
    InvalidNameError,
    LinkError,
    ObjectAlreadyExistsError,
    ObjectChangedError,
    ObjectNotFoundError,
    PreconditionFailedError,
)
from objstore.models import ObjectInfo, ObjectLink
from objstore.store import ObjectStore
from tests.raw_bucket import RawBucket, digest_of

#: Its hash has both characters in which the alphabets of base64 differ.
DATA = b"what somebody else has stored"
HASH = hashlib.sha256(DATA).digest()
assert {"+", "/"} <= set(base64.b64encode(HASH).decode())

#: Takes a field out of a meta.
ABSENT: Any = object()


class Foreign:
    """Writes what another client has written."""

    def __init__(self, raw: RawBucket) -> None:
        self._raw = raw

    def put(
        self,
        name: str,
        /,
        *,
        pieces: tuple[bytes, ...] = (DATA,),
        subject: str | None = None,
        rollup: bool = True,
        **fields: Any,
    ) -> str:
        """Store an object; keywords are fields of its meta. Return its id."""
        nuid = next_nuid()
        for piece in pieces:
            self._raw.put_chunk(nuid, piece)
        data = b"".join(pieces)
        meta = {
            "name": name,
            "bucket": self._raw.name,
            "nuid": nuid,
            "size": len(data),
            "chunks": len(pieces),
            "digest": digest_of(data),
            **fields,
        }
        meta = {key: value for key, value in meta.items() if value is not ABSENT}
        self._raw.put_meta(name, meta, subject=subject, rollup=rollup)
        return nuid

    def link(self, name: str, /, *, rollup: bool = True, **fields: Any) -> None:
        """Store a link, of which everything is given."""
        self._raw.put_meta(name, {"name": name, **fields}, rollup=rollup)


@pytest.fixture
def foreign(raw: RawBucket) -> Foreign:
    return Foreign(raw)


def stored_strictly(raw: RawBucket, name: str, data: bytes) -> bool:
    """Whether an object that was put without any field is stored by the letter of ADR-20."""
    meta = raw.meta(name)
    (nuid,) = [nuid for nuid in raw.chunks if nuid == meta["nuid"]]
    assert meta == {
        "name": name,
        "bucket": raw.name,
        "nuid": nuid,
        "size": len(data),
        "chunks": 1,
        "digest": digest_of(data),
        "options": {"max_chunk_size": 131072},
    }
    return raw.subjects(raw.meta_subject(name)) == {raw.meta_subject(name): 1}


# Names that are encoded in another way


def standard_alphabet(name: str) -> str:
    """As nats.java does."""
    return base64.b64encode(name.encode()).decode()


def without_padding(name: str) -> str:
    """As nats.c 3.11 did."""
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def latin_1(name: str) -> str:
    """As nats.js does."""
    return base64.urlsafe_b64encode(name.encode("latin-1")).decode()


ODD_NAMES = [("my?file~", standard_alphabet), ("é", without_padding), ("é", latin_1)]
odd_names = pytest.mark.parametrize(("name", "encode"), ODD_NAMES)
Encode = Callable[[str], str]


@odd_names
def test_oddly_encoded_name_is_listed_and_read_by_its_info(
    store: ObjectStore, foreign: Foreign, tmp_path: Path, name: str, encode: Encode
) -> None:
    """The name in the JSON is the one that people know; the info leads to the bytes."""
    foreign.put(name, subject=f"$O.{store.bucket}.M.{encode(name)}")
    (info,) = store.list()
    assert info.name == name
    assert store.get_bytes(info) == DATA
    assert store.get_string(info) == DATA.decode()
    assert store.get_file(info, tmp_path / "file") == info
    with store.get(info, offset=5, length=7) as reader:
        assert reader.name == name
        assert reader.read() == DATA[5:12]
    assert name not in store
    with pytest.raises(ObjectNotFoundError):
        store.get(name)
    # What is no key is not among the keys.
    assert list(store) == list(store.mapping()) == []
    assert len(store.mapping()) == 0


@odd_names
def test_oddly_encoded_object_is_changed_by_its_info(
    store: ObjectStore, raw: RawBucket, foreign: Foreign, name: str, encode: Encode
) -> None:
    """In its place, where its writer finds it; the name itself is still free."""
    subject = f"$O.{store.bucket}.M.{encode(name)}"
    foreign.put(name, subject=subject)
    (info,) = store.list()
    assert info.subject == subject
    assert store.get_info(info) == info
    changed = store.update_meta(info, description="ours", if_revision=info.revision)
    assert store.list() == [store.get_info(info)] == [store.get_info(changed)]
    assert (changed.description, changed.subject) == ("ours", subject)
    with pytest.raises(PreconditionFailedError):
        store.delete(info, if_revision=info.revision)
    store.put("other", b"other")
    assert store.copy(info, "copy").subject == ""
    assert store.get_bytes("copy") == DATA
    store.delete(info)
    store.delete(info)  # twice is fine
    assert list(store) == ["other", "copy"]
    assert store.get_info(info, show_deleted=True).deleted
    assert info.nuid not in raw.chunks
    with pytest.raises(ObjectNotFoundError):
        store.get_info(info)
    store.delete(info, purge=True)
    assert subject not in raw.subjects()


@odd_names
def test_oddly_encoded_object_is_brought_to_its_right_place(
    store: ObjectStore, raw: RawBucket, foreign: Foreign, name: str, encode: Encode
) -> None:
    """Without its bytes being moved; not over an object that is there already."""
    subject = f"$O.{store.bucket}.M.{encode(name)}"
    foreign.put(name, subject=subject)
    (info,) = store.list()
    store.put(name, b"in the way")
    with pytest.raises(ObjectAlreadyExistsError):
        store.update_meta(info, new_name=name)
    store.delete(name)
    store.update_meta(info, new_name=name)
    assert store[name] == DATA
    assert list(store) == [name]
    assert store.get_info(name).nuid == info.nuid
    assert subject not in raw.subjects()


@pytest.mark.parametrize("subject", ["$O.other.M.YQ==", "a.b", "$O.{}.M.>", "$O.{}.C.YQ==", ">"])
def test_info_with_a_subject_of_something_else_is_refused(store: ObjectStore, subject: str) -> None:
    """Before anything is sent: it could be somebody else's, or everybody's."""
    info = replace(store.put("a", b"data"), subject=subject.format(store.bucket))
    for operation in (store.get_info, store.delete):
        with pytest.raises(InvalidNameError):
            operation(info)
    with pytest.raises(InvalidNameError):
        store.update_meta(info, description="d")
    assert store["a"] == b"data"


@odd_names
def test_oddly_encoded_name_is_watched(
    store: ObjectStore, foreign: Foreign, name: str, encode: Encode
) -> None:
    """A watch tells the name as a listing does."""
    foreign.put(name, subject=f"$O.{store.bucket}.M.{encode(name)}")
    with store.watch() as watcher:
        info = watcher.next(timeout=5)
        assert info is not None
        assert info.name == name
        assert watcher.next(timeout=5) is None


@odd_names
@pytest.mark.parametrize("ours_first", [True, False])
def test_name_that_is_encoded_both_ways_is_listed_once(
    store: ObjectStore, foreign: Foreign, name: str, encode: Encode, ours_first: bool
) -> None:
    """Of two entries of one name the listing shows the one that the name leads to."""
    if ours_first:
        store.put(name, b"ours")
    foreign.put(name, subject=f"$O.{store.bucket}.M.{encode(name)}")
    if not ours_first:
        store.put(name, b"ours")
    (info,) = store.list()
    assert store.get_bytes(info) == store.get_bytes(name) == b"ours"
    assert list(store) == [name]
    store.delete(name)
    (info,) = store.list()
    assert store.get_bytes(info) == DATA


@odd_names
def test_oddly_encoded_object_is_copied_to_its_right_place(
    store: ObjectStore, raw: RawBucket, foreign: Foreign, name: str, encode: Encode
) -> None:
    """Two lines make it readable for everybody."""
    foreign.put(name, subject=f"$O.{store.bucket}.M.{encode(name)}")
    for info in store.list():
        store.put(info, store.get(info))
    assert store[name] == DATA
    assert raw.meta(name)["name"] == name


def test_info_reads_the_version_that_it_is_of(store: ObjectStore) -> None:
    """Or says that this version is gone."""
    old = store.put("a", DATA)
    store.put("a", b"new")
    with pytest.raises(ObjectChangedError):
        store.get_bytes(old)


def test_info_of_a_link_is_followed(store: ObjectStore, foreign: Foreign) -> None:
    """As the name of a link is."""
    store.add_link("link", store.put("a", DATA))
    assert store.get_bytes(store.get_info("link")) == DATA


def test_info_of_a_deleted_object_leads_nowhere(store: ObjectStore) -> None:
    """As its name does."""
    store.put("a", DATA)
    store.delete("a")
    (info,) = store.list(show_deleted=True)
    with pytest.raises(ObjectNotFoundError):
        store.get(info)
    assert store.get(info, show_deleted=True).read() == b""


def test_info_of_another_bucket_is_refused(store: ObjectStore, client: Client) -> None:
    """It is a mistake, and would read the wrong chunks, or none."""
    other = client.create_object_store(f"{store.bucket}-other")
    info = other.put("a", DATA)
    with pytest.raises(ValueError, match="other"):
        store.get(info)
    client.delete_object_store(other.bucket)


# Metas of live objects

#: What is in a meta, and what an info shows of it.
METAS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing but what must be": ({}, {"chunk_size": 0}),
    "mtime is empty": ({"mtime": ""}, {}),
    "mtime is zero": ({"mtime": "0001-01-01T00:00:00Z"}, {}),
    "mtime is a time": ({"mtime": "2020-02-29T12:00:00.123456789Z"}, {}),
    "mtime is garbage": ({"mtime": "yesterday"}, {}),
    "mtime is a number": ({"mtime": 1700000000}, {}),
    "nulls": (
        {
            **dict.fromkeys(("description", "headers", "metadata", "mtime", "deleted", "link")),
            "options": {"link": None, "max_chunk_size": None},
        },
        {"description": "", "headers": {}, "metadata": {}, "link": None, "deleted": False},
    ),
    "options are null": ({"options": None}, {"chunk_size": 0, "link": None}),
    "options are a list": ({"options": []}, {"chunk_size": 0, "link": None}),
    "empty fields": (
        {"description": "", "headers": {}, "metadata": {}, "options": {}},
        {"description": "", "headers": {}, "metadata": {}},
    ),
    "deleted is false": ({"deleted": False}, {"deleted": False}),
    "headers as of ADR-20": ({"headers": {"A": ["1", "2"]}}, {"headers": {"A": ["1", "2"]}}),
    "headers are strings": ({"headers": {"A": "1"}}, {"headers": {"A": ["1"]}}),
    "headers are wrapped": ({"headers": {"inner": {"A": ["1"]}}}, {"headers": {"A": ["1"]}}),
    "a header named inner": ({"headers": {"inner": ["1"]}}, {"headers": {"inner": ["1"]}}),
    "headers are a list": ({"headers": ["A"]}, {"headers": {}}),
    "metadata are numbers": ({"metadata": {"a": 1, "b": "2"}}, {"metadata": {"b": "2"}}),
    "bucket is another": ({"bucket": "another"}, {}),
    "bucket is absent": ({"bucket": ABSENT}, {}),
    "name is another": ({"name": "b"}, {"name": "a"}),
    "chunks are not counted": ({"chunks": ABSENT}, {"chunks": 0}),
    "chunk size of a chunk": ({"options": {"max_chunk_size": 29}}, {"chunk_size": 29}),
    "unknown keys": ({"revision": 7, "options": {"codec": "x"}}, {}),
    "digest without padding": ({"digest": digest_of(DATA).rstrip("=")}, {}),
    "digest in standard base64": (
        {"digest": f"SHA-256={base64.b64encode(HASH).decode()}"},
        {},
    ),
    "digest in hex": ({"digest": f"SHA-256={HASH.hex()}"}, {}),
    "digest in capital hex": ({"digest": f"sha-256={HASH.hex().upper()}"}, {}),
    "digest in lower case": ({"digest": digest_of(DATA).replace("SHA", "sha")}, {}),
    "digest as SHA256": ({"digest": digest_of(DATA).replace("SHA-", "SHA")}, {}),
}


@pytest.mark.parametrize("meta", METAS)
def test_foreign_meta_is_read(
    store: ObjectStore, raw: RawBucket, foreign: Foreign, meta: str
) -> None:
    """By its name and in listings; the bytes are verified, the time is the server's."""
    fields, expected = METAS[meta]
    nuid = foreign.put("a", **fields)
    info = store.get_info("a")
    shown = {key: getattr(info, key) for key in expected}
    assert shown == expected
    assert (info.bucket, info.name, info.nuid, info.size) == (store.bucket, "a", nuid, len(DATA))
    message = raw.meta_message("a")
    assert message is not None
    assert info.revision == message["seq"]
    assert info.mtime.isoformat()[:19] == message["time"][:19]
    with store.get("a") as reader:
        assert reader.read() == DATA
        assert reader.verified
    assert [info.nuid for info in store.list()] == [nuid]


@pytest.mark.parametrize("meta", METAS)
def test_put_over_a_foreign_meta_is_strict(
    store: ObjectStore, raw: RawBucket, foreign: Foreign, meta: str
) -> None:
    """Nothing of what was there is left, the chunks neither."""
    foreign.put("a", **METAS[meta][0])
    info = store.put("a", b"ours")
    assert stored_strictly(raw, "a", b"ours")
    assert raw.chunks == {info.nuid: 1}


@pytest.mark.parametrize("meta", METAS)
def test_update_of_a_foreign_meta_is_strict_and_keeps_what_is_unknown(
    store: ObjectStore, raw: RawBucket, foreign: Foreign, meta: str
) -> None:
    """Shapes are mended, empty fields and mtime go, and nobody's own fields are lost."""
    fields, _ = METAS[meta]
    nuid = foreign.put("a", **fields)
    store.update_meta("a", description="changed")
    written = raw.meta("a")
    assert written.pop("description") == "changed"
    info = store.get_info("a")
    kept = {"headers": info.headers, "metadata": info.metadata}
    options = {"max_chunk_size": info.chunk_size} if info.chunk_size else {}
    if meta == "unknown keys":
        kept["revision"], options = 7, {"codec": "x"}
    expected = {
        "name": "a",
        "bucket": store.bucket,
        "nuid": nuid,
        "size": len(DATA),
        "chunks": info.chunks,
        "digest": fields.get("digest", digest_of(DATA)),
        "options": options,
        **kept,
    }
    assert written == {key: value for key, value in expected.items() if value != {}}
    assert store["a"] == DATA


def test_half_a_character_is_no_obstacle(store: ObjectStore, foreign: Foreign) -> None:
    """As JavaScript stores a text that was cut between two halves."""
    half = "half of an owl: \ud83e"
    foreign.put("a", description=half, metadata={"a": half}, headers={"a": [half]})
    info = store.update_meta("a", new_name="b")
    assert info.description == info.metadata["a"] == info.headers["a"][0] == half[:-1] + "?"
    assert store["b"] == DATA
    store.delete("b")


@pytest.mark.parametrize("name", [ABSENT, None, "", 5, ["a"]])
def test_entry_without_a_name_is_not_listed(
    store: ObjectStore, foreign: Foreign, caplog: pytest.LogCaptureFixture, name: object
) -> None:
    """Its subject has one all the same, and under that it is read."""
    foreign.put("a", name=name)
    with caplog.at_level(logging.WARNING, "objstore"):
        assert store.list() == []
    assert len(caplog.records) == 1
    assert store["a"] == DATA


def test_empty_object_without_numbers_is_read(store: ObjectStore, foreign: Foreign) -> None:
    """As nats.net writes it: zeros left out, and one empty chunk."""
    foreign.put("a", pieces=(b"",), size=ABSENT, chunks=ABSENT)
    assert store["a"] == b""
    assert store.get_info("a").size == 0


def test_trailing_empty_chunk_is_ignored(store: ObjectStore, raw: RawBucket) -> None:
    """As nats.net writes it: not counted in the meta."""
    raw.put_object("a", [b"12345", b"67890", b""], chunks=2)
    assert store["a"] == b"1234567890"
    with store.get("a", offset=7) as reader:
        assert reader.read() == b"890"


def test_uneven_chunks_are_read(store: ObjectStore, raw: RawBucket) -> None:
    """Most clients make a chunk of whatever a read gives them."""
    pieces = [b"1", b"2345", b"67", b"8", b"90"]
    raw.put_object("a", pieces, options={"max_chunk_size": 4})
    assert store["a"] == b"1234567890"
    with store.get("a") as reader:
        for position in (8, 3, 0, 9, 5):
            reader.seek(position)
            assert reader.read(2) == b"1234567890"[position : position + 2]


@pytest.mark.parametrize("digest", [ABSENT, "", None, "MD5=abc", "SHA-256=abc", "SHA-512=", 5])
def test_object_without_usable_digest_is_read_on_request(
    store: ObjectStore, foreign: Foreign, digest: object
) -> None:
    """It cannot be verified, so reading it unverified takes a word."""
    foreign.put("a", digest=digest)
    with pytest.raises(BadObjectMetaError, match="verify=False"):
        store.get("a")
    assert store.get("a", verify=False).read() == DATA
    assert store.get_info("a").size == len(DATA)


def test_wrong_digest_is_told_and_read_on_request(store: ObjectStore, foreign: Foreign) -> None:
    """Old nats.js computed wrong ones for objects above 500 MB."""
    foreign.put("a", digest=digest_of(b"something else"))
    with pytest.raises(DigestMismatchError):
        store.get_bytes("a")
    assert store.get("a", verify=False).read() == DATA


# Several metas of one name


def test_last_of_several_metas_counts(store: ObjectStore, raw: RawBucket, foreign: Foreign) -> None:
    """As nats.js leaves them when it updates: without a rollup, and with `revision` in it."""
    nuid = foreign.put("a", description="1")
    subject = raw.meta_subject("a")
    for number in (2, 3):
        meta = {**raw.meta("a"), "description": str(number), "revision": number}
        raw.put_meta("a", meta, rollup=False)
    assert raw.subjects(subject) == {subject: 3}

    assert store.get_info("a").description == "3"
    assert store["a"] == DATA
    assert [info.description for info in store.list()] == ["3"]
    with store.watch() as watcher:
        assert [info and info.description for info in (watcher.next(5), watcher.next(5))] == [
            "3",
            None,
        ]
    with store.watch(include_history=True) as watcher:
        history = [watcher.next(5) for _ in range(4)]
        assert [info and info.description for info in history] == ["1", "2", "3", None]

    store.update_meta("a", description="4")
    assert raw.subjects(subject) == {subject: 1}
    assert raw.meta("a")["revision"] == 3
    assert raw.chunks == {nuid: 1}


def test_rename_of_several_metas_leaves_none(
    store: ObjectStore, raw: RawBucket, foreign: Foreign
) -> None:
    """Older versions of the old name do not come to light again."""
    foreign.put("a")
    raw.put_meta("a", {**raw.meta("a"), "description": "2"}, rollup=False)
    store.update_meta("a", new_name="b")
    assert [info.name for info in store.list(show_deleted=True)] == ["b"]
    assert store["b"] == DATA


def test_delete_of_several_metas_leaves_a_tombstone(
    store: ObjectStore, raw: RawBucket, foreign: Foreign
) -> None:
    """Older versions do not come to light again."""
    foreign.put("a")
    raw.put_meta("a", {**raw.meta("a"), "description": "2"}, rollup=False)
    store.delete("a")
    assert store.list() == []
    assert raw.subjects() == {raw.meta_subject("a"): 1}


# Tombstones

TOMBSTONES: dict[str, dict[str, Any]] = {
    "nats.go": {"size": 0, "chunks": 0, "digest": ABSENT, "mtime": "0001-01-01T00:00:00Z"},
    "nats.py": {
        "size": 0,
        "chunks": 0,
        "digest": "",
        "mtime": "",
        "description": None,
        "headers": None,
    },
    "nats.rs": {"size": 0, "chunks": 0, "description": None, "headers": None},
    "nats.net": {"size": ABSENT, "chunks": ABSENT, "digest": ABSENT},
}


@pytest.mark.parametrize("client_name", TOMBSTONES)
def test_foreign_tombstone_is_one(
    store: ObjectStore, raw: RawBucket, foreign: Foreign, client_name: str
) -> None:
    """Hidden, shown on request, deleted again in peace, and mended by a put."""
    nuid = foreign.put("a", deleted=True, **TOMBSTONES[client_name])
    assert "a" not in store
    assert store.list() == []
    (info,) = store.list(show_deleted=True)
    assert (info.name, info.nuid, info.deleted, info.size) == ("a", nuid, True, 0)
    assert store.get_info("a", show_deleted=True) == info
    assert store.get("a", show_deleted=True).read() == b""
    for wrong in (store.get, store.get_info):
        with pytest.raises(ObjectNotFoundError):
            wrong("a")
    with pytest.raises(ObjectNotFoundError):
        store.update_meta("a", description="d")
    store.delete("a")
    store.put("a", b"ours")
    assert stored_strictly(raw, "a", b"ours")


def test_link_may_take_the_place_of_a_tombstone(store: ObjectStore, foreign: Foreign) -> None:
    """ADR-20 allows it; several clients do not."""
    target = store.put("target", DATA)
    foreign.put("a", deleted=True, **TOMBSTONES["nats.py"])
    store.add_link("a", target)
    assert store["a"] == DATA


# Links


def js_link(bucket: str, name: str) -> dict[str, Any]:
    """As nats.js makes them: no id, no numbers, the target's bucket for its own."""
    return {"bucket": bucket, "options": {"link": {"bucket": bucket, "name": name}}}


def rs_link(bucket: str, name: str) -> dict[str, Any]:
    """As the synchronous client for Rust made them."""
    numbers = {"nuid": next_nuid(), "size": 0, "chunks": 0, "digest": "", "deleted": False}
    return {"bucket": bucket, "link": {"bucket": bucket, "name": name}, **numbers}


def null_link(bucket: str, name: str) -> dict[str, Any]:
    """With nulls in place of what is not there."""
    nulls = dict.fromkeys(("description", "headers", "nuid", "size", "chunks", "digest"))
    return {**nulls, "options": {"link": {"bucket": bucket, "name": name}}}


Link = Callable[[str, str], dict[str, Any]]
foreign_links = pytest.mark.parametrize("link", [js_link, rs_link, null_link])


@pytest.fixture
def other(client: Client, bucket: str) -> Any:
    """Another bucket."""
    store = client.create_object_store(f"{bucket}-other")
    yield store
    client.delete_object_store(store.bucket)


@foreign_links
def test_foreign_link_is_followed(
    store: ObjectStore, other: ObjectStore, foreign: Foreign, link: Link
) -> None:
    """Within a bucket and into another one; the link is in the bucket where it was found."""
    for target in (store, other):
        target.put("target", DATA)
        foreign.link("a", rollup=False, **link(target.bucket, "target"))
        assert store["a"] == DATA
        info = store.get_info("a")
        assert info.link == ObjectLink(target.bucket, "target")
        assert (info.bucket, info.name, info.size, info.digest) == (store.bucket, "a", 0, "")
        assert info in store.list()


@foreign_links
def test_foreign_link_is_changed(
    store: ObjectStore, raw: RawBucket, foreign: Foreign, link: Link
) -> None:
    """Its meta, its name; it stays a link, and its target stays as it is."""
    target = store.put("target", DATA)
    foreign.link("a", rollup=False, **link(store.bucket, "target"))
    store.update_meta("a", description="changed")
    store.update_meta("a", new_name="b")
    assert store["b"] == DATA
    written = raw.meta("b")
    assert written["options"] == {"link": {"bucket": store.bucket, "name": "target"}}
    assert (written["bucket"], written["size"], written["chunks"]) == (store.bucket, 0, 0)
    assert raw.chunks == {target.nuid: 1}


@foreign_links
def test_foreign_link_is_replaced(
    store: ObjectStore, raw: RawBucket, foreign: Foreign, link: Link
) -> None:
    """By an object or another link; no chunk of its target is purged."""
    target = store.put("target", DATA)
    foreign.link("a", rollup=False, **link(store.bucket, "target"))
    store.put("a", b"ours")
    assert stored_strictly(raw, "a", b"ours")
    foreign.link("b", rollup=False, **link(store.bucket, "nothing"))
    store.add_link("b", target)
    assert store["b"] == store["target"] == DATA


@foreign_links
def test_foreign_link_is_deleted(
    store: ObjectStore, raw: RawBucket, foreign: Foreign, link: Link
) -> None:
    """And nothing else: an id that is none purges nothing."""
    target = store.put("target", DATA)
    foreign.link("a", rollup=False, **link(store.bucket, "target"))
    store.delete("a")
    store.delete("a")
    assert [info.name for info in store.list()] == ["target"]
    assert store.get_info("a", show_deleted=True).deleted
    assert raw.chunks == {target.nuid: 1}


def test_link_to_a_bucket_by_an_empty_name(store: ObjectStore, foreign: Foreign) -> None:
    """As some clients write it, where ADR-20 leaves the name out."""
    foreign.link("a", **js_link("photos", ""))
    assert store.get_info("a").link == ObjectLink("photos", None)
    with pytest.raises(BucketLinkError):
        store.get("a")


def test_link_to_a_bucket_under_its_own_name(
    store: ObjectStore, other: ObjectStore, foreign: Foreign
) -> None:
    """As nats.net writes it: nobody can tell it from a link to an object that is missing."""
    foreign.link("a", **js_link(other.bucket, "a"))
    with pytest.raises(ObjectNotFoundError) as caught:
        store.get("a")
    assert caught.value.bucket == other.bucket


def test_link_never_makes_a_bucket(store: ObjectStore, client: Client, foreign: Foreign) -> None:
    """As nats.js does: what was lost then looks as if it had never been."""
    foreign.link("a", **js_link("nowhere", "b"))
    with pytest.raises(BucketNotFoundError) as caught:
        store.get("a")
    assert caught.value.bucket == "nowhere"
    assert "nowhere" not in client.object_store_names()


@pytest.mark.parametrize("target", ["", "a.b", ">", "a b", "a\r\nPUB x 0\r\n", "x" * 300])
def test_link_to_what_cannot_be_a_bucket(store: ObjectStore, foreign: Foreign, target: str) -> None:
    """No request is made of it."""
    foreign.link("a", nuid=next_nuid(), **js_link(target, "b"))
    with pytest.raises(LinkError):
        store.get("a")
    assert [info.name for info in store.list()] == ["a"]


# Metas that nobody can use


def meta_with(**fields: Any) -> bytes:
    whole = {"name": "a", "bucket": "b", "nuid": next_nuid(), "size": 5, "chunks": 1, **fields}
    return json.dumps({k: v for k, v in whole.items() if v is not ABSENT}).encode()


UNUSABLE = {
    "nothing": b"",
    "not JSON": b'{"name":"a",',
    "a byte order mark": b"\xef\xbb\xbf" + meta_with(),
    "not UTF-8": b'{"name":"\xff"}',
    "null": b"null",
    "a list": b"[]",
    "a string": b'"a"',
    "nested too deep": b"[" * 100_000,
    "a number of 5,000 digits": b'{"name":"a","size":' + b"9" * 5000 + b"}",
    "not a number": b'{"name":"a","size":NaN}',
    "no id": meta_with(nuid=ABSENT),
    "an empty id": meta_with(nuid=""),
    "a wildcard for an id": meta_with(nuid=">"),
    "two tokens for an id": meta_with(nuid="a.b"),
    "a line for an id": meta_with(nuid=f"{next_nuid()}\r\n"),
    "a long id": meta_with(nuid="a" * 10_000),
    "a number for an id": meta_with(nuid=5),
    "a negative size": meta_with(size=-1),
    "a size in quotes": meta_with(size="5"),
    "a fraction for a size": meta_with(size=5.0),
    "a truth for a size": meta_with(size=True),
    "an impossible size": meta_with(size=2**63),
    "a negative number of chunks": meta_with(chunks=-1),
    "an impossible number of chunks": meta_with(chunks=2**40),
}


@pytest.fixture
def bystander(store: ObjectStore) -> ObjectInfo:
    """An object that nothing may happen to."""
    store.put("bystander", DATA)
    return store.get_info("bystander")


@pytest.mark.parametrize("meta", UNUSABLE)
def test_unusable_meta_is_refused_and_skipped(
    store: ObjectStore,
    raw: RawBucket,
    bystander: ObjectInfo,
    caplog: pytest.LogCaptureFixture,
    meta: str,
) -> None:
    """Who asks for it is told; listings and watches go on, with a word in the log."""
    raw.put_meta("a", UNUSABLE[meta])
    for operation in (store.get, store.get_info, store.delete):
        with pytest.raises(BadObjectMetaError) as caught:
            operation("a")
        assert caught.value.name == "a"
    with caplog.at_level(logging.WARNING, "objstore"):
        assert store.list() == [bystander]
        # It is the last one: the marker does not depend on it.
        with store.watch() as watcher:
            assert [watcher.next(5), watcher.next(5)] == [bystander, None]
    assert len(caplog.records) == 2


@pytest.mark.parametrize("meta", UNUSABLE)
def test_put_repairs_an_unusable_meta(
    store: ObjectStore, raw: RawBucket, bystander: ObjectInfo, meta: str
) -> None:
    """And purges nothing by what it says."""
    raw.put_meta("a", UNUSABLE[meta])
    info = store.put("a", b"ours")
    assert stored_strictly(raw, "a", b"ours")
    assert raw.chunks == {bystander.nuid: 1, info.nuid: 1}
    assert store.list() == [bystander, store.get_info("a")]
