"""
Digests of objects: `SHA-256=` and the hash in padded, URL-safe base64 (ADR-20).

Pure. Written in that one form; read in every form that clients have written.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from objstore.errors import shorten

__all__ = ["format_digest", "new_hash", "parse_digest"]

_PREFIX = "SHA-256="
_HASH_BYTES = 32
_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def new_hash() -> hashlib._Hash:
    """Return a hash to feed an object's bytes to."""
    return hashlib.sha256()


def format_digest(raw: bytes) -> str:
    """Return the digest for the 32 bytes of a hash."""
    return _PREFIX + binascii.b2a_base64(raw, newline=False).translate(_TO_URL_SAFE).decode()


def parse_digest(digest: str) -> bytes:
    """
    Return the 32 bytes of a digest in whatever form: either base64, padded or not, or hex.

    Raises:
        ValueError: If it is of another algorithm or length.
    """
    algorithm, _, text = digest.partition("=")
    if algorithm.upper() not in ("SHA-256", "SHA256"):
        raise ValueError(f"digest {shorten(digest)} is not SHA-256")
    try:
        if len(text) == 2 * _HASH_BYTES:
            raw = bytes.fromhex(text)
        else:
            text = text.rstrip("=").replace("+", "-").replace("/", "_")
            raw = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise ValueError(f"digest {shorten(digest)} is neither base64 nor hex") from error
    if len(raw) != _HASH_BYTES:
        raise ValueError(f"digest {shorten(digest)} has {len(raw)} bytes instead of {_HASH_BYTES}")
    return raw
