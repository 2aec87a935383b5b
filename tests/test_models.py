"""What users hand in about an object is checked at once; what they get does not change."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, fields, replace
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any

import pytest

from objstore.errors import InvalidNameError
from objstore.models import MTIME_NS, ObjectInfo, ObjectLink, ObjectMeta

INFO = ObjectInfo(
    bucket="b",
    name="a",
    nuid="0123456789abcdefABCDEF",
    size=5,
    chunks=1,
    digest="SHA-256=…",
    mtime=datetime(2026, 1, 2, tzinfo=timezone.utc),
)


def test_meta_needs_no_more_than_a_name() -> None:
    meta = ObjectMeta("a")
    assert (meta.description, meta.headers, meta.metadata, meta.chunk_size) == ("", {}, {}, None)


def test_meta_is_kept_as_given() -> None:
    """One value of a header is a list of one; mappings and sequences of any kind are fine."""
    meta = ObjectMeta(
        "a",
        description="d",
        headers=MappingProxyType({"one": "x", "two": ("y", "z"), "none": []}),
        metadata=MappingProxyType({"k": "", "": "v"}),
        chunk_size=1,
    )
    assert meta.headers == {"one": ["x"], "two": ["y", "z"], "none": []}
    assert meta.metadata == {"k": "", "": "v"}
    assert (meta.description, meta.chunk_size) == ("d", 1)


def test_meta_does_not_change_with_what_it_was_made_of() -> None:
    headers: dict[str, Any] = {"k": ["x"]}
    metadata = {"k": "x"}
    meta = ObjectMeta("a", headers=headers, metadata=metadata)
    headers["k"].append("y")
    metadata["k"] = "y"
    assert meta.headers == {"k": ["x"]} and meta.metadata == {"k": "x"}


@pytest.mark.parametrize(
    ("fields", "error", "named"),
    [
        ({"name": ""}, InvalidNameError, "name"),
        ({"name": "\ud800"}, InvalidNameError, "name"),
        ({"name": None}, TypeError, "name"),
        ({"name": b"a"}, TypeError, "name"),
        ({"description": 5}, TypeError, "description"),
        ({"description": b"d"}, TypeError, "description"),
        ({"description": "\ud800"}, ValueError, "description"),
        ({"headers": "x"}, TypeError, "headers"),
        ({"headers": [("k", "v")]}, TypeError, "headers"),
        ({"headers": {5: "v"}}, TypeError, "header"),
        ({"headers": {"k": 5}}, TypeError, "'k'"),
        ({"headers": {"k": None}}, TypeError, "'k'"),
        ({"headers": {"k": b"v"}}, TypeError, "'k'"),
        ({"headers": {"k": ["v", 5]}}, TypeError, "'k'"),
        ({"headers": {"k": [None]}}, TypeError, "'k'"),
        ({"headers": {"k": ["\ud800"]}}, ValueError, "'k'"),
        ({"headers": {"\ud800": "v"}}, ValueError, "header"),
        ({"metadata": "x"}, TypeError, "metadata"),
        ({"metadata": {5: "v"}}, TypeError, "metadata"),
        ({"metadata": {"k": 5}}, TypeError, "metadata"),
        ({"metadata": {"k": None}}, TypeError, "metadata"),
        ({"metadata": {"k": "\ud800"}}, ValueError, "metadata"),
        ({"chunk_size": 0}, ValueError, "chunk_size"),
        ({"chunk_size": -1}, ValueError, "chunk_size"),
        ({"chunk_size": 2**40}, ValueError, "chunk_size"),
        ({"chunk_size": 1.5}, TypeError, "chunk_size"),
        ({"chunk_size": True}, TypeError, "chunk_size"),
        ({"chunk_size": "1"}, TypeError, "chunk_size"),
    ],
)
def test_meta_that_cannot_be_stored_is_refused(
    fields: dict[str, Any], error: type[Exception], named: str
) -> None:
    """With the name of what is wrong, and no more than a little of it."""
    with pytest.raises(error, match=named) as caught:
        ObjectMeta(**{"name": "a", **fields})
    assert len(str(caught.value)) < 200


def test_infos_and_links_do_not_change() -> None:
    for thing in (INFO, ObjectMeta("a"), ObjectLink("b", "a")):
        with pytest.raises(FrozenInstanceError):
            thing.name = "b"  # type: ignore[misc]


def test_infos_are_copied_compared_and_pickled() -> None:
    """Values, like any other."""
    for thing in (INFO, replace(INFO, link=ObjectLink("c")), ObjectMeta("a", headers={"k": "v"})):
        assert pickle.loads(pickle.dumps(thing)) == copy.deepcopy(thing) == thing
    assert replace(INFO, size=6) != INFO
    assert replace(INFO, unknown={"x": 1}) == INFO


def test_info_says_whether_it_is_a_link() -> None:
    assert not INFO.is_link
    assert replace(INFO, link=ObjectLink("c")).is_link


def test_info_has_the_meta_it_was_stored_with() -> None:
    info = replace(INFO, description="d", headers={"k": ["v"]}, metadata={"m": "n"}, chunk_size=4)
    assert info.meta == ObjectMeta("a", "d", {"k": ["v"]}, {"m": "n"}, 4)
    assert INFO.meta == ObjectMeta("a")


def test_info_of_fields_is_like_any_other() -> None:
    same = ObjectInfo.of_fields({one.name: getattr(INFO, one.name) for one in fields(INFO)})
    assert same == INFO and repr(same) == repr(INFO) and vars(same) == vars(INFO)
    with pytest.raises(FrozenInstanceError):
        same.size = 6  # type: ignore[misc]


def pickled(info: ObjectInfo) -> Any:
    return pickle.loads(pickle.dumps(info))


@pytest.mark.parametrize("change", [lambda info: info, copy.copy, copy.deepcopy, pickled, replace])
def test_info_of_few_fields_makes_the_rest_when_asked(change: Callable[[Any], Any]) -> None:
    """And of each its own."""
    given = {"bucket": "b", "name": "a", "nuid": "x", "size": 5, "chunks": 1, "digest": "d"}
    count = 1_700_000_000_123_456_789
    info = change(ObjectInfo.of_fields({**given, MTIME_NS: count}))
    time = datetime(2023, 11, 14, 22, 13, 20, 123456, timezone.utc)
    assert info == ObjectInfo(**given, mtime=time)  # type: ignore[arg-type]
    assert info.mtime is info.mtime == time
    assert info.headers is info.headers == {} and info.headers is not info.metadata
    assert asdict(info.with_fields(size=6)) == {**asdict(info), "size": 6}
    for wrong in ("size_", "_factories"):
        with pytest.raises(AttributeError, match=wrong):
            getattr(info, wrong)
