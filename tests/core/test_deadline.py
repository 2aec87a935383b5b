"""One timeout over many steps: what may be one, and how it is spent."""

from __future__ import annotations

import math
import select
import socket
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from objstore.core import deadline as module
from objstore.core.deadline import Deadline, check_timeout


class Clock:
    """A clock that goes on when told to."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@pytest.mark.parametrize("timeout", [None, 0, 0.0, 1, 2.5, 10**6])
def test_usable_timeouts(timeout: float | None) -> None:
    """None and any number of seconds from 0 on."""
    assert check_timeout(timeout) == timeout
    assert Deadline(timeout).timeout == timeout


@pytest.mark.parametrize("timeout", [-1, -0.001, math.nan, -math.inf])
def test_number_that_is_no_duration_is_refused(timeout: float) -> None:
    """The message says what is wanted."""
    with pytest.raises(ValueError, match="0 or more seconds"):
        check_timeout(timeout)
    with pytest.raises(ValueError):
        Deadline(timeout)


@pytest.mark.parametrize("timeout", ["5", b"5", True, False, [1], 1j, "x" * 10_000])
def test_timeout_that_is_no_number_is_a_type_error(timeout: Any) -> None:
    """True is no number of seconds."""
    with pytest.raises(TypeError, match="number of seconds or None") as caught:
        check_timeout(timeout)
    assert len(str(caught.value)) < 200


def test_infinity_waits_for_ever() -> None:
    """As None does."""
    assert check_timeout(math.inf) is None
    assert Deadline(math.inf).remaining() is None


@pytest.mark.parametrize("timeout", [10**12, 1e300])
def test_huge_timeout_suits_every_way_to_wait(timeout: float) -> None:
    """Locks, sockets and `poll` have limits; a long timeout stays below them all."""
    checked = check_timeout(timeout)
    assert checked is not None and checked > 20 * 24 * 3600
    assert threading.Lock().acquire(timeout=checked)
    with socket.socket() as sock:
        sock.settimeout(checked)
    if hasattr(select, "poll"):
        reading, writing = socket.socketpair()
        with reading, writing:
            writing.send(b"x")
            poll = select.poll()
            poll.register(reading)
            assert poll.poll(int(checked * 1000 + 0.999))


def test_time_is_spent(clock: Clock) -> None:
    """What is left goes down, and not below 0."""
    deadline = Deadline(5)
    assert (deadline.remaining(), deadline.expired) == (5, False)
    clock.now += 4
    assert (deadline.remaining(), deadline.expired) == (1, False)
    clock.now += 1
    assert (deadline.remaining(), deadline.expired) == (0, True)
    clock.now += 100
    assert (deadline.remaining(), deadline.expired) == (0, True)


def test_progress_starts_the_time_again(clock: Clock) -> None:
    """A timeout measures seconds without progress, not duration."""
    deadline = Deadline(5)
    for _ in range(10):
        clock.now += 4
        deadline.extend()
        assert deadline.remaining() == 5
    clock.now += 6
    assert deadline.expired
    deadline.extend()
    assert not deadline.expired


def test_none_waits_for_ever(clock: Clock) -> None:
    """However much time passes."""
    deadline = Deadline(None)
    clock.now += 1e9
    assert deadline.remaining() is None
    assert not deadline.expired
    deadline.extend()
    assert deadline.remaining() is None


def test_zero_does_not_wait(clock: Clock) -> None:
    """It is over at once, also after progress."""
    deadline = Deadline(0)
    assert deadline.expired and deadline.remaining() == 0
    deadline.extend()
    assert deadline.expired


def test_step_takes_at_most_what_is_left(clock: Clock) -> None:
    """A step has a limit of its own, and the whole another."""
    deadline = Deadline(5)
    assert deadline.at_most(2) == 2
    clock.now += 4
    assert deadline.at_most(2) == 1
    clock.now += 4
    assert deadline.at_most(2) == 0
    assert Deadline(None).at_most(2) == 2


def test_rest_is_spent_apart(clock: Clock) -> None:
    """Progress of a part leaves the whole alone."""
    deadline = Deadline(5)
    clock.now += 3
    rest = deadline.rest()
    assert rest.remaining() == 2
    clock.now += 1
    rest.extend()
    assert (rest.remaining(), deadline.remaining()) == (2, 1)
    assert Deadline(None).rest().remaining() is None


def test_steps_of_the_wall_clock_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the monotonic clock counts."""
    monkeypatch.setattr(module.time, "time", lambda: 0.0)
    deadline = Deadline(3600)
    monkeypatch.setattr(module.time, "time", lambda: 1e10)
    remaining = deadline.remaining()
    assert remaining is not None and 0 < remaining <= 3600
