"""LocalServer: it starts, it says why when it does not, and it goes when its owner goes."""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import objstore.server
from objstore.errors import ConnectError, ObjStoreError, RequestTimeoutError
from objstore.server import LocalServer, local
from tests.helpers import wait_until

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs signals and fork")

#: Seconds for another process to say or do something.
TIMEOUT = 20.0


def read_info(port: int) -> dict[str, Any]:
    """Return the INFO with which a server greets."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as connection,
        connection.makefile("rb") as lines,
    ):
        command, _, body = lines.readline().partition(b" ")
    assert command == b"INFO"
    info: dict[str, Any] = json.loads(body)
    return info


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT).close()
    except ConnectionError:
        return False
    return True


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory, in which temporary files are made."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setenv("TMPDIR", str(directory))
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


# Start


def test_is_ready_with_jetstream_on_loopback() -> None:
    """The server accepts connections on 127.0.0.1, and has JetStream."""
    with LocalServer() as server:
        info = read_info(server.port)
        assert server.url == f"nats://127.0.0.1:{server.port}"
        assert info["host"] == "127.0.0.1"
        assert info["jetstream"] is True
        assert repr(server).startswith("<LocalServer nats://127.0.0.1:")


def test_each_server_has_its_own_port_and_directory() -> None:
    """Two servers do not meet."""
    with LocalServer() as one, LocalServer() as two:
        assert one.port != two.port
        assert one.directory != two.directory


def test_given_directory_is_created_and_kept(tmp_path: Path) -> None:
    """A directory that was asked for survives, with the log in it."""
    directory = tmp_path / "a" / "b"
    with LocalServer(directory) as server:
        assert server.log_path == directory / "nats-server.log"
        assert "Server is ready" in server.log_path.read_text()
    assert (directory / "jetstream").is_dir()
    assert not list(directory.glob("*.ports"))


def test_given_relative_directory_and_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server can come back where it was."""
    monkeypatch.chdir(tmp_path)
    with LocalServer("data") as first:
        port = first.port
    with LocalServer("data", port) as second:
        assert second.port == port
        assert second.directory == tmp_path / "data"
        assert "Server is ready" in second.log_path.read_text()


def test_config_file_cannot_open_the_server_to_the_network(tmp_path: Path) -> None:
    """The configuration file is used, except for address, port and directory."""
    config = tmp_path / "nats-server.conf"
    config.write_text('listen: "0.0.0.0:4222"\nmax_payload: 65536\n')
    with LocalServer(config=config) as server:
        info = read_info(server.port)
        assert info["max_payload"] == 65536
        assert info["host"] == "127.0.0.1"


def test_ports_file_of_a_killed_server_is_not_believed(tmp_path: Path) -> None:
    """What a killed server left behind is removed before a new one starts."""
    old = tmp_path / "nats-server_1.ports"
    old.write_text('{"nats": ["nats://127.0.0.1:1"]}')
    with LocalServer(tmp_path) as server:
        assert not old.exists()
        assert is_listening(server.port)


# Failures to start


def test_port_in_use_quotes_the_log(server: LocalServer, temporary: Path) -> None:
    """The reason is in the error, and nothing is left."""
    with pytest.raises(ObjStoreError, match="address already in use") as caught:
        LocalServer(port=server.port)
    assert "stopped at once (exit status 1)" in str(caught.value)
    assert "[INF]" not in str(caught.value)
    assert not list(temporary.iterdir())


def test_bad_config_quotes_the_log(tmp_path: Path) -> None:
    """A mistake in the configuration file is shown."""
    config = tmp_path / "nats-server.conf"
    config.write_text("accounts {")
    with pytest.raises(ObjStoreError, match="Parse error"):
        LocalServer(config=config)


@posix_only
def test_second_server_on_one_directory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two servers on the same data would destroy it."""
    monkeypatch.setattr(objstore.server, "_HANDOVER_TIMEOUT", 0.0)
    with LocalServer(tmp_path) as first:
        with pytest.raises(ObjStoreError, match="another server is running in"):
            LocalServer(tmp_path)
        assert is_listening(first.port)
        assert "Server is ready" in first.log_path.read_text()
    LocalServer(tmp_path).stop()


@posix_only
@pytest.mark.slow
def test_program_that_is_never_ready_is_stopped(tmp_path: Path, temporary: Path) -> None:
    """The timeout ends the wait, and the program."""
    program = tmp_path / "nats-server"
    program.write_text("#!/bin/sh\necho busy $$\nexec sleep 1000\n")
    program.chmod(0o755)
    with pytest.raises(RequestTimeoutError, match=r"not ready within 0\.5 s") as caught:
        LocalServer(binary=program, timeout=0.5)
    pid = int(str(caught.value).rpartition("busy ")[2])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not list(temporary.iterdir())


# The program


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> str:
    """The nats-server of this run; `$PATH` and `$NATS_SERVER_BIN` do not lead to it."""
    program = objstore.server._find_program(None)
    monkeypatch.delenv("NATS_SERVER_BIN", raising=False)
    monkeypatch.setenv("PATH", "")
    return program


def forget_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    def distribution(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)


def test_program_is_found_in_an_environment_that_is_not_activated(program: str) -> None:
    """The distribution's own list of files is enough."""
    assert Path(objstore.server._find_program(None)).samefile(program)


