"""
Callbacks given to `Client.subscribe`, in order per subscription.

The reader thread only notes that a subscription has messages; threads of our own run the
callbacks, one subscription at a time each, so that a slow callback delays nobody else's.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
from collections.abc import Callable

from objstore._pynats2 import NATSMessage, NATSSubscription
from objstore.core.protocol import Message
from objstore.core.subscription import Subscription
from objstore.errors import ObjStoreError

__all__ = ["CallbackPool"]

logger = logging.getLogger(__name__)

#: Messages of one subscription in a row, before others have their turn.
_TURN = 64
#: Seconds that `stop` waits for callbacks that are running.
_JOIN_TIMEOUT = 5.0

_pool_numbers = itertools.count(1)


class _Active:
    """One subscription and its callback."""

    def __init__(
        self,
        pool: CallbackPool,
        subscription: Subscription,
        handle: NATSSubscription,
        strip_prefix: Callable[[str], str],
    ) -> None:
        self.handle = handle
        self.subscription = subscription
        self._pool = pool
        self._strip_prefix = strip_prefix
        # Guards the two flags, for their change only.
        self._lock = threading.Lock()
        self._scheduled = False
        self._dirty = False

    def notice(self) -> None:
        """Ask for a turn, unless one is coming. Runs in the reader thread."""
        with self._lock:
            self._dirty = True
            if self._scheduled:
                return
            self._scheduled = True
        self._pool.schedule(self)

    def run(self) -> None:
        """Take a turn: call back for what has come."""
        while True:
            with self._lock:
                self._dirty = False
            exhausted = self._call_back()
            with self._lock:
                # Something may have come behind the last look into the queue.
                if exhausted and not self._dirty:
                    self._scheduled = False
                    return
            if not self._pool.stopping:
                self._pool.schedule(self)  # others first
                return

    def _call_back(self) -> bool:
        """Call back for some messages; return whether there are no more."""
        for _ in range(_TURN):
            if self._is_done:
                return True
            try:
                message = self.subscription.next(0)
            except ObjStoreError as error:
                logger.debug("subscription to %s: %s", self.handle.subject, error)
                return True
            if message is None:
                return True
            self.handle.received_messages += 1
            if self._is_done:
                self._pool.remove(self.handle)
            self._deliver(message)
        return False

    def _deliver(self, message: Message) -> None:
        try:
            self.handle.callback(
                NATSMessage(
                    sid=self.handle.sid,
                    subject=self._strip_prefix(message.subject),
                    reply=self._strip_prefix(message.reply),
                    payload=bytes(message.payload),
                )
            )
        except BaseException:
            # Whatever it is, SystemExit too: this thread serves other subscriptions.
            logger.exception("the callback for %s failed", self.handle.subject)

    @property
    def _is_done(self) -> bool:
        most = self.handle.max_messages
        return most is not None and self.handle.received_messages >= most


class CallbackPool:
    """
    The subscriptions with callbacks, and the threads that run those.

    The threads start with the first subscription.

    Args:
        workers: Number of threads.

    Attributes:
        stopping: Whether the threads are to end when nothing is left to be done.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._ready: queue.SimpleQueue[_Active | None] = queue.SimpleQueue()
        # Guards the table and the list of threads.
        self._lock = threading.Lock()
        self._active: dict[int, _Active] = {}
        self._threads: list[threading.Thread] = []
        self.stopping = False

    @property
    def handles(self) -> list[NATSSubscription]:
        """What users hold of the subscriptions."""
        with self._lock:
            return [active.handle for active in self._active.values()]

    def add(
        self,
        subscription: Subscription,
        handle: NATSSubscription,
        strip_prefix: Callable[[str], str],
    ) -> None:
        """Call back for the messages of a subscription from now on."""
        active = _Active(self, subscription, handle, strip_prefix)
        with self._lock:
            self._active[handle.sid] = active
            self._start()
        subscription.on_delivery = active.notice
        active.notice()  # what came before is waiting

    def remove(self, handle: NATSSubscription) -> None:
        """Unsubscribe. Twice is fine."""
        with self._lock:
            active = self._active.pop(handle.sid, None)
        if active is not None:
            active.subscription.close()

    def _start(self) -> None:
        """Start the threads, unless they are running. Requires _lock."""
        if self._threads:
            return
        number = next(_pool_numbers)
        for worker in range(1, self._workers + 1):
            thread = threading.Thread(
                target=self._run,
                name=f"objstore-callback-{number}-{worker}",
                daemon=True,  # so that a program that forgets close() still ends
            )
            thread.start()
            self._threads.append(thread)

    def schedule(self, active: _Active) -> None:
        """Give a subscription a turn."""
        self._ready.put(active)

    def _run(self) -> None:
        while (active := self._ready.get()) is not None:
            active.run()

    def stop(self) -> None:
        """End the threads when all that came has been handed out; not from within one."""
        self.stopping = True
        with self._lock:
            threads, self._threads = self._threads, []
        for _ in threads:
            self._ready.put(None)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(_JOIN_TIMEOUT)
