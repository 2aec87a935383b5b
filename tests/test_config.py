"""Configuration of buckets: exactly what the other clients make, unless more is asked for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from objstore.config import ObjectStoreConfig, ObjectStoreStatus, Placement
from objstore.errors import InvalidNameError


def test_stream_is_the_one_that_other_clients_make() -> None:
    """The server compares every field: a further one would make their "create" fail."""
    assert ObjectStoreConfig("b").to_stream() == {
        "name": "OBJ_b",
        "subjects": ["$O.b.C.>", "$O.b.M.>"],
        "retention": "limits",
        "max_bytes": -1,
        "discard": "new",
        "max_age": 0,
        "storage": "file",
        "num_replicas": 1,
        "allow_rollup_hdrs": True,
        "allow_direct": True,
        "compression": "none",
    }


def test_every_field_reaches_the_stream() -> None:
    config = ObjectStoreConfig(
        "b",
        description="d",
        ttl=1.5,
        max_bytes=1000,
        storage="memory",
        replicas=3,
        placement=Placement("c", ["t"]),
        compression=True,
        metadata={"k": "v"},
        atomic=True,
        object_ttl=True,
    )
    assert config.to_stream() == {
        **ObjectStoreConfig("b").to_stream(),
        "description": "d",
        "max_age": 1_500_000_000,
        "max_bytes": 1000,
        "storage": "memory",
        "num_replicas": 3,
        "placement": {"cluster": "c", "tags": ["t"]},
        "compression": "s2",
        "metadata": {"k": "v"},
        "allow_atomic": True,
        "allow_msg_ttl": True,
    }


@pytest.mark.parametrize(
    ("ttl", "max_age"),
    [
        (None, 0),
        (0, 0),
        (0.1, 100_000_000),
        (1, 1_000_000_000),
        (0.25, 250_000_000),
        (timedelta(days=1), 86_400_000_000_000),
        (timedelta(0), 0),
    ],
)
def test_ttl_is_in_seconds(ttl: Any, max_age: int) -> None:
    assert ObjectStoreConfig("b", ttl=ttl).to_stream()["max_age"] == max_age


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"bucket": "a.b"}, InvalidNameError),
        ({"bucket": None}, TypeError),
        ({"description": 5}, TypeError),
        ({"ttl": -1}, ValueError),
        ({"ttl": 0.05}, ValueError),
        ({"ttl": timedelta(seconds=-1)}, ValueError),
        ({"ttl": float("nan")}, ValueError),
        ({"ttl": float("inf")}, ValueError),
        ({"ttl": "1"}, TypeError),
        ({"ttl": True}, TypeError),
        ({"max_bytes": 0}, ValueError),
        ({"max_bytes": -2}, ValueError),
        ({"max_bytes": 2**63}, ValueError),
        ({"max_bytes": 1.5}, TypeError),
        ({"max_bytes": True}, TypeError),
        ({"storage": "disk"}, ValueError),
        ({"storage": None}, ValueError),
        ({"replicas": 0}, ValueError),
        ({"replicas": 6}, ValueError),
        ({"replicas": -1}, ValueError),
        ({"replicas": "3"}, TypeError),
        ({"replicas": True}, TypeError),
        ({"placement": "c"}, TypeError),
        ({"compression": "s2"}, TypeError),
        ({"compression": 1}, TypeError),
        ({"atomic": None}, TypeError),
        ({"object_ttl": 1}, TypeError),
        ({"metadata": {"k": 5}}, TypeError),
        ({"metadata": ["k"]}, TypeError),
        ({"unknown": 1}, TypeError),
    ],
)
def test_configuration_that_cannot_be_is_refused(
    fields: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match=next(iter(fields))):
        ObjectStoreConfig(**{"bucket": "b", **fields})


# Compared with what is there


def echo(**fields: Any) -> dict[str, Any]:
    """The configuration that a server gives back, with its own fields, and with these."""
    return {
        **ObjectStoreConfig("b").to_stream(),
        "max_msgs": -1,
        "duplicate_window": 120_000_000_000,
        "metadata": {"_nats.ver": "2.12.0", "_nats.level": "1"},
        **fields,
    }


@pytest.mark.parametrize(
    "stream",
    [
        echo(),
        echo(subjects=["$O.b.M.>", "$O.b.C.>"]),
        echo(allow_direct=False),
        {key: value for key, value in echo().items() if key != "compression"},
        echo(metadata=None),
        echo(description=""),
    ],
)
def test_bucket_of_another_client_is_the_same_if_it_differs_in_nothing_that_matters(
    stream: dict[str, Any],
) -> None:
    assert ObjectStoreConfig("b").differences(stream) == []


@pytest.mark.parametrize(
    ("field", "value", "name"),
    [
        ("description", "other", "description"),
        ("max_age", 5, "ttl"),
        ("max_bytes", 5, "max_bytes"),
        ("storage", "memory", "storage"),
        ("num_replicas", 3, "replicas"),
        ("placement", {"cluster": "c"}, "placement"),
        ("compression", "s2", "compression"),
        ("metadata", {"k": "v"}, "metadata"),
        ("subjects", ["$O.b.C.>"], "subjects"),
        ("discard", "old", "discard"),
        ("allow_rollup_hdrs", False, "allow_rollup_hdrs"),
        ("allow_atomic", True, "atomic"),
        ("allow_msg_ttl", True, "object_ttl"),
        ("retention", "workqueue", "retention"),
    ],
)
def test_bucket_is_another_if_it_differs(field: str, value: Any, name: str) -> None:
    assert ObjectStoreConfig("b").differences(echo(**{field: value})) == [name]


def test_given_fields_change_and_the_others_stay() -> None:
    """Those of the stream that are not ours, too."""
    stream = echo(description="old", max_age=5, unheard_of=[1])
    changed = ObjectStoreConfig("b", description="new").change(stream, ["description"])
    assert changed == {**stream, "description": "new"}
    changed = ObjectStoreConfig("b", description="").change(stream, ["description"])
    assert "description" not in changed


def test_whole_configuration_sets_every_field_of_ours() -> None:
    stream = echo(description="old", storage="memory", placement={"cluster": "c"}, unheard_of=[1])
    changed = ObjectStoreConfig("b", max_bytes=9).change(stream, None)
    assert changed == {**echo(unheard_of=[1]), "max_bytes": 9}


def test_window_of_duplicates_follows_the_ttl() -> None:
    """The server takes none that is longer, and chooses one itself if none is given."""
    changed = ObjectStoreConfig("b", ttl=1).change(echo(), ["ttl"])
    assert "duplicate_window" not in changed and changed["max_age"] == 1_000_000_000
    assert "duplicate_window" in ObjectStoreConfig("b").change(echo(), ["ttl"])


def test_metadata_of_the_server_stays_and_is_not_shown() -> None:
    stream = echo(metadata={"_nats.ver": "2.12.0", "k": "old"})
    changed = ObjectStoreConfig("b", metadata={"k": "new"}).change(stream, ["metadata"])
    assert changed["metadata"] == {"_nats.ver": "2.12.0", "k": "new"}
    status = ObjectStoreStatus.from_stream("b", {"config": changed, "state": {}})
    assert status.metadata == {"k": "new"}


# Status


def test_status_says_how_a_bucket_is() -> None:
    config = echo(
        description="d",
        max_age=1_500_000_000,
        storage="memory",
        num_replicas=3,
        sealed=True,
        compression="s2",
    )
    info = {"config": config, "state": {"bytes": 77}}
    status = ObjectStoreStatus.from_stream("b", info)
    assert status == ObjectStoreStatus(
        bucket="b",
        description="d",
        ttl=1.5,
        storage="memory",
        replicas=3,
        sealed=True,
        size=77,
        backing_store="JetStream",
        metadata={},
        is_compressed=True,
        stream_info=info,
    )


def test_status_of_an_old_server_has_defaults() -> None:
    status = ObjectStoreStatus.from_stream("b", {"config": {"name": "OBJ_b"}})
    assert (status.ttl, status.storage, status.replicas) == (None, "file", 1)
    assert (status.sealed, status.size, status.is_compressed) == (False, 0, False)
