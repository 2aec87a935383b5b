"""
Question: what does a change of threads cost per answer, and which hand-over is cheapest?

One request for a meta after the other, over a plain socket: read by the thread that asks, or
by a reader thread that hands over by a lock, a SimpleQueue or an eventfd.

Finding (2 cores, shared): inline 40-55 us a request and 10-13 us of CPU; a reader thread 50-65
and 14-18, by a lock as by a SimpleQueue, with `poll` before `recv` or without. An eventfd
gains nothing. (A reader that spun while an answer was due took 75-85 us and 35 us of CPU: it
fights for the interpreter; not kept.) So the
change of threads costs about 10 us, and everything else was Python: that is where to save.
The same request as a direct get takes 10 us less, but a replica answers it, or a mirror.

Run: python -m tests.benchmarks.experiments.waking
"""

from __future__ import annotations

import _thread
import os
import queue
import resource
import select
import socket
import threading
import time
from collections.abc import Callable

import objstore

COUNT = 2000
Ask = Callable[[], object]


def connect(url: str) -> socket.socket:
    """Return a greeted socket with a subscription for answers."""
    host, _, port = url.rpartition("/")[2].rpartition(":")
    sock = socket.create_connection((host, int(port)))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(b'CONNECT {"verbose":false,"headers":true}\r\nSUB _I.x 1\r\nPING\r\n')
    received = b""
    while b"PONG" not in received:
        received += sock.recv(65536)
    time.sleep(0.1)  # the server says INFO again
    sock.recv(65536)
    return sock


def inline(sock: socket.socket, request: bytes, room: memoryview) -> Ask:
    def ask() -> None:
        sock.send(request)
        sock.recv_into(room)

    return ask


def threaded(
    sock: socket.socket, request: bytes, room: memoryview, *, wake: Ask, wait: Ask, poll: bool
) -> Ask:
    poller = select.poll()
    poller.register(sock, select.POLLIN)

    def read() -> None:
        while True:
            if poll:
                poller.poll()
            if not sock.recv_into(room):
                return
            wake()

    threading.Thread(target=read, daemon=True).start()

    def ask() -> None:
        sock.send(request)
        wait()

    return ask


def by_lock(sock: socket.socket, request: bytes, room: memoryview) -> Ask:
    lock = _thread.allocate_lock()
    lock.acquire()
    return threaded(sock, request, room, wake=lock.release, wait=lock.acquire, poll=False)


def by_polled_lock(sock: socket.socket, request: bytes, room: memoryview) -> Ask:
    lock = _thread.allocate_lock()
    lock.acquire()
    return threaded(sock, request, room, wake=lock.release, wait=lock.acquire, poll=True)


def by_queue(sock: socket.socket, request: bytes, room: memoryview) -> Ask:
    answers: queue.SimpleQueue[None] = queue.SimpleQueue()
    return threaded(
        sock,
        request,
        room,
        wake=lambda: answers.put(None),
        wait=lambda: answers.get(True, 30.0),
        poll=True,
    )


def by_eventfd(sock: socket.socket, request: bytes, room: memoryview) -> Ask:
    fd = os.eventfd(0)
    return threaded(
        sock,
        request,
        room,
        wake=lambda: os.eventfd_write(fd, 1),
        wait=lambda: os.eventfd_read(fd),
        poll=False,
    )


def measure(name: str, ask: Ask) -> None:
    for _ in range(200):
        ask()
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for _ in range(COUNT):
        ask()
    elapsed, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{name:16} {elapsed / COUNT * 1e6:6.1f} us, CPU {cpu / COUNT * 1e6:5.1f} us")


def main() -> None:
    with objstore.local() as client:
        store = client.create_object_store("b")
        subject = store._bucket.meta_subject(store.put("a", bytes(1024)).name)
        body = b'{"last_by_subj":"%s"}' % subject.encode()
        request = b"PUB $JS.API.STREAM.MSG.GET.OBJ_b _I.x %d\r\n%s\r\n" % (len(body), body)
        url = str(client._connection.options.servers[0])
        room = memoryview(bytearray(1 << 20))
        for _ in range(3):
            for make in (inline, by_lock, by_polled_lock, by_queue, by_eventfd):
                sock = connect(url)
                measure(make.__name__, make(sock, request, room))
                sock.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    main()
