"""The samples of a run, in a file, and the figures that are made of them."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import statistics
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import objstore
from tests.benchmarks.cases import Case

__all__ = ["FILE", "Figure", "Results", "describe_machine"]

#: The last run: what the page shows.
FILE = Path(__file__).parent / "results.json"


#: Seconds that make a sample long enough to count ticks of the clock in it.
_LONG = 0.2


@dataclass(frozen=True)
class Figure:
    """One number of several samples."""

    values: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    def __str__(self) -> str:
        spread = f" [{show(self.low)}..{show(self.high)}]" if len(self.values) > 1 else ""
        return f"{show(self.median)}{spread}"


def show(value: float) -> str:
    """A number with three digits that mean something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


@dataclass
class Results:
    """
    What a run has measured.

    Attributes:
        machine: What it ran on, and the versions of everything.
        cases: Key to title, unit, and samples of each client.
    """

    machine: dict[str, str] = field(default_factory=dict)
    cases: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Results:
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def save(self, path: Path) -> None:
        rounded = json.loads(
            json.dumps(asdict(self)), parse_float=lambda text: round(float(text), 6)
        )
        # A line for each sample.
        text = re.sub(
            r"\{[^{}]*\}", lambda m: " ".join(m[0].split()), json.dumps(rounded, indent=1)
        )
        path.write_text(f"{text}\n", encoding="utf-8")

    def add(self, case: Case, samples: dict[str, list[dict[str, Any]]]) -> None:
        self.cases[case.key] = {
            "title": case.title,
            "unit": case.unit,
            "bytes": case.size * case.objects,
            "objects": case.objects,
            "extra": case.extra,
            "left_out": case.left_out,
            "samples": samples,
        }

    def others(self) -> float:
        """The share of the machine that other programs had meanwhile, as a median."""
        shares = [
            sample.get("others", 0.0)
            for case in self.cases.values()
            for samples in case["samples"].values()
            for sample in samples
            if sample.get("seconds", 0) > _LONG
        ]
        return statistics.median(shares) if shares else 0.0

    def figure(self, key: str, client: str, what: str = "value") -> Figure | None:
        """
        A figure of a case.

        Args:
            what: `value` is what the case is about, in its unit; `client cpu` and `server
                cpu` are seconds per GB, or microseconds for what is counted; anything else
                is in the samples, by its name, and of system calls that of all together.

        Returns:
            The figure; None if it was not measured, or if there were failures.
        """
        case = self.cases.get(key)
        samples = [] if case is None else case["samples"].get(client, [])
        if case is None or not samples:
            return None
        if what != "failures" and any("error" in sample for sample in samples):
            return None
        values = [_value(case, sample, what) for sample in samples]
        known = [value for value in values if value is not None]
        return Figure(known) if len(known) == len(values) else None


def _value(case: dict[str, Any], sample: dict[str, Any], what: str) -> float | None:
    chunks = case["bytes"] / (128 << 10)
    if what == "value":
        seconds = sample["seconds"]
        unit = case["unit"]
        if unit == "MB/s":
            return float(case["bytes"] / seconds / 1e6)
        if unit == "op/s":
            return float(case["objects"] / seconds)
        if unit == "ms":
            return 1000 * float(seconds) / float(case["objects"])
        if unit == "MiB":
            return float(sample["memory"])
        if unit == "calls":
            return sum(sample["calls"].values()) / chunks if sample.get("calls") else None
        return float(sample["copied"] / case["bytes"]) if "copied" in sample else None
    if what in ("client cpu", "server cpu"):
        seconds = sample["cpu" if what == "client cpu" else "server_cpu"]
        if case["unit"] == "MB/s":
            return float(seconds / case["bytes"] * 1e9)
        return float(seconds / case["objects"] * 1e6)
    if what == "wake-ups per chunk":
        return float(sample["wakeups"] / chunks)
    if what == "failures":
        return float(sample.get("failures", 1))
    value = sample.get(what)
    return None if value is None else float(value)


def describe_machine(server_version: str, rounds: int) -> dict[str, str]:
    """What a run runs on."""
    machine = {
        "date": date.today().isoformat(),
        "processors": f"{os.cpu_count()} × {_processor()}",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "rounds": str(rounds),
        "Python": platform.python_version(),
        "nats-server": server_version,
        "objstore": objstore.__version__,
    }
    for package in ("nats-py", "natsrpy"):
        with contextlib.suppress(PackageNotFoundError):
            machine[package] = version(package)
    return machine


def _processor() -> str:
    with contextlib.suppress(OSError):
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        if found:
            return found[1]
    return platform.processor() or platform.machine()
