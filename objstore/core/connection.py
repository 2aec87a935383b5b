"""
`Connection`: lifecycle, sending, subscriptions. It outlives its sockets.

A connection is made without a socket and connects at first use. When a link breaks, the
reader thread opens another and restores the subscriptions; requests in flight fail at
once, since nobody knows whether they were served. Callers' threads send; they take
`_write_lock` for that and hold it over I/O, and no thread that reads ever waits for it:
what the reader thread has to say it leaves in `Link.said`, and whoever holds the lock sends it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from objstore.core.deadline import DEFAULT_TIMEOUT, Deadline
from objstore.core.dispatcher import Dispatcher
from objstore.core.link import Link
from objstore.core.lock import InterruptibleLock
from objstore.core.options import ConnectOptions
from objstore.core.pool import ServerPool
from objstore.core.protocol import (
    PING,
    Buffer,
    Message,
    encode_hpub,
    encode_pub,
    encode_sub,
    encode_unsub,
)
from objstore.core.request import Request
from objstore.core.routes import Routes
from objstore.core.subscription import Inbox, MessageQueue, Subscription
from objstore.errors import (
    ConnectError,
    ConnectionLostError,
    ObjStoreError,
    PermissionsViolationError,
    RequestTimeoutError,
    SlowConsumerError,
    fresh,
)

__all__ = ["Connection", "Headers", "State"]

#: Bytes that the server may send ahead, to all who receive together.
_MAX_AHEAD = 32 << 20
#: Seconds that `close` waits for the reader thread, which has nothing left to wait for.
_JOIN_TIMEOUT = 5.0

Headers = Mapping[str, "str | list[str]"]


class State(Enum):
    """Where a connection is in its life."""

    IDLE = "not connected"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    CLOSED = "closed"


class Connection:
    """
    A connection to a NATS server or cluster. Safe to use from many threads.

    Args:
        options: Where to connect, and how.
    """

    def __init__(self, options: ConnectOptions) -> None:
        self.options = options
        self.pool = ServerPool(options)
        self._begin(Routes(self))
        _connections.add(self)

    def _begin(self, routes: Routes) -> None:
        """Set what belongs to this process: threads, locks, the link."""
        # Guards _state, _link, _failure, _routes, _inbox_denied and the links' counters.
        # Held for dict work only; no other lock is taken and nothing blocks under it.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        # The sending half of the link; the only lock that is held over I/O.
        self._write_lock = InterruptibleLock()
        self._state = State.IDLE
        self._link: Link | None = None
        self._failure: ObjStoreError | None = None
        self._routes = routes
        self._inbox_denied: PermissionsViolationError | None = None
        # Links to close and inboxes to forget; appended by any thread, even in a finalizer,
        # and emptied by whoever comes next.
        self._retired: deque[Link] = deque()
        self._forgotten: deque[str | int] = deque()
        #: Whether `close` was called, by whoever owns the connection.
        self.was_closed = False
        #: Set when the connection is closed, or dropped without being closed.
        self.closing = threading.Event()
        self._dispatcher = Dispatcher(self)

    def __repr__(self) -> str:
        servers = ", ".join(str(server) for server in self.options.servers)
        return f"<Connection to {servers}: {self.state.value}>"

    # Lifecycle

    @property
    def state(self) -> State:
        """Where the connection is in its life."""
        with self._lock:
            return self._state

    @property
    def info(self) -> dict[str, Any]:
        """What the server says of itself; empty when not connected."""
        with self._lock:
            return {} if self._link is None else dict(self._link.info)

    def max_payload(self, deadline: Deadline) -> int:
        """Return the bytes of the largest message, headers included; connects if needed."""
        return self._await_link(deadline).max_payload

    def connect(self, deadline: Deadline | None = None) -> None:
        """
        Connect, or wait until that is done again, unless there is a connection.

        Args:
            deadline: None for the options' timeout.

        Raises:
            ConnectError: If no server accepts the first connection in time.
            ConnectionLostError: If there is none again in time, or it has been closed.
        """
        self._await_link(deadline or Deadline(self.options.timeout))

    def _await_link(self, deadline: Deadline) -> Link:
        """Return the link, connecting or waiting for it if needed."""
        link = self._link
        if link is not None and self._state is State.CONNECTED:
            # Without the lock: it may be lost the next moment in any case.
            return link
        with self._lock:
            while self._state is not State.CONNECTED or self._link is None:
                if self._state is State.CLOSED:
                    raise self._lost_error()
                if self._state is State.IDLE:
                    self._state = State.CONNECTING
                    break
                if not self._changed.wait(deadline.remaining()):
                    raise ConnectionLostError(
                        f"no connection for {deadline.timeout} s; {self._lost_error()}"
                    )
            else:
                return self._link
        return self._open_first(deadline)

    def _lost_error(self) -> ObjStoreError:
        """Return why there is no link. Requires _lock."""
        return fresh(self._failure or ConnectionLostError("the connection is not open"))

    def _open_first(self, deadline: Deadline) -> Link:
        """Open the first link, in the caller's thread. Requires the state CONNECTING."""
        limits = [t for t in (self.options.timeout, deadline.remaining()) if t is not None]
        try:
            link = self.pool.open(Deadline(min(limits, default=None)), self.closing)
            try:
                if self.restore(link):
                    self._dispatcher.start(link)
                    return link
            except BaseException:
                link.transport.close()  # nobody would read it
                raise
            raise ConnectError(f"{link.server} closed the connection after the handshake")
        except BaseException as error:
            with self._lock:
                if self._state is not State.CLOSED:
                    self._state, self._link = State.IDLE, None
                    self._changed.notify_all()
                elif isinstance(error, ConnectError):
                    raise self._lost_error() from error
            raise

    def restore(self, link: Link) -> bool:
        """
        Subscribe on a new link and take it into use. For the thread that opened it.

        Returns:
            False if that fails, or we are closed meanwhile: the link is closed then.
        """
        with self._lock:
            wanted = self._routes.subscriptions
        lines = [encode_sub(s.subject, s.sid, s.queue) for s in wanted]
        with contextlib.suppress(OSError):
            link.transport.send(lines, Deadline(self.options.timeout))
            with self._lock:
                if self._state is not State.CLOSED:
                    self._link, self._state = link, State.CONNECTED
                    self._inbox_denied = None
                    # Closed since: nobody could tell this server.
                    gone = [s.sid for s in wanted if s not in self._routes]
                    link.said.extend(encode_unsub(sid) for sid in gone)
                    self._changed.notify_all()
                    return True
        link.transport.close()
        return False

    def lose(self, link: Link, failure: ObjStoreError) -> bool:
        """
        Take a broken link out of use. For the reader thread.

        Returns:
            Whether to reconnect.
        """
        with self._lock:
            if self._link is link:
                self._link = None
            going_on = self._state is not State.CLOSED and not self.closing.is_set()
            if self._state is not State.CLOSED:
                self._state = State.RECONNECTING
                self._failure = failure
            inboxes = self._routes.take_inboxes()
            self._changed.notify_all()
        link.transport.shut_down()
        for inbox in inboxes:
            inbox.end(failure)
        self._retired.append(link)
        self.send_said()
        return going_on

    def give_up(self, failure: ObjStoreError) -> None:
        """Close for good because of `failure`; does not wait."""
        with self._lock:
            if self._state is State.CLOSED:
                return
            self._state = State.CLOSED
            self._failure = failure
            link = self._link
            queues = self._routes.take_all()
            self._changed.notify_all()
        self.closing.set()
        for waiting in queues:
            waiting.end(failure)
        if link is not None:
            link.transport.shut_down()

    def close(self) -> None:
        """Close, from any thread; calls in flight raise `ConnectionLostError`. Twice is fine."""
        self.was_closed = True
        self.give_up(ConnectionLostError("the connection is closed"))
        self._dispatcher.join(_JOIN_TIMEOUT)
        self.send_said()  # closes the socket if the thread could not

    def reconnect(self) -> None:
        """Give up the link and wait for the next one."""
        with self._lock:
            link = self._link
        if link is not None:
            link.transport.shut_down()
            deadline = Deadline(self.options.timeout)
            with self._lock:
                while self._link is link and self._changed.wait(deadline.remaining()):
                    pass
        self.connect()

    def abandon(self) -> None:
        """Let the reader thread end. For finalizers: takes no lock and does not wait."""
        self.closing.set()
        link = self._link
        if link is not None:
            link.transport.shut_down()

    def reset_after_fork(self) -> None:
        """Forget the parent's link, in the child: close it without a word."""
        link, was_closed = self._link, self._state is State.CLOSED
        queues = self._routes.take_all()
        self._begin(Routes(self, before=self._routes))
        if was_closed:
            self.give_up(ConnectionLostError("the connection is closed"))
        if link is not None:
            link.transport.close()
        for waiting in queues:
            waiting.end(ConnectionLostError("the connection stayed in the parent process"))

    # Sending

    def send(
        self, buffers: Sequence[Buffer], deadline: Deadline, *, link: Link | None = None
    ) -> None:
        """
        Send encoded commands in one gathered write.

        Args:
            link: Send on this link or not at all; for what makes no sense on another.

        Raises:
            ConnectionLostError: If there is no link within `deadline`, or it breaks.
            RequestTimeoutError: If the server takes nothing for that long.
        """
        if link is None:
            link = self._await_link(deadline)
        try:
            if not self._write_lock.acquire(deadline.remaining()):
                raise RequestTimeoutError("other threads have been sending all the time")
            with self._lock:
                if self._link is not link:
                    raise self._lost_error()
            self._write(link, buffers, deadline)
        finally:
            self._write_lock.release()
            if self.has_unsent:
                self.send_said()

    def submit(self, data: bytes, *, link: Link) -> bool:
        """
        Send a request on `link` without waiting; if others are sending, one takes it along.

        No thread waits for another here, so that many can ask at once. Nor is it an error
        if the link is lost: whoever waits for the answer learns it.

        Returns:
            Whether all of it is out, or will be: otherwise `send` is to wait for room.

        Raises:
            RuntimeError: If a signal handler interrupts its own thread in the middle of a send.
        """
        is_out = True
        try:
            if self._write_lock.acquire(0):
                is_out = self._try_write(link, data)
            elif self._write_lock.is_mine:
                raise RuntimeError("a signal handler cannot use the connection that it interrupted")
            else:
                link.said.append(data)
        finally:
            self._write_lock.release()
            if self.has_unsent:
                self.send_said()
        return is_out

    def _try_write(self, link: Link, data: bytes = b"") -> bool:
        """Send what was said before, then `data`, if there is room. Requires _write_lock."""
        try:
            if link.said:
                data = b"".join([*self._take_said(link), data])
            return link.transport.try_send(data)
        except OSError:
            return False  # the reader thread learns of it too
        except BaseException as error:
            self._drop(link, error)  # an interrupt: what is out nobody knows
            raise

    def _write(self, link: Link, buffers: Sequence[Buffer], deadline: Deadline) -> None:
        """Send what was said before, then `buffers`. Requires _write_lock."""
        assert self._write_lock.locked()
        try:
            link.transport.send([*self._take_said(link), *buffers], deadline)
        except BaseException as error:
            # Half a command may be out; nothing can follow it.
            self._drop(link, error)
            if isinstance(error, TimeoutError):
                raise RequestTimeoutError(f"{link.server} takes no more data") from error
            if isinstance(error, OSError):
                with self._lock:
                    raise self._lost_error() from error
            raise

    def _drop(self, link: Link, error: BaseException) -> None:
        """Take a link out of use that broke while sending; the reader thread does the rest."""
        with self._lock:
            if self._link is link and self._state is State.CONNECTED:
                self._link, self._state = None, State.RECONNECTING
                self._failure = ConnectionLostError(
                    f"the connection to {link.server} is lost: {str(error) or repr(error)}"
                )
                self._changed.notify_all()
        link.transport.shut_down()

    def _take_said(self, link: Link) -> list[bytes]:
        """Empty `said`. Requires _write_lock."""
        return [link.said.popleft() for _ in range(len(link.said))]

    def say(self, link: Link | None, data: bytes) -> None:
        """Send a few bytes on `link` soon, without waiting and without an error."""
        if link is not None:
            link.said.append(data)
            self.send_said()

    @property
    def has_unsent(self) -> bool:
        """Whether something waits to be sent or closed by whoever comes next."""
        link = self._link
        return bool(self._retired or (link and (link.said or link.transport.has_unsent)))

    def send_said(self) -> None:
        """Send what was said and close what was retired, unless a sender is about to."""
        while self.has_unsent:
            try:
                if not self._write_lock.acquire(0):
                    return
                while self._retired:
                    self._retired.popleft().transport.close()
                # Without the lock: the collector may have interrupted who holds it, to close
                # a file that wraps one of ours.
                link = self._link
                if link and not self._try_write(link):
                    return
            finally:
                self._write_lock.release()

    def ping(self, link: Link) -> int:
        """Ask for a sign of life; return the number of the `PONG` to wait for."""
        with self._lock:
            link.pings += 1
            number = link.pings
            link.said.append(PING)
        self.send_said()
        return number

    def ping_server(self) -> None:
        """Ask for a sign of life, without waiting for it; connects if needed."""
        self.ping(self._await_link(Deadline(self.options.timeout)))

    def count_pong(self, link: Link) -> None:
        """Take a sign of life. For the reader thread."""
        with self._lock:
            link.pongs += 1
            self._changed.notify_all()

    def flush(self, timeout: float | None = DEFAULT_TIMEOUT) -> None:
        """
        Wait until the server has handled everything sent so far.

        Raises:
            RequestTimeoutError: If it does not say so in time.
            ConnectionLostError: If the connection breaks.
        """
        deadline = Deadline(timeout)
        self._flush(self._await_link(deadline), deadline)

    def _flush(self, link: Link, deadline: Deadline) -> None:
        number = self.ping(link)
        self.send([], deadline, link=link)  # wait for room, if the ping found none
        with self._lock:
            while link.pongs < number:
                if self._link is not link:
                    raise self._lost_error()
                if not self._changed.wait(deadline.remaining()):
                    raise RequestTimeoutError(
                        f"{link.server} has not answered for {deadline.timeout} s"
                    )

    # Publishing and requests

    def publish(
        self,
        subject: str,
        payload: Buffer = b"",
        *,
        reply: str = "",
        headers: Headers | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> None:
        """
        Publish a message. It is on its way when this returns, no more.

        Where the server knows users it may deny a subject, so that the first message to one
        waits for the server's word.

        Raises:
            InvalidNameError: If a subject cannot be published to.
            ValueError: If the message is larger than the server takes.
            PermissionsViolationError: If the server denies the subject, or the reply.
            ConnectionLostError: If there is no connection.
        """
        deadline = Deadline(timeout)
        buffers = self.encode(subject, payload, reply, headers, deadline)
        link = self._await_link(deadline)
        if not link.has_permissions or subject in link.allowed:
            self.send(buffers, deadline)
            return
        with self._lock:
            verdict = self._routes.await_verdict({subject, reply})
        try:
            self.send(buffers, deadline, link=link)
            self._settle(verdict, link, deadline)
            link.allow(subject)
        finally:
            with self._lock:
                self._routes.forget_verdict(verdict)

    def _settle(self, waiting: MessageQueue, link: Link, deadline: Deadline) -> None:
        """Wait until the server has said what it has to say, and raise if it denies it."""
        self._flush(link, deadline)
        if waiting.failure is not None:
            raise fresh(waiting.failure)

    def encode(
        self,
        subject: str,
        payload: Buffer,
        reply: str,
        headers: Headers | None,
        deadline: Deadline,
    ) -> list[Buffer]:
        """Return a `PUB` or `HPUB` that the server will take."""
        if type(payload) is not bytes:
            payload = memoryview(payload).cast("B") if len(payload) else b""
        size = len(payload)
        if headers:
            buffers = encode_hpub(subject, payload, headers, reply)
            size += len(buffers[1])
        else:
            buffers = encode_pub(subject, payload, reply)
        limit = self.max_payload(deadline)
        if size > limit:
            raise ValueError(
                f"a message of {size} bytes is larger than the server's max_payload, {limit}"
            )
        return buffers

    def request(
        self,
        subject: str,
        payload: Buffer = b"",
        *,
        headers: Headers | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> Message:
        """
        Publish a message and wait for the first answer.

        Raises:
            NoRespondersError: If nobody serves the subject.
            RequestTimeoutError: If no answer comes in time.
            PermissionsViolationError: If the server denies the subject.
            ConnectionLostError: If the connection breaks.
        """
        deadline = Deadline(timeout)
        return Request(self, subject, payload, deadline, headers).answer(deadline)

    # Receiving

    def subscribe(
        self, subject: str, *, queue: str = "", timeout: float | None = DEFAULT_TIMEOUT
    ) -> Subscription:
        """
        Subscribe; `queue` names a queue group, of which one member gets each message.

        Raises:
            InvalidNameError: If the subject or the group cannot be used.
            PermissionsViolationError: If the server denies it.
            ConnectionLostError: If there is no connection.
        """
        encode_sub(subject, 0, queue)  # refuses what cannot be sent, before anything is done
        deadline = Deadline(timeout)
        link = self._await_link(deadline)
        with self._lock:
            subscription = self._routes.subscribe(subject, queue)
        try:
            self.send([encode_sub(subject, subscription.sid, queue)], deadline)
            if link.has_permissions:
                self._settle(subscription, link, deadline)
        except BaseException:
            self.unsubscribe(subscription)
            raise
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription; messages that still come are dropped. Twice is fine."""
        with self._lock:
            was_known = self._routes.unsubscribe(subscription)
            link = self._link
        subscription.end(ConnectionLostError("the subscription is closed"))
        if was_known:
            self.say(link, encode_unsub(subscription.sid))

    def drop_slow(self, subscription: Subscription) -> None:
        """End a subscription whose messages nobody takes. For the reader thread."""
        with self._lock:
            self._routes.unsubscribe(subscription)
            link = self._link
        subscription.end(
            SlowConsumerError(f"messages on {subscription.subject} come faster than they are taken")
        )
        self.say(link, encode_unsub(subscription.sid))

    def inbox(self, deadline: Deadline, *, private: bool = False) -> Inbox:
        """
        Return a new inbox on the current link; `private` for the messages of a consumer.

        Raises:
            ConnectionLostError: If there is no link within `deadline`.
            PermissionsViolationError: If the server lets us have no inbox.
        """
        while True:
            link = self._await_link(deadline)
            with self._lock:
                if link is not self._link:
                    continue
                if self._inbox_denied is not None:
                    raise fresh(self._inbox_denied)
                self._drop_forgotten()
                inbox = self._routes.open_inbox(link, private=private)
                if isinstance(inbox.key, int):
                    # Goes out in one write with the first request.
                    link.said.append(encode_sub(inbox.subject("*"), inbox.key))
                return inbox

    def _drop_forgotten(self) -> None:
        """Take the inboxes that are done with out of the table. Requires _lock."""
        while self._forgotten:
            self._routes.forget_inbox(self._forgotten.popleft())

    def is_awaited(self, link: Link) -> bool:
        """Whether somebody may be waiting for the server: for an answer, or for a `PONG`."""
        with self._lock:
            self._drop_forgotten()
            return self._routes.inbox_count > 0 or link.pings > link.pongs

    def share(self, most: int) -> int:
        """
        Return how many bytes one of those that receive now may have sent ahead.

        The server cuts a connection for which 64 MiB wait, whoever asked for them.
        """
        with self._lock:
            return min(most, _MAX_AHEAD // max(self._routes.inbox_count, 1))

    def forget(self, inbox: Inbox, farewell: bytes = b"") -> None:
        """Note that an inbox is done with. Takes no lock, so finalizers may call it."""
        self._forgotten.append(inbox.key)
        if isinstance(inbox.key, int):
            farewell = encode_unsub(inbox.key) + farewell
        if farewell:
            inbox.link.said.append(farewell)

    def route(self, messages: list[Message]) -> None:
        """Hand messages to their queues, all of one queue at once. For the reader thread."""
        with self._lock:
            batches = self._routes.group(messages)
        for waiting, batch in batches.items():
            waiting.deliver(batch)

    def deny(self, subject: str, failure: PermissionsViolationError, *, subscribing: bool) -> None:
        """End whoever waits for what the server denies. For the reader thread."""
        with self._lock:
            denied = self._routes.waiting_for(subject, subscribing=subscribing)
            if subscribing and subject == self._routes.wildcard:
                self._inbox_denied = failure
        for waiting in denied:
            waiting.end(failure)


_connections: weakref.WeakSet[Connection] = weakref.WeakSet()


def _reset_after_fork() -> None:
    for connection in list(_connections):
        connection.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
