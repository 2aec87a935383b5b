"""
The reader thread. Only this thread reads the socket.

It receives, parses, hands messages over to queues, answers `PING`, keeps time for the
keepalive and reconnects. It runs no user code, waits on no queue, and waits for no lock
that is held over I/O. Nothing escapes it: the first failure of a link ends every call
that waits on that link.
"""

from __future__ import annotations

import itertools
import logging
import math
import random
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from objstore.core.deadline import CONNECT_TIMEOUT, Deadline
from objstore.core.denials import find_subject, is_denial
from objstore.core.link import Link
from objstore.core.protocol import PONG, Event, Info, Message, ServerErr, Signal
from objstore.core.secret import redact
from objstore.core.transport import UNKNOWN
from objstore.errors import (
    AuthenticationError,
    ConnectError,
    ConnectionLostError,
    ObjStoreError,
    PermissionsViolationError,
    ProtocolError,
)

if TYPE_CHECKING:
    from objstore.core.connection import Connection

__all__ = ["Dispatcher"]

logger = logging.getLogger(__name__)

#: Silent intervals, each with a PING that nobody answered, after which a link is lost.
_MAX_UNANSWERED = 2
#: Seconds of silence that are such an interval while somebody waits for an answer.
_DOUBT = 2.5
#: Seconds before the second attempt to reconnect; the first is made at once.
_FIRST_BACKOFF = 0.05
#: Seconds between attempts at the most.
_MAX_BACKOFF = 2.0
#: Identical refusals of our credentials after which no more attempts are made.
_MAX_REFUSALS = 2
#: Seconds after such a refusal: a credentials file may just be being renewed.
_REFUSAL_PAUSE = 1.0
#: Seconds between attempts to send what could not go out at once.
_RETRY_INTERVAL = 0.05

_thread_numbers = itertools.count(1)


