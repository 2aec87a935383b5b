"""A lock that a signal handler's exception cannot leave taken."""

from __future__ import annotations

import threading

__all__ = ["InterruptibleLock"]


class InterruptibleLock:
    """
    A lock to be taken inside of `try` and given back in `finally`.

    An exception from a signal handler, for one KeyboardInterrupt, may come when a lock has
    been taken and before the next statement begins. So `try` stands before `acquire`, and
    `release` does nothing for who does not have the lock: a reentrant lock knows its owner.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def acquire(self, timeout: float | None) -> bool:
        """
        Take the lock; wait `timeout` seconds for it, 0 for not at all, None for ever.

        Raises:
            RuntimeError: If this thread has it already: a signal handler calls what it
                interrupted.
        """
        if self._lock._is_owned():  # type: ignore[attr-defined]
            raise RuntimeError("a signal handler cannot use the connection that it interrupted")
        if timeout is None:
            return self._lock.acquire()
        return self._lock.acquire(timeout=timeout) if timeout else self._lock.acquire(False)

    def release(self) -> None:
        """Give the lock back, if this thread has it."""
        try:
            self._lock.release()
        except RuntimeError:
            return

    def locked(self) -> bool:
        """Whether somebody has it."""
        if self._lock._is_owned():  # type: ignore[attr-defined]
            return True
        if not self._lock.acquire(False):
            return True
        self._lock.release()
        return False
