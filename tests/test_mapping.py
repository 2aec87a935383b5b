"""`ObjectMapping`: a bucket, or what is below a prefix, is a `MutableMapping` of bytes."""

from __future__ import annotations

from collections.abc import MutableMapping

import pytest

from objstore.mapping import ObjectMapping
from objstore.store import ObjectStore
from tests.raw_bucket import RawBucket


@pytest.fixture(params=["", "dir/"])
def mapping(request: pytest.FixtureRequest, store: ObjectStore) -> ObjectMapping:
    """All of a bucket, and a part of one with other things in it."""
    if request.param:
        store.put("outside", b"x")
        store.put("dir", b"x")
    return store.mapping(request.param)


def test_mapping_does_what_a_dict_does(mapping: ObjectMapping) -> None:
    """Whatever is done, both look the same."""
    expected: dict[str, bytes] = {}
    assert isinstance(mapping, MutableMapping)

    def check() -> None:
        assert dict(mapping) == expected
        assert len(mapping) == len(expected)
        assert bool(mapping) == bool(expected)
        assert sorted(mapping) == sorted(mapping.keys()) == sorted(expected)
        assert sorted(mapping.values()) == sorted(expected.values())
        assert sorted(mapping.items()) == sorted(expected.items())
        assert mapping == expected

    check()
    for target in (mapping, expected):
        target["a"] = b"1"
        target["b/c"] = b"2"
        target["a"] = b"3"
        target.update({"d": b"4", "é": b"5"})
    check()
    assert mapping["a"] == b"3" and mapping.get("d") == b"4"
    assert "a" in mapping and "missing" not in mapping
    assert mapping.get("missing") is None and mapping.get("missing", b"x") == b"x"
    assert mapping.setdefault("d", b"x") == b"4" and mapping.setdefault("e", b"6") == b"6"
    expected["e"] = b"6"
    check()
    assert mapping.pop("e") == expected.pop("e")
    assert mapping.pop("e", None) is None
    del mapping["a"], expected["a"]
    check()
    name, data = mapping.popitem()
    assert expected.pop(name) == data
    check()
    mapping.clear()
    expected.clear()
    check()


@pytest.mark.parametrize("name", ["missing", "\ud800", "n" * 3040, 5, None, b"a", ("a",)])
def test_what_is_not_there_is_a_missing_key(mapping: ObjectMapping, name: str) -> None:
    """Also what cannot be there."""
    assert name not in mapping
    assert mapping.get(name) is None
    with pytest.raises(KeyError):
        mapping[name]
    with pytest.raises(KeyError):
        del mapping[name]
    with pytest.raises(KeyError):
        mapping.pop(name)
    with pytest.raises(KeyError):
        mapping.popitem()


def test_prefix_is_a_name_as_well(store: ObjectStore) -> None:
    """Below itself it has an empty name, which exists nowhere else."""
    store.put("dir/", b"itself")
    store.put("dir/a", b"x")
    mapping = store.mapping("dir/")
    assert sorted(mapping) == ["", "a"]
    assert "" in mapping and mapping[""] == b"itself"
    assert "" not in store.mapping()
    with pytest.raises(KeyError):
        store.mapping()[""]


def test_mapping_shows_the_store_and_the_store_the_mapping(
    store: ObjectStore, raw: RawBucket
) -> None:
    mapping = store.mapping("dir/")
    mapping["a"] = b"1"
    assert store.get_bytes("dir/a") == b"1"
    store.delete("dir/a")
    assert "a" not in mapping and len(mapping) == 0
    assert store.bucket in repr(mapping) and "dir/" in repr(mapping)
    assert raw.chunks == {}


def test_name_that_cannot_be_is_no_key_to_set(store: ObjectStore) -> None:
    with pytest.raises(ValueError):
        store.mapping()[""] = b"x"
