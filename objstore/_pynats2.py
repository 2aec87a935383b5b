"""
The one place that imports pynats2.

pynats2 0.9.0 asks `pkg_resources` for its own version, and the newest setuptools no
longer has that module. For the time of the import this room hands pynats2 a stand-in
that answers the one question; afterwards `sys.modules` is as it was. A pynats2 that
the program has imported already is used as it is.
"""

from __future__ import annotations

import sys
import types
from typing import Any

__all__ = [
    "NATSClient",
    "NATSConnectionError",
    "NATSError",
    "NATSInvalidSchemeError",
    "NATSInvalidUrlError",
    "NATSMessage",
    "NATSRequestTimeoutError",
    "NATSSubscription",
    "NATSTCPConnectionRequiredError",
    "NATSTLSConnectionRequiredError",
]


def _get_distribution(name: str) -> Any:
    # Imported only when asked: importlib.metadata costs more than all of pynats2.
    import importlib.metadata

    return importlib.metadata.distribution(name)


def _import_pynats2() -> None:
    if "pynats2" in sys.modules:
        return
    stand_in = types.ModuleType("pkg_resources")
    stand_in.get_distribution = _get_distribution  # type: ignore[attr-defined]
    original = sys.modules.get("pkg_resources")
    sys.modules["pkg_resources"] = stand_in
    try:
        import pynats2  # noqa: F401
    finally:
        if original is None:
            del sys.modules["pkg_resources"]
        else:
            sys.modules["pkg_resources"] = original


_import_pynats2()

from pynats2 import (  # noqa: E402
    NATSClient,
    NATSConnectionError,
    NATSError,
    NATSInvalidSchemeError,
    NATSInvalidUrlError,
    NATSMessage,
    NATSRequestTimeoutError,
    NATSSubscription,
    NATSTCPConnectionRequiredError,
    NATSTLSConnectionRequiredError,
)
