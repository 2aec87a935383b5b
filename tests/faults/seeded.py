"""
Deliberate bugs, each of which the tests must catch: `python -m tests.faults.seeded`.

Each is a small change of a copy of the package, and the tests that are to fail then. Words
behind the command choose bugs by their titles. A bug that no longer applies is a failure
too: it has to be brought up to date with the code.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

__all__ = ["BUGS", "Bug", "apply", "catch", "failure_of", "main"]

ROOT = Path(__file__).parents[2]

#: Seconds for one test, and for all tests of a bug: to hang is to be caught.
TEST_TIMEOUT = 20
RUN_TIMEOUT = 120


class Bug(NamedTuple):
    """
    One deliberate bug.

    Attributes:
        path: The module that it is in.
        changes: What stands there, and what stands there instead; each exactly once.
        tests: What pytest is told to run.
    """

    title: str
    path: str
    changes: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]


BUGS = (
    Bug(
        "own chunks are purged on any error",
        "objstore/batch.py",
        (("if info.chunks and n not in stored\n", "if info.chunks\n"),),
        ("tests/test_commit.py",),
    ),
    Bug(
        "own chunks of a large object are purged on any error",
        "objstore/writer.py",
        (("            if not commit.may_be_stored:\n", "            if True:\n"),),
        ("tests/test_commit.py",),
    ),
    Bug(
        "the meta is published without a condition",
        "objstore/commit.py",
        (("conditions or {EXPECTED: str(self._previous.revision)}", "conditions or {}"),),
        ("tests/faults/test_judges.py",),
    ),
    Bug(
        "chunks may be stored in any order",
        "objstore/jetstream/publisher.py",
        (("if stream_seq <= self._last_seq:", "if False:"),),
        ("tests/jetstream/test_publisher.py", "tests/test_writer.py"),
    ),
    Bug(
        "a get ends when nothing comes for a moment",
        "objstore/chunks.py",
        (
            (
                "return self._pending == 0 or self._leader_message(deadline) is None",
                "return True",
            ),
            (
                "                message = self._ask_leader(deadline)\n",
                "                self._raise_missing(deadline)\n",
            ),
        ),
        ("tests/test_chunks.py",),
    ),
    Bug(
        "the digest is compared only by a read that returns nothing",
        "objstore/reader.py",
        (
            ("if position <= hashed < end:", "if position <= hashed <= end:"),
            (
                "            if end == self.info.size:\n",
                "            if end == self.info.size and not data:\n",
            ),
        ),
        ("tests/test_reader.py",),
    ),
    Bug(
        "the digest is not compared at all",
        "objstore/reader.py",
        (("if hasher.digest() != self._digest:", "if False:"),),
        ("tests/test_reader.py",),
    ),
    Bug(
        "the reader thread waits for a slow caller",
        "objstore/core/subscription.py",
        (
            (
                "queue.SimpleQueue[list[Message] | None] = queue.SimpleQueue()",
                "queue.Queue[list[Message] | None] = queue.Queue(2)",
            ),
        ),
        ("tests/core/test_dispatcher.py", "tests/test_reader.py"),
    ),
    Bug(
        "the end of a connection is not noticed",
        "objstore/core/dispatcher.py",
        (('return self._lost(link, "the server closed it")', "continue"),),
        ("tests/core/test_dispatcher.py",),
    ),
    Bug(
        "a wildcard is taken for an id",
        "objstore/naming.py",
        (
            (
                "return isinstance(text, str) and _NUID.fullmatch(text) is not None",
                "return isinstance(text, str) and bool(text)",
            ),
        ),
        ("tests/test_naming.py", "tests/interop/test_foreign_metas.py"),
    ),
    Bug(
        "a name is checked with a regular expression that ends in $",
        "objstore/naming.py",
        (
            (
                "_BUCKET.fullmatch(name) is not None",
                're.match(r"^[A-Za-z0-9_-]+$", name) is not None',
            ),
        ),
        ("tests/test_naming.py",),
    ),
    Bug(
        "the meta is published before every chunk is confirmed",
        "objstore/writer.py",
        (
            (
                "                    self._publisher.finish(self._deadline)\n",
                "                    pass\n",
            ),
        ),
        ("tests/test_writer.py",),
    ),
    Bug(
        "the chunks of a version that keeps its id are purged",
        "objstore/commit.py",
        (
            (
                "(nuid,) if nuid and nuid != self.info.nuid else ()",
                "(nuid,) if nuid else ()",
            ),
        ),
        ("tests/faults/test_points.py", "tests/test_store.py"),
    ),
    Bug(
        "what was replaced is not purged",
        "objstore/commit.py",
        (("for nuid in committed.replaced:", "for nuid in ():"),),
        ("tests/test_store.py", "-k", "overwriting"),
    ),
    Bug(
        "an unknown outcome is told as a failure",
        "objstore/commit.py",
        (
            (
                "                    raise self.unknown() from failure\n",
                "                    raise failure\n",
            ),
        ),
        ("tests/faults/test_points.py", "-k", "for_ever"),
    ),
    Bug(
        "a lost publish counts as overwritten by whoever was faster",
        "objstore/commit.py",
        (
            ("return False if message.headers", "return True if message.headers"),
            ("return one == self._message_id", "return True"),
        ),
        ("tests/test_commit.py",),
    ),
    Bug(
        "nobody tells which changes came before",
        "objstore/commit.py",
        (("        if self._previous.lineage:\n", "        if False:\n"),),
        ("tests/test_commit.py",),
    ),
    Bug(
        "a new chunk is stored whether or not the name is new",
        "objstore/at_once.py",
        (('{EXPECTED: "0", _EXPECTED_SUBJECT: meta_subject}', "{}"),),
        ("tests/test_at_once.py", "-k", "another_has_stored"),
    ),
    Bug(
        "a new meta does not look for its chunk",
        "objstore/at_once.py",
        (
            (
                "{EXPECTED: sequence, _EXPECTED_SUBJECT: chunk_subject, _EXPECTED_END: sequence}",
                "{EXPECTED: '0', _EXPECTED_END: sequence}",
            ),
        ),
        ("tests/test_at_once.py", "-k", "place_of_another"),
    ),
    Bug(
        "a new meta may be stored after somebody else's",
        "objstore/at_once.py",
        ((", _EXPECTED_END: sequence}", "}"),),
        ("tests/test_at_once.py", "-k", "between"),
    ),
    Bug(
        "a new meta is sent again before its chunk",
        "objstore/batch.py",
        (
            ("        self._unsure.clear()\n", ""),
            ("        unsure = left & self._unsure\n", "        unsure = set()\n"),
        ),
        ("tests/test_at_once.py",),
    ),
    Bug(
        "chunks are purged while some are on their way",
        "objstore/writer.py",
        (("publisher.settle(Deadline(deadline.at_most(_MAX_SETTLE) / 2))", "pass"),),
        ("tests/test_writer.py",),
    ),
    Bug(
        "a reader resumes one chunk too early",
        "objstore/chunks.py",
        (
            (
                "                self._next_seq = message.stream_seq + 1\n",
                "                self._next_seq = message.stream_seq\n",
            ),
        ),
        ("tests/test_chunks.py",),
    ),
    Bug(
        "a connection goes on after half a command",
        "objstore/core/connection.py",
        (("            self._drop(link, error)\n", ""),),
        ("tests/core/test_connection.py",),
    ),
    Bug(
        "requests in flight are not told that the connection is lost",
        "objstore/core/connection.py",
        (
            (
                "        for inbox in inboxes:\n            inbox.end(failure)\n",
                "",
            ),
        ),
        ("tests/core/test_dispatcher.py", "-k", "in_flight_fail_at_once"),
    ),
    Bug(
        "a forked child goes on with the connection of its parent",
        "objstore/core/connection.py",
        (("    os.register_at_fork(after_in_child=_reset_after_fork)", "    pass"),),
        ("tests/core/test_connection.py", "-k", "hild"),
    ),
    Bug(
        "deadlines follow the wall clock",
        "objstore/core/deadline.py",
        (
            (
                "None if self.timeout is None else time.monotonic() + self.timeout",
                "None if self.timeout is None else time.time() + self.timeout",
            ),
            (
                "None if self._at is None else max(0.0, self._at - time.monotonic())",
                "None if self._at is None else max(0.0, self._at - time.time())",
            ),
            (
                "min(seconds, max(0.0, self._at - time.monotonic()))",
                "min(seconds, max(0.0, self._at - time.time()))",
            ),
            (
                "self._at is not None and time.monotonic() >= self._at",
                "self._at is not None and time.time() >= self._at",
            ),
        ),
        ("tests/faults/test_process.py", "-k", "clock"),
    ),
    Bug(
        "a client is closed at exit, under those who use it",
        "objstore/client.py",
        (("        self._finalizer.atexit = False\n", ""),),
        ("tests/faults/test_process.py", "-k", "exit"),
    ),
    Bug(
        "the finalizer of a reader takes a lock",
        "objstore/core/connection.py",
        (
            (
                "        self._forgotten.append(inbox.key)\n",
                "        with self._lock:\n            self._forgotten.append(inbox.key)\n",
            ),
        ),
        ("tests/test_reader.py", "-k", "cycle"),
    ),
)


def apply(bug: Bug, root: Path) -> None:
    """
    Put a bug into the package below `root`.

    Raises:
        ValueError: If the code that it changes is not there, or there twice.
    """
    path = root / bug.path
    text = path.read_text(encoding="utf-8")
    for old, new in bug.changes:
        if text.count(old) != 1:
            raise ValueError(f"{bug.title}: {bug.path} has {text.count(old)} times {old!r}")
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def failure_of(root: Path, tests: Sequence[str]) -> str:
    """Run tests on the package below `root`; return what fails. To hang is to fail."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(root)}
    # What the run that we are in was told is not for those within it.
    for variable in ("OBJSTORE_TEST_FAULTS", "PYTEST_ADDOPTS"):
        environment.pop(variable, None)
    try:
        run = subprocess.run(
            [*command, "-o", f"timeout={TEST_TIMEOUT}", "-o", "timeout_method=thread", *tests],
            cwd=root,
            env=environment,
            capture_output=True,
            timeout=RUN_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "they hang"
    if run.returncode == 0:
        return ""
    text = (run.stdout + run.stderr).decode(errors="replace")
    for line in text.splitlines():
        if run.returncode == 1 and line.startswith(("FAILED ", "ERROR ")):
            return line
    if "Timeout" in text:
        return "one hangs"  # and was aborted, and all of pytest with it
    # No test failed: there are none, or they could not be run.
    raise RuntimeError(f"pytest ended with {run.returncode}:\n{text[-2000:]}")


def _copy(directory: Path) -> Path:
    for name in ("objstore", "tests"):
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "setup.cfg", directory)
    return directory


def catch(bug: Bug) -> str:
    """Return what fails because of a bug; nothing if it is not caught."""
    with tempfile.TemporaryDirectory() as directory:
        root = _copy(Path(directory))
        apply(bug, root)
        return failure_of(root, bug.tests)


def _choose(words: Iterable[str]) -> list[Bug]:
    words = list(words)
    return [bug for bug in BUGS if not words or any(word in bug.title for word in words)]


def main(words: Sequence[str]) -> int:
    """Try each bug; return how many were not caught."""
    bugs = _choose(words)
    with tempfile.TemporaryDirectory() as directory:
        root = _copy(Path(directory))
        # Tests that fail anyway catch nothing.
        for tests in dict.fromkeys(bug.tests for bug in bugs):
            if failure := failure_of(root, tests):
                print(f"without any bug: {failure}")
                return len(bugs)
    missed = 0
    with ThreadPoolExecutor(2) as workers:
        for bug, failure in zip(bugs, workers.map(catch, bugs)):
            print(
                f"{'caught' if failure else 'MISSED'}: {bug.title}\n    {failure:.150}", flush=True
            )
            missed += not failure
    print(f"{len(bugs) - missed} of {len(bugs)} caught")
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
