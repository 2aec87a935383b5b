"""
Credentials files: a user's JWT and seed, as `nsc` writes them, or a seed alone, as `nk` does.

A file is read whenever it is needed and never kept: what replaces it counts from the next
connection on.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from typing import NamedTuple

from objstore.core.secret import Secret

__all__ = ["Credentials", "read_credentials"]

logger = logging.getLogger(__name__)

#: Bytes of the largest file that is read: a JWT has a few thousand.
_MAX_FILE = 1 << 20
_SECTION = re.compile(rb"-{3,} *BEGIN ([A-Z ]+?) *-{3,}\s+(\S+)\s+-{3,} *END")
_SEED = re.compile(rb"^\s*(SU[A-Z2-7]{56})\s*$", re.MULTILINE)

#: Files about which was warned: once is enough.
_known_as_open: set[str] = set()


class Credentials(NamedTuple):
    """
    What a file holds.

    Attributes:
        jwt: What the account says of the user; "" in the file of a plain nkey.
        seed: The user's nkey seed; "" for a bearer, who need not sign.
    """

    jwt: Secret
    seed: Secret


def read_credentials(path: str) -> Credentials:
    """
    Read a credentials file, or the file of a seed.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it holds neither; the message does not say what it does hold.
    """
    with open(path, "rb") as file:
        _warn_if_open(path, os.fstat(file.fileno()).st_mode)
        content = memoryview(file.read(_MAX_FILE))  # whose `repr` shows nothing
    jwt = seed = Secret("")
    for match in _SECTION.finditer(content):
        label, value = match[1], Secret(match[2].decode("ascii", "replace"))
        if label.endswith(b"JWT"):
            jwt = jwt or value
        elif label.endswith(b"SEED"):
            seed = seed or value
    alone = _SEED.search(content)
    if not jwt and not seed and alone:
        seed = Secret(alone[1].decode())
    del alone
    if not jwt and not seed:
        raise ValueError(f"{path!r} holds neither a user's JWT nor an nkey seed")
    return Credentials(jwt, seed)


def _warn_if_open(path: str, mode: int) -> None:
    readable = stat.S_IRGRP | stat.S_IROTH
    if os.name == "posix" and mode & readable and path not in _known_as_open:
        _known_as_open.add(path)
        logger.warning("others can read the credentials in %r: chmod 600 would keep them out", path)
