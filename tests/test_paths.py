"""Names that come from elsewhere become paths below a directory, or nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import objstore
from objstore.errors import InvalidNameError
from objstore.paths import path_below
from objstore.store import ObjectStore

HOSTILE = [
    # out of the directory
    *("..", "../a", "../../etc/passwd", "a/../../b", "a/..", "a/../b", "./a", "a/./b", ".", "a/."),
    *("/", "/etc/passwd", "//server/share", "a//b", "a/", "/a/", ""),
    # other separators, drives, streams
    *("..\\a", "a\\b", "\\\\server\\share", "\\a", "a/..\\..\\b"),
    *("C:", "C:\\a", "c:a", "c:/a", "z:..", "Z:/../a"),
    # devices, with any ending
    *("CON", "con", "nul", "NUL.txt", "aux.c", "prn", "a/COM1", "com9.log", "LPT1", "lpt¹.x"),
    *("con:", "CONIN$", "conout$", "COM1 ", "aux .txt", "a/nul/b"),
    # control characters and what looks like a line's end
    *("\0", "a\0b", "a\nb", "a\rb", "a\tb", "\x1b[31mred", "a\x7f", "a\x85b", "a\u2028b"),
    # endings that some systems drop
    *("a.", "a ", "a/b.", "a /b", "...", ".. ", "a/.. /b"),
    # what is no text in any encoding
    *("\ud800", "a/\udfff"),
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidNameError, match="is no path") as caught:
        path_below(tmp_path, name)
    assert str(caught.value).isprintable()


def test_there_are_enough_hostile_names() -> None:
    """A table that shrinks is no table."""
    assert len(set(HOSTILE)) >= 60


@pytest.mark.parametrize("name", [None, 1, b"a", Path("a")])
def test_what_is_no_text_is_a_type_error(tmp_path: Path, name: Any) -> None:
    with pytest.raises(TypeError, match="must be a str"):
        path_below(tmp_path, name)


@given(st.text(alphabet=st.sampled_from("./\\:a\0C ~\n"), max_size=12) | st.text(max_size=20))
def test_no_name_leads_outside(name: str) -> None:
    """Whatever it is made of."""
    base = os.path.join(os.sep, "nonexistent")
    try:
        path = path_below(base, name)
    except InvalidNameError:
        return
    assert path == os.path.normpath(path) == os.path.join(base, *name.split("/"))


@pytest.mark.parametrize(
    "name",
    [
        *(
            "a",
            "a/b/c.txt",
            ".hidden",
            "..a",
            "a..b",
            "a b",
            "é/日本",
            "~",
            "~root",
            "-rf",
            "$HOME",
        ),
        *("console.log", "nullable", "com10", "lpt", "auxiliary", "%2e%2e", "a;b", "a\u202eb"),
    ],
)
def test_names_that_are_paths(tmp_path: Path, name: str) -> None:
    path = path_below(tmp_path, name)
    assert path == os.path.join(tmp_path, *name.split("/"))
    assert Path(path).resolve().is_relative_to(tmp_path.resolve())


def test_no_link_is_passed(tmp_path: Path) -> None:
    """It may have been made by the object before this one."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/link").symlink_to(tmp_path)
    with pytest.raises(InvalidNameError, match="symbolic link"):
        path_below(tmp_path / "out", "link/a")
    assert path_below(tmp_path / "out", "link") == str(tmp_path / "out/link")  # is replaced


def test_link_in_the_place_of_the_file_is_replaced(store: ObjectStore, tmp_path: Path) -> None:
    """What it led to stays as it was."""
    victim, out = tmp_path / "victim", tmp_path / "out"
    victim.write_text("victim")
    out.mkdir()
    (out / "object").symlink_to(victim)
    store.put("object", b"content")
    store.get_file("object", objstore.path_below(out, "object"))
    assert victim.read_text() == "victim"
    assert (out / "object").read_bytes() == b"content"
