"""What was seen of each name, and which answers are older."""

from __future__ import annotations

from objstore.session import Session


def test_nothing_is_old_before_anything_was_seen() -> None:
    session = Session()
    assert not session.is_old("a", 0)
    assert not session.is_old("a", 1)


def test_what_was_seen_and_what_is_newer_is_not_old() -> None:
    session = Session()
    session.saw("a", 5)
    assert [session.is_old("a", seq) for seq in (0, 4, 5, 6)] == [True, True, False, False]
    assert not session.is_old("b", 1)


def test_older_news_changes_nothing() -> None:
    """Threads learn things in any order."""
    session = Session()
    session.saw("a", 5)
    session.saw("a", 3)
    session.saw_go("a", 4)
    assert session.is_old("a", 4)
    assert session.is_old("a", 0)
    assert session.newest == 5


def test_what_was_removed_does_not_come_back() -> None:
    """A new version may come, and nothing may be there."""
    session = Session()
    session.saw("a", 5)
    session.saw_go("a", 5)
    assert [session.is_old("a", seq) for seq in (0, 5, 6)] == [False, True, False]
    session.saw("a", 6)
    assert session.is_old("a", 0)


def test_memory_is_bounded_and_the_longest_unused_goes_first() -> None:
    session = Session(2)
    session.saw("a", 1)
    session.saw("b", 2)
    session.saw("a", 1)
    session.saw("c", 3)
    assert session.is_old("a", 0)
    assert not session.is_old("b", 0)
    assert session.is_old("c", 0)
    assert session.newest == 3


def test_listings_push_out_nothing_that_was_seen_by_itself() -> None:
    """But they are remembered while there is room, and always known for the newest."""
    session = Session(2)
    session.saw("a", 1)
    for seq, name in enumerate("bcdef", 2):
        session.saw(name, seq, listed=True)
    assert session.is_old("a", 0)
    assert session.is_old("b", 0)
    assert not session.is_old("f", 0)
    session.saw("g", 7)
    assert session.is_old("a", 0)
    assert not session.is_old("b", 0)
    assert session.newest == 7


def test_session_that_remembers_nothing() -> None:
    """Where only one server answers, no answer is old."""
    session = Session(0)
    session.saw("a", 5)
    session.saw_go("a", 5)
    assert not session.is_old("a", 1)
    assert session.newest == 0
