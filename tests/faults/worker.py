"""
A client in a process of its own: `python -m tests.faults.worker URL BUCKET OPERATION ...`.

Says "ready" when it is connected, waits for a line, does the operation and says how it
went, as JSON; then tries whether the client still works. On SIGUSR1 it forks: the child
uses the same store and ends without a word of goodbye.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import objstore
from tests.faults.operations import BY_KEY

__all__: list[str] = []


def _main(url: str, bucket: str, key: str, directory: str, timeout: str) -> None:
    children: list[int] = []
    with objstore.connect(url, ping_interval=0.5) as client:
        store = client.object_store(bucket)

        def fork(*_: Any) -> None:
            pid = os.fork()
            if pid:
                children.append(pid)
                return
            status = 1
            try:
                # A name of its own: the parent may be writing the other.
                store.put(f"child-{os.getpid()}", b"child", timeout=10)
                store.delete(f"child-{os.getpid()}", purge=True, timeout=10)
                status = 0
            finally:
                os._exit(status)

        signal.signal(signal.SIGUSR1, fork)
        print("ready", flush=True)
        sys.stdin.readline()
        answer: dict[str, Any] = {"seen": {}, "error": "", "kind": ""}
        try:
            try:
                answer["seen"] = BY_KEY[key].run(client, store, Path(directory), float(timeout))
            finally:
                # One that comes later interrupts nothing that is looked at.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                answer["ended"] = time.monotonic()
        except (objstore.ObjStoreError, KeyboardInterrupt) as error:
            answer["error"], answer["kind"] = repr(error), type(error).__name__
        answer["children"] = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
        store.put("probe", b"probe", timeout=10)
        answer["probe"] = store.get_bytes("probe", timeout=10) == b"probe"
        store.delete("probe", purge=True, timeout=10)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
