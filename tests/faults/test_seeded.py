"""The deliberate bugs: each still fits the code, and in the full tier each is caught."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults.seeded import BUGS, ROOT, Bug, apply, catch, failure_of
from tests.faults.tiers import FULL

__all__: list[str] = []

every_bug = pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.title.replace(" ", "-"))


@every_bug
def test_bug_fits_the_code(bug: Bug, tmp_path: Path) -> None:
    """Exactly once, and what comes of it is still a module."""
    (tmp_path / bug.path).parent.mkdir(parents=True)
    shutil.copy(ROOT / bug.path, tmp_path / bug.path)
    apply(bug, tmp_path)
    text = (tmp_path / bug.path).read_text(encoding="utf-8")
    compile(text, bug.path, "exec")
    assert text != (ROOT / bug.path).read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="has 0 times"):
        apply(bug._replace(changes=(("this stands nowhere", ""),)), tmp_path)


@pytest.mark.slow
def test_one_bug_is_caught(tmp_path: Path) -> None:
    """As all of them are in the full tier. Without it the same tests pass."""
    bug = next(bug for bug in BUGS if "$" in bug.title)
    assert catch(bug)
    assert not failure_of(ROOT, bug.tests)


if FULL:

    @pytest.mark.slow
    @pytest.mark.timeout(600)
    @every_bug
    def test_bug_is_caught(bug: Bug) -> None:
        assert catch(bug)