class Dispatcher:
    """The reader thread of one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._complaint: ObjStoreError | None = None  # the last -ERR of this link
        self._other: Link | None = None  # open already, to take the place of one that leaves
        self._thread: threading.Thread | None = None

    def start(self, link: Link) -> None:
        """
        Begin to read `link`.

        Raises:
            RuntimeError: If the system gives no thread.
        """
        # A daemon, so that a program that forgets close() still ends.
        thread = threading.Thread(
            target=self._run,
            args=(link,),
            name=f"objstore-reader-{next(_thread_numbers)}",
            daemon=True,
        )
        thread.start()
        self._thread = thread

    def join(self, timeout: float) -> None:
        """Wait for the thread to end, unless this is it."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _run(self, first: Link) -> None:
        link: Link | None = first
        while link is not None:
            failure = self._read(link)
            if not self._connection.closing.is_set():
                logger.info("%s", failure)
            link = self._next_link() if self._connection.lose(link, failure) else None
        self._drop_other()
        self._connection.give_up(failure)  # unless that is done

    # Reading

    def _read(self, link: Link) -> ObjStoreError:
        """Read until the link breaks; return why."""
        self._complaint = None
        interval = self._connection.options.ping_interval
        # The interval in turns, each of them long enough for who waits for an answer.
        turns = math.ceil(interval / _DOUBT)
        silence = Deadline(interval / turns)
        turn = 0
        sent = confirmed = 0
        is_leaving = False
        try:
            self._dispatch(link, list(link.events))
            room = link.parser.writable()
            while True:
                count = link.transport.receive(room, self._patience(silence))
                if count:
                    events = link.parser.received(count)
                    # All that can be done is done before callers are woken: they need the
                    # interpreter, and get it when this thread waits again.
                    silence.extend()
                    turn = 0
                    room = link.parser.writable()
                    self._dispatch(link, events)
                    if link.is_leaving and not is_leaving:
                        is_leaving = True
                        if self._find_another(link):
                            return self._lost(link, "it is shutting down")
                    continue
                if count == 0:
                    return self._lost(link, "the server closed it")
                if self._connection.has_unsent:
                    self._connection.send_said()
                    if link.transport.sent > sent:
                        sent = link.transport.sent
                        silence.extend()  # a server that takes what waits to be sent lives
                        turn = 0
                if silence.expired:
                    silence.extend()
                    turn += 1
                    before, confirmed = confirmed, link.transport.confirmed
                    if before < confirmed < link.transport.sent:
                        turn = 0  # what is on its way yet gets on: the line is slow
                    elif turn == turns or self._is_doubtful(link, confirmed):
                        turn = 0
                        if link.pings - link.pongs >= _MAX_UNANSWERED:
                            self._connection.pool.put_last(link.server)
                            return self._lost(link, "it does not answer")
                        self._connection.ping(link)
        except ProtocolError as error:
            link.censor(error)
            return self._lost(link, str(error), error)
        except OSError as error:
            return self._lost(link, str(error), error)
        except Exception as error:
            # The safety net: whatever it is, nobody may be left waiting.
            logger.exception("the reader thread failed")
            return self._lost(link, repr(error), error)

    def _is_doubtful(self, link: Link, confirmed: int) -> bool:
        """Whether there should have been an answer by now."""
        # Where the system does not say what is on its way yet, only the interval tells.
        return confirmed != UNKNOWN and self._connection.is_awaited(link)

    def _patience(self, silence: Deadline) -> float | None:
        """Return how many seconds to wait for data."""
        patience = silence.remaining()
        if patience is None or not self._connection.has_unsent:
            return patience
        return min(patience, _RETRY_INTERVAL)

    def _lost(self, link: Link, why: str, cause: Exception | None = None) -> ObjStoreError:
        if self._complaint is not None:
            why = f"{why} ({self._complaint})"
        failure = ConnectionLostError(f"the connection to {link.server} is lost: {why}")
        failure.__cause__ = cause or self._complaint
        return failure

    def _dispatch(self, link: Link, events: list[Event]) -> None:
        messages: list[Message] = []
        for event in events:
            if type(event) is Message:
                messages.append(event)
            elif event is Signal.PING:
                self._connection.say(link, PONG)
            elif event is Signal.PONG:
                self._connection.count_pong(link)
            elif isinstance(event, Info):
                link.learn(event.fields)
                self._connection.pool.learn(event.fields, link.server)
            elif isinstance(event, ServerErr):
                self._complain(link, event.text)
        if messages:
            self._connection.route(messages)

    def _complain(self, link: Link, text: str) -> None:
        """Take an `-ERR`: a denial concerns one call, anything else the whole link."""
        if is_denial(text):
            subject = find_subject(text)
            self._connection.deny(
                subject,
                PermissionsViolationError(
                    f"the server denies it: {redact(text, link.shown)[:1024]}", subject
                ),
                subscribing="subscri" in text.partition('"')[0].lower(),
            )
            if subject:
                return
        self._complaint = link.server_error(text)
        logger.warning("%s", self._complaint)

    # Reconnecting

    def _find_another(self, link: Link) -> bool:
        """
        Open a link to another server than one that is leaving; False if there is none.

        Nothing is lost by the change: JetStream does not answer there any more.
        """
        connection = self._connection
        deadline = Deadline(connection.options.timeout)
        try:
            self._other = connection.pool.open(
                deadline.part(deadline.at_most(CONNECT_TIMEOUT)),  # the link still serves
                connection.closing,
                instead_of=link.server,
            )
        except ConnectError as error:
            logger.info("%s is shutting down, and %s", link.server, error)
        return self._other is not None

    def _drop_other(self) -> None:
        if self._other is not None:
            self._other.transport.close()
            self._other = None

    def _next_link(self) -> Link | None:
        """Return the link that was opened already, or another."""
        other, self._other = self._other, None
        if other is not None and self._connection.restore(other):
            return other
        return self._reconnect()

    def _reconnect(self) -> Link | None:
        """Try until there is a link again; None when the connection is closed."""
        connection = self._connection
        refusals = 0
        for delay in _backoff():
            if connection.closing.wait(delay):
                return None
            try:
                link = connection.pool.open(
                    Deadline(connection.options.timeout), connection.closing
                )
            except AuthenticationError as error:
                refusals += 1
                if refusals == _MAX_REFUSALS:
                    connection.give_up(error)
                    return None
                logger.warning("%s", error)
                connection.closing.wait(_REFUSAL_PAUSE)
            except ConnectError as error:
                logger.info("%s", error)
            except Exception as error:
                logger.exception("reconnecting failed")
                connection.give_up(ConnectError(f"reconnecting failed: {error!r}"))
                return None
            else:
                if connection.restore(link):
                    return link
        return None


def _backoff() -> Iterator[float]:
    """Yield the seconds to wait before each attempt, with jitter against stampedes."""
    yield 0.0
    delay = _FIRST_BACKOFF
    while True:
        yield delay * random.uniform(0.5, 1.0)
        delay = min(2 * delay, _MAX_BACKOFF)
