"""`ObjectStoreManager`: buckets are made, found, changed, listed and deleted, never by chance."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from objstore.client import Client
from objstore.config import ObjectStoreConfig
from objstore.core.deadline import Deadline
from objstore.errors import (
    BucketExistsError,
    BucketNotFoundError,
    InvalidNameError,
    JetStreamError,
    NoRespondersError,
    RequestTimeoutError,
)
from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.fake_server import Command, FakeConnection, FakeServer
from tests.raw_bucket import RawBucket
from tests.test_naming import BAD_BUCKETS

TIMEOUT = 10.0


def config_of(client: Client, bucket: str) -> dict[str, Any]:
    return RawBucket(client._connection, bucket).config


# Made


def test_bucket_is_made_as_other_clients_make_it(client: Client, store: ObjectStore) -> None:
    """With nothing more, so that their "create" of the same bucket still succeeds."""
    config = config_of(client, store.bucket)
    assert config["name"] == f"OBJ_{store.bucket}"
    assert config["subjects"] == [f"$O.{store.bucket}.C.>", f"$O.{store.bucket}.M.>"]
    expected = {
        "retention": "limits",
        "discard": "new",
        "storage": "file",
        "num_replicas": 1,
        "max_age": 0,
        "max_bytes": -1,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "max_msg_size": -1,
        "allow_rollup_hdrs": True,
        "allow_direct": True,
        "mirror_direct": False,
        "deny_delete": False,
        "deny_purge": False,
        "sealed": False,
        "compression": "none",
    }
    assert {key: config.get(key) for key in expected} == expected
    for absent in ("allow_atomic", "allow_msg_ttl", "description", "placement"):
        assert not config.get(absent)
    # What the others send, field by field.
    others = {
        "name": f"OBJ_{store.bucket}",
        "subjects": [f"$O.{store.bucket}.C.>", f"$O.{store.bucket}.M.>"],
        "retention": "limits",
        "max_consumers": 0,
        "max_msgs": 0,
        "max_bytes": -1,
        "discard": "new",
        "max_age": 0,
        "max_msgs_per_subject": 0,
        "storage": "file",
        "num_replicas": 1,
        "allow_rollup_hdrs": True,
        "allow_direct": True,
        "mirror_direct": False,
        "compression": "none",
    }
    assert "error" not in RawBucket(client._connection, store.bucket).call(
        "STREAM.CREATE.%", others
    )


def test_every_field_reaches_the_stream(client: Client, bucket: str) -> None:
    client.create_object_store(
        bucket,
        description="d",
        ttl=timedelta(minutes=1),
        max_bytes=1_000_000,
        storage="memory",
        compression=True,
        metadata={"k": "v"},
        atomic=True,
        object_ttl=True,
    )
    config = config_of(client, bucket)
    assert config["description"] == "d"
    assert config["max_age"] == 60_000_000_000
    assert config["max_bytes"] == 1_000_000
    assert config["storage"] == "memory"
    assert config["compression"] == "s2"
    assert config["metadata"]["k"] == "v"
    assert config["allow_atomic"] is True and config["allow_msg_ttl"] is True
    client.delete_object_store(bucket)


def test_same_bucket_may_be_made_again(client: Client, bucket: str) -> None:
    """By name and keywords, or by a configuration; its objects are still there."""
    fields: dict[str, Any] = {"description": "d", "ttl": 3600, "metadata": {"k": "v"}}
    client.create_object_store(bucket, **fields).put("a", b"data")
    for store in (
        client.create_object_store(bucket, **fields),
        client.create_object_store(ObjectStoreConfig(bucket, **fields)),
        client.create_object_store(ObjectStoreConfig(bucket), **fields),
    ):
        assert store.get_bytes("a") == b"data"
    client.delete_object_store(bucket)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"description": "other"}, "description"),
        ({"ttl": 60}, "ttl"),
        ({"max_bytes": 1000}, "max_bytes"),
        ({"storage": "memory"}, "storage"),
        ({"compression": True}, "compression"),
        ({"metadata": {"k": "v"}}, "metadata"),
        ({"atomic": True}, "atomic"),
        ({"object_ttl": True}, "object_ttl"),
    ],
)
def test_bucket_with_another_configuration_is_in_the_way(
    client: Client, store: ObjectStore, fields: dict[str, Any], named: str
) -> None:
    """It is an error that says what is different, and the bucket stays as it is."""
    before = config_of(client, store.bucket)
    with pytest.raises(BucketExistsError, match=named) as caught:
        client.create_object_store(store.bucket, **fields)
    assert isinstance(caught.value, FileExistsError) and caught.value.bucket == store.bucket
    assert config_of(client, store.bucket) == before


def test_bucket_of_another_client_is_no_other_bucket(client: Client, bucket: str) -> None:
    """The order of subjects, or a missing permission for direct gets, makes none."""
    raw = RawBucket(client._connection, bucket)
    config = {
        **ObjectStoreConfig(bucket).to_stream(),
        "subjects": [f"$O.{bucket}.M.>", f"$O.{bucket}.C.>"],
        "allow_direct": False,
    }
    assert raw.call("STREAM.CREATE.%", config)["did_create"]
    store = client.create_object_store(bucket)
    store.put("a", b"data")
    assert store.get_bytes("a") == b"data"
    client.delete_object_store(bucket)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"replicas": 3}, JetStreamError),
        ({"max_bytes": 2**62}, JetStreamError),
    ],
)
def test_refusal_of_the_server_is_passed_on(
    client: Client, bucket: str, fields: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        client.create_object_store(bucket, **fields)
    assert bucket not in client.object_store_names()


# Refused before anything is sent


MANAGE: list[Callable[[Client, Any], object]] = [
    lambda client, bucket: client.object_store(bucket),
    lambda client, bucket: client.create_object_store(bucket),
    lambda client, bucket: client.update_object_store(bucket, description="d"),
    lambda client, bucket: client.create_or_update_object_store(bucket),
    lambda client, bucket: client.delete_object_store(bucket),
]


@pytest.mark.parametrize("call", MANAGE)
@pytest.mark.parametrize("bucket", [*BAD_BUCKETS, None, b"a", 1])
def test_name_that_cannot_be_is_refused_before_a_byte_is_sent(
    call: Callable[..., object], bucket: Any
) -> None:
    with scripted(lambda conn, command: None) as server, Client(server.url) as client:
        with pytest.raises(InvalidNameError if isinstance(bucket, str) else TypeError):
            call(client, bucket)
        client.flush()
        assert b"PUB " not in server.received


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"ttl": -1}, ValueError),
        ({"ttl": "1"}, TypeError),
        ({"replicas": 0}, ValueError),
        ({"replicas": "3"}, TypeError),
        ({"max_bytes": 0}, ValueError),
        ({"storage": "disk"}, ValueError),
        ({"metadata": {"k": 1}}, TypeError),
        ({"no_such_field": 1}, TypeError),
    ],
)
def test_configuration_that_cannot_be_is_refused_before_a_byte_is_sent(
    fields: dict[str, Any], error: type[Exception]
) -> None:
    with scripted(lambda conn, command: None) as server, Client(server.url) as client:
        for call in (
            client.create_object_store,
            client.update_object_store,
            client.create_or_update_object_store,
        ):
            with pytest.raises(error):
                call("b", **fields)
        assert b"PUB " not in server.received


# Found


def test_bucket_that_exists_is_found(client: Client, store: ObjectStore) -> None:
    store.put("a", b"data")
    found = client.object_store(store.bucket)
    assert found.bucket == store.bucket and found.get_bytes("a") == b"data"


def test_missing_bucket_is_missing_and_stays_so(client: Client, bucket: str) -> None:
    """A missing file, and a missing key; nothing is made by looking for it."""
    for call in (
        lambda: client.object_store(bucket),
        lambda: client.update_object_store(bucket, description="d"),
        lambda: client.delete_object_store(bucket),
    ):
        for expected in (BucketNotFoundError, FileNotFoundError, KeyError):
            with pytest.raises(expected) as caught:
                call()
            assert caught.value.bucket == bucket  # type: ignore[attr-defined]
    assert bucket not in client.object_store_names()


def test_store_keeps_its_client(server: LocalServer, bucket: str) -> None:
    """Who holds the store need not hold the client."""
    store = Client(server.url).create_object_store(bucket)
    store.put("a", b"data")
    assert store.get_bytes("a") == b"data"


# Changed


def test_given_fields_are_changed(client: Client, bucket: str) -> None:
    client.create_object_store(bucket, description="d", ttl=3600, metadata={"k": "v"})
    store = client.update_object_store(bucket, description="e")
    status = store.status()
    assert (status.description, status.ttl, status.metadata) == ("e", 3600, {"k": "v"})
    client.update_object_store(bucket, ttl=60, metadata={"x": "y"})
    status = store.status()
    assert (status.description, status.ttl, status.metadata) == ("e", 60, {"x": "y"})
    client.update_object_store(bucket, description="", ttl=None, max_bytes=1_000_000)
    status = store.status()
    assert (status.description, status.ttl) == ("", None)
    assert status.stream_info["config"]["max_bytes"] == 1_000_000
    client.delete_object_store(bucket)


def test_whole_configuration_sets_every_field(client: Client, bucket: str) -> None:
    client.create_object_store(bucket, description="d", ttl=3600, max_bytes=1_000_000)
    client.update_object_store(ObjectStoreConfig(bucket, description="e"))
    config = config_of(client, bucket)
    assert (config["description"], config["max_age"], config["max_bytes"]) == ("e", 0, -1)
    client.delete_object_store(bucket)


def test_what_is_not_ours_stays(client: Client, store: ObjectStore) -> None:
    """Settings of the stream that somebody has made by hand."""
    raw = RawBucket(client._connection, store.bucket)
    raw.call("STREAM.UPDATE.%", {**raw.config, "max_msg_size": 500_000})
    client.update_object_store(store.bucket, description="d")
    assert raw.config["max_msg_size"] == 500_000
    client.update_object_store(ObjectStoreConfig(store.bucket))
    assert raw.config["max_msg_size"] == 500_000


def test_change_that_the_server_refuses_is_passed_on(client: Client, store: ObjectStore) -> None:
    with pytest.raises(JetStreamError):
        client.update_object_store(store.bucket, storage="memory")
    assert store.status().storage == "file"


def test_bucket_is_made_or_changed(client: Client, bucket: str) -> None:
    client.create_or_update_object_store(bucket, description="d").put("a", b"data")
    store = client.create_or_update_object_store(bucket, description="e")
    assert store.status().description == "e" and store.get_bytes("a") == b"data"
    client.create_or_update_object_store(ObjectStoreConfig(bucket, description="f"))
    assert store.status().description == "f"
    client.delete_object_store(bucket)


# Deleted


def test_deleted_bucket_is_gone_with_its_objects(client: Client, bucket: str) -> None:
    """Also a sealed one; of the same name another may be made."""
    store = client.create_object_store(bucket)
    store.put("a", b"data")
    store.seal()
    client.delete_object_store(bucket)
    with pytest.raises(BucketNotFoundError):
        client.object_store(bucket)
    again = client.create_object_store(bucket)
    assert again.list() == []
    client.delete_object_store(bucket)


# Listed


def test_only_buckets_are_listed(client: Client, store: ObjectStore) -> None:
    """No stream that merely has a name or a subject like that of a bucket."""
    others = [
        {"name": "OBJ_no-subject", "subjects": ["elsewhere.1"]},
        {"name": "no-prefix", "subjects": ["$O.no-prefix.C.>"]},
        {"name": "OBJ_other-subject", "subjects": ["$O.another.C.>"]},
    ]
    deadline = Deadline(TIMEOUT)
    for config in others:
        client._js.create_stream({**config, "storage": "memory"}, deadline)
    names = list(client.object_store_names())
    statuses = {status.bucket: status for status in client.object_stores()}
    assert store.bucket in names and store.bucket in statuses
    status = statuses[store.bucket]
    assert status == replace(store.status(), stream_info=status.stream_info)
    for name in ("no-subject", "no-prefix"):
        assert name not in names and name not in statuses
    assert "other-subject" not in statuses
    for config in others:
        client._js.delete_stream(str(config["name"]), deadline)


@pytest.mark.slow
def test_many_buckets_are_listed(make_server: Callable[..., LocalServer]) -> None:
    """A page of names has 1,024 entries, one of statuses 256."""
    with Client(make_server().url) as client:
        assert list(client.object_store_names()) == list(client.object_stores()) == []
        wanted = [f"b{number}" for number in range(1030)]
        for name in wanted:
            client.create_object_store(name, storage="memory")
        assert sorted(client.object_store_names()) == sorted(wanted)
        assert sorted(status.bucket for status in client.object_stores()) == sorted(wanted)


# Servers that cannot


@pytest.mark.parametrize("call", [*MANAGE, lambda client, _: list(client.object_store_names())])
def test_server_without_jetstream_is_told_at_once(call: Callable[..., object]) -> None:
    def script(conn: FakeConnection) -> None:
        conn.handshake()
        for command in conn:
            if command.verb == "PUB":
                conn.reply(command, headers=b"NATS/1.0 503\r\n\r\n")

    with FakeServer(script) as server, Client(server.url) as client:
        with pytest.raises(NoRespondersError, match="enabled"):
            call(client, "b")


@pytest.mark.parametrize("call", [*MANAGE, lambda client, _: list(client.object_stores())])
def test_account_without_jetstream_is_told_at_once(call: Callable[..., object]) -> None:
    def answer(conn: FakeConnection, command: Command) -> None:
        error = {"code": 503, "err_code": 10039, "description": "not enabled for account"}
        conn.reply(command, {"error": error})

    with scripted(answer) as server, Client(server.url) as client:
        with pytest.raises(JetStreamError) as caught:
            call(client, "b")
        assert caught.value.err_code == 10039


@pytest.mark.parametrize("timeout", [0, 0.1])
@pytest.mark.slow
def test_silent_server_is_a_timeout(timeout: float) -> None:
    with scripted(lambda conn, command: None) as server, Client(server.url) as client:
        for call in (
            lambda: client.object_store("b", timeout=timeout),
            lambda: client.create_object_store("b", timeout=timeout),
            lambda: client.update_object_store("b", timeout=timeout, description="d"),
            lambda: client.create_or_update_object_store("b", timeout=timeout),
            lambda: client.delete_object_store("b", timeout=timeout),
            lambda: list(client.object_store_names(timeout=timeout)),
            lambda: list(client.object_stores(timeout=timeout)),
        ):
            with pytest.raises(RequestTimeoutError):
                call()


@pytest.mark.parametrize("timeout", [-1, float("nan"), "5", True])
def test_timeout_of_nonsense_is_refused_before_a_byte_is_sent(timeout: Any) -> None:
    with scripted(lambda conn, command: None) as server, Client(server.url) as client:
        for call in (
            lambda: client.object_store("b", timeout=timeout),
            lambda: client.create_object_store("b", timeout=timeout),
            lambda: client.update_object_store("b", timeout=timeout, description="d"),
            lambda: client.delete_object_store("b", timeout=timeout),
            lambda: list(client.object_store_names(timeout=timeout)),
            lambda: list(client.object_stores(timeout=timeout)),
        ):
            with pytest.raises((TypeError, ValueError), match="timeout"):
                call()
        assert b"PUB " not in server.received


def test_old_server_that_drops_a_field_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """It does not know it, and says nothing."""

    def answer(conn: FakeConnection, command: Command) -> None:
        config = command.json
        config.pop("metadata", None)
        config.pop("compression", None)
        conn.reply(command, {"config": config, "state": {}, "did_create": True})

    with scripted(answer) as server, Client(server.url) as client:
        with caplog.at_level(logging.WARNING):
            client.create_object_store("b")
            assert caplog.text == ""
            client.create_object_store("b", compression=True, metadata={"k": "v"})
    assert "too old" in caplog.text
    assert "compression" in caplog.text and "metadata" in caplog.text


def scripted(answer: Callable[[FakeConnection, Command], object]) -> FakeServer:
    """A server that answers every request so."""

    def script(conn: FakeConnection) -> None:
        conn.handshake()
        for command in conn:
            if command.verb in ("PUB", "HPUB"):
                answer(conn, command)

    return FakeServer(script)
