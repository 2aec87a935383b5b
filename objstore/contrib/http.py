"""
What an object is over HTTP: its entity tag, its type, and a piece of its bytes.

Shared by the doors for web frameworks; it imports none of them.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterator

from objstore.models import ObjectInfo
from objstore.reader import ObjectReader
from objstore.store import ObjectStore

__all__ = ["BLOCK_SIZE", "entity_tag", "file_name", "guess_type", "open_range", "read_blocks"]

#: Bytes handed to the web server at once.
BLOCK_SIZE = 256 << 10

#: What a compressed file is, when it is not to be unpacked on its way.
_COMPRESSED = {
    "br": "application/x-brotli",
    "bzip2": "application/x-bzip2",
    "compress": "application/x-compress",
    "gzip": "application/gzip",
    "xz": "application/x-xz",
}


def entity_tag(info: ObjectInfo) -> str:
    """
    Return a strong entity tag, without quotes: the digest, else the id of the version.

    Source: RFC 9110, section 8.8.3.
    """
    return info.digest.partition("=")[2] or info.nuid


def guess_type(name: str) -> str:
    """
    Return the media type that a name stands for.

    What a writer stored as `Content-Type` is not asked: browsers would believe it, and who
    may upload could have them run a script.
    """
    guessed, encoding = mimetypes.guess_type(file_name(name))
    return _COMPRESSED.get(encoding or "", guessed or "application/octet-stream")


def file_name(name: str) -> str:
    """Return what to call a file made of an object: its last part, fit for a header."""
    return re.sub(r"[\x00-\x1f\x7f]", "_", name.rpartition("/")[2]) or "object"


def open_range(
    store: ObjectStore, info: ObjectInfo, name: str, start: int, stop: int, *, timeout: float | None
) -> ObjectReader | None:
    """
    Open the bytes from `start` to before `stop`; None if the version is not `info`'s any more.

    Args:
        name: What was asked for: behind a link, `info` is that of the target.
    """
    reader = store.get(name, offset=start, length=stop - start, timeout=timeout)
    if reader.info == info:
        return reader
    reader.close()
    return None


def read_blocks(reader: ObjectReader) -> Iterator[bytes]:
    """Yield what there is to read, and close the reader."""
    with reader:
        while block := reader.read(BLOCK_SIZE):
            yield block
