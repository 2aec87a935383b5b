"""How a command ends: exit codes, and one line for every error."""

from __future__ import annotations

import json
import logging
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

import objstore.cli
from objstore import errors
from objstore.cli import main
from objstore.client import Client
from objstore.server import LocalServer
from objstore.store import ObjectStore
from tests.cli.conftest import Result
from tests.fake_server import FakeConnection, FakeServer
from tests.raw_bucket import RawBucket, digest_of

Run = Callable[..., Result]

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


# Codes


CODES: dict[int, list[BaseException]] = {
    1: [
        errors.ObjStoreError("no server"),
        errors.AuthenticationError("refused"),
        errors.TLSRequiredError("TLS"),
        errors.TLSNotOfferedError("no TLS"),
        errors.PermissionsViolationError("denied", "subject"),
        errors.JetStreamError(500, 1, "no"),
        errors.BucketSealedError("b", "sealed"),
        errors.BucketFullError("b", "full"),
        errors.BadObjectMetaError("b", "n", "bad"),
        errors.LinkLoopError("b", "n", "loop"),
        FileNotFoundError(2, "No such file or directory", "f"),
        PermissionError(13, "Permission denied", "f"),
        RuntimeError("a defect"),
    ],
    2: [
        errors.InvalidURLError("url"),
        errors.InvalidNameError("name"),
        ValueError("chunk_size must be"),
    ],
    3: [errors.BucketNotFoundError("b", "missing")],
    4: [errors.ObjectNotFoundError("b", "n", "missing")],
    5: [
        errors.ConnectError("nobody there"),
        errors.ConnectionLostError("gone"),
        errors.RequestTimeoutError("slow"),
        errors.NoRespondersError("nobody"),
        errors.ObjectChangedError("b", "n", "changed"),
        errors.OutcomeUnknownError("b", "n", "nuid"),
    ],
    6: [
        errors.PreconditionFailedError("b", "n", "exists", 1),
        errors.ObjectAlreadyExistsError("b", "n", "exists"),
        errors.BucketExistsError("b", "exists"),
        FileExistsError("exists"),
    ],
    7: [
        errors.DigestMismatchError("b", "n", expected="x", actual="y"),
        errors.TruncatedObjectError("b", "n", 1, 2),
    ],
    130: [KeyboardInterrupt()],
    141: [BrokenPipeError()],
}


