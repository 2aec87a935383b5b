"""
The shell's door: `objstore COMMAND ...`, and how it ends.

Every error becomes one line on standard error and an exit code that scripts can tell
apart. The grammar is in `options`, the commands in `commands`, what they show in `output`.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Iterator, Sequence

from objstore.cli.commands import run
from objstore.cli.options import parse_arguments
from objstore.cli.output import LineFormatter, note, open_streams, settle_stdout
from objstore.errors import (
    AuthenticationError,
    BadObjectMetaError,
    BucketNotFoundError,
    ConnectError,
    ConnectionLostError,
    DigestMismatchError,
    InvalidURLError,
    NoRespondersError,
    ObjectChangedError,
    ObjectNotFoundError,
    ObjStoreError,
    OutcomeUnknownError,
    PreconditionFailedError,
    RequestTimeoutError,
    TLSNotOfferedError,
    TLSRequiredError,
    TruncatedObjectError,
)

__all__ = ["main"]

logger = logging.getLogger("objstore")

#: Exit codes of errors. The first row that fits counts; 1 is for all that fit in none.
_EXIT_CODES: tuple[tuple[int, tuple[type[Exception], ...]], ...] = (
    (3, (BucketNotFoundError,)),
    (4, (ObjectNotFoundError,)),
    (6, (PreconditionFailedError, FileExistsError)),
    (7, (DigestMismatchError, TruncatedObjectError)),
    # These look like what follows, and another try or another word would not help.
    (1, (AuthenticationError, TLSNotOfferedError, TLSRequiredError, BadObjectMetaError)),
    # Arguments that cannot be used, for one a name.
    (2, (InvalidURLError, ValueError)),
    (5, (ConnectError, ConnectionLostError, RequestTimeoutError, NoRespondersError)),
    (5, (ObjectChangedError, OutcomeUnknownError)),
)
#: What the library's errors call the cure, and how it is called here.
_OPTIONS = {
    "tls_cacert": "--tlsca",
    "tls_client_cert": "--tlscert",
    "tls_client_key": "--tlskey",
    "tls_first=True": "--tlsfirst",
}
_INTERRUPTED = 130
#: What a shell says of programs that a closed pipe has ended: 128 + SIGPIPE.
_CLOSED_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run a command.

    Args:
        argv: Words after the program's name; those of this process if None.

    Returns:
        The exit code.
    """
    open_streams()
    try:
        args = parse_arguments(argv)
    except SystemExit as end:
        return int(end.code or 0)
    with _logging(args), _termination_as_interrupt():
        try:
            code = run(args)
            sys.stdout.flush()
        except KeyboardInterrupt:
            return _INTERRUPTED
        except BrokenPipeError:
            return _CLOSED_PIPE
        except Exception as error:  # whatever it is: nobody at a shell wants a traceback
            logger.debug("this is where it happened:", exc_info=True)
            note(f"objstore: {_explain(error)}")
            return _exit_code(error)
        finally:
            settle_stdout()
    return code


def _exit_code(error: Exception) -> int:
    return next((code for code, types in _EXIT_CODES if isinstance(error, types)), 1)


def _explain(error: Exception) -> str:
    """Return an error as one line."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = ": ".join(str(part) for part in (error.filename, error.strerror) if part)
    elif not isinstance(error, (ObjStoreError, OSError, ValueError)):
        text = f"{type(error).__name__}: {error}"
    for keyword, option in _OPTIONS.items():
        text = text.replace(keyword, option)
    if isinstance(error, ConnectError) and "refused" in text:
        text += "; `objstore serve` starts a server, and --local DIR brings one"
    return " ".join(line.strip() for line in text.splitlines())


@contextlib.contextmanager
def _logging(args: argparse.Namespace) -> Iterator[None]:
    """Show warnings on standard error; all there is with -v, only errors with -q."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter("objstore: %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel("DEBUG" if args.verbose else "ERROR" if args.quiet else "WARNING")
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextlib.contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """
    Let SIGTERM do what SIGINT does, so that an upload is undone and a server stopped.

    SIGHUP, too: the terminal was closed. Who is not to end then, as with nohup, ignores it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # elsewhere signals cannot be set
        return
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    previous = {number: signal.getsignal(number) for number in numbers}
    try:
        for number, handler in previous.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, signal.default_int_handler)
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
