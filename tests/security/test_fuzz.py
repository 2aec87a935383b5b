"""The targets of the fuzzer, in every run: quickly, and always with the same inputs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.security.targets import SEEDS, TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_good(name: str) -> None:
    """The fuzzer begins with them."""
    for seed in SEEDS[name]:
        TARGETS[name](seed)


def damaged(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """Seeds one after the other, with a piece of each replaced."""
    noise = st.binary(max_size=6) | st.sampled_from(
        [b"\r\n", b"0", b"-1", b"99999999999999999999", b" ", b"{", b"[", b'"', b"null", b"\0"]
    )

    def damage(seed: bytes, start: int, length: int, new: bytes) -> bytes:
        start %= len(seed) + 1
        return seed[:start] + new + seed[start + length :]

    one = st.builds(
        damage, st.sampled_from(seeds), st.integers(0, 10_000), st.integers(0, 8), noise
    )
    return st.lists(one, max_size=4).map(b"".join) | st.binary(max_size=60)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_anything_is_understood_or_refused(name: str) -> None:
    """With the documented error, and no other."""

    @settings(max_examples=300)
    @given(damaged(SEEDS[name]))
    def check(data: bytes) -> None:
        TARGETS[name](data)

    check()
