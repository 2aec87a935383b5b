"""
From the name of a host to its addresses, within a deadline.

The system's own look-up cannot be interrupted and may take a minute, so it runs in a thread
of its own, which is left behind when the time is up.
"""

from __future__ import annotations

import itertools
import queue
import socket
import threading
from typing import Any

from objstore.core.deadline import Deadline

__all__ = ["resolve"]

_thread_numbers = itertools.count(1)


def resolve(host: str, port: int, deadline: Deadline) -> list[Any]:
    """
    Return what `socket.getaddrinfo` says.

    Raises:
        OSError: If the host is not known; TimeoutError if `deadline` passes first.
        UnicodeError: If it cannot be the name of a host.
    """
    try:
        return _look_up(host, port, socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass  # no address, but a name
    answers: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put(_look_up(host, port, 0))
        except Exception as error:  # raised again by who waits
            answers.put(error)

    name = f"objstore-resolver-{next(_thread_numbers)}"
    threading.Thread(target=run, name=name, daemon=True).start()
    for turn in deadline.turns():
        try:
            answer = answers.get(timeout=turn)
        except queue.Empty:
            continue
        if isinstance(answer, Exception):
            raise answer
        return answer
    raise TimeoutError(f"the address of {host} could not be learnt in time")


def _look_up(host: str, port: int, flags: int) -> list[Any]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
