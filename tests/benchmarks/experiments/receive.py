"""
Question: can the reader thread be woken up less often while many bytes are on their way
(`SO_RCVLOWAT`, `MSG_WAITALL`), and what is that worth, alone and beside a busy thread?

A process sends 512 MiB as fast as it can; a thread receives into 1 MiB and hashes.

Finding: alone, none of it matters. Whoever hashes is slower than who sends, so a full MiB is
there at each call anyway, and the thread hardly ever sleeps. Beside a busy thread every call
that gives the interpreter's lock away costs up to 5 ms, and `MSG_WAITALL`, which waits for all
of the buffer in one such call, is 1.7 times as fast as `poll` and `recv` (263 MB/s instead of
153); `SO_RCVLOWAT`, which still needs both, is no better. `MSG_WAITALL` needs a socket that
blocks, and the certainty that as many bytes are on their way.
"""

from __future__ import annotations

import hashlib
import resource
import select
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable

ROUNDS = 5
MIB = 1 << 20
SIZE = 512 * MIB
BUSY_SIZE = 32 * MIB

PEER = """
import socket, sys
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
data = bytes(1 << 17)
for _ in range(int(sys.argv[2]) // len(data)):
    sock.sendall(data)
"""

Receive = Callable[[socket.socket, memoryview], int]


def plain(sock: socket.socket, buffer: memoryview) -> int:
    """`poll`, then what is there."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    poll.poll()
    return sock.recv_into(buffer)


def blocking(sock: socket.socket, buffer: memoryview) -> int:
    """What is there, without `poll`."""
    return sock.recv_into(buffer)


def low_water(sock: socket.socket, buffer: memoryview) -> int:
    """`SO_RCVLOWAT` of half a MiB: `poll` returns when that much is there."""
    return plain(sock, buffer)


def wait_all(sock: socket.socket, buffer: memoryview) -> int:
    """`MSG_WAITALL`: all of the buffer in one call."""
    return sock.recv_into(buffer, len(buffer), socket.MSG_WAITALL)


def measure(receive: Receive, busy: bool) -> tuple[float, float, float, float]:
    """MB/s, CPU seconds per GB, calls and sleeps per MiB."""
    size = BUSY_SIZE if busy else SIZE
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        peer = subprocess.Popen([sys.executable, "-c", PEER, str(port), str(size)])
        sock, _ = server.accept()
    if receive is low_water:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, MIB // 2)
    done: list[bool] = []

    def compute() -> None:
        while not done:
            pass

    if busy:
        threading.Thread(target=compute).start()
    buffer, sha = memoryview(bytearray(MIB)), hashlib.sha256()
    calls = left = 0
    left = size
    sleeps = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    start, cpu = time.perf_counter(), time.process_time()
    while left:
        if left < MIB and receive is low_water:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        count = receive(sock, buffer[: min(MIB, left)])
        sha.update(buffer[:count])
        left -= count
        calls += 1
    start, cpu = time.perf_counter() - start, time.process_time() - cpu
    sleeps = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - sleeps
    done.append(True)
    peer.wait()
    sock.close()
    blocks = size / MIB
    return size / start / 1e6, cpu / size * 1e9, calls / blocks, sleeps / blocks


if __name__ == "__main__":
    samples: dict[str, list[tuple[float, ...]]] = {}
    for _ in range(ROUNDS):
        for busy in (False, True):
            for receive in (plain, blocking, low_water, wait_all):
                name = f"{receive.__name__}{', busy' if busy else ''}"
                samples.setdefault(name, []).append(measure(receive, busy))
    for name, values in samples.items():
        speed, cpu, calls, sleeps = (statistics.median(column) for column in zip(*values))
        print(
            f"{name:16} {speed:6.0f} MB/s, CPU {cpu:.2f} s/GB, "
            f"{calls:5.1f} calls and {sleeps:5.1f} sleeps per MiB"
        )
