"""Nkeys: seeds, public keys and signatures, with whichever library is there."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from objstore.core import nkeys as module
from objstore.core.nkeys import UserKey
from objstore.errors import ObjStoreError
from tests.security.keys import Key

SEED = Key("user", bytes(range(32))).seed

LIBRARIES = {"PyNaCl": "nacl.signing", "cryptography": "cryptography"}


@pytest.fixture(params=LIBRARIES)
def only_library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only this one is installed."""
    found = module._import
    monkeypatch.setattr(
        module,
        "_import",
        lambda name: found(name) if name.startswith(LIBRARIES[request.param]) else None,
    )


@pytest.mark.usefixtures("only_library")
def test_signature_is_that_of_the_public_key() -> None:
    """Ed25519, in URL-safe base64 without padding."""
    key = Key("user")
    ours = UserKey(key.seed)
    signature = base64.urlsafe_b64decode(ours.sign("nonce") + "==")
    public = Ed25519PublicKey.from_public_bytes(base64.b32decode(ours.public)[1:33])
    public.verify(signature, b"nonce")
    assert ours.public == key.public
    assert ours.sign("nonce") == key.sign("nonce")


def test_known_key() -> None:
    """The pair in the documentation of NATS."""
    seed = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
    assert UserKey(seed).public == "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"


def test_without_a_library_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra that brings one."""
    monkeypatch.setattr(module, "_import", lambda _: None)
    with pytest.raises(ObjStoreError, match=r"nats-objstore\[nkeys\]"):
        UserKey(SEED)


@pytest.mark.parametrize(
    "seed",
    [
        "",
        "SU",
        SEED[:-1],
        SEED + "A",
        SEED.lower(),
        SEED[:20] + ("A" if SEED[20] != "A" else "B") + SEED[21:],
        Key("account", bytes(32)).seed,
        Key("operator", bytes(32)).seed,
        Key("user", bytes(32)).public,
        "€" * 58,
        "\0" * 58,
    ],
    ids=lambda seed: ascii(seed[:30]),
)
def test_what_is_no_seed_of_a_user_is_refused(seed: str) -> None:
    """Without a word of what it was."""
    with pytest.raises(ValueError, match="seed") as caught:
        UserKey(seed)
    assert not seed or seed[:20] not in str(caught.value)


@given(st.text(max_size=80))
def test_any_text_is_a_value_error(text: str) -> None:
    """And nothing else."""
    with pytest.raises(ValueError):
        UserKey(text)


def test_key_does_not_show_its_seed() -> None:
    """Its public half is for everybody."""
    key: Any = UserKey(SEED)
    assert SEED[4:] not in repr(key) and key.public in repr(key)
