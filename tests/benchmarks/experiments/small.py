"""
Question: where does the CPU of a small operation go?

Counts the Python functions that an operation calls, in the caller's thread and in the reader
thread; they do not drift with the machine. Then it profiles the caller's thread.

Finding: no function stands out; it is the sum of many small ones that made an info of 108 + 23
calls cost 100 us of CPU, a get of 1 KiB (239 + 48) 172 and a put (320 + 59) 288, where a bare
socket needs 20 for an info. A way of their own for small objects brought that to 82 + 17 calls
and 84 us, 85 + 22 and 102, 196 + 40 and 205. The hand-over between the threads is not to blame:
see `handover`.
"""

from __future__ import annotations

import cProfile
import itertools
import pstats
import sys
import threading
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

import objstore

OPERATIONS = 500
SHOWN = 12


def count(operation: Callable[[], object]) -> Counter[str]:
    """Python functions that are called by one operation, by thread."""
    calls: Counter[str] = Counter()

    def called(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            calls[threading.current_thread().name.rstrip("-0123456789")] += 1

    # The reader thread was there before: it takes the function from here at its next call.
    threading.setprofile(called)
    with objstore.connect(server.url) as other:
        store = other.object_store("b")
        run = bind(operation, store)
        run()
        sys.setprofile(called)
        calls.clear()
        for _ in range(OPERATIONS):
            run()
        sys.setprofile(None)
    threading.setprofile(None)
    return calls


def bind(operation: Callable[..., object], store: Any) -> Callable[[], object]:
    return lambda: operation(store)


if __name__ == "__main__":
    names = (f"new-{number}" for number in itertools.count())
    operations: dict[str, Callable[..., object]] = {
        "info": lambda store: store.get_info("a"),
        "get 1 KiB": lambda store: store.get_bytes("a"),
        "put 1 KiB": lambda store: store.put(next(names), bytes(1024)),
    }
    with objstore.LocalServer() as server, objstore.connect(server.url) as client:
        store = client.create_object_store("b")
        store.put("a", bytes(1024))
        for title, operation in operations.items():
            calls = count(operation)
            words = ", ".join(f"{n / OPERATIONS:.0f} in {name}" for name, n in calls.items())
            print(f"{title}: Python functions called: {words}")
            profile = cProfile.Profile()
            with profile:
                for _ in range(OPERATIONS):
                    operation(store)
            pstats.Stats(profile).sort_stats("tottime").print_stats(SHOWN)
