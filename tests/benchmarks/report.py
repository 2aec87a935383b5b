"""Figures and goals as text."""

from __future__ import annotations

from tests.benchmarks.goals import verdicts
from tests.benchmarks.results import Results, show

__all__ = ["show_case", "show_goals"]


def show_case(results: Results, key: str) -> str:
    """What a case has brought: a line for each client."""
    case = results.cases[key]
    base = results.figure(key, "objstore")
    lines = [f"{case['title']}  ({key}; {case['unit']})"]
    for client, samples in case["samples"].items():
        errors = [sample["error"] for sample in samples if "error" in sample]
        failures = sum(sample.get("failures", 1) for sample in samples)
        figure = results.figure(key, client)
        if errors or figure is None:
            lines.append(f"  {client:9} {failures} failures: {errors[0] if errors else '?'}")
            continue
        line = f"  {client:9} {figure}"
        if base is not None and client != "objstore" and figure.median:
            line += f"  objstore {base.median / figure.median:.2f} ×"
        lines.append(line + _cpu(results, key, client) + _extra(results, key, client))
    return "\n".join(lines)


def _cpu(results: Results, key: str, client: str) -> str:
    unit = {"MB/s": "s/GB", "op/s": "us"}.get(results.cases[key]["unit"])
    figures = [results.figure(key, client, what) for what in ("client cpu", "server cpu")]
    if unit is None or None in figures:
        return ""
    return "  CPU " + " / ".join(show(figure.median) for figure in figures if figure) + f" {unit}"


def _extra(results: Results, key: str, client: str) -> str:
    case = results.cases[key]
    names = [*case["extra"], *(["wake-ups per chunk"] if case["unit"] == "MB/s" else [])]
    figures = {name: results.figure(key, client, name) for name in names}
    return "".join(f", {show(f.median)} {name}" for name, f in figures.items() if f)


def show_goals(results: Results) -> str:
    """Every goal, its figure, and whether it is met."""
    words = {True: "met", False: "MISSED", None: "?"}
    rows = [(v.text, v.goal, v.figure, words[v.met]) for v in verdicts(results)]
    if not rows:
        return ""
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[3]])
        for row in rows
    ]
    met = sum(row[3] == "met" for row in rows)
    lines.append(f"{met} of {len(rows)} goals are met")
    lines.append(f"other programs used {results.others():.0%} of the processors meanwhile")
    return "\n".join(lines)
