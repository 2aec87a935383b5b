"""Writes `docs/reference/interoperability.md`: run `python -m tests.interop`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from objstore.server import LocalServer
from tests.interop.matrix import Matrix
from tests.interop.page import PAGE, render
from tests.interop.process import start_peers

with (
    LocalServer() as server,
    tempfile.TemporaryDirectory() as directory,
    start_peers(server.url, Path(directory)) as peers,
):
    PAGE.write_text(render(Matrix(peers, Path(directory))), encoding="utf-8")
