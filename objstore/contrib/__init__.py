"""
Doors for other libraries: one module each, imported only by who asks for it.

None of them is imported by the package itself, and each says what to install.
"""

from __future__ import annotations

__all__: list[str] = []
