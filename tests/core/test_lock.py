"""A lock that is given back whatever interrupts: who has it, who waits, who may not."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest

from objstore.core.lock import InterruptibleLock

#: Seconds to wait for what must happen, and for what must not.
TIMEOUT = 10.0
SHORT = 0.02

Taken = Callable[..., AbstractContextManager[None]]


@pytest.mark.parametrize("timeout", [None, 0, 0.0, TIMEOUT])
def test_free_lock_is_taken(timeout: float | None) -> None:
    """However long one would wait; and given back."""
    lock = InterruptibleLock()
    for _ in range(2):
        assert not lock.locked()
        assert lock.acquire(timeout)
        assert lock.locked()
        lock.release()
    assert not lock.locked()


@pytest.mark.parametrize("timeout", [0, SHORT])
def test_taken_lock_is_not_waited_for_any_longer(timeout: float, taken: Taken) -> None:
    """And the release that goes with the vain attempt leaves it to who has it."""
    lock = InterruptibleLock()
    with taken(lock):
        assert not lock.acquire(timeout)
        lock.release()
        assert lock.locked()
    assert not lock.locked()


def test_waiting_ends_when_the_lock_is_free(taken: Taken, background: ThreadPoolExecutor) -> None:
    """A wait without an end, too."""
    lock = InterruptibleLock()
    with taken(lock):

        def take() -> bool:
            try:
                return lock.acquire(None)
            finally:
                lock.release()

        waiting = background.submit(take)
    assert waiting.result(TIMEOUT)
    assert not lock.locked()


def call_inside(lock: InterruptibleLock, handler: Callable[[], None]) -> None:
    """Call a function where a signal or the collector may: while this thread uses the lock."""
    try:
        assert lock.acquire(None)
        handler()
        assert lock.locked()
    finally:
        lock.release()


@pytest.mark.parametrize("timeout", [None, TIMEOUT])
def test_who_uses_it_cannot_wait_for_it(timeout: float | None) -> None:
    """A signal handler is told so, and does not give back what it interrupted."""
    lock = InterruptibleLock()

    def handler() -> None:
        try:
            with pytest.raises(RuntimeError, match="signal handler"):
                lock.acquire(timeout)
        finally:
            lock.release()

    call_inside(lock, handler)
    assert not lock.locked()


def test_who_uses_it_can_ask_for_it() -> None:
    """A finalizer that runs in the middle of a send goes away quietly, and gives nothing back."""
    lock = InterruptibleLock()

    def handler() -> None:
        try:
            assert not lock.acquire(0)
        finally:
            lock.release()

    call_inside(lock, handler)
    assert not lock.locked()


@pytest.mark.parametrize("timeout", [None, 0, TIMEOUT])
def test_lock_that_was_left_behind_is_free(timeout: float | None, taken: Taken) -> None:
    """An exception came when it was about to be given back: nobody uses it any more."""
    lock = InterruptibleLock()

    def leave_behind() -> None:
        assert lock.acquire(None)

    leave_behind()
    assert lock.locked()
    assert lock.acquire(timeout)
    lock.release()
    assert not lock.locked()
    with taken(lock):
        assert not lock.acquire(0)


def test_release_without_the_lock_does_nothing(taken: Taken) -> None:
    """`finally` runs also when the lock was never taken."""
    lock = InterruptibleLock()
    lock.release()
    with taken(lock):
        lock.release()
        assert not lock.acquire(0)
        lock.release()
        assert lock.locked()
