"""The judges: histories that can be explained pass, and those that cannot do not."""

from __future__ import annotations

import itertools
import random

import pytest

from tests.faults.history import ABSENT, FAILED, OK, UNKNOWN, History, Operation
from tests.faults.linearize import check_history, check_sessions, is_linearizable

__all__: list[str] = []

INFINITY = float("inf")


def op(
    kind: str,
    value: str,
    invoked: float,
    returned: float = INFINITY,
    outcome: str = OK,
    **more: object,
) -> Operation:
    """An operation on the name `n`."""
    fields = {"client": 1, "name": "n", **more}
    return Operation(
        kind=kind, value=value, invoked=invoked, returned=returned, outcome=outcome, **fields
    )  # type: ignore[arg-type]


GOOD = {
    "nothing": [],
    "read of nothing": [op("read", ABSENT, 0, 1)],
    "one after the other": [op("write", "a", 0, 1), op("read", "a", 2, 3)],
    "concurrent read sees the old": [
        op("write", "a", 0, 1),
        op("write", "b", 2, 5),
        op("read", "a", 3, 4),
    ],
    "concurrent read sees the new": [
        op("write", "a", 0, 1),
        op("write", "b", 2, 5),
        op("read", "b", 3, 4),
    ],
    "unknown write was never made": [
        op("write", "a", 0, 1),
        op("write", "b", 2, outcome=UNKNOWN),
        op("read", "a", 9, 10),
    ],
    "unknown write was made late": [
        op("write", "a", 0, 1),
        op("write", "b", 2, outcome=UNKNOWN),
        op("read", "a", 9, 10),
        op("read", "b", 11, 12),
    ],
    "unknown delete": [
        op("write", "a", 0, 1),
        op("write", ABSENT, 2, outcome=UNKNOWN),
        op("read", "a", 9, 10),
        op("read", ABSENT, 11, 12),
    ],
    "failed write was not made": [
        op("write", "a", 0, 1),
        op("write", "b", 2, 3, FAILED),
        op("read", "a", 9, 10),
    ],
    "one creates, the other is refused": [
        op("create", "a", 0, 5),
        op("create", "b", 0, 5, FAILED, refused=True),
        op("read", "a", 6, 7),
    ],
    "refused by what was there for a moment": [
        op("write", "a", 0, 5),
        op("write", ABSENT, 0, 5),
        op("create", "b", 0, 5, FAILED, refused=True),
        op("read", ABSENT, 6, 7),
    ],
    "refused by a write of unknown outcome": [
        op("write", "a", 0, outcome=UNKNOWN),
        op("create", "b", 1, 2, FAILED, refused=True),
    ],
    "replaced in turn": [
        op("write", "a", 0, 1),
        op("replace", "b", 2, 3, before="a"),
        op("replace", "c", 2, 3, FAILED, before="a", refused=True),
        op("read", "b", 4, 5),
    ],
    "replaced by what is of unknown outcome": [
        op("write", "a", 0, 1),
        op("replace", ABSENT, 2, before="a", outcome=UNKNOWN),
        op("read", ABSENT, 4, 5),
    ],
}

BAD = {
    "acknowledged write is lost": [op("write", "a", 0, 1), op("read", ABSENT, 2, 3)],
    "read goes back": [
        op("write", "a", 0, 1),
        op("write", "b", 2, 9),
        op("read", "b", 3, 4),
        op("read", "a", 5, 6),
    ],
    "old value comes back": [
        op("write", "a", 0, 1),
        op("write", "b", 2, 3),
        op("read", "a", 4, 5),
    ],
    "failed write is seen": [
        op("write", "a", 0, 1),
        op("write", "b", 2, 3, FAILED),
        op("read", "b", 4, 5),
    ],
    "unknown write comes and goes": [
        op("write", "a", 0, 1),
        op("write", "b", 2, outcome=UNKNOWN),
        op("read", "b", 4, 5),
        op("read", "a", 6, 7),
    ],
    "unknown write is seen before it was begun": [
        op("read", "b", 0, 1),
        op("write", "b", 2, outcome=UNKNOWN),
    ],
    "two create": [op("create", "a", 0, 5), op("create", "b", 0, 5)],
    "refused by nothing": [op("create", "b", 0, 5, FAILED, refused=True)],
    "two replace the same": [
        op("write", "a", 0, 1),
        op("replace", "b", 2, 9, before="a"),
        op("replace", "c", 2, 9, before="a"),
    ],
    "deleted object is seen": [
        op("write", "a", 0, 1),
        op("write", ABSENT, 2, 3),
        op("read", "a", 4, 5),
    ],
    "what nobody wrote is read": [op("read", "x", 0, 1)],
}


