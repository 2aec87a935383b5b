"""Writes `docs/reference/interoperability.md`: run `python -m tests.interop`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import objstore
from tests.interop.matrix import Matrix
from tests.interop.page import PAGE, render
from tests.interop.process import start_peers

with (
    objstore.LocalServer() as server,
    tempfile.TemporaryDirectory() as directory,
    start_peers(server.url, Path(directory)) as peers,
    objstore.connect(server.url) as client,
):
    PAGE.write_text(render(Matrix(client, peers, Path(directory))), encoding="utf-8")
