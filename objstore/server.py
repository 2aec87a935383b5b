"""
A nats-server of one's own: started in milliseconds, gone with the one who started it.

Owns finding the program, starting it, learning its address, and stopping it. Two processes
belong to a `LocalServer`:

- the server, bound to 127.0.0.1, in a session of its own, so that an interrupt typed at
  the terminal does not reach it. Its output is the log file. The log is locked, and the
  server holds it open: the directory is taken for exactly as long as the server lives.
- the guard, a shell that waits for the end of a pipe which only the owner holds open.
  The kernel closes that pipe however the owner dies, and the guard ends the server.
  Windows has no guard: there a killed owner leaves its server behind.

Both are stopped by `stop()`, at the end of a `with` block, when the `LocalServer` is
garbage collected and when the interpreter exits. A process forked from the owner owns
nothing: it can use the server, and its end does not stop it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT
from types import TracebackType
from typing import IO, TYPE_CHECKING, TypeAlias

from objstore.client import Client
from objstore.core.deadline import Deadline
from objstore.core.options import ConnectKeywords
from objstore.errors import ObjStoreError, RequestTimeoutError

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["LocalServer", "local"]

_Path: TypeAlias = str | os.PathLike[str]

#: Seconds between two looks at something that another process is about to do.
_POLL_INTERVAL = 0.001

#: Seconds that a directory may stay locked: a server whose owner was killed is still going.
_HANDOVER_TIMEOUT = 1.0

#: Seconds that the server gets to stop by itself.
_STOP_TIMEOUT = 5.0

#: Most bytes and lines of the log that an error quotes.
_QUOTED_BYTES = 4096
_QUOTED_LINES = 8

# What becomes the server waits for a line, which comes when the guard is there. Should the
# owner die before that, the end of the pipe comes instead, and so does that of the server.
_GATE = 'read -r _ && exec "$@" </dev/null'

# $1 is the server's process id, $2 the temporary directory, if there is one. Nobody writes
# to the two pipes, `read` returns when the last writer is gone: standard input tells of the
# owner's end, standard output (a pipe to read from) of the server's. `kill -0` would not do:
# it finds a process that is dead and that nobody has waited for. CONT wakes a server that
# is stopped, so that it can end.
_GUARD = """
read -r _
kill -TERM "$1"
kill -CONT "$1"
read -r _ <&1
[ -z "$2" ] || rm -rf "$2"
"""


class LocalServer:
    """
    A nats-server with JetStream on this machine, reachable from this machine only.

    It accepts connections when the constructor returns. A context manager; leaving it stops
    the server. Without `directory` the data is in a temporary one, and gone with the server.

    Args:
        directory: Where to keep data, created if it is missing; None for a temporary one.
        port: Port to listen on; None for any free one.
        binary: The nats-server program; None to look for it in `$NATS_SERVER_BIN`, in the
            nats-server-bin distribution, beside this Python's scripts, and in `$PATH`.
        config: A configuration file for the server. The address and port for clients and
            the data directory are set by this class whatever the file says.
        timeout: Seconds to wait for the server to be ready; None waits for ever. A large
            directory takes time to recover.

    Attributes:
        url: Where clients connect, for example `nats://127.0.0.1:37251`.
        port: The port in `url`.
        directory: Where the server keeps its data.
        log_path: The server's log file, in `directory`; started afresh with each server.
        pid: The server's process id.

    Raises:
        ObjStoreError: If there is no nats-server program, if another `LocalServer` uses
            the directory, or if the server stops at once; quotes the log.
        RequestTimeoutError: If the server is not ready in time; quotes the log.
        OSError: If the directory cannot be made, or the program cannot be run.
    """

    def __init__(
        self,
        directory: _Path | None = None,
        port: int | None = None,
        binary: _Path | None = None,
        config: _Path | None = None,
        *,
        timeout: float | None = 30.0,
    ) -> None:
        deadline = Deadline(timeout)
        program = _find_program(binary)
        scratch = Path(tempfile.mkdtemp(prefix="objstore-")) if directory is None else None
        self.directory = scratch or Path(directory or "").absolute()
        self.log_path = self.directory / "nats-server.log"
        self._processes = processes = _Processes(scratch)
        self._finalizer = weakref.finalize(self, processes.stop)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with _locked_log(self.log_path) as log:
                _remove_port_files(self.directory, program)
                self.pid = processes.start(self._command(program, port, config), log)
            ports_file = self.directory / f"{Path(program).name}_{self.pid}.ports"
            self.url = processes.wait_for_url(ports_file, self.log_path, deadline)
        except BaseException:
            self.stop()
            raise
        self.port = int(self.url.rpartition(":")[2])

    def _command(self, program: str, port: int | None, config: _Path | None) -> list[str]:
        directory = str(self.directory)
        command = [program, "--addr", "127.0.0.1", "--port", str(port or -1)]
        command += ["--ports_file_dir", directory, "--jetstream", "--store_dir", directory]
        if config is not None:
            command += ["--config", os.fspath(config)]
        return command

    def stop(self) -> None:
        """
        Stop the server and wait until it is gone. Does nothing the second time.

        Waits at most some seconds for the server to stop by itself, then kills it. In a
        process forked from the owner this does nothing.
        """
        self._finalizer()

    def wait(self, timeout: float | None = None) -> bool:
        """
        Wait until the server has stopped, of itself or by another thread's `stop`.

        Args:
            timeout: Seconds to wait; None waits for ever.

        Returns:
            Whether it has stopped.
        """
        return self._processes.wait(timeout)

    def __enter__(self) -> LocalServer:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        if "url" not in vars(self):  # in a traceback of what kept it from starting
            return f"<{type(self).__name__}>"
        state = "" if self._finalizer.alive else ", stopped"
        return f"<{type(self).__name__} {self.url} in {str(self.directory)!r}{state}>"


def local(
    directory: _Path | None = None,
    *,
    port: int | None = None,
    binary: _Path | None = None,
    config: _Path | None = None,
    **options: Unpack[ConnectKeywords],
) -> Client:
    """
    Start a `LocalServer` and return a client connected to it; closing it stops the server.

    Args:
        directory: Where to keep data; None for a temporary directory, removed at the end.
        port, binary, config: As for `LocalServer`.
        **options: As for `Client`; the environment says nothing about this server.

    Raises:
        ObjStoreError: If there is no nats-server program, or it does not start.
        ConnectError: If the client cannot connect to it.
    """
    server = LocalServer(directory, port, binary, config)
    try:
        client = Client(server.url, use_environment=False, **options)
        client._on_close.append(server.stop)
        client.connect()
    except BaseException:
        server.stop()
        raise
    return client


# The program


def _find_program(binary: _Path | None) -> str:
    named = binary or os.environ.get("NATS_SERVER_BIN")
    if named:
        program = shutil.which(named)
        if program is None:
            origin = "" if binary else ", which NATS_SERVER_BIN names,"
            raise ObjStoreError(f"{os.fspath(named)!r}{origin} is not a program that can be run")
        return os.fspath(program)
    for candidate in _candidates():
        if program := shutil.which(candidate):
            return program
    raise ObjStoreError(
        "no nats-server program was found: "
        'pip install "nats-objstore[server]", or name one in NATS_SERVER_BIN'
    )


def _candidates() -> Iterator[str]:
    # Imported only when asked: it costs more than the rest of this module.
    import importlib.metadata

    # Right in a virtual environment that is not activated. The list of files is empty
    # after `pip install --target`.
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.distribution("nats-server-bin").files or ():
            if file.stem == "nats-server":
                yield os.path.normpath(str(file.locate()))
    yield str(Path(sysconfig.get_path("scripts")) / "nats-server")
    yield "nats-server"


# The processes


class _Processes:
    """
    The server and its guard, and the temporary directory that goes with them.

    Apart from `LocalServer`, whose finalizer must not refer to the `LocalServer` itself.
    """

    def __init__(self, scratch: Path | None) -> None:
        self._scratch = scratch
        self._server: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._disowned = False
        _all_processes.add(self)

    def start(self, command: list[str], log: IO[bytes]) -> int:
        """Start both processes; return the server's process id."""
        if sys.platform == "win32":
            self._server = _spawn(command, stdin=DEVNULL, stdout=log, stderr=STDOUT)
            return self._server.pid
        # The server holds the writing end for as long as it lives.
        reading, writing = os.pipe()
        gate, opener = os.pipe()
        try:
            gated = ["/bin/sh", "-c", _GATE, "objstore-gate", *command]
            self._server = _spawn(
                gated, stdin=gate, stdout=log, stderr=STDOUT, inherited=(writing,)
            )
            pid = self._server.pid
            guard = ["/bin/sh", "-c", _GUARD, "objstore-guard", str(pid), str(self._scratch or "")]
            self._guard = _spawn(guard, stdin=PIPE, stdout=reading, stderr=DEVNULL)
            os.write(opener, b"\n")
        finally:
            for end in (reading, writing, gate, opener):
                os.close(end)
        return pid

    def wait_for_url(self, ports_file: Path, log_path: Path, deadline: Deadline) -> str:
        """Return the server's URL as soon as it accepts connections."""
        assert self._server is not None
        while True:
            # The file is written when everything else is ready. It may not be there yet,
            # or not all of it.
            with contextlib.suppress(FileNotFoundError, ValueError):
                return str(json.loads(ports_file.read_bytes())["nats"][0])
            if (status := self._server.poll()) is not None:
                raise ObjStoreError(
                    f"nats-server stopped at once (exit status {status}); {_quote(log_path)}"
                )
            if deadline.expired:
                raise RequestTimeoutError(
                    f"nats-server was not ready within {deadline.timeout} s; {_quote(log_path)}"
                )
            time.sleep(_POLL_INTERVAL)

    def wait(self, timeout: float | None) -> bool:
        """Wait for the server's end; return whether it has come."""
        if self._server is not None:
            try:
                self._server.wait(timeout)
            except subprocess.TimeoutExpired:
                return False
        return True

    def stop(self) -> None:
        """End both processes, leave no zombie, and remove the temporary directory."""
        if self._disowned:
            return
        try:
            # The server is told first: should the owner be killed between two of these
            # lines, it stops all the same.
            if self._server is not None:
                self._server.terminate()
            if self._guard is not None:
                self._guard.kill()
                self._close_pipe()
                self._guard.wait()
            if self._server is not None:
                try:
                    self._server.wait(_STOP_TIMEOUT)
                except subprocess.TimeoutExpired:
                    self._server.kill()
                    self._server.wait()
        finally:
            if self._scratch is not None:
                shutil.rmtree(self._scratch, ignore_errors=True)

    def disown(self) -> None:
        """Leave everything to the parent: this is a forked process."""
        self._disowned = True
        # The guard must see the end of the pipe when the parent dies.
        self._close_pipe()
        for process in (self._server, self._guard):
            if process is not None:
                # Not our child. Popen's destructor would warn that it still runs.
                process.returncode = 0

    def _close_pipe(self) -> None:
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()


