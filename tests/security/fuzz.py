"""
Fuzzing that looks at which code an input reaches: `python -m tests.security.fuzz [SECONDS]`.

Every target runs in a process of its own, for an equal share of the time, and for ever on
what it has found: a failure is written to the current directory and ends the run. At the
end it says how many inputs there were, and by how much the memory has grown.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

__all__: list[str] = []

#: Seconds for all targets together.
DEFAULT_TIME = 600
#: Bytes of the longest input.
MAX_LENGTH = 4096
#: Seconds that one input may take.
PATIENCE = 5
#: Inputs between two looks at the memory; it is at home after the first.
INTERVAL = 20_000
#: MiB that the memory may grow, once the target is at home.
MAX_GROWTH = 16


def memory() -> float:
    """Return the MiB of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def fuzz(name: str, arguments: list[str]) -> None:
    """Fuzz one target. Does not return."""
    import atheris

    with atheris.instrument_imports(include=["objstore"]):
        from tests.security.targets import TARGETS

    target = TARGETS[name]
    count, at_home = 0, 0.0

    def run(data: bytes) -> None:
        nonlocal count, at_home
        target(data)
        count += 1
        if count % INTERVAL == 0:
            at_home = at_home or memory()
            print(f"MEMORY {count} {memory() - at_home:.1f}", file=sys.stderr, flush=True)

    atheris.Setup([sys.argv[0], *arguments], run)
    atheris.Fuzz()


def run_target(name: str, seconds: int) -> bool:
    """Fuzz one target in a process of its own; say what came of it."""
    from tests.security.targets import SEEDS

    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        for number, seed in enumerate(SEEDS[name]):
            (Path(directory) / f"seed-{number}").write_bytes(seed)
        options = {
            "max_total_time": seconds,
            "max_len": MAX_LENGTH,
            "timeout": PATIENCE,
            "print_final_stats": 1,
        }
        arguments = [f"-{key}={value}" for key, value in options.items()]
        command = [sys.executable, "-m", "tests.security.fuzz", "--target", name]
        result = subprocess.run(
            [*command, *arguments, directory], stderr=subprocess.PIPE, text=True, check=False
        )
    executed = re.search(r"number_of_executed_units:\s+(\d+)", result.stderr)
    growth = [float(text) for text in re.findall(r"^MEMORY \d+ (\S+)", result.stderr, re.MULTILINE)]
    grown = max(growth, default=0.0)
    good = result.returncode == 0 and executed is not None and grown <= MAX_GROWTH
    print(
        f"{name:8} {int(executed[1]) if executed else 0:>12,} inputs in {seconds} s, "
        f"memory grown by {grown:.1f} MiB: {'good' if good else 'BAD'}",
        flush=True,
    )
    if not good:
        print(result.stderr[-8000:])
    return good


def main(arguments: list[str]) -> int:
    """Fuzz everything."""
    if arguments[:1] == ["--target"]:
        fuzz(arguments[1], arguments[2:])
    from tests.security.targets import TARGETS

    seconds = int(arguments[0]) if arguments else DEFAULT_TIME
    results = [run_target(name, max(1, seconds // len(TARGETS))) for name in TARGETS]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
