"""Digests: written in one form, read in all that clients have written."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from objstore.digest import format_digest, new_hash, parse_digest

#: Bytes, and the digest that the other clients have for them.
VECTORS = [
    (b"", "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU="),
    (b"A" * (1024 * 1024 + 33), "mhT1pLyi9JlIaqwVmvt0wQp2x09kor_80Lirl4SDblA="),
]

#: Digests of which the other clients' tests have the bytes.
PUBLISHED = [
    "IdgP4UYMGt47rgecOqFoLrd24AXukHf5-SVzqQ5Psg8=",
    "DZj4RnBpuEukzFIY0ueZ-xjnHY4Rt9XWn4Dh8nkNfnI=",
    "RgaJ-VSJtjNvgXcujCKIvaheiX_6GRCcfdRYnAcVy38=",
    "yan7pwBVnC1yORqqgBfd64_qAw6q9fNA60_KRiMMooE=",
]


@pytest.mark.parametrize(("data", "digest"), VECTORS)
def test_digest_is_the_one_of_other_clients(data: bytes, digest: str) -> None:
    hasher = new_hash()
    hasher.update(data)
    assert format_digest(hasher.digest()) == f"SHA-256={digest}"


@pytest.mark.parametrize("digest", [*PUBLISHED, *(digest for _, digest in VECTORS)])
def test_published_digest_survives_reading_and_writing(digest: str) -> None:
    raw = parse_digest(f"SHA-256={digest}")
    assert len(raw) == 32
    assert format_digest(raw) == f"SHA-256={digest}"


def forms() -> list[str]:
    # A hash with characters in which the two alphabets differ, and a padding.
    raw = bytes([251, 255] * 16)
    safe, standard = base64.urlsafe_b64encode(raw).decode(), base64.b64encode(raw).decode()
    assert safe != standard
    texts = [safe, safe.rstrip("="), standard, standard.rstrip("="), raw.hex(), raw.hex().upper()]
    return [
        *(f"SHA-256={text}" for text in texts),
        *(f"{algorithm}={safe}" for algorithm in ("sha-256", "Sha-256", "SHA256", "sha256")),
    ]


@pytest.mark.parametrize("digest", forms())
def test_every_form_that_was_ever_written_is_read(digest: str) -> None:
    assert parse_digest(digest) == bytes([251, 255] * 16)


GOOD = base64.urlsafe_b64encode(hashlib.sha256(b"").digest()).decode()


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "SHA-256",
        "SHA-256=",
        GOOD,
        f"MD5={GOOD}",
        f"SHA-512={GOOD}",
        f"SHA-256 {GOOD}",
        f"SHA-256=={GOOD}",
        f"SHA-256={GOOD[:-4]}",
        f"SHA-256={GOOD}AAAA",
        f"SHA-256=é{GOOD[1:]}",
        f"SHA-256= {GOOD}",
        f"SHA-256={GOOD[:20]}\n{GOOD[20:]}",
        f"SHA-256={'g' * 64}",
        f"SHA-256={'a' * 63}",
        "SHA-256=" + "A" * 1_000_000,
    ],
)
def test_anything_else_is_refused(digest: str) -> None:
    """A digest that is not understood is no digest that matches."""
    with pytest.raises(ValueError, match="digest") as caught:
        parse_digest(digest)
    assert len(str(caught.value)) < 200


def test_hash_is_fed_in_pieces() -> None:
    whole: Any = new_hash()
    for piece in (b"ab", bytearray(b"c"), memoryview(b"de")):
        whole.update(piece)
    assert whole.digest() == hashlib.sha256(b"abcde").digest()
