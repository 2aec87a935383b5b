"""A bar that knows the size of what is transferred, and counts every byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tqdm")

from objstore.contrib.progress import progress_bar
from objstore.store import ObjectStore
from tests.helpers import pattern

SIZE = 3_000_000


def check(bar: Any, label: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert (bar.n, bar.total, bar.disable) == (SIZE, SIZE, True)  # closed
    shown = capsys.readouterr().err
    assert label in shown and "100%" in shown and "2.86M/2.86M" in shown


def test_bar_of_every_transfer(
    store: ObjectStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(pattern(SIZE))
    with progress_bar(path) as bar:
        store.put_file(path, callback=bar.update)
    check(bar, "a.bin", capsys)
    with progress_bar(len(pattern(SIZE)), "up") as bar:
        store.put("b", pattern(SIZE), callback=bar.update)
    check(bar, "up", capsys)
    with progress_bar(store.get_info("b")) as bar:
        store.get_file("b", tmp_path / "b", callback=bar.update)
    check(bar, "b:", capsys)
    with store.get("b") as reader, progress_bar(reader, "read") as bar:
        while data := reader.read(100_000):
            bar.update(len(data))
    check(bar, "read", capsys)


def test_bar_without_a_total_and_with_a_hostile_name(
    store: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_bar() as bar:
        store.put("\x1b[31mred", [b"x"] * 1000, callback=bar.update)
    assert (bar.n, bar.total) == (1000, None)
    with progress_bar(store.get_info("\x1b[31mred")):
        pass
    assert "?[31mred" in capsys.readouterr().err
