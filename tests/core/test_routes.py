"""Who receives what: ids, tokens, and who waits in vain."""

from __future__ import annotations

import pytest

from objstore.core.connection import Connection
from objstore.core.link import Link
from objstore.core.options import ServerURL, make_options
from objstore.core.protocol import Message, Parser
from objstore.core.routes import Routes
from objstore.core.subscription import Inbox, MessageQueue
from objstore.core.transport import TCPTransport


@pytest.fixture
def connection() -> Connection:
    """A connection that is never opened."""
    return Connection(make_options("localhost", inbox_prefix="_MINE"))


@pytest.fixture
def routes(connection: Connection) -> Routes:
    """Its tables, empty."""
    return Routes(connection)


@pytest.fixture
def link() -> Link:
    """A link to nowhere."""
    return Link(ServerURL("localhost"), TCPTransport.__new__(TCPTransport), Parser())


def message(sid: int, subject: str) -> Message:
    return Message(subject, sid, "", memoryview(b""))


def receivers(routes: Routes, *messages: Message) -> list[MessageQueue]:
    return list(routes.group(list(messages)))


def test_new_tables_know_the_subscription_of_all_inboxes(routes: Routes) -> None:
    """The server has to be told of it first."""
    (shared,) = routes.subscriptions
    assert shared.subject == routes.wildcard
    assert routes.wildcard.startswith("_MINE.") and routes.wildcard.endswith(".>")


def test_tables_of_two_connections_do_not_share_a_subject(connection: Connection) -> None:
    """Answers for one are not seen by the other."""
    assert Routes(connection).wildcard != Routes(connection).wildcard


def test_messages_are_grouped_by_receiver_in_order(routes: Routes, link: Link) -> None:
    """Subscriptions by their id, inboxes by the token in the subject; the rest is left out."""
    one, two = routes.subscribe("one", ""), routes.subscribe("two.*", "workers")
    inbox, private = routes.open_inbox(link, private=False), routes.open_inbox(link, private=True)
    shared = routes.subscriptions[0].sid
    assert isinstance(private.key, int)
    messages = [
        message(two.sid, "two.1"),
        message(shared, inbox.subject(7)),
        message(private.key, "any.subject"),
        message(shared, inbox.subject(8)),
        message(two.sid, "two.2"),
        message(one.sid, "one"),
    ]
    strangers = [message(99, "one"), message(shared, "x"), message(shared, routes.wildcard)]
    assert routes.group([*messages, *strangers]) == {
        two: [messages[0], messages[4]],
        inbox: [messages[1], messages[3]],
        private: [messages[2]],
        one: [messages[5]],
    }


def test_ids_are_never_used_twice(connection: Connection, routes: Routes, link: Link) -> None:
    """Not after the end of what had them, and not on the other side of a fork."""
    seen: set[str | int] = {routes.subscriptions[0].sid}
    for _ in range(3):
        for _ in range(5):
            subscription = routes.subscribe("a", "")
            inboxes = [routes.open_inbox(link, private=private) for private in (False, True)]
            keys = {subscription.sid, *(inbox.key for inbox in inboxes)}
            assert len(keys) == 3 and not keys & seen
            seen |= keys
            assert routes.unsubscribe(subscription)
            for inbox in inboxes:
                routes.forget_inbox(inbox.key)
        routes = Routes(connection, before=routes)


def test_what_is_gone_receives_nothing(routes: Routes, link: Link) -> None:
    """To drop it twice is fine."""
    subscription, inbox = routes.subscribe("a", ""), routes.open_inbox(link, private=False)
    shared = routes.subscriptions[0].sid
    assert subscription in routes and routes.inbox_count == 1
    assert [routes.unsubscribe(subscription) for _ in range(2)] == [True, False]
    assert subscription not in routes
    for _ in range(2):
        routes.forget_inbox(inbox.key)
    assert routes.inbox_count == 0
    messages = message(subscription.sid, "a"), message(shared, inbox.subject())
    assert receivers(routes, *messages) == []


def test_denied_publish_concerns_who_published_there(routes: Routes, link: Link) -> None:
    """Inboxes that wait for an answer from that subject, private or not."""
    inboxes = [routes.open_inbox(link, private=private) for private in (False, True, False)]
    for inbox in inboxes[:2]:
        inbox.published.add("secret")
    inboxes[2].published.add("open")
    routes.subscribe("secret", "")
    assert routes.waiting_for("secret", subscribing=False) == inboxes[:2]


def test_denied_subscription_concerns_who_subscribed_there(routes: Routes, link: Link) -> None:
    """A private inbox has a subscription, too."""
    subscriptions = [routes.subscribe("secret", ""), routes.subscribe("secret", "workers")]
    private = routes.open_inbox(link, private=True)
    routes.open_inbox(link, private=False).published.add("secret")
    routes.subscribe("open", "")
    assert routes.waiting_for("secret", subscribing=True) == subscriptions
    assert routes.waiting_for(private.subject("*"), subscribing=True) == [private]


def test_denied_wildcard_concerns_every_inbox(routes: Routes, link: Link) -> None:
    """No answer can come."""
    inboxes = [routes.open_inbox(link, private=private) for private in (False, True)]
    routes.subscribe("a", "")
    assert routes.waiting_for(routes.wildcard, subscribing=True) == inboxes


def test_inboxes_go_with_their_link(routes: Routes, link: Link) -> None:
    """Subscriptions stay."""
    subscription = routes.subscribe("a", "")
    inboxes: list[Inbox] = [routes.open_inbox(link, private=private) for private in (False, True)]
    assert routes.take_inboxes() == inboxes
    assert routes.take_inboxes() == []
    assert subscription in routes and len(routes.subscriptions) == 2


def test_everything_goes_with_the_connection(routes: Routes, link: Link) -> None:
    """Each once."""
    subscription, inbox = routes.subscribe("a", ""), routes.open_inbox(link, private=False)
    taken = routes.take_all()
    assert len(taken) == 3 and subscription in taken and inbox in taken
    assert routes.take_all() == [] and routes.subscriptions == []
