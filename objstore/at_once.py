"""
The conditions on which chunk and meta of a new object go out in one write.

The meta is sent before anybody knows that the chunk is stored, so the server is told to see
to it. Of the two messages

- the chunk is stored only while nothing is stored under the name,
- the meta only if the last message of the chunk's subject is the one after what we take for
  the end of the stream,
- and only if that one is the end of the stream now.

A meta that is stored therefore has its chunk, and came right after it: the name was new,
and one answer tells it all. Of many objects in a row each begins where the one before it
ends. Whoever else writes makes the guess of the end a wrong one. Then chunks are stored at
the most, and the general way goes on from there.

Source: server API, `Nats-Expected-Last-Sequence`, and from nats-server 2.12 on
`Nats-Expected-Last-Subject-Sequence-Subject`. Streams tell by their level that they know it.
"""

from __future__ import annotations

from objstore.bucket import EXPECTED

__all__ = ["HEADER_SIZE", "LENGTH", "chunk_conditions", "meta_conditions"]

#: Messages of an object.
LENGTH = 2
#: Bytes by which the conditions of a chunk are longer than the subject that stands in them.
HEADER_SIZE = 128

#: The stream's last sequence, and the subject of which the last sequence is expected.
_EXPECTED_END = "Nats-Expected-Last-Sequence"
_EXPECTED_SUBJECT = f"{EXPECTED}-Subject"


def chunk_conditions(meta_subject: str) -> dict[str, str]:
    """Return the headers by which a chunk is stored only if there is no meta."""
    return {EXPECTED: "0", _EXPECTED_SUBJECT: meta_subject}


def meta_conditions(chunk_subject: str, end: int) -> dict[str, str]:
    """Return the headers by which a meta is stored only behind its chunk, and that behind `end`."""
    sequence = str(end + 1)
    return {EXPECTED: sequence, _EXPECTED_SUBJECT: chunk_subject, _EXPECTED_END: sequence}