def test_program_is_found_beside_the_scripts(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without that list, the scripts directory is looked at."""
    forget_distribution(monkeypatch)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: os.path.dirname(program))
    assert Path(objstore.server._find_program(None)).samefile(program)


def test_program_is_found_in_path(
    program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Last comes `$PATH`."""
    forget_distribution(monkeypatch)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("PATH", os.path.dirname(program))
    assert Path(objstore.server._find_program(None)).samefile(program)


def test_program_is_named_by_the_environment(
    program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`$NATS_SERVER_BIN` comes before everything that is installed."""
    copy = shutil.copy(program, tmp_path / "another-name")
    monkeypatch.setenv("NATS_SERVER_BIN", str(copy))
    assert objstore.server._find_program(None) == str(copy)
    with LocalServer() as server:
        assert is_listening(server.port)


def test_missing_program_says_what_to_install(
    program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One sentence, with the command."""
    forget_distribution(monkeypatch)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(ObjStoreError, match=r'pip install "nats-objstore\[server\]"'):
        LocalServer()


def test_named_program_that_does_not_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What was named is used or refused, never replaced by something else."""
    missing = str(tmp_path / "missing")
    with pytest.raises(ObjStoreError, match="missing' is not a program"):
        LocalServer(binary=missing)
    monkeypatch.setenv("NATS_SERVER_BIN", missing)
    with pytest.raises(ObjStoreError, match="missing', which NATS_SERVER_BIN names,"):
        LocalServer()


# Stop


def test_stop_leaves_nothing(temporary: Path) -> None:
    """No process, no zombie, no file; a second stop does nothing."""
    server = LocalServer()
    assert list(temporary.iterdir()) == [server.directory]
    server.stop()
    assert not is_listening(server.port)
    assert not list(temporary.iterdir())
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)
    server.stop()
    assert repr(server).endswith(", stopped>")


def test_exception_in_with_block_stops() -> None:
    """The end of the block is the end of the server, however it comes."""
    with pytest.raises(KeyError), LocalServer() as server:
        raise KeyError
    assert not is_listening(server.port)


def test_garbage_collection_stops() -> None:
    """Nobody can use a server that nobody refers to."""
    server = LocalServer()
    port = server.port
    del server
    gc.collect()
    assert not is_listening(port)


@posix_only
def test_server_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop does not wait for ever."""
    monkeypatch.setattr(objstore.server, "_STOP_TIMEOUT", 0.05)
    server = LocalServer()
    os.kill(server.pid, signal.SIGSTOP)
    server.stop()
    assert not is_listening(server.port)


@posix_only
def test_stop_after_the_server_has_died(temporary: Path) -> None:
    """A server that was killed is cleaned up all the same."""
    server = LocalServer()
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not is_listening(server.port))
    server.stop()
    assert not list(temporary.iterdir())


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_no_descriptor_leaks(server: LocalServer) -> None:
    """Neither a start that works nor one that fails keeps a descriptor open."""
    LocalServer().stop()
    before = os.listdir("/proc/self/fd")
    LocalServer().stop()
    with pytest.raises(ObjStoreError):
        LocalServer(port=server.port)
    assert os.listdir("/proc/self/fd") == before


# The end of the owner


class Owner:
    """A Python process that owns a LocalServer, runs some lines and then reads its input."""

    def __init__(self, lines: str = "") -> None:
        script = "\n".join(
            [
                "import os, signal, sys",
                # Whoever runs the tests may ignore it, and children inherit that.
                "if hasattr(signal, 'SIGHUP'): signal.signal(signal.SIGHUP, signal.SIG_DFL)",
                "from objstore.server import LocalServer",
                "server = LocalServer()",
                "print(server.port, server.directory, flush=True)",
                lines,
                "sys.stdin.read()",
            ]
        )
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            cwd=Path(objstore.server.__file__).parents[1],
        )
        port, _, directory = self.read_line().partition(" ")
        self.port = int(port)
        self.directory = Path(directory)

    def read_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def finish(self) -> str:
        """Wait for the end, and return what was written to standard error."""
        return self.process.communicate(timeout=TIMEOUT)[1]

    def server_is_gone(self) -> bool:
        return not is_listening(self.port) and not self.directory.exists()


