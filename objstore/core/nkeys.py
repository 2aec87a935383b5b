"""
Nkeys: the seed of a user, its public key, and its signature under a server's nonce.

A seed is base32 of two bytes that say what it is, 32 bytes of an Ed25519 private key, and a
checksum. Signing is PyNaCl's work, or cryptography's where that is installed instead.
"""

from __future__ import annotations

import base64
import binascii
import importlib
from collections.abc import Callable
from typing import Any

from objstore.core.secret import Secret
from objstore.errors import ObjStoreError

__all__ = ["UserKey"]

#: What the first bytes stand for, as in nats-io/nkeys: they show as `S` and as `U`.
_SEED = 18 << 3
_USER = 20 << 3
_KEY_BYTES = 32


class UserKey:
    """
    The key of a user.

    Args:
        seed: As `nk` or `nsc` gave it: it begins with `SU`.

    Attributes:
        public: The public key, as servers know the user: it begins with `U`.

    Raises:
        ValueError: If that is no seed of a user; the message does not repeat it.
        ObjStoreError: If no library is installed that can sign.
    """

    def __init__(self, seed: str) -> None:
        self.public = ""  # for a traceback of what is no seed
        public, self._sign = _load(_decode_seed(Secret(seed)))
        self.public = _encode(bytes([_USER]) + public)

    def __repr__(self) -> str:
        return f"<UserKey {self.public}>"

    def sign(self, nonce: str) -> str:
        """Return the signature of a server's nonce, as `CONNECT` has it."""
        signature = self._sign(nonce.encode())
        return base64.urlsafe_b64encode(signature).rstrip(b"=").decode()


def _encode(body: bytes) -> str:
    checksum = binascii.crc_hqx(body, 0).to_bytes(2, "little")
    return base64.b32encode(body + checksum).rstrip(b"=").decode()


def _decode_seed(seed: Secret) -> memoryview:
    """Return the private key, in a form whose `repr` does not show it."""
    text = seed.strip()
    try:
        raw = memoryview(base64.b32decode(text + "=" * (-len(text) % 8)))
    except ValueError:
        raw = memoryview(b"")
    del text  # a traceback may show variables
    body = raw[:-2]
    if len(body) != 2 + _KEY_BYTES or binascii.crc_hqx(body, 0).to_bytes(2, "little") != raw[-2:]:
        raise ValueError("this is no nkey seed, or a letter of it is wrong")
    # Five bits say "seed", the next eight whose.
    if body[0] & 0xF8 != _SEED or (body[0] & 7) << 5 | body[1] >> 3 != _USER:
        raise ValueError("this is not the nkey seed of a user, which begins with SU")
    return body[2:]


def _load(key: memoryview) -> tuple[bytes, Callable[[bytes], bytes]]:
    """Return the public half of a private key, and what signs with it."""
    nacl = _import("nacl.signing")
    if nacl is not None:
        signing_key = nacl.SigningKey(bytes(key))
        return bytes(signing_key.verify_key), lambda data: bytes(signing_key.sign(data).signature)
    ed25519 = _import("cryptography.hazmat.primitives.asymmetric.ed25519")
    if ed25519 is not None:
        private_key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(key))
        return private_key.public_key().public_bytes_raw(), private_key.sign
    raise ObjStoreError(
        "nkeys and JWTs need PyNaCl or cryptography: pip install 'nats-objstore[nkeys]'"
    )


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
