"""Links that somebody else has stored: followed as far as they lead, and no further."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from objstore.client import Client
from objstore.core.nuid import next_nuid
from objstore.errors import (
    BadObjectMetaError,
    BucketLinkError,
    BucketNotFoundError,
    LinkError,
    LinkLoopError,
    ObjectNotFoundError,
)
from objstore.store import ObjectStore
from tests.raw_bucket import RawBucket


def put_link(raw: RawBucket, at: str, /, **link: Any) -> None:
    """Store a link as other clients do, without asking what it leads to."""
    fields = {"name": at, "bucket": raw.name, "nuid": next_nuid(), "size": 0, "chunks": 0}
    raw.put_meta(at, {**fields, "options": {"link": link}})


READS: list[Callable[[ObjectStore, str], object]] = [
    lambda store, name: store.get(name),
    lambda store, name: store.get_bytes(name),
    lambda store, name: list(store.get_many([name])),
    lambda store, name: store.copy(name, "copy"),
    lambda store, name: store.open(name, "r"),
]


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("length", [1, 2, 5, 20])
def test_circle_of_links_is_an_error(
    store: ObjectStore, raw: RawBucket, length: int, read: Callable[..., object]
) -> None:
    """A link to itself, two to each other, many: never a hang or a recursion."""
    for number in range(length):
        put_link(raw, f"{number}", bucket=store.bucket, name=f"{(number + 1) % length}")
    with pytest.raises(LinkLoopError, match="circle"):
        read(store, "0")
    assert store.get_info("0").is_link


@pytest.mark.parametrize("length", [1, 2, 8])
def test_chain_of_links_is_followed(store: ObjectStore, raw: RawBucket, length: int) -> None:
    store.put("target", b"data")
    names = [*(f"{number}" for number in range(length)), "target"]
    for name, target in itertools.pairwise(names):
        put_link(raw, name, bucket=store.bucket, name=target)
    assert store.get_bytes("0") == b"data"


def test_chain_that_is_too_long_is_an_error(store: ObjectStore, raw: RawBucket) -> None:
    """Whether it ever ends nobody can tell."""
    store.put("20", b"data")
    for number in range(20):
        put_link(raw, f"{number}", bucket=store.bucket, name=f"{number + 1}")
    with pytest.raises(LinkLoopError):
        store.get("0")


def test_circle_through_another_bucket_is_an_error(
    client: Client, store: ObjectStore, raw: RawBucket
) -> None:
    """The same name in another bucket is another name."""
    other = client.create_object_store(f"{store.bucket}-other")
    put_link(raw, "a", bucket=other.bucket, name="a")
    other.put("a", b"data")
    assert store.get_bytes("a") == b"data"
    store.put("back", b"x")
    other.delete("a")
    other.add_link("a", store.get_info("back"))
    put_link(raw, "back", bucket=other.bucket, name="a")
    with pytest.raises(LinkLoopError):
        store.get("a")
    client.delete_object_store(other.bucket)


@pytest.mark.parametrize(
    ("link", "error"),
    [
        ({"bucket": "a.b", "name": "x"}, LinkError),
        ({"bucket": ">", "name": "x"}, LinkError),
        ({"bucket": "*", "name": "x"}, LinkError),
        ({"bucket": "x\r\nPUB pwned 0\r\n\r\n", "name": "x"}, LinkError),
        ({"bucket": "", "name": "x"}, LinkError),
        ({"bucket": "b" * 300, "name": "x"}, LinkError),
        ({"bucket": "no-such-bucket", "name": "x"}, BucketNotFoundError),
        ({"bucket": "no-such-bucket"}, BucketLinkError),
        ({"bucket": "no-such-bucket", "name": ""}, BucketLinkError),
        ({"bucket": "…", "name": "n" * 5000}, LinkError),
    ],
)
def test_target_that_cannot_be_is_an_error(
    client: Client, store: ObjectStore, raw: RawBucket, link: dict[str, str], error: type[Exception]
) -> None:
    """Nothing is asked for by it, and no bucket is made by it."""
    put_link(raw, "a", **{**link, "bucket": link["bucket"].replace("…", store.bucket)})
    for read in READS:
        with pytest.raises(error) as caught:
            read(store, "a")
        assert len(str(caught.value)) < 300
    assert "no-such-bucket" not in client.object_store_names()
    assert store.get_info("a").is_link
    store.delete("a")


def test_target_that_is_missing_is_the_one_that_is_named(
    store: ObjectStore, raw: RawBucket
) -> None:
    put_link(raw, "a", bucket=store.bucket, name="missing")
    with pytest.raises(ObjectNotFoundError) as caught:
        store.get("a")
    assert (caught.value.bucket, caught.value.name) == (store.bucket, "missing")


def test_target_with_an_unusable_meta_is_the_one_that_is_named(
    store: ObjectStore, raw: RawBucket
) -> None:
    put_link(raw, "a", bucket=store.bucket, name="bad")
    raw.put_meta("bad", b"{")
    with pytest.raises(BadObjectMetaError) as caught:
        store.get("a")
    assert caught.value.name == "bad"


def test_link_with_chunks_of_its_own_is_a_link(store: ObjectStore, raw: RawBucket) -> None:
    """What a link says of sizes does not matter."""
    store.put("target", b"data")
    nuid = raw.put_object(
        "a", [b"own"], options={"link": {"bucket": store.bucket, "name": "target"}}
    )
    assert store.get_bytes("a") == b"data"
    store.delete("a")
    assert store.get_bytes("target") == b"data"
    assert nuid in raw.chunks
