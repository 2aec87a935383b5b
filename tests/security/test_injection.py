"""
Nothing that a user hands in, and nothing that is stored, becomes a command of its own.

Every public text is tried with commands in it, while somebody listens to everything.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import objstore
from objstore.config import Placement
from objstore.core.connection import Connection
from objstore.core.deadline import Deadline
from objstore.core.options import make_options
from objstore.errors import InvalidNameError
from objstore.jetstream.api import JetStream
from objstore.server import LocalServer

Call = Callable[[objstore.Client, objstore.ObjectStore, str], Any]

#: Everything public that takes a text. What is refused is refused; what is taken is taken as it is.
CALLS: dict[str, Call] = {
    # Buckets
    "object_store": lambda c, s, text: c.object_store(text),
    "create": lambda c, s, text: c.create_object_store(text),
    "create_or_update": lambda c, s, text: c.create_or_update_object_store(text),
    "update": lambda c, s, text: c.update_object_store(text, description="x"),
    "delete bucket": lambda c, s, text: c.delete_object_store(text),
    "description of a bucket": lambda c, s, text: c.update_object_store(s.bucket, description=text),
    "metadata of a bucket": lambda c, s, text: c.update_object_store(
        s.bucket, metadata={text: text}
    ),
    "placement": lambda c, s, text: c.create_object_store(
        "placed", placement=Placement(text, [text])
    ),
    "storage": lambda c, s, text: c.create_object_store("stored", storage=text),
    # Objects
    "put": lambda c, s, text: s.put(text, b"x"),
    "put_string": lambda c, s, text: s.put_string(text, text),
    "put_many": lambda c, s, text: s.put_many([(text, b"x")]),
    "description": lambda c, s, text: s.put("name", b"x", description=text),
    "header key": lambda c, s, text: s.put("name", b"x", headers={text: "x"}),
    "header": lambda c, s, text: s.put("name", b"x", headers={"x": [text]}),
    "metadata": lambda c, s, text: s.put("name", b"x", metadata={text: text}),
    "get": lambda c, s, text: s.get(text).read(),
    "get_bytes": lambda c, s, text: s.get_bytes(text),
    "get_many": lambda c, s, text: dict(s.get_many([text])),
    "get_info": lambda c, s, text: s.get_info(text),
    "open": lambda c, s, text: s.open(text, "wb").close(),
    "mode": lambda c, s, text: s.open("name", text),
    "update_meta": lambda c, s, text: s.update_meta("kept", description=text),
    "rename": lambda c, s, text: s.update_meta("name", new_name=text),
    "copy": lambda c, s, text: s.copy("kept", text),
    "delete": lambda c, s, text: s.delete(text),
    "add_link": lambda c, s, text: s.add_link(text, s.get_info("kept")),
    "add_bucket_link": lambda c, s, text: s.add_bucket_link("link", text),
    "list": lambda c, s, text: s.list(prefix=text),
    "in": lambda c, s, text: text in s,
    "mapping": lambda c, s, text: list(s.mapping(text)),
    "mapping name": lambda c, s, text: s.mapping("x").get(text),
    # Messages
    "publish": lambda c, s, text: c.publish(text),
    "reply": lambda c, s, text: c.publish("x", reply=text),
    "payload": lambda c, s, text: c.publish("x", payload=text.encode("utf-8", "replace")),
    "message header key": lambda c, s, text: c.publish("x", headers={text: "x"}),
    "message header": lambda c, s, text: c.publish("x", headers={"x": text}),
    "request": lambda c, s, text: c.request(text, timeout=0.001),
    "subscribe": lambda c, s, text: c.unsubscribe(c.subscribe(text, callback=print)),
    "queue": lambda c, s, text: c.unsubscribe(c.subscribe("x", queue=text, callback=print)),
}

OPTIONS = ["name", "inbox_prefix", "domain", "api_prefix", "token", "user"]

COMMAND = "\r\nPUB pwned 0\r\n\r\n"

#: Where texts of users stand between what they hold of a server's grammar.
PIECES = ["", "a", "name", " ", ".", "*", ">", "\n", "\r", "\0", "\t", "x 0\r\n\r\nPUB pwned 0\r\n"]


def injections() -> st.SearchStrategy[str]:
    piece = st.sampled_from([*PIECES, COMMAND]) | st.text(max_size=3)
    return st.lists(piece, min_size=1, max_size=4).map("".join)


class Everything:
    """Whoever listens to all there is to hear."""

    def __init__(self, url: str) -> None:
        self.connection = Connection(make_options(url))
        self.subscription = self.connection.subscribe(">")
        self.connection.flush()

    def check(self) -> None:
        """See that nothing was published that the package does not publish."""
        self.connection.flush()
        while (message := self.subscription.next(0)) is not None:
            assert "pwned" not in message.subject


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[LocalServer, objstore.Client, objstore.ObjectStore, Everything]]:
    """A server of its own, whose log is of interest."""
    with LocalServer(tmp_path_factory.mktemp("server")) as server:
        with objstore.connect(server.url, workers=1) as client:
            client.unsubscribe(client.subscribe("x", callback=print))  # starts the worker
            store = client.create_object_store("bucket")
            store.put("kept", b"content")
            everything = Everything(server.url)
            yield server, client, store, everything
            everything.connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(text=injections())
def test_no_text_becomes_a_command(
    call: Call,
    text: str,
    world: tuple[LocalServer, objstore.Client, objstore.ObjectStore, Everything],
) -> None:
    """It is stored, or refused; the connection is the same before and after."""
    server, client, store, everything = world
    link = client._connection._link
    with contextlib.suppress(ValueError, TypeError, KeyError, objstore.ObjStoreError, OSError):
        call(client, store, text)
    client.flush()
    everything.check()
    assert client._connection._link is link, "the connection was lost"
    assert store.get_bytes("kept") == b"content"
    assert "rror" not in server.log_path.read_text().partition("Server is ready")[2]


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(text=injections())
def test_no_option_becomes_a_command(
    option: str,
    text: str,
    world: tuple[LocalServer, objstore.Client, objstore.ObjectStore, Everything],
) -> None:
    """Nor what is said once for the whole connection."""
    server, _, _, everything = world
    options: dict[str, Any] = {option: text}
    with contextlib.suppress(ValueError, objstore.ObjStoreError):
        with objstore.connect(server.url, **options, timeout=5) as client:
            with contextlib.suppress(objstore.ObjStoreError):
                client.object_store("bucket", timeout=0.05)
    everything.check()
    assert "rror" not in server.log_path.read_text().partition("Server is ready")[2]


@pytest.mark.parametrize("key", ["Nats-Rollup", "nats-rollup", "NATS-EXPECTED-STREAM"])
def test_headers_of_the_server_are_not_for_users(
    key: str, client: objstore.Client, store: objstore.ObjectStore
) -> None:
    """`Nats-Rollup: all` on any subject of a bucket would empty it."""
    store.put("kept", b"content")
    with pytest.raises(ValueError, match=r"Nats-|server's"):
        client.publish(f"$O.{store.bucket}.C.x", headers={key: "all"})
    with pytest.raises(ValueError, match="Nats-"):
        store.put("name", b"x", headers={key: "all"})
    assert store.get_bytes("kept") == b"content"


@pytest.mark.parametrize("value", ["b\r\nNats-Rollup: all", "b\nNats-Rollup: all", "b\0", "\r"])
def test_values_of_headers_are_refused_not_cleaned(
    value: str, client: objstore.Client, store: objstore.ObjectStore
) -> None:
    """In messages and in objects."""
    with pytest.raises(ValueError, match="line break"):
        client.publish("x", headers={"a": value})
    with pytest.raises(ValueError, match="line break"):
        store.put("name", b"x", headers={"a": value})
    with pytest.raises(ValueError):
        store.put("name", b"x", headers={value: "a"})


@pytest.mark.parametrize(
    "subject", ["", ">", "$O.bucket.>", "$O.bucket.C.*", "$O..C", "a b", "a\n"]
)
def test_purge_takes_a_whole_subject_only(subject: str, client: objstore.Client) -> None:
    """The one place where a purge is made refuses what would reach further."""
    js = JetStream(client._connection)
    with pytest.raises(InvalidNameError):
        js.ask_purge("OBJ_bucket", subject, Deadline(1))
