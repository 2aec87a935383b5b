"""
Who receives what: the subscriptions and inboxes of one connection, by their ids.

Dict work only, done under the connection's lock by every method: nothing here waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from objstore.core.nuid import next_nuid
from objstore.core.protocol import Message
from objstore.core.subscription import Inbox, MessageQueue, Subscription

if TYPE_CHECKING:
    from objstore.core.connection import Connection
    from objstore.core.link import Link

__all__ = ["Routes"]


class Routes:
    """
    The tables of one connection.

    All ordinary inboxes share one wildcard subscription and are told apart by a token in
    the subject; a private one has a subscription id of its own.

    Args:
        before: Tables of the parent of a forked process: ids go on behind theirs, so that
            what stayed in the parent is never mistaken for something new.

    Attributes:
        wildcard: Subject of the shared subscription.
    """

    def __init__(self, connection: Connection, before: Routes | None = None) -> None:
        self._connection = connection
        self._next_sid: int = 1 if before is None else before._next_sid
        self._next_token: int = 1 if before is None else before._next_token
        inbox_prefix = connection.options.inbox_prefix
        self._prefix = f"{inbox_prefix}.{next_nuid()}."
        self._private_prefix = f"{inbox_prefix}.{next_nuid()}."
        self._subscriptions: dict[int, Subscription] = {}
        self._inboxes: dict[str | int, Inbox] = {}
        self._verdicts: dict[MessageQueue, set[str]] = {}
        self.wildcard = f"{self._prefix}>"
        self._shared_sid = self.subscribe(self.wildcard, "").sid

    # Subscriptions

    @property
    def subscriptions(self) -> list[Subscription]:
        """What the server has to know on every link."""
        return list(self._subscriptions.values())

    def subscribe(self, subject: str, queue: str) -> Subscription:
        """Return a new subscription."""
        subscription = Subscription(self._connection, self._take_sid(), subject, queue)
        self._subscriptions[subscription.sid] = subscription
        return subscription

    def unsubscribe(self, subscription: Subscription) -> bool:
        """Drop a subscription; return whether it was there."""
        return self._subscriptions.pop(subscription.sid, None) is not None

    def __contains__(self, subscription: Subscription) -> bool:
        return subscription.sid in self._subscriptions

    def _take_sid(self) -> int:
        sid = self._next_sid
        self._next_sid += 1
        return sid

    # Inboxes

    def open_inbox(self, link: Link, *, private: bool) -> Inbox:
        """Return a new inbox for answers that come on `link`."""
        token = str(self._next_token)
        self._next_token += 1
        if private:
            inbox = Inbox(self._connection, link, self._private_prefix + token, self._take_sid())
        else:
            inbox = Inbox(self._connection, link, self._prefix + token, token)
        self._inboxes[inbox.key] = inbox
        return inbox

    @property
    def inbox_count(self) -> int:
        """Number of inboxes that are not forgotten yet."""
        return len(self._inboxes)

    def forget_inbox(self, key: str | int) -> None:
        """Drop an inbox, if it is there."""
        self._inboxes.pop(key, None)

    # Messages

    def await_verdict(self, subjects: set[str]) -> MessageQueue:
        """Return what ends when the server denies a publish to one of `subjects`."""
        verdict = MessageQueue()
        self._verdicts[verdict] = subjects
        return verdict

    def forget_verdict(self, verdict: MessageQueue) -> None:
        """Let go what `await_verdict` has returned."""
        self._verdicts.pop(verdict, None)

    def group(self, messages: list[Message]) -> dict[MessageQueue, list[Message]]:
        """Return which messages are for which queue; those for nobody are left out."""
        batches: dict[MessageQueue, list[Message]] = {}
        start = len(self._prefix)
        key: str | int | None = None
        batch: list[Message] = []  # of what has that key
        for message in messages:
            before, key = key, message.sid
            if key == self._shared_sid:
                key = message.subject[start:].partition(".")[0]
            if key != before:
                waiting: MessageQueue | None = self._inboxes.get(key)
                if waiting is None and isinstance(key, int):
                    waiting = self._subscriptions.get(key)
                batch = [] if waiting is None else batches.setdefault(waiting, [])
            batch.append(message)
        return batches

    def waiting_for(self, subject: str, *, subscribing: bool) -> list[MessageQueue]:
        """
        Return who waits in vain when the server denies a publish, or a subscription.

        Args:
            subject: What it denies: to publish there, or to be answered there; "" for no
                word of that.
        """
        inboxes, verdicts = self._inboxes.values(), self._verdicts.items()
        if not subject:
            return [*inboxes, *self._verdicts]
        if not subscribing:
            return [
                *(inbox for inbox in inboxes if subject in inbox.published),
                *(inbox for inbox in inboxes if subject.startswith(inbox.subject(""))),
                *(verdict for verdict, subjects in verdicts if subject in subjects),
            ]
        if subject == self.wildcard:
            return list(inboxes)
        return [
            *(inbox for inbox in inboxes if inbox.subject("*") == subject),
            *(known for known in self._subscriptions.values() if known.subject == subject),
        ]

    # Ends

    def take_inboxes(self) -> list[Inbox]:
        """Return all inboxes and drop them: their link is lost."""
        inboxes = list(self._inboxes.values())
        self._inboxes.clear()
        return inboxes

    def take_all(self) -> list[MessageQueue]:
        """Return all queues and drop them: the connection is closed."""
        queues = [*self._subscriptions.values(), *self._inboxes.values()]
        self._subscriptions.clear()
        self._inboxes.clear()
        return queues
