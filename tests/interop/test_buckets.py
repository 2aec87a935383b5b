"""
Buckets of other clients: created again, opened and changed, whatever else is in their streams.

The server compares every field of a stream's configuration, and subjects in their order.
Only what makes a difference to an object store is one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from objstore.client import Client
from objstore.errors import BucketExistsError
from objstore.server import LocalServer
from tests.interop.matrix import WRITERS, Matrix
from tests.interop.process import why_missing

CONFIG: dict[str, Any] = {
    "description": "photos",
    "ttl": 3600,
    "max_bytes": 50_000_000,
    "storage": "memory",
}

#: What differs, and the name that the stream has for it.
DIFFERENCES: dict[str, tuple[dict[str, Any], str]] = {
    "description": ({"description": "films"}, "description"),
    "no description": ({"description": ""}, "description"),
    "ttl": ({"ttl": 60}, "ttl"),
    "no ttl": ({"ttl": None}, "ttl"),
    "max_bytes": ({"max_bytes": 60_000_000}, "max_bytes"),
    "no max_bytes": ({"max_bytes": None}, "max_bytes"),
    "storage": ({"storage": "file"}, "storage"),
    "compression": ({"compression": True}, "compression"),
    "metadata": ({"metadata": {"colour": "blue"}}, "metadata"),
}


class Stream:
    """The stream of a bucket, as the server has it."""

    def __init__(self, client: Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def call(self, operation: str, body: object = None) -> dict[str, Any]:
        subject = f"$JS.API.STREAM.{operation}.OBJ_{self._bucket}"
        payload = b"" if body is None else json.dumps(body).encode()
        return dict(json.loads(bytes(self._client.request(subject, payload=payload).payload)))

    @property
    def config(self) -> dict[str, Any]:
        return dict(self.call("INFO")["config"])

    def create(self, **changed: Any) -> dict[str, Any]:
        """Make it as in `CONFIG`, but for these fields of the stream."""
        config = {
            "name": f"OBJ_{self._bucket}",
            "description": "photos",
            "subjects": [f"$O.{self._bucket}.C.>", f"$O.{self._bucket}.M.>"],
            "retention": "limits",
            "max_bytes": 50_000_000,
            "max_age": 3600_000_000_000,
            "discard": "new",
            "storage": "memory",
            "num_replicas": 1,
            "allow_rollup_hdrs": True,
            "allow_direct": True,
            **changed,
        }
        answer = self.call("CREATE", config)
        assert "error" not in answer, answer
        return self.config


@pytest.fixture
def stream(client: Client, bucket: str) -> Iterator[Stream]:
    """What is, or will be, behind the bucket of the test."""
    stream = Stream(client, bucket)
    yield stream
    stream.call("DELETE")


# Buckets that clients make


class TestPeers:
    """One server, shared with the peers."""

    @pytest.fixture
    def client(self, interop_server: LocalServer) -> Iterator[Client]:
        """Beside the peers."""
        with Client(interop_server.url) as client:
            yield client

    @pytest.fixture(params=WRITERS)
    def made(self, matrix: Matrix, bucket: str, request: pytest.FixtureRequest) -> str:
        """The name of a bucket that a peer has made."""
        if reason := why_missing(request.param):
            pytest.skip(reason)
        matrix.peers[request.param].call("create", bucket=bucket, **CONFIG)
        return bucket

    def test_created_again_it_is_the_same(self, client: Client, made: str, stream: Stream) -> None:
        """Nothing that matters differs, and nothing is changed."""
        before = stream.config
        client.create_object_store(made, **CONFIG)
        assert stream.config == before

    @pytest.mark.parametrize("difference", DIFFERENCES)
    def test_with_another_configuration_it_is_in_the_way(
        self, client: Client, made: str, stream: Stream, difference: str
    ) -> None:
        """The error names the field, and nothing is changed."""
        fields, name = DIFFERENCES[difference]
        before = stream.config
        with pytest.raises(BucketExistsError, match=f"another {name};") as caught:
            client.create_object_store(made, **{**CONFIG, **fields})
        assert caught.value.bucket == made
        assert stream.config == before

    def test_update_changes_what_is_given(self, client: Client, made: str, stream: Stream) -> None:
        """And leaves all other fields as the client has made them."""
        before = stream.config
        client.update_object_store(made, description="films", metadata={"colour": "blue"})
        after = stream.config
        assert after.pop("description") == "films"
        assert after["metadata"].pop("colour") == "blue"
        before.pop("description")
        assert after == before


# Buckets that are made by hand

#: What other clients, tools or people have set, and no object store looks at.
ODD: dict[str, dict[str, Any]] = {
    "subjects in another order": {"subjects": ["$O.{bucket}.M.>", "$O.{bucket}.C.>"]},
    "no direct gets": {"allow_direct": False},
    "metadata of the server": {"metadata": {"_nats.req.level": "1", "_nats.own": "x"}},
    "a short duplicate window": {"duplicate_window": 1_000_000_000},
    "a largest message": {"max_msg_size": 500_000},
    "compression unsaid": {},
    "no compression": {"compression": "none"},
    "an empty placement": {"placement": {}},
    "counted limits": {"max_msgs": 1000, "max_consumers": 50},
}

#: Streams in which objects would be lost, or could not be put.
NO_STORES: dict[str, dict[str, Any]] = {
    "allow_rollup_hdrs": {"allow_rollup_hdrs": False},
    "discard": {"discard": "old"},
    "retention": {"retention": "interest"},
    "subjects": {"subjects": ["$O.{bucket}.C.>"]},
}


def of_bucket(fields: dict[str, Any], bucket: str) -> dict[str, Any]:
    return dict(json.loads(json.dumps(fields).replace("{bucket}", bucket)))


@pytest.mark.parametrize("odd", ODD)
def test_stream_with_odd_fields_is_the_bucket(
    client: Client, bucket: str, stream: Stream, odd: str
) -> None:
    """Created again it is the same, and works; an update leaves what is odd alone."""
    before = stream.create(**of_bucket(ODD[odd], bucket))
    store = client.create_object_store(bucket, **CONFIG)
    assert stream.config == before
    store.put("a", b"data")
    assert store["a"] == b"data"
    assert list(store) == ["a"]
    assert store.status().metadata == {}
    assert bucket in client.object_store_names()
    assert bucket in [status.bucket for status in client.object_stores()]

    client.update_object_store(bucket, description="films")
    client.create_or_update_object_store(bucket, description="films")
    assert stream.config == {**before, "description": "films"}


@pytest.mark.parametrize("difference", NO_STORES)
def test_stream_that_is_no_object_store_is_in_the_way(
    client: Client, bucket: str, stream: Stream, difference: str
) -> None:
    """The error says why, and nothing is changed."""
    before = stream.create(**of_bucket(NO_STORES[difference], bucket))
    with pytest.raises(BucketExistsError, match=f"another {difference};"):
        client.create_object_store(bucket, **CONFIG)
    assert stream.config == before
