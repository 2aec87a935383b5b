"""
The smallest sets of permissions, and what it is like to have less.

`docs/topics/security.md` shows these very sets: what it shows is what is tested here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import objstore
from objstore.core.transport import TCPTransport
from objstore.errors import PermissionsViolationError
from objstore.server import LocalServer
from tests.helpers import pattern

DOCS = Path(__file__).parents[2] / "docs/topics/security.md"

USERS = ("reader", "writer", "admin")


def documented(user: str) -> str:
    """Return the permissions of the documentation, for the configuration of a server."""
    text = DOCS.read_text(encoding="utf-8")
    match = re.search(rf"^{user}: \{{\n.*?^\}}", text, re.DOTALL | re.MULTILINE)
    assert match, f"{DOCS} shows no permissions of {user}"
    return match[0].partition(":")[2].replace("photos", "bucket")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A server with a user for each set, one who may do all, and some who miss something."""
    users = {user: documented(user) for user in USERS}
    users["root"] = "{}"
    writer = documented("writer")
    users["no-purge"] = writer.replace('"$JS.API.STREAM.PURGE.OBJ_bucket",', "")
    users["no-chunks"] = writer.replace('"$O.bucket.>"', '"$O.bucket.M.>"')
    users["no-metas"] = writer.replace('"$O.bucket.>"', '"$O.bucket.C.>"')
    users["no-inbox"] = writer.replace('"_INBOX.>"', '"other.>"')
    users["nobody"] = '{ publish: { deny: ">" } }'
    users["some"] = '{ publish: { allow: ["news", "a.>"] }, subscribe: { deny: "secret" } }'
    assert len(set(users.values())) == len(users)
    lines = [
        f'{{ user: "{user}", password: x, permissions: {permissions} }}'
        for user, permissions in users.items()
    ]
    directory = tmp_path_factory.mktemp("permissions")
    config = directory / "nats-server.conf"
    config.write_text("authorization { users: [\n" + "\n".join(lines) + "\n] }")
    with LocalServer(directory, config=config) as server:
        with objstore.connect(server.url, user="root", password="x") as root:
            root.create_object_store("bucket").put("kept", b"content")
        yield server


@pytest.fixture
def connect(server: LocalServer) -> Iterator[Callable[[str], objstore.Client]]:
    """A function that connects as one of the users."""
    clients: list[objstore.Client] = []

    def connect(user: str) -> objstore.Client:
        clients.append(objstore.connect(server.url, user=user, password="x"))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


