"""CPython's own tests of files in memory and of mappings, on readers and `store.mapping()`."""

from __future__ import annotations

import io
import itertools
import unittest
from collections.abc import Callable
from typing import Any

import pytest

# Some distributions leave the package out.
memoryio = pytest.importorskip("test.test_memoryio", reason="this Python has no test package")
mappings = pytest.importorskip("test.mapping_tests", reason="this Python has no test package")

from objstore.store import ObjectStore  # noqa: E402
from tests.outside.exclusions import excluded  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

_counter = itertools.count(1)


def names_of(case: type[unittest.TestCase], suite: str) -> list[str]:
    names = set(unittest.defaultTestLoader.getTestCaseNames(case))
    return sorted(names - excluded(suite))


def run(case: type[unittest.TestCase], name: str) -> None:
    result = unittest.TestResult()
    case(name).run(result)
    assert result.testsRun == 1
    assert [text for _, text in [*result.errors, *result.failures]] == []


@pytest.mark.parametrize(
    "wrap", [lambda reader: reader, io.BufferedReader], ids=["raw", "buffered"]
)
@pytest.mark.parametrize("name", names_of(memoryio.PyBytesIOTest, "memoryio"))
def test_reader(store: ObjectStore, name: str, wrap: Callable[[Any], Any]) -> None:
    def open_bytes(data: bytes = b"") -> Any:
        store.put("a", data or b"")
        return wrap(store.get("a"))

    class Case(memoryio.PyBytesIOTest):  # type: ignore[misc,name-defined]
        ioclass = staticmethod(open_bytes)

    run(Case, name)


@pytest.mark.parametrize("name", names_of(mappings.BasicTestMappingProtocol, "mapping"))
def test_mapping(store: ObjectStore, name: str) -> None:
    class Case(mappings.BasicTestMappingProtocol):  # type: ignore[misc,name-defined]
        @staticmethod
        def type2test() -> Any:
            return store.mapping(f"{next(_counter)}/")

        def _reference(self) -> dict[str, bytes]:
            return {"1": b"2", "key1": b"value1", "key2": b"\0\1\2"}

    run(Case, name)
