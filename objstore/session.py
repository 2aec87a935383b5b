"""
What has been seen of a bucket: later answers may not be older.

A leader that was paused and goes on may not know yet that it is none any more, and answers
with what it knew. Which answers are too old can be told from the sequences of those before.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

__all__ = ["Session"]

#: Names that are remembered, the last ones of which something was learnt: 1 MiB or two.
_REMEMBERED = 8192


class _Seen(NamedTuple):
    """What the next answer about a subject has to be."""

    least: int  # sequence of its last message, at the least
    may_be_gone: bool  # or that there is none


class Session:
    """
    The versions that were seen of each name, by the subject of its meta. For many threads.

    Args:
        remembered: Number of subjects to remember; 0 where answers cannot be old.

    Attributes:
        newest: Sequence of the newest meta of all that were seen.
    """

    def __init__(self, remembered: int = _REMEMBERED) -> None:
        self._remembered = remembered
        # Guards _seen and newest. Held for dict work only.
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self.newest = 0

    def is_old(self, subject: str, stream_seq: int) -> bool:
        """Whether an answer is older than what was seen; sequence 0 means that there is none."""
        seen = self._seen.get(subject)
        if seen is None:
            return False
        return stream_seq < seen.least and not (stream_seq == 0 and seen.may_be_gone)

    def saw(self, subject: str, stream_seq: int, *, listed: bool = False) -> None:
        """
        Note that there is a message.

        Args:
            listed: Among many others: they do not push out what was seen by itself.
        """
        if self._remembered:
            self._note(subject, _Seen(stream_seq, False), stream_seq, listed)

    def saw_go(self, subject: str, stream_seq: int) -> None:
        """Note that a message was removed, and what stood before it with it."""
        if self._remembered:
            self._note(subject, _Seen(stream_seq + 1, True), stream_seq, False)

    def _note(self, subject: str, seen: _Seen, stream_seq: int, listed: bool) -> None:
        with self._lock:
            self.newest = max(self.newest, stream_seq)
            before = self._seen.get(subject)
            if before is None and listed and len(self._seen) == self._remembered:
                return
            if before is None or before.least < seen.least or before == (seen.least, True):
                self._seen[subject] = seen
            self._seen.move_to_end(subject, last=not listed)
            if len(self._seen) > self._remembered:
                self._seen.popitem(last=False)
