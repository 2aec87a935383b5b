"""Who we are, shown to real servers: every way to say it, right, wrong, expired and renewed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import objstore
from objstore.core import dispatcher
from objstore.errors import AuthenticationError, ConnectError
from objstore.server import LocalServer
from tests.helpers import wait_until
from tests.security.keys import Key, Operator

MakeServer = Callable[..., LocalServer]

USER = Key("user")
OTHER = Key("user")


@pytest.fixture(scope="module")
def operator() -> Operator:
    return Operator()


@pytest.fixture(scope="module")
def operated(operator: Operator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A server that takes only users of the operator's account."""
    directory = tmp_path_factory.mktemp("operated")
    config = directory / "nats-server.conf"
    config.write_text(operator.config)
    with LocalServer(directory, config=config) as server:
        yield server


def write(path: Path, content: str) -> Path:
    """Write a file that nobody else can read."""
    path.touch(mode=0o600)
    path.write_text(content)
    return path


def use(url: str, **options: object) -> None:
    """Store and read an object."""
    with objstore.connect(url, **options) as client:  # type: ignore[arg-type]
        store = client.create_or_update_object_store("bucket")
        store.put("name", b"content")
        assert store.get_bytes("name") == b"content"


PASSWORD = "S3cr€t%40x"
CONFIGS = {
    "user": f'authorization {{ user: "joe", password: "{PASSWORD}" }}',
    "token": f'authorization {{ token: "{PASSWORD}" }}',
    "nkey": f'authorization {{ users: [ {{ nkey: "{USER.public}" }} ] }}',
}
RIGHT = {
    "user": {"user": "joe", "password": PASSWORD},
    "token": {"token": PASSWORD},
    "nkey": {"nkey_seed": USER.seed},
}
WRONG = {
    "user": {"user": "joe", "password": "guess"},
    "token": {"token": "guess"},
    "nkey": {"nkey_seed": OTHER.seed},
}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], LocalServer]]:
    """A function that returns the server that asks for one kind of credentials."""
    servers: dict[str, LocalServer] = {}

    def start(kind: str) -> LocalServer:
        if kind not in servers:
            directory = tmp_path_factory.mktemp(kind)
            config = directory / "nats-server.conf"
            config.write_text(CONFIGS[kind], encoding="utf-8")
            servers[kind] = LocalServer(directory, config=config)
        return servers[kind]

    yield start
    for server in servers.values():
        server.stop()


@pytest.mark.parametrize("kind", CONFIGS)
def test_right_credentials(kind: str, guarded: Callable[[str], LocalServer]) -> None:
    """They open the door."""
    use(guarded(kind).url, **RIGHT[kind])


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("missing", [True, False])
def test_wrong_credentials_are_an_error_at_once(
    kind: str, missing: bool, guarded: Callable[[str], LocalServer]
) -> None:
    """However long one is ready to wait for a connection."""
    with pytest.raises(AuthenticationError, match="Authorization Violation"):
        objstore.connect(guarded(kind).url, timeout=None, **{} if missing else WRONG[kind])


def test_credentials_in_the_url(guarded: Callable[[str], LocalServer]) -> None:
    """Percent-encoded: `%40` is part of this password."""
    address = guarded("user").url.removeprefix("nats://")
    use(f"nats://joe:S3cr%E2%82%ACt%2540x@{address}")


def test_seed_file(guarded: Callable[[str], LocalServer], tmp_path: Path) -> None:
    """As `nk -gen user` writes it."""
    use(guarded("nkey").url, credentials=write(tmp_path / "joe.nk", f"{USER.seed}\n"))


def test_credentials_file(operator: Operator, operated: LocalServer, tmp_path: Path) -> None:
    """A JWT, and a signature that shows it to be ours."""
    use(operated.url, credentials=write(tmp_path / "joe.creds", operator.credentials()))


def test_jwt_and_seed_by_value(operator: Operator, operated: LocalServer) -> None:
    """For those who keep no files."""
    lines = operator.credentials().splitlines()
    use(operated.url, jwt=lines[1], nkey_seed=lines[-2])


def test_jwt_with_the_seed_of_another(
    operator: Operator, operated: LocalServer, tmp_path: Path
) -> None:
    """A stolen JWT alone is worth nothing."""
    content = operator.credentials(seed=OTHER.seed)
    with pytest.raises(AuthenticationError):
        objstore.connect(operated.url, credentials=write(tmp_path / "joe.creds", content))


def test_jwt_of_an_unknown_account(operated: LocalServer, tmp_path: Path) -> None:
    """Of another operator, for one."""
    content = Operator().credentials()
    with pytest.raises(AuthenticationError):
        objstore.connect(operated.url, credentials=write(tmp_path / "joe.creds", content))


def test_expired_jwt_is_an_error_at_once(
    operator: Operator, operated: LocalServer, tmp_path: Path
) -> None:
    """At the door already."""
    path = write(tmp_path / "joe.creds", operator.credentials(exp=int(time.time()) - 10))
    with pytest.raises(AuthenticationError):
        objstore.connect(operated.url, credentials=path)


@pytest.mark.slow
def test_renewed_credentials_are_read_when_the_old_ones_expire(
    operator: Operator, operated: LocalServer, tmp_path: Path
) -> None:
    """The server ends the connection; the next one shows what the file says then."""
    path = write(tmp_path / "joe.creds", operator.credentials(exp=int(time.time()) + 3))
    with objstore.connect(operated.url, credentials=path) as client:
        before = client.server_info["client_id"]
        path.write_text(operator.credentials())
        wait_until(lambda: client.server_info["client_id"] != before)
        client.flush()


@pytest.mark.slow
def test_credentials_that_stay_expired_end_the_connection(
    operator: Operator,
    operated: LocalServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After two refusals; from then on every call says why."""
    monkeypatch.setattr(dispatcher, "_REFUSAL_PAUSE", 0.01)
    path = write(tmp_path / "joe.creds", operator.credentials(exp=int(time.time()) + 3))
    with objstore.connect(operated.url, credentials=path) as client:
        connection = client._connection
        assert connection.closing.wait(10)
        with pytest.raises(AuthenticationError):
            client.flush()
    assert "User Authentication Expired" in caplog.text


@pytest.mark.slow
def test_credentials_that_vanish_may_come_back(
    operator: Operator, operated: LocalServer, tmp_path: Path
) -> None:
    """Who renews a file may remove it first."""
    content = operator.credentials()
    path = write(tmp_path / "joe.creds", content)
    with objstore.connect(operated.url, credentials=path) as client:
        connection = client._connection
        path.unlink()
        link = connection._link
        assert link is not None
        link.transport.shut_down()
        wait_until(lambda: not client.is_connected)
        write(path, content)
        client.flush()


def test_credentials_that_vanish_before_the_first_use(
    operator: Operator, operated: LocalServer, tmp_path: Path
) -> None:
    """An error that names the file, and not what was in it."""
    path = write(tmp_path / "joe.creds", operator.credentials())
    client = objstore.Client(operated.url, credentials=path)
    path.unlink()
    with pytest.raises(ConnectError, match=r"joe\.creds"):
        client.connect()


def test_server_without_users_gets_no_signature(server: LocalServer) -> None:
    """It gives nothing to be signed; whoever names credentials anyway gets in."""
    use(server.url, nkey_seed=USER.seed)
