"""The plan of the house: imports go down or sideways, and the pure rooms stay pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: Floors with folders or rooms of their own; every other room is the object store's.
FLOORS: dict[str, int] = {
    **dict.fromkeys(["_pynats2", "_version", "errors"], 0),
    "core": 1,
    "jetstream": 2,
    **dict.fromkeys(["", "__main__", "callbacks", "cli", "client", "contrib", "server"], 4),
}
OBJECT_STORE = 3

#: Rooms that must compute and do nothing else. Others may say "Pure" of themselves, too.
PURE = {
    "objstore.core.headers",
    "objstore.core.nuid",
    "objstore.core.protocol",
    "objstore.digest",
    "objstore.models",
    "objstore.naming",
}

#: What a pure room has no use for: the network, threads, the clock.
WORLD = {"asyncio", "pynats2", "select", "selectors", "socket", "ssl", "threading", "time"}


def find_modules() -> dict[str, Path]:
    """Every module of the package, by its dotted name."""
    modules = {}
    for path in sorted(ROOT.glob("objstore/**/*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


MODULES = find_modules()
every_module = pytest.mark.parametrize("module", MODULES)


def parse(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def find_imports(module: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every module imported, wherever in the code it is imported."""
    for node in ast.walk(parse(module)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: a relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield node.lineno, name if name in MODULES else str(node.module)


def floor(module: str) -> int:
    room = module.split(".")[1] if "." in module else ""
    return FLOORS.get(room, OBJECT_STORE)


@every_module
def test_imports_go_down_or_sideways(module: str) -> None:
    """Who knows one floor need not know the floors above it."""
    for line, name in find_imports(module):
        if name.split(".")[0] == "objstore":
            assert floor(name) <= floor(module), f"{module}:{line}: imports {name}, which is above"


def is_pure(module: str) -> bool:
    return "Pure" in (ast.get_docstring(parse(module)) or "")


@pytest.mark.parametrize("module", [module for module in MODULES if is_pure(module)])
def test_pure_rooms_do_not_touch_the_world(module: str) -> None:
    """A pure room is tested with values alone; what it imports of the house is pure as well."""
    for line, name in find_imports(module):
        where = f"{module}:{line}: imports {name}"
        assert name.split(".")[0] not in WORLD, where
        if name in MODULES and name not in {"objstore", "objstore.errors"}:
            assert is_pure(name), where


@pytest.mark.parametrize("module", sorted(PURE))
def test_rooms_that_must_be_pure_say_so(module: str) -> None:
    """What they say is what the test before this one checks."""
    assert is_pure(module)


@every_module
def test_pynats2_is_imported_in_one_place(module: str) -> None:
    """Its import needs care (`objstore/_pynats2.py`); only the doors and the errors show it."""
    names = {name for _, name in find_imports(module)}
    if module != "objstore._pynats2":
        assert not any(name.split(".")[0] == "pynats2" for name in names)
    if "objstore._pynats2" in names:
        assert module in {"objstore.errors", "objstore.client", "objstore.callbacks"}


@every_module
def test_module_says_what_it_owns(module: str) -> None:
    """A docstring for the reader, and `__all__` for what others may use."""
    tree = parse(module)
    assert ast.get_docstring(tree), f"{module} has no docstring"
    targets = [
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    ]
    assert "__all__" in targets, f"{module} has no __all__"


def test_every_floor_is_seen() -> None:
    """The checks above look at the real package."""
    assert {"objstore", "objstore.errors", "objstore.store"} <= MODULES.keys()
