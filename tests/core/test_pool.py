"""The servers of a cluster: which is tried when, for how long, and what is said if none will."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from objstore.core import deadline as deadline_module
from objstore.core import pool as module
from objstore.core.deadline import Deadline
from objstore.core.link import Link
from objstore.core.options import ConnectOptions, ServerURL, make_options, parse_url
from objstore.core.pool import ServerPool
from objstore.errors import AuthenticationError, ConnectError, TLSNotOfferedError
from tests.fake_server import FakeConnection, FakeServer

#: Seconds to wait for what must happen, and for what must not.
TIMEOUT = 10.0
SHORT = 0.2


def open_and_close(pool: ServerPool, timeout: float = TIMEOUT) -> ServerURL:
    """Open a link, close it, and return its server."""
    link = pool.open(Deadline(timeout), threading.Event())
    with contextlib.closing(link.transport):
        return link.server


def fail(pool: ServerPool, timeout: float = TIMEOUT) -> ConnectError:
    """Return the error of an attempt to open a link."""
    with pytest.raises(ConnectError) as caught:
        open_and_close(pool, timeout)
    return caught.value


def make_pool(*servers: str, **keywords: Any) -> ServerPool:
    return ServerPool(make_options(servers, **keywords))


def greet(conn: FakeConnection) -> None:
    conn.handshake()


def refuse(conn: FakeConnection) -> None:
    conn.send_info()
    conn.expect("CONNECT")
    conn.send(b"-ERR 'Authorization Violation'\r\n")
    conn.close()


# Over real sockets


def test_dead_servers_are_passed_over(dead_port: int) -> None:
    """The first that accepts is taken, wherever in the list it stands."""
    with FakeServer(greet) as server:
        dead = f"nats://127.0.0.1:{dead_port}"
        pool = make_pool(dead, "nats://a..b", dead, server.url)
        assert str(open_and_close(pool)) == server.url


def test_server_that_fell_silent_is_tried_last(dead_port: int) -> None:
    with FakeServer(greet) as first, FakeServer(greet) as second:
        pool = make_pool(first.url, f"nats://127.0.0.1:{dead_port}", second.url)
        server = open_and_close(pool)
        assert str(server) == first.url
        pool.put_last(server)
        assert str(open_and_close(pool)) == second.url
        pool.put_last(parse_url("nats://elsewhere"))
        assert str(open_and_close(pool)) == second.url


def test_silent_server_leaves_time_for_the_others(deaf_port: int) -> None:
    """It gets half of the time, not all."""
    with FakeServer(greet) as server:
        pool = make_pool(f"nats://127.0.0.1:{deaf_port}", server.url)
        assert str(open_and_close(pool, 2 * SHORT)) == server.url


def test_error_lists_every_attempt(dead_port: int, deaf_port: int) -> None:
    """Each server with its reason, so that the one who reads it knows where to look."""
    with FakeServer(FakeConnection.close) as server:
        urls = [f"nats://127.0.0.1:{dead_port}", server.url, f"nats://127.0.0.1:{deaf_port}"]
        message = str(fail(make_pool(*urls), SHORT))
    for url, reason in zip(urls, ["refused", "closed the connection", "did not answer"]):
        assert url in message and reason in message


def test_one_server_fails_with_its_own_error(dead_port: int) -> None:
    """Nothing is wrapped around the only one."""
    with FakeServer(lambda conn: conn.send_info()) as server:
        error = fail(make_pool(f"tls://127.0.0.1:{server.port}"))
    assert type(error) is TLSNotOfferedError
    assert type(fail(make_pool(f"127.0.0.1:{dead_port}"))) is ConnectError


@pytest.mark.parametrize("refuses_first", [True, False])
def test_refused_credentials_are_an_authentication_error(
    refuses_first: bool, dead_port: int
) -> None:
    """Whatever is wrong with the other servers, which are listed as well."""
    dead = f"nats://127.0.0.1:{dead_port}"
    with FakeServer(refuse) as server:
        urls = [server.url, dead] if refuses_first else [dead, server.url]
        error = fail(make_pool(*urls, user="joe", password="s3cret"))
    assert isinstance(error, AuthenticationError)
    assert all(url in str(error) for url in urls)
    assert "s3cret" not in str(error)


def test_server_that_refuses_the_credentials_is_passed_over() -> None:
    """Another may accept them."""
    with FakeServer(refuse) as first, FakeServer(greet) as second:
        assert str(open_and_close(make_pool(first.url, second.url))) == second.url


def test_last_good_server_is_tried_first(dead_port: int) -> None:
    """Reconnecting does not begin with the dead ones again."""
    with FakeServer(FakeConnection.close) as bad, FakeServer(greet) as good:
        pool = make_pool(bad.url, good.url)
        for _ in range(3):
            assert str(open_and_close(pool)) == good.url
        assert (len(bad.connections), len(good.connections)) == (1, 3)


def test_advertised_server_is_used_when_the_first_is_gone() -> None:
    """A cluster tells its clients where else it can be reached."""
    with FakeServer(greet) as second:
        advertised = f"127.0.0.1:{second.port}"
        with FakeServer(greet, info={"connect_urls": [advertised]}) as first:
            pool = make_pool(first.url)
            assert str(open_and_close(pool)) == first.url
        assert str(open_and_close(pool)) == second.url


def test_closing_ends_the_attempts(dead_port: int) -> None:
    """No further server is tried."""
    with FakeServer(greet) as server:
        closing = threading.Event()
        closing.set()
        with pytest.raises(ConnectError, match="being closed"):
            make_pool(server.url).open(Deadline(TIMEOUT), closing)
        assert not server.connections


# The plan, without sockets


class Attempts:
    """Stands for `open_link`: notes who was tried and for how long, and always fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.tried: list[str] = []
        self.timeouts: list[float | None] = []
        self.cost: Callable[[float], float] = lambda _: 0
        clock = SimpleNamespace(monotonic=lambda: self.now)
        monkeypatch.setattr(deadline_module, "time", clock)
        monkeypatch.setattr(module, "open_link", self.open_link)

    def open_link(self, server: ServerURL, _: ConnectOptions, deadline: Deadline) -> Link:
        self.tried.append(server.host)
        self.timeouts.append(deadline.remaining())
        self.now += self.cost(deadline.remaining() or 0)
        raise ConnectError(f"{server}: down")


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> Attempts:
    return Attempts(monkeypatch)


