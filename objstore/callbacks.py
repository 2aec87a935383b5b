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
from objstore.core.subscription import Subscription
from objstore.errors import ObjStoreError

__all__ = ["CallbackPool", "CallbackSubscription"]

logger = logging.getLogger(__name__)

#: Messages of one subscription in a row, before others have their turn.
_TURN = 64
#: Seconds that `stop` waits for callbacks that are running.
_JOIN_TIMEOUT = 5.0

_pool_numbers = itertools.count(1)


class CallbackSubscription:
    """
    One subscription and its callback.

    Attributes:
        handle: What the user holds.
    """

    def __init__(
        self,
        pool: CallbackPool,
        subscription: Subscription,
        handle: NATSSubscription,
        strip_prefix: Callable[[str], str],
    ) -> None:
        self.handle = handle
        self._pool = pool
        self._subscription = subscription
        self._strip_prefix = strip_prefix
        # Guards the two flags, for their change only.
        self._lock = threading.Lock()
        self._scheduled = False
        self._dirty = False
        subscription.on_delivery = self._on_delivery
        self._on_delivery()  # what came before is waiting

    def _on_delivery(self) -> None:
        """Ask for a turn, unless one is coming. Runs in the reader thread."""
        with self._lock:
            self._dirty = True
            if self._scheduled:
                return
            self._scheduled = True
        self._pool.schedule(self)

    def run(self) -> None:
        """Take a turn: call back for what has come."""
        with self._lock:
            self._dirty = False
        exhausted = self._call_back()
        with self._lock:
            # Something may have come behind the last look into the queue.
            if exhausted and not self._dirty:
                self._scheduled = False
                return
        self._pool.schedule(self)

    def _call_back(self) -> bool:
        """Call back for some messages; return whether there are no more."""
        for _ in range(_TURN):
            try:
                message = self._subscription.next(0)
            except ObjStoreError as error:
                logger.debug("subscription to %s: %s", self.handle.subject, error)
                return True
            if message is None:
                return True
            self.handle.received_messages += 1
            if self._is_done:
                self._subscription.close()
            try:
                self.handle.callback(
                    NATSMessage(
                        sid=self.handle.sid,
                        subject=self._strip_prefix(message.subject),
                        reply=self._strip_prefix(message.reply),
                        payload=bytes(message.payload),
                    )
                )
            except Exception:
                logger.exception("the callback for %s failed", self.handle.subject)
            if self._is_done:
                return True
        return False

    @property
    def _is_done(self) -> bool:
        most = self.handle.max_messages
        return most is not None and self.handle.received_messages >= most

    def close(self) -> None:
        """Unsubscribe."""
        self._subscription.close()


class CallbackPool:
    """
    The threads that run callbacks; started with the first subscription.

    Args:
        workers: Number of threads.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._ready: queue.SimpleQueue[CallbackSubscription | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads, unless they are running."""
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

    def schedule(self, subscription: CallbackSubscription) -> None:
        """Give a subscription a turn."""
        self._ready.put(subscription)

    def _run(self) -> None:
        while (subscription := self._ready.get()) is not None:
            subscription.run()

    def stop(self) -> None:
        """End the threads, after the callbacks that are running; not from within one."""
        for _ in self._threads:
            self._ready.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(_JOIN_TIMEOUT)
        self._threads = []
