"""What a process uses: CPU, memory, wake-ups; where it can be seen, system calls and copies."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = [
    "copied_bytes",
    "cpu_of",
    "cpu_of_machine",
    "forget_peak",
    "make_copy_counter",
    "own_usage",
    "system_calls",
]

_TICK = os.sysconf("SC_CLK_TCK")

#: Counts what goes through memcpy and memmove, small change apart.
_COPY_COUNTER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#define LEAST 1024
static unsigned long long copied;
unsigned long long objstore_copied(void) { return __atomic_load_n(&copied, __ATOMIC_RELAXED); }
typedef void *(*copy_t)(void *, const void *, size_t);
static copy_t real_copy;
void *memmove(void *to, const void *from, size_t size) {
    if (!real_copy) {
        /* The dynamic linker copies, too, before it can tell where the real one is. */
        static __thread int looking;
        if (looking) {
            char *t = to; const char *f = from;
            if (t < f) for (size_t i = 0; i < size; i++) ((volatile char *)t)[i] = f[i];
            else for (size_t i = size; i--;) ((volatile char *)t)[i] = f[i];
            return to;
        }
        looking = 1;
        real_copy = (copy_t)dlsym(RTLD_NEXT, "memmove");
        looking = 0;
    }
    if (size >= LEAST) __atomic_add_fetch(&copied, size, __ATOMIC_RELAXED);
    return real_copy(to, from, size);
}
void *memcpy(void *to, const void *from, size_t size) { return memmove(to, from, size); }
void *__memmove_chk(void *to, const void *from, size_t size, size_t room) {
    return memmove(to, from, size);
}
void *__memcpy_chk(void *to, const void *from, size_t size, size_t room) {
    return memmove(to, from, size);
}
"""


def cpu_of(pid: int) -> float:
    """Seconds of CPU that another process has used; 0 where that cannot be known."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICK


def cpu_of_machine() -> float:
    """Seconds of CPU that all of its programs have used; 0 where that cannot be known."""
    try:
        fields = Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    except OSError:
        return 0.0
    user, nice, system, _idle, _waiting, irq, softirq, stolen = map(int, fields)
    return (user + nice + system + irq + softirq + stolen) / _TICK


def own_usage() -> dict[str, float]:
    """Seconds of CPU, peak memory in MiB, and how often a thread of ours went to sleep."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "cpu": usage.ru_utime + usage.ru_stime,
        "memory": _peak() / (1 << 20),
        "wakeups": usage.ru_nvcsw,
    }


def forget_peak() -> None:
    """Let the peak of memory be what is used now, where that can be done."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    # What getrusage says is inherited from the process that started this one.
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text()
        if found := re.search(r"VmHWM:\s+(\d+) kB", status):
            return int(found[1]) << 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


@contextlib.contextmanager
def system_calls() -> Iterator[dict[str, float]]:
    """Count the system calls of this process, by name; nothing where there is no strace."""
    calls: dict[str, float] = {}
    if shutil.which("strace") is None:
        yield calls
        return
    command = ["strace", "-f", "-c", "-p", str(os.getpid())]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        strace.stderr.readline()  # it is attached
        try:
            yield calls
        finally:
            strace.send_signal(signal.SIGINT)
            table = strace.stderr.read()
        for line in table.splitlines():
            words = line.split()
            if len(words) > 4 and words[3].isdigit() and words[-1] != "total":
                calls[words[-1]] = int(words[3])


def make_copy_counter(directory: Path) -> Path | None:
    """
    Build the library that counts copies, for `LD_PRELOAD`.

    Returns:
        Where it is; None where there is no C compiler or no such library.
    """
    library = directory / "copies.so"
    if library.exists():
        return library
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    command = [compiler, "-shared", "-fPIC", "-O2", "-fno-builtin", "-x", "c", "-", "-o"]
    build = subprocess.run([*command, library, "-ldl"], input=_COPY_COUNTER, text=True, check=False)
    return library if build.returncode == 0 else None


def copied_bytes() -> int | None:
    """Bytes that were copied in this process so far; None where nobody counts."""
    if "LD_PRELOAD" not in os.environ:
        return None
    import ctypes

    counter = ctypes.CDLL(None).objstore_copied
    counter.restype = ctypes.c_ulonglong
    return int(counter())
