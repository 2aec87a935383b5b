"""
A nats-server that may die and come back: the same data, the same port.

    with Node(directory) as node:
        node.kill()
        node.start()
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path
from types import TracebackType

from objstore.server import LocalServer

__all__ = ["Node"]

#: What a server writes to its log when a client breaks the protocol, or halts a stream by a
#: condition that the replicas take for damage of their storage.
_COMPLAINT = re.compile(
    r".*\[ERR\].*(?:parser? error|process[A-Z]\w+ |maximum (?:payload|control line)"
    r"|critical write error: last \w+ mismatch).*",
    re.IGNORECASE,
)


class Node:
    """
    Context manager; leaving it stops the server.

    Args:
        directory: Where it keeps its data.
        config: Text of its configuration file.

    Attributes:
        port, url: Where clients connect, for as long as the node exists.
        pid: The server's process id; another one after each start.
    """

    def __init__(self, directory: Path, config: str = "") -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._config: Path | None = None
        if config:
            self._config = directory / "nats-server.conf"
            self._config.write_text(config, encoding="utf-8")
        self._old_log = ""
        self._stopped = False
        self._server = LocalServer(directory, config=self._config)
        self.port, self.url = self._server.port, self._server.url

    @property
    def pid(self) -> int:
        return self._server.pid

    @property
    def runs(self) -> bool:
        """Whether there is a process, be it paused."""
        return not self._stopped

    def start(self) -> None:
        """Start it again, unless it runs."""
        if self._stopped:
            self._server = LocalServer(self.directory, self.port, config=self._config)
            self._stopped = False

    def kill(self) -> None:
        """End the process on the spot."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Let it end in good order, for good or until `start`."""
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        if not self._stopped:
            self._stopped = True
            self.signal(number)
            self.resume()
            self._server.stop()
            self._old_log += self._read_log()

    def pause(self) -> None:
        """Stop it in its tracks: connections stay open, and nothing moves."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self.signal(signal.SIGCONT)

    def signal(self, number: int) -> None:
        """Send a signal to the process, if there is one."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    @property
    def log_path(self) -> Path:
        """Where it logs, in its present life."""
        return self._server.log_path

    def _read_log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    @property
    def log(self) -> str:
        """All that it has logged, in all of its lives."""
        return self._old_log + ("" if self._stopped else self._read_log())

    @property
    def complaints(self) -> list[str]:
        """Lines of the log that tell of a client that sent what it must not send."""
        return _COMPLAINT.findall(self.log)

    def __enter__(self) -> Node:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
