"""
Which objects of one chunk names led to lately: a guess, to ask for the chunk with the meta.

Both requests go out in one write. A guess that is right saves a round trip, and one that is
wrong costs a small answer, for the chunks of a version that was replaced are gone. Nothing
is believed of it: the leader's meta says which version is current, and the chunk is used
only if it is of that one.
"""

from __future__ import annotations

from objstore.models import DEFAULT_CHUNK_SIZE, ObjectInfo

__all__ = ["Recent"]

#: Names to remember: about a megabyte.
_MAX_NAMES = 4096


class Recent:
    """Ids by name. Safe to use from many threads, and after a fork: every step is one of dict."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}

    def note(self, info: ObjectInfo) -> None:
        """Remember what is stored under a name."""
        if info.chunks == 1 and info.size <= DEFAULT_CHUNK_SIZE and not info.is_link:
            if len(self._ids) >= _MAX_NAMES:
                self._ids.clear()
            self._ids[info.name] = info.nuid
        else:
            self.forget(info.name)

    def forget(self, name: str) -> None:
        """Have no guess for a name."""
        self._ids.pop(name, None)

    def guess(self, name: str) -> str | None:
        """Return the id of the object that a name may lead to; None without a guess."""
        return self._ids.get(name) if isinstance(name, str) else None
