"""Unique ids: their shape, that they differ, and that they do after a fork."""

from __future__ import annotations

import multiprocessing
import sys

import pytest

from objstore.core.nuid import NUID_LENGTH, next_nuid

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def test_shape() -> None:
    """22 characters that may stand in any subject."""
    assert NUID_LENGTH == 22
    for _ in range(1000):
        nuid = next_nuid()
        assert len(nuid) == 22
        assert set(nuid) <= set(ALPHABET)


def test_ids_differ() -> None:
    """Even those made one right after the other."""
    assert len({next_nuid() for _ in range(20_000)}) == 20_000


def test_every_character_occurs_at_every_position() -> None:
    """No part of an id is constant or counts up: it cannot be guessed from another."""
    columns = zip(*(next_nuid() for _ in range(3000)))
    assert all(set(column) == set(ALPHABET) for column in columns)


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_ids_differ_on_the_two_sides_of_a_fork() -> None:
    """The child does not repeat what the parent will say."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=lambda: sender.send([next_nuid() for _ in range(100)]))
    child.start()
    ours = [next_nuid() for _ in range(100)]
    assert receiver.poll(10)
    theirs = receiver.recv()
    child.join(10)
    assert child.exitcode == 0
    receiver.close()
    sender.close()
    assert len({*ours, *theirs}) == 200
