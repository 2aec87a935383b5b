"""
Figures, goals and plots for `docs/topics/performance.md`.

`python -m tests.benchmarks.page` puts what is in `results.json` between the marks of the
page and draws its pictures; the words around them are written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.cases import CLIENTS
from tests.benchmarks.goals import verdicts
from tests.benchmarks.results import FILE, Figure, Results, show

__all__ = ["PAGE", "render"]

PAGE = Path(__file__).parents[2] / "docs/topics/performance.md"

_BLOCK = re.compile(r"(<!-- begin (\w+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)

_UNITS = {
    "MB/s": "Large objects, MB/s",
    "op/s": "Small objects and metas, operations per second",
    "ms": "Time, milliseconds",
    "MiB": "Memory beyond that of a connected client, MiB",
    "calls": "System calls of the client for a chunk of 128 KiB",
    "copies": "Copies of every byte in the client (those of the system not counted)",
}


def render(page: str, results: Results) -> str:
    """Return the page with the results in it."""
    blocks = {
        "machine": _machine(results),
        "results": "\n".join(_tables(results)),
        "cpu": _cpu(results),
        "goals": _goals(results),
    }
    return _BLOCK.sub(lambda found: f"{found[1]}{blocks[found[2]]}\n{found[3]}", page)


def _machine(results: Results) -> str:
    machine = {**results.machine, "other programs": f"{results.others():.0%} of the processors"}
    return _table(["", ""], [[key, value] for key, value in machine.items()])


def _tables(results: Results) -> Iterator[str]:
    for unit, title in _UNITS.items():
        rows = []
        for key, case in results.cases.items():
            if case["unit"] == unit:
                figures = [results.figure(key, client) for client in CLIENTS]
                rows.append([case["title"], *map(_cell, figures)])
        if rows:
            yield f"{title}:\n\n{_table(['', *CLIENTS], rows)}\n"


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return ""
    spread = f" <small>{show(figure.low)}–{show(figure.high)}</small>"
    return f"**{show(figure.median)}**{spread if len(figure.values) > 1 else ''}"


def _cpu(results: Results) -> str:
    rows = []
    for key, case in results.cases.items():
        if case["unit"] == "MB/s" and "busy" not in key:
            row = [case["title"]]
            for client in CLIENTS:
                ours = results.figure(key, client, "client cpu")
                server = results.figure(key, client, "server cpu")
                row.append(
                    f"{show(ours.median)} / {show(server.median)}" if ours and server else ""
                )
            rows.append(row)
    return _table(["", *CLIENTS], rows)


def _goals(results: Results) -> str:
    marks = {True: "yes", False: "**no**", None: ""}
    rows = [[one.text, one.goal, one.figure, marks[one.met]] for one in verdicts(results)]
    return _table(["", "goal", "figure", "met"], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    from tests.benchmarks.plots import draw

    run = Results.load(FILE)
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8"), run), encoding="utf-8")
    draw(run, PAGE.parent)
