"""
Secrets are found nowhere but where they belong.

Whatever goes wrong: logs down to DEBUG, messages, reprs, the variables of our frames in
tracebacks, and pickles are searched for each secret, in every form.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import pytest

import objstore
from objstore.core import dispatcher
from objstore.core.connection import Connection
from objstore.core.link import Link
from objstore.core.options import make_options
from objstore.core.secret import Secret
from objstore.core.settings import gather
from objstore.server import LocalServer
from tests.fake_server import FakeConnection, FakeServer
from tests.helpers import wait_until
from tests.security.conftest import Certificates
from tests.security.keys import Key, Operator

OURS = str(Path(objstore.__file__).parent)

PASSWORD = "S3cr€t%40x"
KEY = Key("user")
_CREDS = Operator().credentials(seed=KEY.seed).splitlines()
JWT = _CREDS[1]

WAYS: dict[str, dict[str, Any]] = {
    "password": {"user": "joe", "password": PASSWORD},
    "token": {"token": PASSWORD},
    "seed": {"nkey_seed": KEY.seed},
    "JWT": {"jwt": JWT, "nkey_seed": KEY.seed},
    "bearer": {"jwt": JWT},
    "url": {},
}


def forms(secret: str) -> set[str]:
    """Return every way to write a secret that we can think of."""
    raw = secret.encode()
    return {
        secret,
        quote(secret),
        quote(secret, safe=""),
        json.dumps(secret)[1:-1],
        ascii(secret)[1:-1],
        repr(raw)[2:-1],
        raw.hex(),
        base64.b64encode(raw).decode().rstrip("="),
        base64.urlsafe_b64encode(raw).decode().rstrip("="),
        base64.b64encode(b"joe:" + raw).decode().rstrip("="),
    }


FORBIDDEN = {form for secret in (PASSWORD, KEY.seed, JWT) for form in forms(secret)}
#: The beginning is as bad: a cut text holds it.
FORBIDDEN |= {"S3cr", KEY.seed[:12], JWT.split(".")[1][:40]}


def assert_clean(text: str) -> None:
    for form in FORBIDDEN:
        assert form not in text


def frames(trace: TracebackType | None) -> Iterator[str]:
    """Yield the variables of our own frames."""
    for frame, _ in traceback.walk_tb(trace):
        if frame.f_code.co_filename.startswith(OURS):
            for name, value in list(frame.f_locals.items()):
                with contextlib.suppress(AttributeError):  # of an object that is half made
                    yield f"{frame.f_code.co_name}: {name} = {value!r}"


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and all from which it comes."""
    seen: list[BaseException | None] = []
    waiting = [error]
    while waiting:
        error = waiting.pop()
        if error is not None and error not in seen:
            seen.append(error)
            yield error
            waiting += [error.__cause__, error.__context__]


def assert_error_is_clean(error: BaseException, *, variables: bool = True) -> None:
    for each in chain(error):
        assert_clean(f"{each} {each!r} {vars(each)!r} {each.args!r}")
        if variables:
            for text in frames(each.__traceback__):
                assert_clean(text)
    with contextlib.suppress(TypeError, AttributeError, pickle.PicklingError):
        assert_clean(pickle.dumps(error).decode("latin-1"))


