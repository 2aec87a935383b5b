"""One timeout, spent over the many steps of a call."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator

__all__ = ["CONNECT_TIMEOUT", "DEFAULT_TIMEOUT", "Deadline", "check_timeout"]

#: Seconds to wait for a connection when the caller does not say.
CONNECT_TIMEOUT = 5.0

#: Seconds without progress after which a call gives up when the caller does not say:
#: long enough for the election of a new stream leader, which takes 5 to 7 s.
DEFAULT_TIMEOUT = 30.0

#: Seconds at the most for cleaning up after a failure: it may not hide the failure for long.
_MAX_AFTERMATH = 1.0

#: Seconds that every way to wait takes: `poll` counts milliseconds in 31 bits (24 days).
_LONGEST_WAIT = float(2**31 // 1000)
#: Seconds between two looks at whether a wait is cancelled.
_TURN = 0.05


def check_timeout(timeout: float | None, what: str = "timeout") -> float | None:
    """
    Return `timeout` if it is a usable number of seconds.

    Infinity becomes None (for ever), and more than 24 days become 24 days.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is negative or not a number of seconds.
    """
    if timeout is None:
        return None
    if type(timeout) is float and 0.0 <= timeout <= _LONGEST_WAIT:
        return timeout  # as nearly all are
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"{what} must be a number of seconds or None, not {timeout!r:.60}")
    if math.isnan(timeout) or timeout < 0:
        raise ValueError(f"{what} must be 0 or more seconds, not {timeout!r}")
    return None if timeout == math.inf else min(timeout, _LONGEST_WAIT)


class Deadline:
    """
    The moment at which a call gives up.

    Args:
        timeout: Seconds without progress; 0 does not wait, None waits for ever.
        cancelled: Brings the moment forward when it is set; for `turns`.
    """

    __slots__ = ("_at", "_cancelled", "timeout")

    def __init__(self, timeout: float | None, cancelled: threading.Event | None = None) -> None:
        self.timeout = check_timeout(timeout)
        self._cancelled = cancelled
        self.extend()

    def extend(self) -> None:
        """Start again: there was progress."""
        self._at = None if self.timeout is None else time.monotonic() + self.timeout

    def remaining(self) -> float | None:
        """Return the seconds left, never below 0; None for ever."""
        return None if self._at is None else max(0.0, self._at - time.monotonic())

    def at_most(self, seconds: float) -> float:
        """Return the seconds left, or `seconds` if that is less."""
        return seconds if self._at is None else min(seconds, max(0.0, self._at - time.monotonic()))

    def rest(self) -> Deadline:
        """Return a deadline of its own for the time left: to extend it leaves this one alone."""
        rest = Deadline.__new__(Deadline)
        rest.timeout, rest._at, rest._cancelled = self.remaining(), self._at, self._cancelled
        return rest

    def aftermath(self) -> Deadline:
        """Return a deadline for cleaning up after a failure: a tenth of the timeout more."""
        if self.timeout is None:
            return Deadline(_MAX_AFTERMATH)
        return Deadline(min(0.1 * self.timeout + 0.1, _MAX_AFTERMATH))

    def part(self, seconds: float | None) -> Deadline:
        """Return a deadline of its own that is over in `seconds`."""
        return Deadline(seconds, self._cancelled)

    def turns(self) -> Iterator[float]:
        """
        Yield seconds to wait, again and again, each a moment only: all together are the time left.

        For what cannot be woken up. The first turn comes even when the time is up.

        Raises:
            InterruptedError: If the deadline is cancelled.
        """
        turn = self.at_most(_TURN)
        while True:
            if self._cancelled is not None and self._cancelled.is_set():
                raise InterruptedError("the connection is being closed")
            yield turn
            turn = self.at_most(_TURN)
            if not turn:
                return

    @property
    def expired(self) -> bool:
        """Whether the time is up."""
        return self._at is not None and time.monotonic() >= self._at
