"""The loop of a peer that is written in Python."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from typing import Any

__all__ = ["serve"]


async def serve(peer: Any) -> None:
    """Do what the lines on standard input say, with the methods of `peer`, until they end."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        arguments = json.loads(line)
        operation = arguments.pop("do")
        try:
            method = getattr(peer, operation, None)
            if method is None:
                raise NotImplementedError(f"there is no {operation}")
            answer = method(**arguments)
            reply = {"answer": await answer if inspect.isawaitable(answer) else answer}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"[:500]}
        print(json.dumps(reply), flush=True)