# Enough


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every subject that is published to."""
    subjects: set[str] = set()

    def record(method: Any) -> Any:
        def wrapper(self: TCPTransport, data: Any, *arguments: Any) -> Any:
            sent = b"".join([data] if isinstance(data, (bytes, memoryview)) else data)
            found = re.findall(rb"\bH?PUB (\S+) ", sent)
            subjects.update(subject.decode() for subject in found)
            return method(self, data, *arguments)

        return wrapper

    for name in ("send", "try_send"):
        monkeypatch.setattr(TCPTransport, name, record(getattr(TCPTransport, name)))
    return subjects


def assert_needed(user: str, published: set[str]) -> None:
    """Nothing is allowed that was not used."""
    allowed = re.findall(r'"(\$[^"]+)"', documented(user))
    assert len(allowed) > 1
    for entry in allowed:
        words = re.escape(entry).replace(">", ".+")
        assert any(re.fullmatch(words, subject) for subject in published), entry


def read_everything(client: objstore.Client, tmp_path: Path) -> None:
    store = client.object_store("bucket")
    assert store.get_bytes("kept") == b"content"
    assert store.get("kept", offset=2, length=3).read() == b"nte"
    store.get_file("kept", tmp_path / "kept")
    assert dict(store.get_many(["kept"])) == {"kept": b"content"}
    assert [info.name for info in store.list(prefix="kept")] == ["kept"]
    assert store.get_info("kept").size == 7
    assert "kept" in store
    assert store.status().size
    with store.watch() as watcher:
        assert next(iter(watcher)) is not None


def write_everything(client: objstore.Client) -> None:
    store = client.object_store("bucket")
    store.put("large", pattern(1_000_000))
    assert store.get_bytes("large") == pattern(1_000_000)
    store.put("large", b"small")
    store.put_many([("one", b"1"), ("two", b"2")])
    store.update_meta("one", description="first", new_name="uno")
    store.copy("two", "three")
    store.add_link("link", store.get_info("three"))
    with store.open("text", "w") as file:
        file.write("text")
    for name in ("large", "uno", "two", "three", "link", "text"):
        store.delete(name)


def test_reader(
    connect: Callable[[str], objstore.Client], published: set[str], tmp_path: Path
) -> None:
    """It can do all that changes nothing."""
    read_everything(connect("reader"), tmp_path)
    assert_needed("reader", published)


def test_writer(
    connect: Callable[[str], objstore.Client], published: set[str], tmp_path: Path
) -> None:
    """It can do that, too, and change objects in whatever way."""
    client = connect("writer")
    read_everything(client, tmp_path)
    write_everything(client)
    assert_needed("writer", published)


def test_admin(connect: Callable[[str], objstore.Client]) -> None:
    """It can do everything with this bucket and with others."""
    client = connect("admin")
    store = client.create_object_store("new", description="new")
    client.update_object_store("new", description="newer")
    assert {"bucket", "new"} <= set(client.object_store_names())
    assert {status.bucket for status in client.object_stores()} >= {"bucket", "new"}
    store.put("name", b"content")
    assert store.get_bytes("name") == b"content"
    store.delete("name")
    store.seal()
    client.delete_object_store("new")


# Not enough


CHANGES: dict[str, Callable[[objstore.ObjectStore], Any]] = {
    "put": lambda store: store.put("new", b"content"),
    "large put": lambda store: store.put("new", pattern(3_000_000)),
    "overwrite": lambda store: store.put("kept", b"other"),
    "put_many": lambda store: store.put_many([("one", b"1"), ("two", b"2")]),
    "delete": lambda store: store.delete("kept"),
    "update": lambda store: store.update_meta("kept", description="other"),
    "rename": lambda store: store.update_meta("kept", new_name="other"),
    "copy": lambda store: store.copy("kept", "other"),
    "link": lambda store: store.add_link("link", store.get_info("kept")),
    "seal": lambda store: store.seal(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("user", ["reader", "no-metas"])
def test_change_without_permission(
    user: str,
    change: Callable[[objstore.ObjectStore], Any],
    connect: Callable[[str], objstore.Client],
) -> None:
    """It is an error in the very call, and nothing has changed."""
    store = connect(user).object_store("bucket")
    with pytest.raises(PermissionsViolationError) as caught:
        change(store)
    assert caught.value.subject
    assert isinstance(caught.value, PermissionError)
    assert connect("root").object_store("bucket").get_bytes("kept") == b"content"
    names = {info.name for info in connect("root").object_store("bucket").list()}
    assert names == {"kept"}


@pytest.mark.parametrize("size", [1, 3_000_000])
def test_put_without_permission_for_chunks(
    size: int, connect: Callable[[str], objstore.Client]
) -> None:
    """No meta is published that has none."""
    store = connect("no-chunks").object_store("bucket")
    with pytest.raises(PermissionsViolationError, match=r"O\.bucket\.C"):
        store.put("new", pattern(size))
    assert "new" not in store


READS: dict[str, Callable[[objstore.ObjectStore], Any]] = {
    "get": lambda store: store.get("kept").read(),
    "get_bytes": lambda store: store.get_bytes("kept"),
    "get_many": lambda store: dict(store.get_many(["kept"])),
    "info": lambda store: store.get_info("kept"),
    "list": lambda store: store.list(),
    "watch": lambda store: next(iter(store.watch())),
    "status": lambda store: store.status(),
}


@pytest.mark.parametrize("user", ["nobody", "no-inbox"])
def test_everything_is_denied(user: str, connect: Callable[[str], objstore.Client]) -> None:
    """Nothing waits for what cannot come."""
    client = connect(user)
    for call in (
        lambda: client.object_store("bucket"),
        lambda: client.create_object_store("new"),
        lambda: list(client.object_store_names()),
        lambda: client.request("$JS.API.INFO"),
    ):
        with pytest.raises(PermissionsViolationError):
            call()


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
def test_read_without_permission(
    read: Callable[[objstore.ObjectStore], Any], connect: Callable[[str], objstore.Client]
) -> None:
    """A store that is there, in the hands of one who may not read it."""
    store = connect("root").object_store("bucket")
    store._bucket.js = connect("nobody")._js
    with pytest.raises(PermissionsViolationError):
        read(store)


def test_publish_and_subscribe(connect: Callable[[str], objstore.Client]) -> None:
    """The same with plain messages."""
    client = connect("some")
    client.publish("news", payload=b"x")
    for call in (
        lambda: client.publish("other"),
        lambda: client.publish("other", reply="x", headers={"a": "b"}),
        lambda: client.request("other"),
        lambda: client.subscribe("secret", callback=print),
        lambda: client.subscribe("secret", queue="q", callback=print),
    ):
        for _ in range(2):
            with pytest.raises(PermissionsViolationError):
                call()
    client.publish("a." + "b" * 3000)
    with pytest.raises(PermissionsViolationError):
        client.publish("c." + "b" * 3000)


def test_writer_without_purge(connect: Callable[[str], objstore.Client]) -> None:
    """What it replaces stays behind; what is stored is right."""
    store = connect("no-purge").object_store("bucket")
    store.put("object", pattern(300_000))
    store.put("object", b"small")
    assert store.get_bytes("object") == b"small"
    connect("root").object_store("bucket").delete("object")
