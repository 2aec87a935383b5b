"""
The documentation is true: its examples run and print what it shows, and it leaves nothing out.

A page's ```python blocks run in order, in one namespace, in an empty directory. A ```text
block right after one of them is what it prints.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import objstore
import objstore.errors
from objstore.server import LocalServer

ROOT = Path(__file__).parents[1]

EXECUTED = [
    "README.md",
    "docs/tutorial.md",
    "docs/howto/coming-from-boto3.md",
    "docs/howto/coming-from-nats-py.md",
    "docs/howto/files-and-ranges.md",
    "docs/howto/introduction.md",
    "docs/howto/pandas-and-fsspec.md",
    "docs/topics/pynats2.md",
]

#: What a page needs that is no part of the extra `test`.
NEEDS = {"docs/howto/pandas-and-fsspec.md": ["duckdb", "pandas", "pyarrow", "zarr"]}

_FENCE = re.compile(
    r"^```python\n(?P<code>.*?)^```$(?:\s*^```text\n(?P<output>.*?)^```$)?",
    re.DOTALL | re.MULTILINE,
)


class Example(NamedTuple):
    """One block of code, and what the page says it prints."""

    line: int
    code: str
    output: str


def find_examples(page: str) -> Iterator[Example]:
    text = (ROOT / page).read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start("code"))
        yield Example(line, match["code"], match["output"] or "")


@pytest.mark.slow
@pytest.mark.parametrize("page", EXECUTED)
def test_examples_print_what_the_page_shows(
    page: str,
    server: LocalServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Each block is run as a reader would run it."""
    for module in NEEDS.get(page, []):
        version = "3" if module == "zarr" else None
        reason = f"{module} is not installed, or too old (extra test-data)"
        pytest.importorskip(module, minversion=version, reason=reason)
    if page in NEEDS:
        request.getfixturevalue("filesystem")  # closes those that the page makes
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NATS_URL", server.url)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    examples = list(find_examples(page))
    assert examples
    try:
        for example in examples:
            # The empty lines make the numbers in a traceback those of the page.
            code = compile("\n" * example.line + example.code, ROOT / page, "exec")
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(code, namespace)
            assert printed.getvalue() == example.output, f"{page}:{example.line}"
    finally:
        # A page that fails half-way has not come to its own `close()`.
        for value in namespace.values():
            if isinstance(value, objstore.Client):
                value.close()


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def public_names() -> list[str]:
    return [name for name in objstore.__all__ if not name.startswith("_")]


@pytest.mark.parametrize("name", public_names())
def test_public_name_is_in_the_reference(name: str) -> None:
    """What can be imported from the top can be looked up."""
    if name in objstore.errors.__all__:
        assert f"`{name}`" in read("docs/reference/errors.md")
    else:
        assert f":: objstore.{name}\n" in read("docs/reference/api.md")


def test_architecture_shows_every_room() -> None:
    """Who looks for something finds the room."""
    shown = set(re.findall(r"^    (\w+\.py) ", read("docs/topics/architecture.md"), re.MULTILINE))
    folders = [ROOT / "objstore", ROOT / "objstore/core", ROOT / "objstore/jetstream"]
    assert {path.name for folder in folders for path in folder.glob("*.py")} <= shown


def test_errors_are_as_the_reference_says() -> None:
    """Every error is listed, with the builtins and the errors that it also is."""
    rows = re.findall(r"^\| `(\w+)` \|(.*?)\|", read("docs/reference/errors.md"), re.MULTILINE)
    listed = {name: set(re.findall(r"\w+", also)) for name, also in rows}
    classes = [getattr(objstore.errors, name) for name in objstore.errors.__all__]
    for error in classes:
        if not isinstance(error, type) or error is objstore.errors.ObjStoreError:
            continue
        bases = {base.__name__ for base in error.__bases__}
        worth_listing = {base for base in bases if hasattr(builtins, base) or base in listed}
        assert listed[error.__name__] == worth_listing, error.__name__