@contextlib.contextmanager
def owner(lines: str = "") -> Iterator[Owner]:
    owner = Owner(lines)
    try:
        yield owner
    finally:
        owner.process.kill()
        owner.process.communicate(timeout=TIMEOUT)
        wait_until(owner.server_is_gone)


def test_interpreter_exit_stops() -> None:
    """A script that forgets its server leaves nothing."""
    with owner() as it:
        assert it.finish() == ""
        assert it.process.returncode == 0
        assert it.server_is_gone()


def test_unhandled_exception_stops() -> None:
    """A script that fails leaves nothing."""
    with owner("raise ValueError('on purpose')") as it:
        assert "on purpose" in it.finish()
        assert it.server_is_gone()


@posix_only
@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL", "SIGHUP"])
def test_signal_to_the_owner_stops(end: str) -> None:
    """No code of ours runs in the owner; the guard sees to it."""
    with owner() as it:
        assert is_listening(it.port)
        it.process.send_signal(signal.Signals[end])
        it.process.wait(TIMEOUT)
        wait_until(it.server_is_gone)


def test_abrupt_exit_stops() -> None:
    """`os._exit` skips every cleanup in the owner."""
    with owner("os._exit(3)") as it:
        assert it.process.wait(TIMEOUT) == 3
        wait_until(it.server_is_gone)


@posix_only
def test_interrupt_from_the_terminal_does_not_reach_the_server() -> None:
    """The owner decides what an interrupt means for its server."""
    lines = """
try:
    print("waiting", flush=True)
    sys.stdin.readline()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    with owner(lines) as it:
        assert it.read_line() == "waiting"
        os.killpg(it.process.pid, signal.SIGINT)
        assert it.read_line() == "interrupted"
        assert is_listening(it.port)


@posix_only
def test_end_of_a_forked_process_does_not_stop() -> None:
    """Neither its exit nor its `stop()` touch what belongs to the parent."""
    lines = """
child = os.fork()
if child == 0:
    server.stop()
    del server
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
    with owner(lines) as it:
        assert it.read_line() == "7"
        assert is_listening(it.port)
        assert it.finish() == ""
        assert it.server_is_gone()


@posix_only
def test_forked_process_does_not_keep_the_server_of_a_killed_owner() -> None:
    """The guard waits for the owner alone."""
    lines = """
if os.fork() == 0:
    print("forked", flush=True)
    os.read(0, 1)
    os._exit(0)
"""
    with owner(lines) as it:
        assert it.read_line() == "forked"
        it.process.kill()
        it.process.wait(TIMEOUT)
        wait_until(it.server_is_gone)


# local()


def test_local_returns_a_connected_client() -> None:
    """Closing the client stops the server."""
    with local() as client:
        store = client.create_object_store("photos")
        store.put("a", b"1")
        assert store.get_bytes("a") == b"1"
        port = client.server_info["port"]
        assert is_listening(port)
    assert not is_listening(port)


def test_local_client_that_nobody_holds_stops_the_server() -> None:
    """It was the only one who knew of the server."""
    client = local()
    port = client.server_info["port"]
    del client
    gc.collect()
    assert not is_listening(port)


def test_script_that_forgets_its_local_client_ends() -> None:
    """It ends at once, in silence, and its server with it."""
    lines = """
client = objstore.local()
client.create_object_store("photos").put("a", b"1")
print(client.server_info["port"], flush=True)
"""
    with owner("import objstore" + lines) as it:
        port = int(it.read_line())
        assert is_listening(port)
        assert it.finish() == ""
        assert it.process.returncode == 0
        assert not is_listening(port)


def test_local_keeps_a_given_directory(tmp_path: Path) -> None:
    """What was stored is there the next time."""
    with local(tmp_path) as client:
        client.create_object_store("photos").put("a", b"1")
    with local(tmp_path) as client:
        assert client.object_store("photos").get_bytes("a") == b"1"


def test_local_stops_the_server_if_the_client_cannot_connect(
    tmp_path: Path, temporary: Path
) -> None:
    """A failure leaves nothing."""
    config = tmp_path / "nats-server.conf"
    config.write_text("authorization { token: secret }\n")
    with pytest.raises(ConnectError):
        local(config=config)
    assert not list(temporary.iterdir())
    with local(config=config, token="secret") as client:
        assert list(client.object_store_names()) == []
