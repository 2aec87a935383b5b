"""Small things that tests of several rooms need."""

from __future__ import annotations

import functools
import random
import threading
import time
from collections.abc import Callable

__all__ = ["pattern", "wait_until"]


@functools.cache
def pattern(size: int) -> bytes:
    """So many bytes, always the same, that look different at every place."""
    return random.Random(size).randbytes(size)


def wait_until(condition: Callable[[], object], timeout: float = 10.0) -> None:
    """
    Return as soon as `condition()` is true.

    For what another process does and nobody reports. What happens in this process has an
    event to wait for.

    Raises:
        AssertionError: If it is still false after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not true within {timeout} s"
        pause.wait(0.005)