@pytest.fixture(autouse=True)
def clean_logs(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever was logged in the test."""
    monkeypatch.setattr(dispatcher, "_REFUSAL_PAUSE", 0)
    caplog.set_level(logging.DEBUG)
    yield
    assert_clean(caplog.text)
    for record in caplog.records:
        assert_clean(repr(record.args))
        if record.exc_info and record.exc_info[1] is not None:
            assert_error_is_clean(record.exc_info[1])


# What goes wrong while connecting


def refuse(conn: FakeConnection) -> None:
    conn.send_info(auth_required=True, nonce="abcdefghijklmno")
    conn.expect("CONNECT")
    conn.send(b"-ERR 'Authorization Violation'\r\n")
    conn.close()


def echo(before: bytes, after: bytes) -> Callable[[FakeConnection], None]:
    """Script: say what we were told, as an error, or as nonsense."""

    def script(conn: FakeConnection) -> None:
        conn.send_info(auth_required=True, nonce="abcdefghijklmno")
        conn.expect("CONNECT")
        secret = conn.options.get("pass") or conn.options.get("auth_token") or conn.options["jwt"]
        conn.send(before + secret.encode() + after)
        conn.close()

    return script


def leave(conn: FakeConnection) -> None:
    conn.send_info(nonce="abcdefghijklmno")
    conn.expect("CONNECT")
    conn.close()


def reset(conn: FakeConnection) -> None:
    conn.send_info(nonce="abcdefghijklmno")
    conn.expect("CONNECT")
    conn.reset()


def talk(words: bytes) -> Callable[[FakeConnection], None]:
    def script(conn: FakeConnection) -> None:
        conn.send(words)

    return script


def garble(conn: FakeConnection) -> None:
    conn.send_info(nonce="abcdefghijklmno")
    conn.expect("CONNECT")
    conn.send(b"HTTP/1.1 400 Bad Request\r\n")


SCRIPTS = {
    "refused": refuse,
    "left": leave,
    "reset": reset,
    "closed": FakeConnection.close,
    "silent": talk(b""),
    "no INFO": talk(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "bad INFO": talk(b"INFO {\r\n"),
    "bad nonce": talk(b'INFO {"headers":true,"max_payload":1,"nonce":[1]}\r\n'),
    "garbage": garble,
}


def connect_and_fail(port: int, way: str, scheme: str = "nats", **options: Any) -> BaseException:
    user = f"joe:{quote(PASSWORD, safe='')}@" if way == "url" else ""
    # An exception may come out of a constructor as well.
    with pytest.raises((objstore.ObjStoreError, ValueError, OSError)) as caught:
        objstore.connect(f"{scheme}://{user}127.0.0.1:{port}", **WAYS[way], **options)
    return caught.value


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_failure_to_connect(script: Callable[[FakeConnection], None], way: str) -> None:
    """Whatever the server does, and whoever we are."""
    if way in ("password", "token", "url", "bearer") and script is SCRIPTS["bad nonce"]:
        return  # they sign nothing
    timeout = 0.1 if script is SCRIPTS["silent"] else 20.0
    with FakeServer(script) as server:
        assert_error_is_clean(connect_and_fail(server.port, way, timeout=timeout))


@pytest.mark.parametrize("way", ["password", "token", "bearer"])
@pytest.mark.parametrize(
    ("before", "after"),
    [(b"-ERR '", b"'\r\n"), (b"", b"\r\n"), (b"-ERR 'Permissions Violation \"", b"\"'\r\n")],
)
def test_server_that_repeats_what_it_was_told(before: bytes, after: bytes, way: str) -> None:
    """It knows our secret, but who reads our log does not."""
    with FakeServer(echo(before, after)) as server:
        error = connect_and_fail(server.port, way)
        if before:
            assert_error_is_clean(error, variables=False)
        else:
            # Of a long text only the beginning is quoted.
            assert PASSWORD not in str(error) and JWT not in str(error)


@pytest.mark.parametrize("way", WAYS)
def test_failure_of_tls(way: str, certificates: Certificates) -> None:
    """Not offered, not trusted, and not there at all."""
    with FakeServer(talk(b'INFO {"headers":true,"max_payload":9}\r\n')) as server:
        assert_error_is_clean(connect_and_fail(server.port, way, "tls"))
        assert_error_is_clean(connect_and_fail(server.port, way, tls_first=True))
        assert_error_is_clean(connect_and_fail(server.port, way, tls_cacert="/missing"))
        assert_error_is_clean(connect_and_fail(server.port, way, tls_client_key=certificates.ca))
    assert server.received.replace(b"\x16", b"")[:7] != b"CONNECT"


BAD_OPTIONS: list[dict[str, Any]] = [
    {"user": "joe", "password": PASSWORD, "token": PASSWORD},
    {"password": PASSWORD},
    {"password": [PASSWORD], "user": "joe"},
    {"nkey_seed": KEY.seed[:-1]},
    {"nkey_seed": KEY.seed + "A"},
    {"jwt": JWT, "credentials": "/missing"},
    {"token": PASSWORD, "timeout": -1},
    {"token": PASSWORD, "ping_interval": "x"},
    {"token": PASSWORD, "inbox_prefix": "a b"},
    {"token": PASSWORD, "tls": "x"},
    {"token": PASSWORD, "domain": "a b"},
    {"token": PASSWORD, "domain": "a", "api_prefix": "b"},
    {"token": PASSWORD, "workers": 0},
    {"token": PASSWORD, "context": "missing"},
    {"servers": f"nats://joe:{PASSWORD}@demo:port"},
    {"servers": f"http://joe:{PASSWORD}@demo"},
    {"servers": [f"nats://joe:{PASSWORD}@", f"nats://{PASSWORD}@demo"]},
    {"servers": f"nats://joe:{PASSWORD}@demo", "url": f"nats://joe:{PASSWORD}@demo"},
    {"url": f"nats://joe:{PASSWORD}[@demo"},
    {"url": f"nats://joe:{PASSWORD}\n@demo"},
]


@pytest.mark.parametrize("options", BAD_OPTIONS, ids=lambda o: "+".join(o))
@pytest.mark.parametrize("make", [objstore.Client, objstore.connect])
def test_bad_argument(make: Callable[..., Any], options: dict[str, Any]) -> None:
    """What is said of it does not repeat it."""
    if make is objstore.connect and "url" in options:
        return
    with pytest.raises((ValueError, TypeError, OSError)) as caught:
        make(**options)
    if isinstance(options.get("password"), list):
        return  # a list shows what it holds; that it is none is its caller's mistake
    assert_error_is_clean(caught.value)


def test_bad_files(tmp_path: Path) -> None:
    """A context and a credentials file that hold secrets and cannot be used."""
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    (tmp_path / "nats/context").mkdir(parents=True)
    for content in (
        json.dumps({"password": PASSWORD, "nsc": "x"}),
        json.dumps({"password": PASSWORD, "url": 1}),
        f'{{"password": "{PASSWORD}"',
    ):
        (tmp_path / "nats/context/c.json").write_text(content)
        with pytest.raises(ValueError) as caught:
            gather({}, context="c", environ=environ)
        assert_error_is_clean(caught.value)
    path = tmp_path / "joe.creds"
    path.touch(mode=0o600)
    for content in (KEY.seed[:-1], KEY.seed + "A", f"{KEY.seed}X\n{JWT}"):
        path.write_text(content)
        with pytest.raises(ValueError) as caught:
            objstore.Client(credentials=path)
        assert_error_is_clean(caught.value)


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that holds a secret beside one that cannot be used."""
    monkeypatch.setenv("NATS_URL", f"nats://joe:{PASSWORD}@demo:port")
    monkeypatch.setenv("NATS_TIMEOUT", "soon")
    for name in ("NATS_TIMEOUT", "NATS_URL"):
        with pytest.raises(ValueError) as caught:
            objstore.connect()
        assert_error_is_clean(caught.value)
        monkeypatch.delenv(name)


# What goes wrong later


def test_lost_connection_and_refused_reconnect() -> None:
    """In the calls that wait, in the log, in those that come after."""

    def accept(conn: FakeConnection) -> None:
        conn.handshake()
        conn.expect("SUB")
        conn.expect("PUB")
        conn.close()

    with FakeServer([accept, refuse, refuse]) as server:
        with contextlib.closing(
            objstore.connect(server.url, user="joe", password=PASSWORD)
        ) as client:
            for _ in range(3):
                with pytest.raises(objstore.ObjStoreError) as caught:
                    client.request("x", timeout=5)
                assert_error_is_clean(caught.value)
            wait_until(lambda: len(server.connections) == 3)


# What can be shown


def show(thing: object) -> Iterator[str]:
    yield f"{thing!r} {thing!s} {thing:}"
    for value in getattr(thing, "__dict__", {}).values():
        yield repr(value)


@pytest.mark.parametrize("way", WAYS)
def test_objects_do_not_show_it(way: str, make_server: Callable[..., LocalServer]) -> None:
    """A client, a store, a reader, and what they are made of."""
    if way in ("JWT", "bearer"):
        config = ""
    elif way == "seed":
        config = f'authorization {{ users: [ {{ nkey: "{KEY.public}" }} ] }}'
    elif way == "token":
        config = f'authorization {{ token: "{PASSWORD}" }}'
    else:
        config = f'authorization {{ user: "joe", password: "{PASSWORD}" }}'
    server = make_server(config)
    url = server.url
    if way == "url":
        url = url.replace("nats://", f"nats://joe:{quote(PASSWORD, safe='')}@")
    with objstore.connect(url, **WAYS[way]) as client:
        store = client.create_object_store("bucket")
        info = store.put("name", b"content")
        reader = store.get("name")
        connection: Connection = client._connection
        link = connection._link
        assert isinstance(link, Link)
        things = [client, store, info, reader, connection, connection.options, connection.pool]
        for thing in [*things, *connection.options.servers, link, link.transport, link.server]:
            for text in show(thing):
                assert_clean(text)
            with contextlib.suppress(TypeError, AttributeError, pickle.PicklingError):
                assert_clean(pickle.dumps(thing).decode("latin-1"))
        reader.close()
    assert_clean(server.log_path.read_text())


def test_options_with_a_secret_are_not_pickled() -> None:
    """Those without are."""
    with pytest.raises(TypeError, match="credentials file"):
        pickle.dumps(make_options("demo", token=PASSWORD))
    with pytest.raises(TypeError):
        pickle.dumps(Secret("x"))
    assert pickle.loads(pickle.dumps(make_options("demo"))) == make_options("demo")


def test_search_finds_what_is_there(caplog: pytest.LogCaptureFixture) -> None:
    """A search that finds nothing has to be able to find something."""
    for form in forms(PASSWORD):
        with pytest.raises(AssertionError):
            assert_clean(f"a message with {form} in it")
    with pytest.raises(AssertionError):
        assert_error_is_clean(ValueError(PASSWORD))


@pytest.mark.parametrize(
    "make",
    [
        lambda: objstore.Client("localhost", timeout="soon"),  # type: ignore[arg-type]
        lambda: objstore.Client("localhost", nkey_seed="SU"),
        lambda: LocalServer(binary="/missing"),
    ],
)
def test_traceback_shows_what_could_not_be_made(make: Callable[[], object]) -> None:
    """Before Python 3.12 an error of a `repr` takes the place of the one that is to be shown."""
    with pytest.raises(Exception) as caught:
        make()
    frames = traceback.walk_tb(caught.tb)
    assert all(repr(list(frame.f_locals.values())) for frame, _ in frames)
