"""Floor 2: streams, messages and consumers of JetStream."""

from __future__ import annotations

__all__: list[str] = []
