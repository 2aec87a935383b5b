"""
What was true of a bucket lately: guesses that save a round trip where they are right.

Which objects of one chunk names led to, to ask for the chunk together with the meta. Both
requests go out in one write, and a guess that is wrong costs a small answer, for the chunks
of a version that was replaced are gone.

And where the stream ends, to store chunk and meta together. A guess that is wrong costs a
round trip, so that the next ones wait where somebody else writes, too.

Nothing is believed of a guess: the server says whether it is right.
"""

from __future__ import annotations

from objstore.models import DEFAULT_CHUNK_SIZE, ObjectInfo

__all__ = ["Recent"]

#: Names to remember: about a megabyte.
_MAX_NAMES = 4096
#: Puts that wait after a wrong guess of the stream's end: twice as many after each, so many
#: at the most.
_FIRST_PAUSE = 4
_MAX_PAUSE = 256


class Recent:
    """
    Guesses, for many threads, and after a fork.

    There is no lock: the ids are a dict, and of the numbers one that is lost makes a guess
    wrong, no more.
    """

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}
        self._end = 0
        self._pause = 0  # puts that wait
        self._next_pause = _FIRST_PAUSE

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

    def stored(self, stream_seq: int) -> None:
        """Note the sequence of a message that was just stored: it may be the last one."""
        self._end = max(self._end, stream_seq)

    def may_be_new(self, name: str) -> bool:
        """Whether nothing is known that is stored under a name."""
        return name not in self._ids

    def end(self) -> int:
        """Return which sequence may be the stream's last, for new objects; 0 without a guess."""
        if self._pause:
            self._pause -= 1
            return 0
        return self._end

    def guessed(self, *, is_right: bool) -> None:
        """Note whether the end, and that the name was new, was right."""
        if is_right:
            self._next_pause = _FIRST_PAUSE
        else:
            self._pause = self._next_pause
            self._next_pause = min(2 * self._next_pause, _MAX_PAUSE)
