"""
Judges a history: is there an order of its operations that explains all that was seen?

Each name is a register of its own. The search is that of Wing and Gong, with Lowe's memo:
depth first through the states (which operations have taken effect, value), each visited
once. An operation may come next if it began before any other that is still to come
returned. One of unknown outcome may take effect at any time after its beginning, or never;
a failed one may not take effect at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tests.faults.history import ABSENT, FAILED, OK, UNKNOWN, History, Operation

__all__ = ["check_history", "check_name", "check_sessions", "is_linearizable"]

#: States of one name after which the search gives up.
MAX_STATES = 500_000


def check_history(history: History, *, reads: bool = True) -> list[str]:
    """
    Return what is wrong with a history; nothing if nothing is.

    Args:
        reads: Whether every read must fit too, and not only be of what was ever written.
    """
    problems: list[str] = []
    for name, operations in history.by_name().items():
        problems += check_name(name, operations, reads=reads)
    return problems + check_sessions(history)


def check_name(name: str, operations: Sequence[Operation], *, reads: bool = True) -> list[str]:
    """Return what is wrong with the operations of one name."""
    problems = []
    writers = {each.value: each for each in operations if each.writes and each.value}
    for each in operations:
        if each.writes or each.outcome != OK or each.value == ABSENT:
            continue
        writer = writers.get(each.value)
        if writer is None:
            problems.append(f"{name}: nobody wrote what was read: {each}")
        elif writer.outcome == FAILED:
            problems.append(f"{name}: a failed write was read: {each}; {writer}")
        elif writer.invoked > each.returned:
            problems.append(f"{name}: it was read before it was written: {each}; {writer}")
    stuck = None
    if not problems:
        stuck = _search([each for each in operations if reads or each.writes], ABSENT)
    if stuck is not None:
        place = operations.index(stuck)
        around = operations[max(0, place - 15) : place + 10]
        pending = [each for each in operations if each.outcome == UNKNOWN]
        lines = "\n  ".join(map(str, [*pending, "...", *around]))
        problems.append(f"{name}: not linearizable, no further than {stuck}\n  {lines}")
    return problems


def is_linearizable(operations: Iterable[Operation], value: str = ABSENT) -> bool:
    """Whether some order of operations on one name, which begins with `value`, explains them."""
    return _search(operations, value) is None


def _search(operations: Iterable[Operation], value: str) -> Operation | None:
    """Return None if there is an order; else the first operation that none gets past."""
    done = sorted(
        (each for each in operations if each.outcome != FAILED or each.refused),
        key=lambda each: (each.invoked, each.returned),
    )
    known = [each for each in done if each.outcome != UNKNOWN]
    unknown = [each for each in done if each.outcome == UNKNOWN and each.writes]
    seen: set[tuple[int, int, str]] = set()
    # Bits of those done, known and unknown; how many known ones are done without a gap.
    stack = [(0, 0, 0, value)]
    furthest = 0
    while stack:
        mask, guesses, first, value = stack.pop()
        while mask >> first & 1:
            first += 1
        if first == len(known):
            return None
        furthest = max(furthest, first)
        if (mask, guesses, value) in seen:
            continue
        seen.add((mask, guesses, value))
        if len(seen) > MAX_STATES:
            break  # not shown is not proven
        candidates = []
        limit = float("inf")
        for number in range(first, len(known)):
            if known[number].invoked > limit:
                break
            if not mask >> number & 1:
                candidates.append(number)
                limit = min(limit, known[number].returned)
        possible = [
            number
            for number, each in enumerate(unknown)
            if not guesses >> number & 1 and each.invoked <= limit
        ]
        # The last is tried first: what began first, and no guess if none is needed.
        for number in reversed(candidates):
            bit = 1 << number
            for guessed, guess in _guesses(known[number], value, unknown, possible):
                stack.append((mask | bit, guesses | guessed, first, guess))
            if (after := _apply(known[number], value)) is not None:
                stack.append((mask | bit, guesses, first, after))
    return known[furthest]


def _guesses(
    operation: Operation, value: str, unknown: Sequence[Operation], possible: Sequence[int]
) -> Iterator[tuple[int, str]]:
    """
    Yield which writes of unknown outcome, made just before an operation, explain it.

    Those that nobody sees need not have been made. One may need another before it.
    """
    if operation.kind == "write" or _apply(operation, value) is not None:
        return  # it needs no explanation
    deleted = False
    for number in possible:
        last = unknown[number]
        if last.value == ABSENT and last.kind == "write":
            if deleted:
                continue  # one delete is as good as another
            deleted = True
        before = _apply(last, value)
        if before is not None and (after := _apply(operation, before)) is not None:
            yield 1 << number, after
        elif before is None and (after := _apply(operation, last.value)) is not None:
            for earlier in possible:
                middle = _apply(unknown[earlier], value)
                if middle is not None and _apply(last, middle) is not None:
                    yield 1 << number | 1 << earlier, after


def _apply(operation: Operation, value: str) -> str | None:
    """Return the value after an operation; None if it cannot have had this outcome."""
    match operation.kind:
        case "read":
            return value if operation.value == value else None
        case "create":
            fits = value == ABSENT
        case "replace":
            fits = value == operation.before
        case _:
            return operation.value
    if operation.refused:
        return None if fits else value
    return operation.value if fits else None


def check_sessions(history: History) -> list[str]:
    """
    Return where a client was shown less than it knew: revisions of a name only grow.

    Read your writes, and monotonic reads.
    """
    problems = []
    latest: dict[tuple[int, str], Operation] = {}
    for each in sorted(history.operations, key=lambda each: each.returned):
        if each.outcome == OK and each.revision:
            before = latest.setdefault((each.client, each.name), each)
            if before.revision > each.revision:
                problems.append(f"{each.name}: a client was taken back: {before}; then {each}")
            else:
                latest[each.client, each.name] = each
    return problems
