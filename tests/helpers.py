"""Small things that tests of several rooms need."""

from __future__ import annotations

import functools
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

__all__ = ["Interruption", "interrupt", "pattern", "wait_until"]


class Interruption(BaseException):
    """As a KeyboardInterrupt: no Exception."""


def interrupt(monkeypatch: pytest.MonkeyPatch, owner: object, where: str) -> None:
    """Interrupt the next call of `owner.where`; those after it go well."""

    def raise_it(*_: Any, **__: Any) -> Any:
        monkeypatch.undo()
        raise Interruption

    monkeypatch.setattr(owner, where, raise_it)


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