def test_silent_servers_share_the_time(attempts: Attempts) -> None:
    """Each gets half of what is left, the last one all of it."""
    attempts.cost = lambda remaining: remaining
    fail(make_pool("a", "b", "c"), 8)
    assert attempts.timeouts == [4, 2, 2]


def test_server_that_fails_at_once_costs_the_others_nothing(attempts: Attempts) -> None:
    """Its time is theirs."""
    fail(make_pool("a", "b", "c"), 8)
    assert attempts.timeouts == [4, 4, 8]


def test_without_a_timeout_each_may_take_for_ever(attempts: Attempts) -> None:
    """As it was asked for."""
    with pytest.raises(ConnectError):
        make_pool("a", "b").open(Deadline(None), threading.Event())
    assert attempts.timeouts == [None, None]


def test_server_that_was_not_tried_is_listed(attempts: Attempts) -> None:
    """When the time is up, the error says so."""
    attempts.cost = lambda _: 9
    error = fail(make_pool("a", "b"), 8)
    assert attempts.tried == ["a"]
    assert "nats://b:4222: not tried" in str(error)


def test_each_attempt_begins_with_another_server(attempts: Attempts) -> None:
    """One that uses up time does not do it to the same ones again and again."""
    pool = make_pool("a", "b", "c")
    for _ in range(3):
        fail(pool)
    assert attempts.tried == [*"abc", *"bca", *"cab"]


def learn(pool: ServerPool, urls: Any, told_by: str = "demo") -> None:
    pool.learn({"connect_urls": urls}, parse_url(told_by))


def test_advertised_servers_come_after_the_known_ones(attempts: Attempts) -> None:
    """Each once, however often it is advertised."""
    pool = make_pool("demo")
    for _ in range(2):
        learn(pool, ["a", "demo:4222", "[::1]:1", "a:4222"])
    fail(pool)
    assert attempts.tried == ["demo", "a", "::1"]


