"""`Peer`: a client in a process of its own, and what it takes to start one."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["PEERS", "Peer", "PeerError", "start_peers", "why_missing"]

#: Names that readers of the page know, and the module that drives each; nats.js has a script.
PEERS = {
    "objstore": "objstore",
    "nats-py": "nats_py",
    "natsrpy": "natsrpy",
    "nats.js": "nats_js",
    "pynats2": "pynats2",
}

#: Seconds that a peer has for one operation, and npm to install.
TIMEOUT = 10.0
INSTALL_TIMEOUT = 50.0

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent / "peers"


class PeerError(Exception):
    """What a peer says instead of an answer."""


class Peer:
    """
    A client in a process of its own; it starts again after it failed to answer.

    Args:
        log: File for what the client complains of.
    """

    def __init__(self, name: str, command: list[str], directory: Path, log: Path) -> None:
        self._name = name
        self._command = command
        self._directory = directory
        self._log = log
        self._process: subprocess.Popen[str] | None = self._start()

    def _start(self) -> subprocess.Popen[str]:
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                self._command,
                cwd=self._directory,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                encoding="utf-8",
            )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._read, args=[process], name=f"peer {self._name}"
        )
        self._thread.start()
        return process

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def call(self, operation: str, **arguments: Any) -> Any:
        """
        Do one operation and return the answer.

        Raises:
            PeerError: If there is none: the client's error, or its silence.
        """
        if self._process is None:
            self._process = self._start()
        assert self._process.stdin is not None
        try:
            print(json.dumps({"do": operation, **arguments}), file=self._process.stdin, flush=True)
            line = self._lines.get(timeout=TIMEOUT)
        except (OSError, queue.Empty):
            line = ""
        if not line:
            self.stop()
            complaint = self._log.read_text(encoding="utf-8", errors="replace")
            raise PeerError(f"no answer; {complaint[-1000:]}")
        reply = json.loads(line)
        if "error" in reply:
            raise PeerError(reply["error"])
        return reply["answer"]

    def stop(self) -> None:
        """End the process, however it is. Twice is fine."""
        if self._process is not None:
            self._process.kill()
            self._thread.join()
            with contextlib.suppress(BrokenPipeError):
                self._process.communicate()
            self._process = None


def why_missing(name: str) -> str:
    """Why a peer cannot be started here; empty if it can."""
    if name == "nats.js":
        found = shutil.which("node") and shutil.which("npm")
        return "" if found else "node and npm are not installed"
    module = name.replace("-py", "")
    return "" if importlib.util.find_spec(module) else f"{name} is not installed"


@contextlib.contextmanager
def start_peers(url: str, directory: Path) -> Iterator[dict[str, Peer]]:
    """
    Start every peer that can be had, for the server at `url`.

    Args:
        directory: Empty; for packages of node, and logs.
    """
    peers: dict[str, Peer] = {}
    try:
        for name, module in PEERS.items():
            if why_missing(name):
                continue
            log = directory / f"{module}.log"
            if name == "nats.js":
                _install(directory)
                peers[name] = Peer(name, ["node", f"{module}.mjs", url], directory, log)
            else:
                command = [sys.executable, "-m", f"tests.interop.peers.{module}", url]
                peers[name] = Peer(name, command, ROOT, log)
        yield peers
    finally:
        for peer in peers.values():
            peer.stop()


def _install(directory: Path) -> None:
    """Put the script of nats.js beside the packages that it needs."""
    for name in ("nats_js.mjs", "package.json"):
        shutil.copy(FOLDER / name, directory)
    options = ["--prefer-offline", "--no-audit", "--no-fund", "--no-package-lock", "--silent"]
    subprocess.run(["npm", "install", *options], cwd=directory, check=True, timeout=INSTALL_TIMEOUT)
