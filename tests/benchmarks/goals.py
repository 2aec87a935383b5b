"""What has to come out: a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.benchmarks.results import Results, show

__all__ = ["GOALS", "Goal", "Verdict", "verdicts"]


@dataclass(frozen=True)
class Goal:
    """
    A bound for a figure of objstore, or for its ratio to another one.

    Attributes:
        case: Key of the case.
        bound: At least that, or at most if `most`.
        than: Client to be compared with; none for the figure itself.
        than_case: Key of another case to be compared with.
        what: As for `Results.figure`.
        unit: Of the figure itself.
    """

    case: str
    bound: float
    than: str = ""
    than_case: str = ""
    what: str = "value"
    unit: str = ""
    most: bool = False


@dataclass(frozen=True)
class Verdict:
    """A goal, and how it was met."""

    text: str
    goal: str
    figure: str
    met: bool | None


def _most(case: str, bound: float, **more: str) -> Goal:
    return Goal(case, bound, most=True, **more)


GOALS = [
    Goal("get-null", 1.9, "natsrpy"),
    Goal("get-null", 14, "nats-py"),
    Goal("get-null", 0.85, "raw"),
    Goal("get-file", 1.6, "natsrpy"),
    Goal("get-file", 9, "nats-py"),
    Goal("get-file", 0.85, "raw"),
    Goal("get-bytes", 1.6, "natsrpy"),
    Goal("put-memory", 4, "nats-py"),
    Goal("put-memory", 0.9, "raw"),
    Goal("put-file", 4, "nats-py"),
    Goal("put-file", 2.6, "natsrpy"),
    Goal("put-file", 0.9, "raw"),
    _most("get-null", 0.9, what="client cpu", unit="s/GB"),
    _most("put-memory", 1.0, what="client cpu", unit="s/GB"),
    Goal("get-1k", 5.5, "nats-py"),
    Goal("get-64k", 4, "nats-py"),
    Goal("get-1k-8", 4, "nats-py"),
    Goal("put-1k", 2.6, "nats-py"),
    Goal("put-64k", 2.2, "nats-py"),
    Goal("put-many", 10, "nats-py", "put-1k"),
    Goal("put-many", 4, "objstore", "put-1k"),
    Goal("get-many", 10, "nats-py", "get-1k"),
    Goal("get-many", 4, "objstore", "get-1k"),
    Goal("info", 2.5, "nats-py"),
    Goal("delete", 3, "nats-py"),
    _most("list-10k", 0.35, than="nats-py"),
    _most("list-100k", 0.45, than="nats-py"),
    _most("iterate-100k", 12, unit="MiB"),
    _most("range", 3, what="round trips", unit="round trips"),
    _most("range", 2, what="chunks", unit="chunks"),
    _most("memory-put", 12, unit="MiB"),
    _most("memory-get", 12, unit="MiB"),
    _most("import", 50, unit="ms"),
    _most("import", 1, than="nats-py"),
    _most("connect", 2, unit="ms"),
    Goal("busy-put", 6, "nats-py"),
    Goal("busy-get", 8, "nats-py"),
    _most("writers-4", 0, what="failures", unit="failures"),
    _most("writers-24", 0, what="failures", unit="failures"),
    _most("gets-in-a-row", 0, what="failures", unit="failures"),
    _most("gets-in-a-row", 0, what="consumers", unit="consumers left"),
]


def _judge(results: Results, goal: Goal) -> Verdict | None:
    """Compare a goal with what was measured; None if its case was not run."""
    if goal.case not in results.cases:
        return None
    text = results.cases[goal.case]["title"]
    ours = results.figure(goal.case, "objstore", goal.what)
    if goal.than:
        theirs = results.figure(goal.than_case or goal.case, goal.than)
        value = ours.median / theirs.median if ours and theirs else None
        unit = f"× {goal.than}"
        if goal.than_case:
            unit += f", {results.cases[goal.than_case]['title']}" if theirs else ""
    else:
        value = ours.median if ours else None
        unit = goal.unit
    figure = "not measured" if value is None else f"{_show(goal, value)} {unit}"
    met = None if value is None else value <= goal.bound if goal.most else value >= goal.bound
    return Verdict(text, f"{'≤' if goal.most else '≥'} {goal.bound:g} {unit}", figure, met)


def _show(goal: Goal, value: float) -> str:
    return f"{value:.0f}" if goal.what in ("failures", "consumers", "chunks") else show(value)


def verdicts(results: Results) -> Iterator[Verdict]:
    """All goals whose cases were run."""
    for goal in GOALS:
        if verdict := _judge(results, goal):
            yield verdict
