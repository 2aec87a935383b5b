"""The JSON of a meta: written to the byte as specified, read whoever wrote it."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from objstore import meta_json
from objstore.errors import BadObjectMetaError
from objstore.meta_json import decode_info, encode_info
from objstore.models import ObjectInfo, ObjectLink

NUID = "0123456789abcdefABCDEF"
TIME = datetime(2026, 1, 2, tzinfo=timezone.utc)
DIGEST = "SHA-256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU="

PLAIN = ObjectInfo("b", "a", NUID, 5, 1, DIGEST, TIME, chunk_size=131072)


def decode(payload: Any, name: str | None = "a") -> ObjectInfo:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return decode_info("b", name, data, mtime=TIME, revision=7)


def meta(**fields: Any) -> dict[str, Any]:
    """A good meta, with these fields; `...` takes one out."""
    good = {"name": "a", "bucket": "b", "nuid": NUID, "size": 5, "chunks": 1, "digest": DIGEST}
    return {key: value for key, value in {**good, **fields}.items() if value is not ...}


# Written


def test_object_is_written_as_specified() -> None:
    """No more fields than it takes, in a fixed order, and never a time."""
    assert encode_info(PLAIN) == (
        b'{"name":"a","options":{"max_chunk_size":131072},"bucket":"b",'
        b'"nuid":"0123456789abcdefABCDEF","size":5,"chunks":1,'
        b'"digest":"SHA-256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU="}'
    )


def test_everything_is_written_as_specified() -> None:
    info = replace(
        PLAIN,
        name="é",
        description='"quoted"',
        headers={"X-Key": ["one", "two"]},
        metadata={"k": "ü"},
    )
    assert json.loads(encode_info(info)) == {
        "name": "é",
        "description": '"quoted"',
        "headers": {"X-Key": ["one", "two"]},
        "metadata": {"k": "ü"},
        "options": {"max_chunk_size": 131072},
        "bucket": "b",
        "nuid": NUID,
        "size": 5,
        "chunks": 1,
        "digest": DIGEST,
    }


def test_links_are_written_as_specified() -> None:
    """A link to a bucket has no name, and neither has a digest."""
    link = ObjectInfo("b", "l", NUID, 0, 0, "", TIME, link=ObjectLink("c", "x"))
    assert encode_info(link) == (
        b'{"name":"l","options":{"link":{"bucket":"c","name":"x"}},"bucket":"b",'
        b'"nuid":"0123456789abcdefABCDEF","size":0,"chunks":0}'
    )
    link = replace(link, link=ObjectLink("c"))
    assert json.loads(encode_info(link))["options"] == {"link": {"bucket": "c"}}


def test_tombstone_is_written_as_specified() -> None:
    tombstone = replace(PLAIN, deleted=True, size=0, chunks=0, digest="")
    assert encode_info(tombstone) == (
        b'{"name":"a","options":{"max_chunk_size":131072},"bucket":"b",'
        b'"nuid":"0123456789abcdefABCDEF","size":0,"chunks":0,"deleted":true}'
    )


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    name=texts.filter(bool),
    description=texts,
    headers=st.dictionaries(texts, st.lists(texts, min_size=1), max_size=3),
    metadata=st.dictionaries(texts, texts, max_size=3),
    size=st.integers(0, 2**63 - 1),
    chunks=st.integers(0, 2**32 - 1),
    chunk_size=st.integers(0, 2**32 - 1),
    link=st.none() | st.builds(ObjectLink, texts, st.none() | texts.filter(bool)),
    deleted=st.booleans(),
)
@pytest.mark.slow
def test_what_is_written_is_read_again(**fields: Any) -> None:
    info = replace(PLAIN, revision=7, **fields)
    assert decode(encode_info(info), None) == info


# Read


def test_info_is_read() -> None:
    info = decode(
        meta(
            description="d",
            headers={"k": ["v", "w"]},
            metadata={"m": "n"},
            options={"max_chunk_size": 4},
        )
    )
    assert info == ObjectInfo(
        "b",
        "a",
        NUID,
        5,
        1,
        DIGEST,
        TIME,
        description="d",
        headers={"k": ["v", "w"]},
        metadata={"m": "n"},
        chunk_size=4,
        revision=7,
    )


#: What other clients have written, and the fields of the info that come of it.
FOREIGN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nats.go": (meta(mtime="0001-01-01T00:00:00Z"), {"mtime": TIME}),
    "nats.py": (meta(headers={"k": "v"}, mtime="2026-01-02"), {"headers": {"k": ["v"]}}),
    "tombstone of nats.py": (
        meta(deleted=True, mtime="", digest="", size=0, chunks=0),
        {"deleted": True, "digest": "", "mtime": TIME},
    ),
    "nats.rs": (
        meta(description=None, headers=None, metadata=None, options={"link": None}),
        {"description": "", "headers": {}, "metadata": {}, "link": None},
    ),
    "old nats.rs": (meta(headers={"inner": {"k": ["v"]}}), {"headers": {"k": ["v"]}}),
    "link of old nats.rs": (
        meta(link={"bucket": "c", "name": "x"}, digest=...),
        {"link": ObjectLink("c", "x")},
    ),
    "nats.net": (meta(size=..., chunks=...), {"size": 0, "chunks": 0}),
    "nats.java": (meta(deleted=False), {"deleted": False}),
    "link of nats.js": (
        {"name": "a", "bucket": "c", "options": {"link": {"bucket": "c", "name": "x"}}},
        {"bucket": "b", "nuid": "", "size": 0, "link": ObjectLink("c", "x")},
    ),
    "bucket link": (
        meta(options={"link": {"bucket": "c", "name": ""}}),
        {"link": ObjectLink("c")},
    ),
    "nothing but an id": ({"nuid": NUID}, {"name": "a", "size": 0, "chunks": 0, "digest": ""}),
    "nulls everywhere": (
        {**dict.fromkeys(meta()), "options": None, "headers": None, "nuid": NUID},
        {"name": "a", "size": 0, "digest": "", "chunk_size": 0},
    ),
}


@pytest.mark.parametrize("client", FOREIGN)
def test_meta_of_other_clients_is_read(client: str) -> None:
    payload, expected = FOREIGN[client]
    info = decode(payload)
    assert {key: getattr(info, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"mtime": 5}, {"mtime": TIME}),
        ({"mtime": "garbage"}, {"mtime": TIME}),
        ({"options": []}, {"chunk_size": 0, "link": None}),
        ({"options": "x"}, {"chunk_size": 0}),
        ({"options": {"max_chunk_size": -1}}, {"chunk_size": 0}),
        ({"options": {"max_chunk_size": "5"}}, {"chunk_size": 0}),
        ({"options": {"max_chunk_size": True}}, {"chunk_size": 0}),
        ({"options": {"max_chunk_size": 2**40}}, {"chunk_size": 0}),
        ({"options": {"max_chunk_size": 1.5}}, {"chunk_size": 0}),
        ({"options": {"link": "x"}}, {"link": None}),
        ({"options": {"link": {"name": "x"}}}, {"link": None}),
        ({"options": {"link": {"bucket": 5}}}, {"link": None}),
        ({"headers": "x"}, {"headers": {}}),
        ({"headers": ["x"]}, {"headers": {}}),
        ({"headers": {"a": 5, "b": ["x", 5, None], "c": None}}, {"headers": {"b": ["x"]}}),
        ({"metadata": "x"}, {"metadata": {}}),
        ({"metadata": {"a": 5, "b": "x"}}, {"metadata": {"b": "x"}}),
        ({"description": 5}, {"description": ""}),
        ({"deleted": "true"}, {"deleted": False}),
        ({"digest": 5}, {"digest": ""}),
        ({"size": 0, "chunks": 5}, {"size": 0, "chunks": 5}),
        ({"size": 5, "chunks": 0}, {"size": 5, "chunks": 0}),
        ({"bucket": "another"}, {"bucket": "b"}),
        ({"name": "another"}, {"name": "a"}),
        ({"name": 5}, {"name": "a"}),
    ],
)
def test_fields_of_a_wrong_shape_do_not_matter(
    fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    """Where there is something sensible to make of it."""
    info = decode(meta(**fields))
    assert {key: getattr(info, key) for key in expected} == expected


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b'{"name":"a"',
        b"null",
        b"[]",
        b'"x"',
        b"5",
        b"\xff\xfe",
        b'{"name":"\xff"}',
        b'\xef\xbb\xbf{"nuid":"0123456789abcdefABCDEF"}',
        b'{"size":NaN}',
        b'{"size":Infinity}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"size":' + b"9" * 5000 + b"}",
        b"{'name': 'a'}",
        "{}".encode("utf-16"),
        *(
            json.dumps(meta(**fields)).encode()
            for fields in (
                {"nuid": ...},
                {"nuid": ""},
                {"nuid": None},
                {"nuid": ">"},
                {"nuid": "*"},
                {"nuid": "a.b"},
                {"nuid": "a b"},
                {"nuid": "a\r\nPUB x 0"},
                {"nuid": NUID + "\n"},
                {"nuid": "a" * 10_000},
                {"nuid": 5},
                {"nuid": [NUID]},
                {"nuid": ">", "options": {"link": {"bucket": "c", "name": "x"}}},
                {"size": -1},
                {"size": 2**63},
                {"size": 10**30},
                {"size": "5"},
                {"size": 5.0},
                {"size": True},
                {"size": False},
                {"size": [5]},
                {"chunks": -1},
                {"chunks": 2**40},
                {"chunks": "1"},
                {"chunks": 1.5},
            )
        ),
    ],
)
def test_unusable_meta_is_one_kind_of_error(payload: bytes) -> None:
    """Named after the object, and short whatever is in it."""
    for name in ("a", None):
        with pytest.raises(BadObjectMetaError) as caught:
            decode(payload, name)
        assert caught.value.bucket == "b"
        assert caught.value.name in ("a", name or "?")
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", [..., None, "", 5, ["a"], "\ud800"])
def test_listing_needs_the_name_in_the_meta(name: Any) -> None:
    """Where the subject is asked for, it has the name; elsewhere only the JSON has."""
    payload = meta(name=name)
    assert decode(payload).name == "a"
    if name == "\ud800":
        assert decode(payload, None).name == "?"
    else:
        with pytest.raises(BadObjectMetaError):
            decode(payload, None)


def test_halves_of_characters_do_no_harm() -> None:
    """JSON can hold what no text can: it would fail when it is printed or written again."""
    payload = meta(description="a\ud800b", metadata={"\udfff": "x\ud800"}, extra="\ud800")
    info = decode(payload)
    assert info.description == "a?b"
    encode_info(info)
    assert decode(meta(description="\U0001f600")).description == "\U0001f600"


def test_later_of_two_equal_keys_counts() -> None:
    assert decode(b'{"nuid":"0123456789abcdefABCDEF","size":1,"size":2}').size == 2


def test_unknown_fields_are_kept() -> None:
    """What another client wrote is still there when the meta is written again."""
    payload = meta(revision=5, options={"max_chunk_size": 4, "new": {"x": 1}}, more=[1, None])
    info = decode(payload)
    written = json.loads(encode_info(info))
    assert written["revision"] == 5 and written["more"] == [1, None]
    assert written["options"] == {"max_chunk_size": 4, "new": {"x": 1}}
    assert info.revision == 7
    assert "more" not in repr(info)


@pytest.mark.parametrize("size", [2**62, 2**63 - 1])
def test_huge_sizes_are_read(size: int) -> None:
    """They are numbers; nothing is allocated by them."""
    assert decode(meta(size=size)).size == size


# The short way

GO = b'"size":5,"mtime":"0001-01-01T00:00:00Z","chunks"'


@pytest.mark.parametrize(
    ("old", "new", "is_plain"),
    [
        (b"", b"", True),
        (b'"size":5,"chunks"', GO, True),  # as nats.go has it
        (b'"name":"a"', '"name":"é, {[:]} \x7f"'.encode(), True),
        (b'"size":5', b'"size":999999999999999999', True),
        (b'"size":5', b'"size":9999999999999999999', False),
        (b'"size":5', b'"size":05', False),
        (b'"size":5', b'"size":5.0', False),
        (b'"size":5', '"size":\u0665'.encode(), False),
        (b'"chunks":1', b'"chunks":-1', False),
        (b'"chunks":1', b'"chunks":4294967295', False),
        (b"131072", b"0", False),
        (b'"name":"a"', b'"name":""', False),
        (b'"name":"a"', b'"name":"\\u0061"', False),
        (b'"name":"a"', b'"name":"a\n"', False),
        (b'"name":"a"', b'"name":"a\\"', False),
        (b'"name":"a"', b'"name":"\xff"', False),
        (b'"name":"a"', b'"name":"\xed\xa0\x80"', False),
        (b'"name":"a"', b'"name":"a","name":"b"', False),
        (b'"bucket":"b"', b'"bucket":"\x00"', False),
        (NUID.encode(), b">", False),
        (b'="}', b'=","deleted":true}', False),
        (b'="}', b'=","metadata":{"a":"b"}}', False),
        (b"}", b"}\n", False),
        (b'{"name', b'{ "name', False),
    ],
)
def test_short_way_leads_where_the_long_one_does(
    monkeypatch: pytest.MonkeyPatch, old: bytes, new: bytes, is_plain: bool
) -> None:
    """What is in the usual form is not parsed as JSON; whatever else is, is."""
    payload = encode_info(PLAIN).replace(old, new, 1)
    text = payload.decode("utf-8", "surrogateescape")
    assert (meta_json._PLAIN_META.fullmatch(text) is not None) == is_plain
    found = []
    for pattern in (meta_json._PLAIN_META, re.compile("(?!)")):
        monkeypatch.setattr(meta_json, "_PLAIN_META", pattern)
        try:
            info = decode(payload, None)
        except BadObjectMetaError as error:
            found.append(str(error))
        else:
            found.append(repr([getattr(info, field.name) for field in fields(info)]))
    assert found[0] == found[1]


@given(st.text(min_size=1, alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_digest_is_written_as_text(text: str) -> None:
    """It may come from elsewhere, and say what it likes."""
    assert decode(encode_info(replace(PLAIN, digest=text))) == replace(
        PLAIN, digest=text, revision=7
    )
