"""What a server denies: every wording that is known, and some that are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from objstore.core.denials import find_subject, is_denial


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ('Permissions Violation for Publish to "a.b"', "a.b"),
        ('Permissions Violation for Subscription to "a.>" using queue "q"', "a.>"),
        ('Permissions Violation for Publish with Reply of "_INBOX.x"', "_INBOX.x"),
        ('permissions violation for publish to "\\"\\\\x"', '"\\x'),
        ('Permissions Violation for Publish to "\\u00ad\\x7f"', "\xad\x7f"),
        ('Permissions Violation for Publish to "ä"', "ä"),
        ("Permissions Violation For Publish To a.b", "a.b"),
        ("Permission denied: you may not publish to a.b", "a.b"),
        ("Permissions Violation for Publish", ""),
        ("Permissions Violation", ""),
        ('Permissions Violation for Publish to "cut', ""),
    ],
)
def test_subject_of_a_denial(text: str, subject: str) -> None:
    """The first that is quoted, or the last word."""
    assert is_denial(text)
    assert find_subject(text) == subject


@pytest.mark.parametrize("text", ["", "Authorization Violation", "Maximum Payload Violation"])
def test_other_errors_are_no_denials(text: str) -> None:
    """They concern the whole connection."""
    assert not is_denial(text)


@given(st.text())
def test_any_text_has_a_subject_or_none(text: str) -> None:
    """No error of ours comes of it."""
    assert isinstance(find_subject(text), str)
