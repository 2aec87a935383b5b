"""
Nkeys and JWTs as an operator makes them, so that tests can be one.

It shares no code with the package: what both agree on is the format.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["Key", "Operator"]

_SEED = 18 << 3
_KINDS = {"operator": 14 << 3, "account": 0, "user": 20 << 3}


def _base32(body: bytes) -> str:
    checksum = binascii.crc_hqx(body, 0).to_bytes(2, "little")
    return base64.b32encode(body + checksum).decode().rstrip("=")


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Key:
    """A new key: of an operator, an account or a user."""

    def __init__(self, kind: str, private: bytes | None = None) -> None:
        prefix = _KINDS[kind]
        key = Ed25519PrivateKey.generate()
        if private is not None:
            key = Ed25519PrivateKey.from_private_bytes(private)
        self._key = key
        head = bytes([_SEED | prefix >> 5, (prefix & 31) << 3])
        self.public = _base32(bytes([prefix]) + key.public_key().public_bytes_raw())
        self.seed = _base32(head + key.private_bytes_raw())

    def sign(self, data: str) -> str:
        return _base64(self._key.sign(data.encode()))

    def issue(self, subject: Key, name: str, nats: dict[str, Any], **claims: Any) -> str:
        """Return a JWT in which this key says something about another."""
        body = {
            **{"iat": int(time.time()), "iss": self.public, "sub": subject.public, "name": name},
            **{"jti": f"{name}-{time.time_ns()}", "nats": {"version": 2, **nats}},
            **claims,
        }
        head = {"typ": "JWT", "alg": "ed25519-nkey"}
        text = ".".join(_base64(json.dumps(part).encode()) for part in (head, body))
        return f"{text}.{self.sign(text)}"


class Operator:
    """An operator with one account, and the configuration of its server."""

    def __init__(self) -> None:
        operator, system, self.account = Key("operator"), Key("account"), Key("account")
        unlimited = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)
        limits = dict.fromkeys(
            ("subs", "conn", "leaf", "imports", "exports", "data", "payload"), -1
        )
        claims = {"type": "account", "limits": {**limits, "wildcards": True, **unlimited}}
        # JetStream is not for the system's own account.
        own = {"type": "account", "limits": {**limits, "wildcards": True}}
        itself = operator.issue(
            operator, "operator", {"type": "operator", "system_account": system.public}
        )
        self.config = "\n".join(
            [
                f"operator: {itself}",
                f"system_account: {system.public}",
                "resolver: MEMORY",
                "resolver_preload: {",
                f"  {system.public}: {operator.issue(system, 'SYS', own)}",
                f"  {self.account.public}: {operator.issue(self.account, 'APP', claims)}",
                "}",
            ]
        )

    def credentials(self, *, seed: str | None = None, **claims: Any) -> str:
        """Return the content of a credentials file for a new user."""
        user = Key("user")
        permissions = {"pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1}
        jwt = self.account.issue(user, "joe", {"type": "user", **permissions}, **claims)
        return (
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            "************************* IMPORTANT *************************\n"
            f"-----BEGIN USER NKEY SEED-----\n{seed or user.seed}\n------END USER NKEY SEED------\n"
        )
