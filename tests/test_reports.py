"""Reports are values: they print, pickle, and are true if all is well."""

from __future__ import annotations

import pickle
from datetime import datetime, timezone

import pytest

from objstore.reports import CheckReport, ChunkSet, Finding, SweepReport

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
NASTY = "<b>\x1b[2J&"

GOOD = CheckReport("photos", objects=2, links=1, size=2048, chunks=2, read=0)
BAD = CheckReport(
    "photos",
    objects=1,
    links=0,
    size=10,
    chunks=1,
    read=1,
    problems=(Finding("damaged", NASTY, "n" * 22, "its digest is another"),),
    warnings=(Finding("orphan", "", "o" * 22, "1 chunk"),),
)
ORPHANS = (ChunkSet("o" * 22, 3, 4096, MOMENT), ChunkSet("p" * 22, 1, 1024, MOMENT))
SWEPT = SweepReport("photos", dry_run=False, min_age=60.0, orphans=ORPHANS, young=1)


def test_report_is_true_if_all_is_well() -> None:
    """Warnings are no harm; an entry in the way is."""
    assert GOOD
    assert GOOD.ok
    assert not BAD
    assert SWEPT
    assert not SweepReport("photos", True, 60.0, obstacles=("x",))
    assert CheckReport("photos", 0, 0, 0, 0, 0, warnings=BAD.warnings)


def test_check_report_reads_well() -> None:
    assert str(GOOD) == (
        "bucket photos: 2 objects and 1 link, 2.0 KiB in 2 chunks; 0 read; no problem"
    )
    title, empty, *table = str(BAD).splitlines()
    assert title == "bucket photos: 1 object, 10 B in 1 chunk; 1 read; 1 problem, 1 warning"
    assert empty == ""
    assert table == [
        "         KIND     NAME                    DETAIL",
        r"problem  damaged  <b>\x1b[2J&             its digest is another",
        "warning  orphan   oooooooooooooooooooooo  1 chunk",
    ]


def test_sweep_report_reads_well() -> None:
    title, *table = str(SWEPT).splitlines()
    assert title == (
        "bucket photos: 2 sets of chunks without an object removed: 4 chunks, 5.0 KiB; "
        "1 younger than 60 s"
    )
    assert table[2:] == [
        "oooooooooooooooooooooo  3       4.0 KiB  2026-01-02T03:04:05Z",
        "pppppppppppppppppppppp  1       1.0 KiB  2026-01-02T03:04:05Z",
    ]
    assert (SWEPT.chunks, SWEPT.size) == (4, 5120)
    assert "to be removed" in str(SweepReport("photos", True, 60.0, ORPHANS))
    blocked = str(SweepReport("photos", False, 60.0, ORPHANS, obstacles=(NASTY,)))
    assert "nothing was removed, for 1 entry cannot be read" in blocked
    assert "\x1b" not in blocked


@pytest.mark.parametrize("report", [GOOD, BAD, SWEPT, SweepReport("p", True, 1.0, (), 0, (NASTY,))])
def test_report_in_a_notebook_is_text(report: CheckReport | SweepReport) -> None:
    """A name is no markup."""
    text = report._repr_html_()
    assert "bucket p" in text
    assert "<b>" not in text
    assert "\x1b" not in text


@pytest.mark.parametrize("report", [GOOD, BAD, SWEPT])
def test_report_survives_pickling(report: object) -> None:
    assert pickle.loads(pickle.dumps(report)) == report