_all_processes: weakref.WeakSet[_Processes] = weakref.WeakSet()


def _disown_all() -> None:
    for processes in list(_all_processes):
        processes.disown()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_disown_all)


def _spawn(
    command: list[str],
    *,
    stdin: int,
    stdout: int | IO[bytes],
    stderr: int,
    inherited: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a process that no terminal and no process group of ours can signal."""
    return subprocess.Popen(
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        bufsize=0,
        pass_fds=inherited,
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )


# Files in the directory


@contextlib.contextmanager
def _locked_log(path: Path) -> Iterator[IO[bytes]]:
    """
    Open the log and with it lock the directory: two servers on the same data destroy it.

    nats-server itself does not check. The lock belongs to the open file, which the server
    inherits, so it ends with the server and with nothing else.
    """
    with open(path, "ab", buffering=0) as log:
        deadline = Deadline(_HANDOVER_TIMEOUT)
        while not _try_lock(log):
            if deadline.expired:
                raise ObjStoreError(
                    f"another server is running in {str(path.parent)!r}: "
                    "connect to it, stop it, or use another directory"
                )
            time.sleep(_POLL_INTERVAL)
        log.truncate(0)
        yield log


def _try_lock(file: IO[bytes]) -> bool:
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _remove_port_files(directory: Path, program: str) -> None:
    """Remove what killed servers have left: a new one may get the process id of an old one."""
    for path in directory.glob(f"{Path(program).name}_*.ports"):
        path.unlink(missing_ok=True)


def _quote(log_path: Path) -> str:
    """Return a clause with the end of the log, without what went well."""
    lines = log_path.read_bytes()[-_QUOTED_BYTES:].decode(errors="replace").splitlines()
    telling = [line for line in lines if "[INF]" not in line] or lines
    return "\n  ".join(["the end of its log:", *telling[-_QUOTED_LINES:]])
