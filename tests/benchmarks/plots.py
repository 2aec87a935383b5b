"""Figures as pictures. The only place that needs matplotlib: the extra `bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

from tests.benchmarks.cases import CLIENTS
from tests.benchmarks.results import Results, show

__all__ = ["draw"]

_COLOURS = {"objstore": "#2563eb", "raw": "#cbd5e1", "natsrpy": "#f59e0b", "nats-py": "#0f766e"}
_NAMES = {"raw": "raw (the floor)"}

_LARGE = {
    "put-memory": "put, from memory",
    "put-file": "put, from a file",
    "get-null": "get, to null",
    "get-file": "get, to a file",
    "get-bytes": "get, as bytes",
}
_SMALL = {
    "put-1k": "put 1 KiB",
    "put-64k": "put 64 KiB",
    "get-1k": "get 1 KiB",
    "get-64k": "get 64 KiB",
    "info": "info",
    "delete": "delete",
}

matplotlib.use("svg")
matplotlib.rcParams.update(
    {
        "font.family": "sans-serif",
        "font.size": 9,
        "svg.fonttype": "none",  # text stays text: small files
        "svg.hashsalt": "objstore",  # the same picture from the same figures
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.edgecolor": "#94a3b8",
        "xtick.color": "#475569",
        "ytick.color": "#0f172a",
    }
)


def draw(results: Results, directory: Path) -> None:
    """Draw every picture of the page."""
    _save(_bars(results, _LARGE, "Large objects, MB/s: more is better"), directory, "large")
    _save(_bars(results, _SMALL, "One at a time, per second: more is better"), directory, "small")
    _save(_cpu(results), directory, "cpu")


def _save(figure: Any, directory: Path, name: str) -> None:
    path = directory / f"performance-{name}.svg"
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight", facecolor="white")


def _axes(title: str, rows: int) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.5 + 0.16 * rows))
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color="#0f172a")
    axes.tick_params(length=0)
    axes.grid(axis="x", color="#e2e8f0", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.invert_yaxis()
    axes.margins(x=0.1)  # room for numbers
    return figure, axes


def _bars(results: Results, cases: dict[str, str], title: str) -> Any:
    """A group of bars for each case, a bar for each client."""
    step = len(CLIENTS) + 1
    figure, axes = _axes(title, step * len(cases))
    for row, client in enumerate(CLIENTS):
        places, medians, errors = [], [], []
        for group, key in enumerate(cases):
            if one := results.figure(key, client):
                places.append(group * step + row)
                medians.append(one.median)
                errors.append((one.median - one.low, one.high - one.median))
        axes.barh(places, medians, 0.86, color=_COLOURS[client], label=_NAMES.get(client, client))
        if errors:
            style = {"fmt": "none", "ecolor": "#64748b", "elinewidth": 0.8}
            axes.errorbar(medians, places, xerr=list(zip(*errors)), **style)
        for place, median, (_, above) in zip(places, medians, errors):
            axes.text(median + above, place, f" {show(median)}", va="center", fontsize=7.5)
    middle = (len(CLIENTS) - 1) / 2
    axes.set_yticks([group * step + middle for group in range(len(cases))], cases.values())
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def _cpu(results: Results) -> Any:
    """Client and server, one behind the other."""
    cases = {key: _LARGE[key] for key in ("put-file", "get-null")}
    step = len(CLIENTS) + 1
    figure, axes = _axes(
        "Seconds of CPU per GB, client and (pale) server: less is better", step * len(cases) + 2
    )
    ticks: dict[int, str] = {}
    for group, (key, text) in enumerate(cases.items()):
        for row, client in enumerate(CLIENTS):
            ours = results.figure(key, client, "client cpu")
            server = results.figure(key, client, "server cpu")
            if ours and server:
                place = group * step + row
                ticks[place] = f"{text}   {client}" if row == 0 else client
                colour, ends = _COLOURS[client], ours.median + server.median
                axes.barh(place, ours.median, 0.86, color=colour)
                axes.barh(place, server.median, 0.86, left=ours.median, color=colour, alpha=0.35)
                words = f" {show(ours.median)} + {show(server.median)}"
                axes.text(ends, place, words, va="center", fontsize=7.5)
    axes.set_yticks(list(ticks), ticks.values())
    return figure
