"""The version, in one place: packaging reads it, and servers are told it."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
