"""The command as a process: pipes, signals, and servers that start and stop with it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import objstore
from objstore.client import Client
from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.cli.conftest import TIMEOUT, Result
from tests.helpers import pattern, wait_until
from tests.raw_bucket import RawBucket

Spawn = Callable[..., Result]
Start = Callable[..., "subprocess.Popen[bytes]"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="needs signals"),
]

#: Longer than what pipes and buffers hold, and no multiple of anything.
DATA_SIZE = 5_000_011


def read_line(process: subprocess.Popen[bytes], stream: str = "stdout") -> str:
    """Return the next line that a process writes."""
    pipe = getattr(process, stream)
    assert pipe is not None
    return str(pipe.readline().decode())


# Pipes


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_binary_data_in_and_out(
    unbuffered: str,
    spawn: Spawn,
    store: ObjectStore,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From a file and to a file, byte for byte; also where Python's streams have no buffers."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    (directory / "in").write_bytes(pattern(DATA_SIZE))
    with open("in", "rb") as source:
        result = spawn("put", store.bucket, "-", "--name", "x", "-q", stdin=source)
    assert result == (0, b"", "")
    with open("out", "wb") as target:
        result = spawn("get", store.bucket, "x", "-O", "-", "-q", stdout=target)
    assert result == (0, b"", "")
    assert (directory / "out").read_bytes() == pattern(DATA_SIZE)


def test_pipe_in(start: Start, store: ObjectStore) -> None:
    """What another program writes, of a length that nobody knows."""
    process = start("put", store.bucket, "-", "--name", "x", "--json")
    out, err = process.communicate(pattern(DATA_SIZE), timeout=TIMEOUT)
    assert (process.returncode, err) == (0, b"")
    assert json.loads(out)["size"] == DATA_SIZE
    assert store["x"] == pattern(DATA_SIZE)


def test_pipe_that_is_closed(start: Start, store: ObjectStore) -> None:
    """`objstore cat … | head` is no reason to complain."""
    store.put("x", pattern(DATA_SIZE))
    process = start("cat", store.bucket, "x")
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.read(10) == pattern(DATA_SIZE)[:10]
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(TIMEOUT) == 141


def test_pipe_that_is_closed_before_the_end(start: Start, store: ObjectStore) -> None:
    """The few lines that wait in a buffer fail at the very end, just as quietly."""
    store.put("x", b"")
    process = start("watch", store.bucket, "--count", "1", "--updates-only")
    assert process.stdout is not None and process.stderr is not None
    assert read_line(process, "stderr") == f"{store.bucket}: watching\n"
    process.stdout.close()
    store.put("x", b"")
    assert process.stderr.read() == b""
    assert process.wait(TIMEOUT) == 141


BAD = Result(1, b"", "objstore: Bad file descriptor\n")


@pytest.mark.parametrize(
    ("command", "closed", "result"),
    [
        ("version", [1], BAD),
        ("cat BUCKET x", [1], BAD),
        ("put BUCKET - --name x -f", [0], BAD),
        ("seal BUCKET", [0], (2, b"", "objstore: bucket 'BUCKET' was not sealed; …\n")),
        ("cat BUCKET x", [2], (0, b"old", "")),
        ("cat BUCKET missing", [2], (4, b"", "")),
        ("put BUCKET missing", [0, 1, 2], (1, b"", "")),
    ],
)
def test_stream_that_was_never_open(
    command: str, closed: list[int], result: Result, spawn: Spawn, store: ObjectStore
) -> None:
    """No traceback, nothing on another stream, and nothing changes."""
    store.put("x", b"old")
    words = command.replace("BUCKET", store.bucket).split()
    code, out, err = spawn(*words, preexec_fn=lambda: [os.close(stream) for stream in closed])
    err = err.replace(store.bucket, "BUCKET").replace("-f seals without asking", "…")
    assert (code, out, err) == result
    assert dict(store.mapping()) == {"x": b"old"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("command", ["cat", "info"])
def test_output_that_is_full(command: str, spawn: Spawn, store: ObjectStore) -> None:
    """One line, once, whenever it shows."""
    store.put("x", b"x")
    with open("/dev/full", "wb") as full:
        result = spawn(command, store.bucket, "x", stdout=full)
    assert result == (1, b"", "objstore: No space left on device\n")


def test_question_without_a_terminal(spawn: Spawn, store: ObjectStore, directory: Path) -> None:
    """Nothing waits for an answer."""
    store.put("x", b"old")
    (directory / "x").write_bytes(b"new")
    assert spawn("put", store.bucket, "x").code == 6
    assert spawn("rm", store.bucket).code == 2
    assert store["x"] == b"old"


# Signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watch_until_interrupted(number: int, start: Start, store: ObjectStore) -> None:
    """Each line comes at once; an interrupt ends it without a word."""
    store.put("before", b"")
    process = start("watch", store.bucket, "--updates-only", "--json")
    assert read_line(process, "stderr") == f"{store.bucket}: watching\n"
    store.put("after", b"x")
    assert json.loads(read_line(process))["name"] == "after"
    process.send_signal(number)
    out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, out, err) == (130, b"", b"")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_put_that_is_interrupted(
    number: int, start: Start, client: Client, store: ObjectStore
) -> None:
    """Nothing of it is left."""
    raw = RawBucket(client._connection, store.bucket)
    # As in a terminal, whatever the tests themselves were started by.
    options = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)}
    process = start("put", store.bucket, "-", "--name", "x", **options)
    assert process.stdin is not None
    process.stdin.write(pattern(DATA_SIZE))
    process.stdin.flush()
    # When all blocks of 1 MiB but the last are there, it waits for more.
    wait_until(lambda: sum(raw.chunks.values()) == DATA_SIZE // (1 << 20) * 8)
    process.send_signal(number)
    # communicate() would close the pipe first, and so complete the object.
    assert process.wait(TIMEOUT) == 130
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert list(store) == []
    assert raw.chunks == {}


# Servers


def is_listening(url: str) -> bool:
    host, _, port = url.partition("://")[2].partition(":")
    with contextlib.suppress(ConnectionError):
        socket.create_connection((host, int(port)), timeout=TIMEOUT).close()
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve(number: int, start: Start, directory: Path) -> None:
    """It prints what a shell needs, serves, and takes the server with it."""
    process = start("serve", "--port", "0", "--dir", "data")
    line = read_line(process).rstrip()
    assert line.startswith("export NATS_URL=nats://127.0.0.1:")
    url = line.partition("=")[2]
    with objstore.connect(url) as client:
        client.create_object_store("kept")
    process.send_signal(number)
    out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, out, err) == (0, b"", b"")
    assert not is_listening(url)
    # The directory is free at once, and what was stored is there.
    with objstore.local(directory / "data") as client:
        assert list(client.object_store_names()) == ["kept"]


def test_serve_without_a_directory(start: Start) -> None:
    """It says that nothing is kept."""
    process = start("serve", "--port", "0", "--json")
    answer = json.loads(read_line(process))
    assert "--dir DIR" in read_line(process, "stderr")
    assert Path(answer["dir"]).is_dir()
    process.terminate()
    assert process.wait(TIMEOUT) == 0
    assert not is_listening(answer["url"])
    assert not Path(answer["dir"]).exists()


def test_serve_on_a_port_that_is_taken(spawn: Spawn) -> None:
    """One line with the reason, from the server's log."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        result = spawn("serve", "--port", str(port), "--dir", "data")
    assert (result.code, result.out, result.err.count("\n")) == (1, b"", 1)
    assert "address already in use" in result.err


def test_local_keeps_the_data(spawn: Spawn, directory: Path) -> None:
    """Each command has a server for itself, on the same directory."""
    (directory / "in").write_bytes(pattern(DATA_SIZE))
    local = ["--local", "./data"]
    assert spawn(*local, "put", "photos", "in", "--create", "--name", "x").code == 0
    assert spawn("ls", "photos", "-n", *local).lines == ["x"]
    assert spawn(*local, "get", "photos", "x", "-O", "out").code == 0
    assert (directory / "out").read_bytes() == pattern(DATA_SIZE)


def test_local_while_another_runs(spawn: Spawn, directory: Path) -> None:
    """Two servers on one directory would destroy it."""
    with LocalServer(directory / "data"):
        result = spawn("--local", "./data", "ls")
    assert (result.code, result.err.count("\n")) == (1, 1)
    assert "another server is running" in result.err
