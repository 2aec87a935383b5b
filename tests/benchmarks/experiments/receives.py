"""
Question: would SO_RCVLOWAT, or receiving into the caller's buffer, save wake-ups in a large get?

Finding: there are few to save. The reader thread receives 500-550 KiB at a time (256 MiB in 475
to 511 receives), and a get costs 0.78-0.88 CPU s/GB, 0.56 of it for the digest. A low-water
mark would hold back everybody else's messages for that, so there is none.

Run: python -m tests.benchmarks.experiments.receives
"""

from __future__ import annotations

import time
from typing import Any

import objstore

SIZE = 256 << 20


def main() -> None:
    with objstore.local() as client:
        store = client.create_object_store("b")
        store.put("a", bytes(SIZE))
        transport: Any = client._connection._link.transport  # type: ignore[union-attr]
        receive, counts = transport.receive, []

        def counting(room: memoryview, timeout: float | None) -> int | None:
            count: int | None = receive(room, timeout)
            counts.append(count or 0)
            return count

        transport.receive = counting
        block = bytearray(1 << 20)
        cpu, start = time.process_time(), time.perf_counter()
        with store.get("a") as reader:
            while reader.readinto(block):
                pass
        elapsed, cpu = time.perf_counter() - start, time.process_time() - cpu
        print(f"{SIZE / elapsed / 1e6:.0f} MB/s, {cpu / SIZE * 1e9:.2f} CPU s/GB")
        print(f"{len(counts)} receives of {sum(counts) / len(counts) / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
