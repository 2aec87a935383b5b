"""The benchmarks run, with every case and client, and know what they have measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.benchmarks.cases import CASES
from tests.benchmarks.clients.base import Job
from tests.benchmarks.clients.data import pattern, write_pattern
from tests.benchmarks.clients.raw import Client
from tests.benchmarks.goals import GOALS
from tests.benchmarks.page import PAGE, render
from tests.benchmarks.results import FILE, Results

ROOT = Path(__file__).parents[2]


def test_goals_are_about_cases() -> None:
    """No goal is out of reach because of a slip of the pen."""
    keys = {case.key for case in CASES}
    assert {goal.case for goal in GOALS} | {g.than_case for g in GOALS if g.than_case} <= keys


def test_workers_share_the_calls() -> None:
    """Each call is made once."""
    job = Job("info", list(range(10)), workers=3)
    assert sorted(call for part in job.parts for call in part) == job.calls


def test_page_shows_the_last_run() -> None:
    """`python -m tests.benchmarks.page` was run after it."""
    page = PAGE.read_text(encoding="utf-8")
    assert render(page, Results.load(FILE)) == page


@pytest.mark.parametrize("operation", ["put_memory", "put_bytes", "put_file", "put_many"])
def test_floor_stores_real_objects(
    operation: str, server: LocalServer, store: ObjectStore, tmp_path: Path
) -> None:
    """It may leave out everything but what makes an object one."""
    size = 1000 if operation == "put_many" else 3_000_000
    write_pattern(tmp_path / "source", size)
    names = ["a", "b"]
    calls = [names] if operation == "put_many" else names
    raw = Client(server.url, None)
    raw.start()
    raw.prepare(Job(operation, calls, store.bucket, size, source=tmp_path / "source"))
    assert raw.run() == [None] * len(calls)
    raw.stop()
    assert [info.name for info in store.list()] == names
    assert all(store.get_bytes(name) == pattern(size) for name in names)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_benchmarks_run(tmp_path: Path) -> None:
    """Small, in one round: no client fails, and every case has a figure for every client."""
    output = tmp_path / "results.json"
    words = ["--rounds", "1", "--scale", "0.002", "--output", str(output)]
    run = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *words],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    results = Results.load(output)
    assert list(results.cases) == [case.key for case in CASES]
    for key, case in results.cases.items():
        for client, samples in case["samples"].items():
            assert [sample.get("error") for sample in samples] == [None], f"{key}, {client}"
        found = {sample.get("found") for ones in case["samples"].values() for sample in ones}
        assert len(found) == 1, f"{key}: not all clients have found the same"
    assert "goals are met" in run.stdout