def fail(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let every command raise `error`."""

    def run(args: object) -> None:
        raise error

    monkeypatch.setattr(objstore.cli, "run", run)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        pytest.param(code, error, id=f"{code}-{type(error).__name__}")
        for code, raised in CODES.items()
        for error in raised
    ],
)
def test_exit_code(
    code: int, error: BaseException, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line for each error, none for an interrupt and a closed pipe."""
    fail(monkeypatch, error)
    result = run("ls")
    assert (result.code, result.out) == (code, b"")
    assert result.err.count("\n") == (1 if code < 130 else 0)
    assert not result.err or result.err.startswith("objstore: ")


@pytest.mark.parametrize("code", [0, *CODES])
def test_exit_code_is_in_the_reference(code: int) -> None:
    """The table there lists it."""
    assert f"\n| {code} | " in REFERENCE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FileNotFoundError(2, "No such file", "f\x1b"), r"f\x1b: No such file"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (FileExistsError("'f' exists"), "'f' exists"),
        (RuntimeError("a defect"), "RuntimeError: a defect"),
        (KeyError("k"), "KeyError: 'k'"),
        (
            errors.ObjStoreError("its log:\n  [ERR] port\n  taken\x1b"),
            r"its log: [ERR] port taken\x1b",
        ),
        (
            errors.ObjectNotFoundError("b", "n\x1b\n", "missing"),
            r"object 'n\x1b\n' in bucket 'b': missing",
        ),
    ],
)
def test_error_line(error: Exception, line: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads well, and is one line whatever is in it."""
    fail(monkeypatch, error)
    assert run("ls", "-q").err == f"objstore: {line}\n"


def test_verbose_shows_the_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the log, before the line."""
    fail(monkeypatch, RuntimeError("a defect"))
    lines = run("ls", "-v").err.splitlines()
    assert "Traceback (most recent call last):" in lines
    assert lines[-1] == "objstore: RuntimeError: a defect"


def test_help_and_usage(run: Run) -> None:
    """Help is data, and no error; wrong usage is one line."""
    result = run("--help")
    assert (result.code, result.err) == (0, "")
    assert b"store files" in result.out
    assert run("put", "--help").code == 0
    result = run("put")
    assert (result.code, result.out, result.err.count("\n")) == (2, b"", 1)


# The same from a server


@pytest.mark.parametrize("command", ["ls", "info", "put", "rm", "watch", "seal", "get", "cat"])
def test_missing_bucket(command: str, run: Run, bucket: str, directory: Path) -> None:
    """Code 3, of every command that needs one."""
    (directory / "f").write_bytes(b"")
    names = {"put": ["f"], "get": ["n"], "cat": ["n"]}.get(command, [])
    result = run(command, bucket, *names)
    assert (result.code, result.out) == (3, b"")
    assert result.err.startswith(f"objstore: bucket '{bucket}': it does not exist")


@pytest.mark.parametrize("command", ["info", "rm", "get", "cat"])
def test_missing_object(command: str, run: Run, store: ObjectStore, directory: Path) -> None:
    """Code 4, and no file."""
    line = f"objstore: object 'n' in bucket '{store.bucket}': it does not exist\n"
    assert run(command, store.bucket, "n") == (4, b"", line)
    assert list(directory.iterdir()) == []


def test_broken_object(run: Run, client: Client, store: ObjectStore) -> None:
    """Code 7, for a wrong digest and for missing bytes; the last bytes do not come."""
    raw = RawBucket(client._connection, store.bucket)
    raw.put_object("wrong", [b"x"], digest=digest_of(b"y"))
    raw.purge(raw.chunk_subject(raw.put_object("short", [b"x", b"y"])))
    for name in ("wrong", "short"):
        result = run("cat", store.bucket, name)
        assert (result.code, result.out) == (7, b"")


def test_nobody_listens(run: Run) -> None:
    """Code 5, and what to do: every newcomer meets this first."""
    with LocalServer() as server:
        url = server.url
    result = run("ls", "--server", url)
    assert (result.code, result.out, result.err.count("\n")) == (5, b"", 1)
    assert url in result.err
    assert "`objstore serve` starts a server" in result.err


@pytest.mark.slow
def test_no_answer_in_time(run: Run) -> None:
    """Code 5, after the seconds that were given."""

    def script(conn: FakeConnection) -> None:
        conn.handshake()

    with FakeServer(script) as server:
        result = run("info", "b", "--server", server.url, "--timeout", "200ms")
    assert (result.code, result.out, result.err.count("\n")) == (5, b"", 1)


def test_wrong_password(run: Run, make_server: Callable[..., LocalServer]) -> None:
    """Code 1, since another try would end the same way; the right one is part of the URL."""
    address = make_server("authorization { user: me, password: right }").url.partition("://")[2]
    result = run("ls", "--server", f"nats://me:wrong@{address}")
    assert (result.code, "wrong" in result.err) == (1, False)
    assert run("ls", "--server", f"nats://me:right@{address}").code == 0


def test_tls(run: Run, make_server: Callable[..., LocalServer], directory: Path) -> None:
    """A server is verified, by the authorities that are named; it may ask for a certificate."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path("ca.pem")
    for name in ("127.0.0.1", "client"):
        certificate = authority.issue_cert(name)
        certificate.private_key_pem.write_to_path(f"{name}.key")
        certificate.cert_chain_pems[0].write_to_path(f"{name}.pem")
    files = {"cert_file": "127.0.0.1.pem", "key_file": "127.0.0.1.key", "ca_file": "ca.pem"}
    lines = "\n".join(f'{key}: "{directory / file}"' for key, file in files.items())
    url = make_server(f"tls {{ {lines}\nverify: true }}").url.replace("nats://", "tls://")
    result = run("ls", "--server", url)
    assert result.code != 0
    assert "--tlsca" in result.err  # the cure as it is called here
    certificate_options = ["--tlscert", "client.pem", "--tlskey", "client.key"]
    assert run("ls", "--server", url, "--tlsca", "ca.pem", *certificate_options).code == 0


# What is left as it was


def test_signals_and_logging_are_as_before(run: Run) -> None:
    """A program may call `main` more than once."""
    logger = logging.getLogger("objstore")
    before = (signal.getsignal(signal.SIGTERM), logger.handlers[:], logger.level)
    run("version", "-v")
    assert (signal.getsignal(signal.SIGTERM), logger.handlers, logger.level) == before


def test_in_another_thread(run: Run) -> None:
    """Signals are for the main thread; elsewhere it works without."""
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(["version"])), daemon=True)
    thread.start()
    thread.join(10)
    assert codes == [0]


def test_warnings_of_the_library_are_shown(run: Run, client: Client, store: ObjectStore) -> None:
    """Without -v, too; not with -q."""
    RawBucket(client._connection, store.bucket).put_meta("bad", b"{")
    result = run("ls", store.bucket)
    assert (result.code, result.out) == (0, b"")
    assert result.err.startswith("objstore: skipped message ")
    assert run("ls", store.bucket, "-q").err == ""


# Contexts


def write_context(directory: Path, name: str, **fields: str) -> None:
    path = directory / "nats/context" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(fields))


def test_context_is_that_of_the_option_the_environment_or_the_tool(
    run: Run, server: LocalServer, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this order; each of the others would lead nowhere."""
    monkeypatch.delenv("NATS_URL")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(directory))
    write_context(directory, "good", url=server.url)
    write_context(directory, "bad", url="nats://127.0.0.1:1")
    (directory / "nats/context.txt").write_text("good")
    assert run("ls").code == 0
    (directory / "nats/context.txt").write_text("bad")
    assert run("ls").code == 5
    monkeypatch.setenv("NATS_CONTEXT", "good")
    assert run("ls").code == 0
    monkeypatch.setenv("NATS_CONTEXT", "bad")
    assert run("ls", "--context", "good").code == 0
    assert run("--context", "missing", "ls").code == 1


def test_credentials_have_to_be_there(run: Run) -> None:
    """The file is named in the error."""
    result = run("ls", "--creds", "missing.creds")
    assert result.code == 1 and "missing.creds" in result.err
    assert run("--local", "data", "--creds", "missing.creds", "ls").code == 2