@pytest.mark.parametrize("operations", GOOD.values(), ids=GOOD)
def test_what_can_be_explained_passes(operations: list[Operation]) -> None:
    for order in itertools.islice(itertools.permutations(operations), 24):
        assert is_linearizable(order)
    assert check_history(History(list(operations))) == []


@pytest.mark.parametrize("operations", BAD.values(), ids=BAD)
def test_what_cannot_be_explained_does_not(operations: list[Operation]) -> None:
    assert not is_linearizable(operations)
    assert check_history(History(list(operations)))


def test_names_are_judged_one_by_one() -> None:
    other = op("read", "x", 0, 1, name="other")
    problems = check_history(History([op("write", "a", 0, 1), other]))
    assert len(problems) == 1 and problems[0].startswith("other")


def test_without_reads_what_was_read_must_have_been_written() -> None:
    stale = [op("write", "a", 0, 1), op("write", "b", 2, 3), op("read", "a", 4, 5)]
    assert check_history(History(stale), reads=False) == []
    unwritten = [*stale, op("read", "x", 4, 5)]
    failed = [*stale, op("write", "c", 2, 3, FAILED), op("read", "c", 4, 5)]
    early = [op("read", "a", 0, 1), op("write", "a", 2, 3)]
    for operations in (unwritten, failed, early):
        assert len(check_history(History(operations), reads=False)) == 1


def test_client_is_never_taken_back() -> None:
    def seen(client: int, revision: int, at: float, name: str = "n") -> Operation:
        return op("read", "a", at, at + 0.5, client=client, revision=revision, name=name)

    good = [seen(1, 5, 0), seen(1, 5, 1), seen(2, 3, 2), seen(1, 2, 3, "other"), seen(1, 0, 4)]
    assert check_sessions(History(good)) == []
    assert len(check_sessions(History([*good, seen(1, 4, 5)]))) == 1
    assert len(check_sessions(History([*good, seen(2, 2, 5)]))) == 1


@pytest.mark.parametrize("seed", range(5))
def test_long_histories(seed: int) -> None:
    """Of a register that works; and not of one that forgets one write."""
    rng = random.Random(seed)
    operations: list[Operation] = []
    clocks = [0.0] * 5
    now, value = 0.0, ABSENT
    for number in range(1500):
        # Each takes effect at `now`, somewhere between its begin and its end.
        client = min(range(5), key=clocks.__getitem__)
        now = max(now, clocks[client]) + 0.1
        began = rng.uniform(clocks[client], now)
        clocks[client] = rng.uniform(now, now + 0.5)
        dice = rng.random()
        if dice < 0.5:
            operations.append(op("read", value, began, clocks[client]))
        elif dice < 0.9:
            value = f"v{number}"
            operations.append(op("write", value, began, clocks[client]))
        elif dice < 0.95:
            operations.append(op("write", f"v{number}", began, outcome=UNKNOWN))
        else:
            refused = value != ABSENT
            outcome = FAILED if refused else OK
            made = op("create", f"v{number}", began, clocks[client], outcome, refused=refused)
            operations.append(made)
            value = value if refused else made.value
    assert is_linearizable(operations)
    writes = [each for each in operations if each.kind == "write" and each.outcome == OK]
    reads = {each.value for each in operations if each.kind == "read"}
    victim = next(each for each in writes[5:] if each.value in reads)
    victim.outcome = FAILED
    assert not is_linearizable(operations)
