"""fsspec's own tests of a filesystem, all of them."""

from __future__ import annotations

from typing import Any

import pytest

abstract = pytest.importorskip("fsspec.tests.abstract")

from objstore.store import ObjectStore  # noqa: E402


class Fixtures(abstract.AbstractFixtures):  # type: ignore[misc]
    @pytest.fixture
    def fs(self, filesystem: Any) -> Any:
        return filesystem

    @pytest.fixture
    def fs_path(self, store: ObjectStore) -> str:
        return store.bucket

    @pytest.fixture
    def fs_join(self) -> Any:
        return lambda *parts: "/".join(parts)

    @pytest.fixture
    def supports_empty_directories(self) -> bool:
        return False


class TestCopy(abstract.AbstractCopyTests, Fixtures):  # type: ignore[misc]
    pass


class TestGet(abstract.AbstractGetTests, Fixtures):  # type: ignore[misc]
    pass


class TestPut(abstract.AbstractPutTests, Fixtures):  # type: ignore[misc]
    pass


class TestPipe(abstract.AbstractPipeTests, Fixtures):  # type: ignore[misc]
    pass


class TestOpen(abstract.AbstractOpenTests, Fixtures):  # type: ignore[misc]
    pass
