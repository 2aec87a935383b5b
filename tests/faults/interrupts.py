"""
Interrupts at random moments: `python -m tests.faults.interrupts URL BUCKET ROUNDS SEED SIGNAL`.

Puts and gets in turn, each with a signal (SIGINT or SIGALRM, whose handler raises) that
comes somewhere within it or a little later. After each the next operation must work, on
the same client. Prints how many were interrupted, how many not, and the longest time from
a signal to the end of the call.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from typing import Any, NoReturn

import objstore
from tests.helpers import pattern

__all__: list[str] = []

SIZE = 2_000_000


class _AlarmError(Exception):
    """What a handler raises."""


def _raise(*_: Any) -> NoReturn:
    raise _AlarmError


class _Signal:
    """Sends a signal a while after `begin`; `wait` waits until it has come."""

    def __init__(self, number: int, delay: float) -> None:
        self._number = number
        self._delay = delay
        self.sent_at = 0.0
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def begin(self) -> None:
        self._begun.set()

    def _send(self) -> None:
        self._begun.wait()
        time.sleep(self._delay)  # the moment is to be a random one
        self.sent_at = time.monotonic()
        os.kill(os.getpid(), self._number)

    def wait(self) -> None:
        self._thread.join()
        time.sleep(0.001)  # for the handler


def _main(url: str, bucket: str, rounds: str, seed: str, name: str) -> None:
    number = signal.Signals[name]
    signal.signal(signal.SIGALRM, _raise)
    rng = random.Random(seed)
    data = [pattern(SIZE), pattern(SIZE + 1)]
    result = {"interrupted": 0, "done": 0, "longest": 0.0}
    with objstore.connect(url) as client:
        store = client.object_store(bucket)
        store.put("n", data[0])
        typical = {}
        for operation in ("put", "get"):
            began = time.monotonic()
            store.put("n", data[0]) if operation == "put" else store.get_bytes("n")
            typical[operation] = time.monotonic() - began
        for turn in range(int(rounds)):
            operation = ("put", "get")[turn % 2]
            sent = _Signal(number, rng.uniform(0, 1.2) * typical[operation])
            try:
                try:
                    sent.begin()
                    if operation == "put":
                        store.put("n", data[turn // 2 % 2])
                    else:
                        assert store.get_bytes("n") in data
                finally:
                    ended = time.monotonic()
                sent.wait()
                result["done"] += 1
            except (KeyboardInterrupt, _AlarmError):
                if sent.sent_at:
                    result["longest"] = max(result["longest"], ended - sent.sent_at)
                result["interrupted"] += 1
            assert store.get_bytes("n", timeout=10) in data
            store.put("after", str(turn).encode(), timeout=10)
    print(json.dumps(result))


if __name__ == "__main__":
    _main(*sys.argv[1:])
