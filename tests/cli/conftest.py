"""What the tests of the command line share: a shell of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import objstore
from objstore.cli import main
from objstore.server import LocalServer

__all__ = ["Result"]

#: Seconds for another process to end.
TIMEOUT = 20.0


class Result(NamedTuple):
    """How a command ended, and what it wrote."""

    code: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines on standard output."""
        return self.out.decode().splitlines()

    @property
    def json(self) -> Any:
        """The one JSON value on standard output."""
        (line,) = self.lines
        return json.loads(line)


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, empty; commands find the run's server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NATS_URL", server.url)
    return tmp_path


@pytest.fixture
def run(capsysbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Result]:
    """A function that runs a command in this process."""

    def run(*words: str) -> Result:
        capsysbinary.readouterr()
        code = main(words)
        out, err = capsysbinary.readouterr()
        return Result(code, out, err.decode())

    return run


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """A function that starts a command in a process of its own; keywords go to `Popen`."""
    processes: list[subprocess.Popen[bytes]] = []
    environment = {**os.environ, "PYTHONPATH": str(Path(objstore.__file__).parents[1])}

    def start(*words: str, **options: Any) -> subprocess.Popen[bytes]:
        for stream in ("stdin", "stdout", "stderr"):
            options.setdefault(stream, subprocess.PIPE)
        command = [sys.executable, "-W", "error", "-m", "objstore", *words]
        # NATS_URL is set after this fixture may have been made.
        environment["NATS_URL"] = os.environ["NATS_URL"]
        processes.append(subprocess.Popen(command, env=environment, **options))
        return processes[-1]

    yield start
    for process in processes:
        with process:  # closes its pipes
            process.kill()


@pytest.fixture
def spawn(start: Callable[..., subprocess.Popen[bytes]]) -> Callable[..., Result]:
    """A function that runs a command in a process of its own, to its end."""

    def spawn(*words: str, **options: Any) -> Result:
        options.setdefault("stdin", subprocess.DEVNULL)
        process = start(*words, **options)
        out, err = process.communicate(timeout=TIMEOUT)
        return Result(process.returncode, out or b"", (err or b"").decode())

    return spawn
