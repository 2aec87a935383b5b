"""
Questions survive: a cut connection, a leader that is being elected, a request that is lost.

And no answer is believed that is older than what was seen before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from objstore import many
from objstore.client import Client
from objstore.core.deadline import Deadline
from objstore.errors import (
    ConnectionLostError,
    NoRespondersError,
    RequestTimeoutError,
)
from objstore.jetstream import api
from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.fake_bucket import FakeBucket, Stored
from tests.fake_server import Command, FakeConnection, FakeServer
from tests.proxy import Proxy

#: Seconds for what must fail.
SHORT = 0.3

GoOn = Callable[[], None]


@pytest.fixture
def proxy(server: LocalServer) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def proxied(proxy: Proxy, store: ObjectStore) -> Iterator[ObjectStore]:
    """The bucket, through a proxy, with the objects `a` and `b`, and a link `l` to `a`."""
    store.put_many({"a": b"first", "b": b"second"})
    store.add_link("l", store.get_info("a"))
    with Client(proxy.url) as client:
        yield client.object_store(store.bucket)


def begin_watch(store: ObjectStore) -> list[str]:
    with store.watch() as watcher:
        return [info.name for info in iter(watcher.next, None)]


#: What may be asked, and the answer.
QUESTIONS: dict[str, tuple[Callable[[ObjectStore], object], object]] = {
    "get_info": (lambda store: store.get_info("a").size, 5),
    "get_info of nothing": (lambda store: "x" in store, False),
    "list": (lambda store: [info.name for info in store.list()], ["a", "b", "l"]),
    "iter": (list, ["a", "b", "l"]),
    "get_bytes": (lambda store: store.get_bytes("a"), b"first"),
    "get through a link": (lambda store: store.get_bytes("l"), b"first"),
    "get_many": (
        lambda store: list(store.get_many(["a", "l", "b"])),
        [("a", b"first"), ("l", b"first"), ("b", b"second")],
    ),
    "status": (lambda store: store.status().storage, "file"),
    "watch": (begin_watch, ["a", "b", "l"]),
}
every_question = pytest.mark.parametrize("question", QUESTIONS)


@every_question
@pytest.mark.parametrize("direction", ["c2s", "s2c"])
def test_cut_connection_is_no_answer(
    proxied: ObjectStore, proxy: Proxy, question: str, direction: Any
) -> None:
    """The question is lost, or the answer is; it is asked again."""
    ask, answer = QUESTIONS[question]
    pattern = b"PUB $JS.API." if direction == "c2s" else b"MSG _INBOX."
    cut = proxy.on(pattern, proxy.cut, direction=direction, before=True)
    assert ask(proxied) == answer
    assert cut.is_set()


@every_question
def test_every_cut_is_survived(proxied: ObjectStore, proxy: Proxy, question: str) -> None:
    """Whichever of the requests it hits: the first, the second, and so on."""
    ask, answer = QUESTIONS[question]
    for nth in range(1, 20):
        cut = proxy.on(b"PUB $JS.API.", proxy.cut, nth=nth, before=True)
        assert ask(proxied) == answer
        if not cut.is_set():
            break
    assert nth > 1


@pytest.mark.parametrize(
    "ask",
    [
        lambda client, bucket: client.object_store(bucket).bucket == bucket,
        lambda client, bucket: bucket in client.object_store_names(),
        lambda client, bucket: bucket in [status.bucket for status in client.object_stores()],
        lambda client, bucket: client.create_object_store(bucket).bucket == bucket,
        lambda client, bucket: client.update_object_store(bucket, description="d").bucket == bucket,
        lambda client, bucket: client.delete_object_store(bucket) is None,
    ],
)
@pytest.mark.parametrize("direction", ["c2s", "s2c"])
def test_manager_survives_a_cut(
    proxy: Proxy, store: ObjectStore, ask: Callable[[Client, str], bool], direction: Any
) -> None:
    """A change that was made already, and whose answer was lost, counts as made."""
    with Client(proxy.url) as client:
        client.connect()
        pattern = b"PUB $JS.API." if direction == "c2s" else b"MSG _INBOX."
        cut = proxy.on(pattern, proxy.cut, direction=direction, before=True)
        assert ask(client, store.bucket)
        assert cut.is_set()


def test_closed_client_does_not_wait(proxied: ObjectStore, proxy: Proxy) -> None:
    """Closed is closed, whatever time is left."""
    connection = proxied._bucket.js.connection
    proxy.on(b"PUB $JS.API.", lambda: connection.give_up(ConnectionLostError("closed")))
    proxy.hold_s2c()
    with pytest.raises(ConnectionLostError, match="closed"):
        proxied.get_info("a")


# On a server that has a script


def no_responders(conn: FakeConnection, command: Command) -> None:
    conn.reply(command, headers=b"NATS/1.0 503\r\n\r\n")


def not_available(conn: FakeConnection, command: Command) -> None:
    error = {"code": 503, "err_code": 10008, "description": "temporarily unavailable"}
    conn.reply(command, {"error": error})


def silence(conn: FakeConnection, command: Command) -> None:
    """A leader that goes down with the request."""


every_pause = pytest.mark.parametrize("pause", [no_responders, not_available, silence])


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "REPEAT_INTERVAL", 0.05)
    monkeypatch.setattr(many, "_PATIENCE", 0.1)


@every_pause
@pytest.mark.parametrize(
    ("kind", "ask"),
    [
        ("get", lambda store: store.get_info("a")),
        ("get", lambda store: store.get("a")),
        ("get", lambda store: list(store.get_many(["a"]))),
        ("info", lambda store: store.status()),
        ("info", lambda store: store.list()),
        ("create", lambda store: begin_watch(store)),
    ],
)
@pytest.mark.usefixtures("_impatient")
def test_stream_without_a_leader_is_waited_for(pause: Any, kind: str, ask: Any) -> None:
    trouble = []  # none until it begins

    def handle(conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        if trouble:
            pause(conn, command)
            trouble.pop()
        else:
            go_on()

    bucket = FakeBucket(allow_direct=False, **{kind: handle})
    with FakeServer(bucket) as server, bucket.open(server) as store:
        store.put("a", b"data")
        trouble += [True] * 3
        ask(store)
        assert not trouble


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize(
    ("pause", "error"),
    [(no_responders, NoRespondersError), (silence, RequestTimeoutError)],
)
def test_stream_that_gets_no_leader_is_an_error_at_the_deadline(pause: Any, error: Any) -> None:
    bucket = FakeBucket(get=lambda conn, command, go_on: pause(conn, command))
    with FakeServer(bucket) as server, bucket.open(server) as store:
        with pytest.raises(error):
            store.get_info("a", timeout=SHORT)
    assert bucket.count["get"] > 2


def test_bucket_is_not_waited_for_where_nobody_has_one() -> None:
    """No JetStream here is a clear error, at once."""
    bucket = FakeBucket(info=lambda conn, command, go_on: no_responders(conn, command))
    with FakeServer(bucket) as server, Client(server.url) as client:
        with pytest.raises(NoRespondersError, match="is it enabled"):
            client.object_store("b")
    assert bucket.count["info"] == 1


# Answers that are old

Moment = tuple[list[Stored], int]


class StaleBucket(FakeBucket):
    """A bucket with replicas, and a leader that may answer as of another moment."""

    def __init__(self) -> None:
        super().__init__(get=self._answer_get, info=self._answer_info)
        self._config["num_replicas"] = 3
        self._then: Moment = [], 0
        self.stale_answers = 0

    @property
    def now(self) -> Moment:
        return list(self.messages), self.last_seq

    def answer_as_of(self, then: Moment, answers: int) -> None:
        """Give so many answers as of then."""
        self._then, self.stale_answers = then, answers

    def _in_time(self, go_on: GoOn) -> None:
        if not self.stale_answers:
            go_on()
            return
        self.stale_answers -= 1
        now = self.now
        self.messages, self.last_seq = self._then
        go_on()
        self.messages, self.last_seq = now

    def _answer_get(self, conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        self._in_time(go_on)

    def _answer_info(self, conn: FakeConnection, command: Command, go_on: GoOn) -> None:
        def answer() -> None:
            state = {"last_seq": self.last_seq}
            conn.reply(command, {"config": self._config, "state": state})

        self._in_time(answer)


@pytest.fixture
def stale() -> StaleBucket:
    return StaleBucket()


@pytest.fixture
def stale_server(stale: StaleBucket) -> Iterator[FakeServer]:
    with FakeServer(stale) as server:
        yield server


@pytest.fixture
def stale_store(stale: StaleBucket, stale_server: FakeServer) -> Iterator[ObjectStore]:
    with stale.open(stale_server) as store:
        yield store


@pytest.mark.parametrize("change", ["put", "put_many", "update_meta", "add_link", "delete"])
@pytest.mark.parametrize("answers", [1, 2, 5])
def test_own_change_is_seen(
    stale: StaleBucket, stale_store: ObjectStore, change: str, answers: int
) -> None:
    """By the one who made it, in whatever it reads next."""
    store = stale_store
    other = store.put("other", b"x")
    store.add_link("a", other) if change == "add_link" else store.put("a", b"old")
    then, revision = stale.now, stale.last_seq
    changes: dict[str, Callable[[], object]] = {
        "put": lambda: store.put("a", b"new"),
        "put_many": lambda: store.put_many({"a": b"new"}),
        "update_meta": lambda: store.update_meta("a", description="d"),
        "add_link": lambda: store.add_link("a", other),
        "delete": lambda: store.delete("a"),
    }
    changes[change]()
    stale.answer_as_of(then, answers)
    assert store.get_info("a", show_deleted=True).revision > revision
    assert stale.stale_answers == 0


def test_object_that_is_new_is_seen(stale: StaleBucket, stale_store: ObjectStore) -> None:
    """Nothing is an old answer, too."""
    then = stale.now
    stale_store.put("a", b"data")
    stale.answer_as_of(then, 4)
    assert stale_store.get_bytes("a") == b"data"
    assert stale.stale_answers == 0


def test_what_others_wrote_does_not_go_back(
    stale: StaleBucket, stale_server: FakeServer, stale_store: ObjectStore
) -> None:
    """Once it was seen."""
    stale_store.put("a", b"old")
    then = stale.now
    with stale.open(stale_server) as other:
        other.put("a", b"new")
    assert stale_store.get_bytes("a") == b"new"
    for read in (
        lambda: stale_store.get_bytes("a"),
        lambda: dict(stale_store.get_many(["a"]))["a"],
    ):
        stale.answer_as_of(then, 3)
        assert read() == b"new"
        assert stale.stale_answers == 0


def test_condition_is_not_checked_against_the_past(
    stale: StaleBucket, stale_store: ObjectStore
) -> None:
    """What was deleted here may be put again, if absent."""
    stale_store.put("a", b"old")
    then = stale.now
    stale_store.delete("a")
    stale.answer_as_of(then, 2)
    stale_store.put("a", b"new", if_absent=True)
    assert stale_store.get_bytes("a") == b"new"


def test_what_is_removed_for_good_is_believed(stale: StaleBucket, stale_store: ObjectStore) -> None:
    """No message is left, and the leader knows all that was seen: so it was purged."""
    stale_store.put("a", b"data")
    stale.messages.clear()
    asked = stale.count["info"]
    assert "a" not in stale_store
    assert stale.count["info"] == asked + 1


def test_own_purge_is_seen(stale: StaleBucket, stale_store: ObjectStore) -> None:
    """Without a second question: we know that it is gone."""
    stale_store.put("a", b"data")
    then = stale.now
    stale_store.delete("a", purge=True)
    stale.count.clear()
    assert "a" not in stale_store
    assert stale.count["get"] == 1
    stale.answer_as_of(then, 3)
    assert "a" not in stale_store
    assert stale.stale_answers == 0


def test_leader_that_never_learns_is_an_error_at_the_deadline(
    stale: StaleBucket, stale_store: ObjectStore
) -> None:
    """Rather an error than an old answer."""
    then = stale.now
    stale_store.put("a", b"data")
    stale.answer_as_of(then, 10_000)
    with pytest.raises(RequestTimeoutError):
        stale_store.get_info("a", timeout=SHORT)


def test_listing_is_not_older_than_the_last_write(
    stale: StaleBucket, stale_store: ObjectStore
) -> None:
    """The leader that says where the end is may itself be of the past."""
    stale_store.put("a", b"data")
    then = stale.now
    stale_store.put("b", b"data")
    stale.answer_as_of(then, 3)
    bucket: Any = stale_store._bucket
    assert bucket.last_meta_seq(Deadline(SHORT)) == stale.messages[-1].seq
    assert stale.stale_answers == 0