@pytest.mark.parametrize(
    "urls", [None, 1, "a", {"a": 1}, [None, 1, [], "", "http://a", "a:x", "a b"]]
)
def test_nonsense_is_not_learnt(urls: Any, attempts: Attempts) -> None:
    """A server may advertise anything."""
    pool = make_pool("demo")
    learn(pool, urls)
    pool.learn({}, parse_url("demo"))
    fail(pool)
    assert attempts.tried == ["demo"]


def test_only_so_many_are_learnt(attempts: Attempts) -> None:
    """A server that keeps inventing others fills no memory."""
    pool = make_pool("demo")
    for number in range(1000):
        learn(pool, [f"host{number}"])
    fail(pool)
    assert len(attempts.tried) == 64


@pytest.mark.parametrize("scheme", ["nats", "tls"])
def test_advertised_server_is_held_to_the_same_rules(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS was asked for of the one who tells, so it is of those it tells of."""
    tried: list[ServerURL] = []

    def open_link(server: ServerURL, *_: Any) -> Link:
        tried.append(server)
        raise ConnectError("down")

    monkeypatch.setattr(module, "open_link", open_link)
    pool = make_pool(f"{scheme}://demo")
    learn(pool, ["nats://a", "tls://b", "c"], f"{scheme}://demo")
    fail(pool)
    assert [server.tls for server in tried] == [scheme == "tls"] * 4


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[ServerURL]:
    """The servers that a pool tries."""
    tried: list[ServerURL] = []

    def open_link(server: ServerURL, *_: Any) -> Link:
        tried.append(server)
        raise ConnectError("down")

    monkeypatch.setattr(module, "open_link", open_link)
    return tried


@pytest.mark.parametrize(
    ("told_by", "advertised", "vouched", "name"),
    [
        ("tls://demo", "10.0.0.1:1", True, "demo"),
        ("tls://demo", "[::1]:1", True, "demo"),
        ("tls://demo", "other:1", True, ""),
        ("tls://demo", "other:1", False, "demo"),
        ("tls://10.0.0.2", "10.0.0.1:1", True, ""),
        ("tls://10.0.0.2", "other:1", False, "10.0.0.2"),
    ],
)
def test_name_that_an_advertised_server_has_to_show(
    told_by: str, advertised: str, vouched: bool, name: str, tried: list[ServerURL]
) -> None:
    """Its own; but that of the one who told us if nobody could vouch for either."""
    pool = make_pool(told_by)
    pool.learn({"connect_urls": [advertised]}, parse_url(told_by), vouched=vouched)
    fail(pool)
    assert [server.tls_name for server in tried] == ["", name]


def test_advertised_server_gets_the_credentials_of_who_told_us(tried: list[ServerURL]) -> None:
    """Not those that its advertisement may hold."""
    pool = make_pool("nats://ann:1@one", "nats://joe:2@two")
    learn(pool, ["nats://x:y@three:1"], "nats://joe:2@two")
    fail(pool)
    assert [server.user for server in tried] == ["ann", "joe", "joe"]
    assert tried[-1].password == "2"


def test_tls_is_never_unlearnt(tried: list[ServerURL]) -> None:
    """A server of which one with TLS has told is not taken without it because of another."""
    pool = make_pool("nats://demo")
    learn(pool, ["other:1"], "tls://demo")
    learn(pool, ["other:1"], "nats://demo")
    fail(pool)
    assert [(server.host, server.tls) for server in tried] == [("demo", False), ("other", True)]


def test_servers_can_be_left_undiscovered(tried: list[ServerURL]) -> None:
    """Then nobody else is ever tried."""
    pool = make_pool("nats://demo", ignore_discovered_servers=True)
    learn(pool, ["other:1"])
    fail(pool)
    assert [server.host for server in tried] == ["demo"]


def test_another_server(attempts: Attempts) -> None:
    """All but one, which is about to leave; a clear error if that was the only one."""
    pool = make_pool("a", "b")
    with pytest.raises(ConnectError):
        pool.open(Deadline(8), threading.Event(), instead_of=parse_url("a"))
    assert attempts.tried == ["b"]
    with pytest.raises(ConnectError, match="no other server"):
        make_pool("a").open(Deadline(8), threading.Event(), instead_of=parse_url("a"))
