"""Floor 1: one connection to a NATS server, from bytes to queues of messages."""

from __future__ import annotations

__all__: list[str] = []
