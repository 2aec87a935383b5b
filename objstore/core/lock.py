"""A lock that a signal handler's exception cannot leave taken for good."""

from __future__ import annotations

import sys
import threading
from types import CodeType, FrameType

__all__ = ["InterruptibleLock"]


class InterruptibleLock:
    """
    A lock to be taken inside of `try` and given back in `finally`.

    An exception from a signal handler, for one KeyboardInterrupt, may come at any moment:
    when a lock has been taken and before the next statement begins, or when it is about to
    be given back. So `try` stands before `acquire`; `release` does nothing for who does not
    have the lock; and when a thread has it whose calls tell that it is not being used, it
    was left behind, and is free. One `release` goes with each `acquire`, whatever came of it.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # which knows its owner
        self._users: set[CodeType] = set()  # the functions that take it

    def acquire(self, timeout: float | None) -> bool:
        """
        Take the lock; wait `timeout` seconds for it, 0 for not at all, None for ever.

        Raises:
            RuntimeError: If this thread is using it already and would wait: a signal
                handler calls what it interrupted.
        """
        caller = sys._getframe(1)
        self._users.add(caller.f_code)
        if self._lock._is_owned():  # type: ignore[attr-defined]
            if not self._is_used(caller.f_back):
                self._lock._release_save()  # type: ignore[attr-defined]
            else:
                self._lock.acquire()  # for the release that follows: it is not to free the lock
                if timeout == 0:
                    return False
                raise RuntimeError("a signal handler cannot use the connection that it interrupted")
        if timeout is None:
            return self._lock.acquire()
        return self._lock.acquire(timeout=timeout) if timeout else self._lock.acquire(False)

    def _is_used(self, frame: FrameType | None) -> bool:
        """Whether one of the users is among the calls that led here."""
        while frame is not None:
            if frame.f_code in self._users:
                return True
            frame = frame.f_back
        return False

    def release(self) -> None:
        """Give the lock back, if this thread has it."""
        try:
            self._lock.release()
        except RuntimeError:
            return

    @property
    def is_mine(self) -> bool:
        """Whether this thread has it."""
        return bool(self._lock._is_owned())  # type: ignore[attr-defined]

    def locked(self) -> bool:
        """Whether somebody has it."""
        if self.is_mine:
            return True
        if not self._lock.acquire(False):
            return True
        self._lock.release()
        return False
