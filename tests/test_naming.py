"""Names: every subject is built from parts that were checked."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from objstore import naming
from objstore.core.nuid import next_nuid
from objstore.core.protocol import check_subject
from objstore.errors import InvalidNameError

#: Names that nobody would choose, and that are fine all the same.
ODD_NAMES = [
    *(" ", ".", "..", "a/b", "../../x", "*", ">", "a.b", "a\nb", "\0", "\r\nPUB x 0\r\n"),
    *("😀", "\u00e9", "e\u0301", "\u202e", "name ", '"\\', "$O.b.M.x", "foo bar"),
    '.*<>:"/\\|?&',
]

BAD_BUCKETS: list[Any] = [
    *("", " ", "a b", "a.b", "a*", "*", ">", "a/b", "ä", "a\r\nPUB x 0", "abc\n", "a\0", "\ud800"),
    *("a" * 252, "bucket!", "０"),
]


@pytest.mark.parametrize("bucket", ["-", "_", "A", "0", "photos", "a-b_C9", "a" * 200, "a" * 251])
def test_bucket_names_of_letters_digits_and_two_signs_are_fine(bucket: str) -> None:
    assert naming.check_bucket(bucket) == bucket
    assert naming.stream_name(bucket) == f"OBJ_{bucket}"
    assert naming.bucket_of_stream(f"OBJ_{bucket}") == bucket


@pytest.mark.parametrize("bucket", BAD_BUCKETS)
def test_other_bucket_names_are_refused(bucket: str) -> None:
    """A newline at the end, which `$` would let pass, included."""
    for build in (
        naming.check_bucket,
        naming.stream_name,
        naming.chunk_subjects,
        naming.meta_subjects,
        lambda bucket: naming.meta_subject(bucket, "a"),
        lambda bucket: naming.chunk_subject(bucket, next_nuid()),
    ):
        with pytest.raises(InvalidNameError, match="bucket"):
            build(bucket)


@pytest.mark.parametrize("bucket", [None, b"a", 1, ["a"]])
def test_bucket_name_of_another_type_is_a_type_error(bucket: Any) -> None:
    with pytest.raises(TypeError, match="bucket"):
        naming.check_bucket(bucket)


def test_error_shows_no_more_than_a_little_of_a_name() -> None:
    """Names come from users of users, and may be huge."""
    for check in (naming.check_bucket, lambda name: naming.meta_subject("b", name)):
        with pytest.raises(InvalidNameError) as caught:
            check("ä" * 1_000_000)
        assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    "stream", ["photos", "OBJ_", "OBJ_a.b", "obj_a", "KV_a", "XOBJ_a", "OBJ_a\n"]
)
def test_other_streams_are_behind_no_bucket(stream: str) -> None:
    assert naming.bucket_of_stream(stream) is None


def test_subjects_are_those_of_the_specification() -> None:
    nuid = "0123456789abcdefABCDEF"
    assert naming.chunk_subject("b", nuid) == f"$O.b.C.{nuid}"
    assert naming.chunk_subjects("b") == "$O.b.C.>"
    assert naming.meta_subjects("b") == "$O.b.M.>"


@pytest.mark.parametrize(
    ("name", "encoded"),
    [("foo", "Zm9v"), ("é", "w6k="), ("my?file~", "bXk_ZmlsZX4="), (" ", "IA=="), (">>>", "Pj4-")],
)
def test_name_is_in_padded_base64_that_is_safe_in_urls(name: str, encoded: str) -> None:
    """The alphabet matters: a `+` or `/` would be another subject for everybody else."""
    assert naming.meta_subject("b", name) == f"$O.b.M.{encoded}"


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_make_harmless_subjects(name: str) -> None:
    subject = naming.meta_subject("b", name)
    check_subject(subject)
    assert subject.count(".") == 3
    assert naming.name_of(subject) == name


@given(st.text(min_size=1, max_size=100))
def test_every_text_has_a_subject_of_its_own(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        with pytest.raises(InvalidNameError):
            naming.meta_subject("b", name)
    else:
        subject = naming.meta_subject("b", name)
        check_subject(subject)
        assert base64.urlsafe_b64decode(subject.removeprefix("$O.b.M.")).decode() == name


@pytest.mark.parametrize("name", ["", "\ud800", "a\udfff"])
def test_names_that_cannot_be_encoded_are_refused(name: str) -> None:
    for check in (naming.check_name, lambda name: naming.meta_subject("b", name)):
        with pytest.raises(InvalidNameError, match="object name"):
            check(name)


@pytest.mark.parametrize("name", [None, b"a", 1])
def test_name_of_another_type_is_a_type_error(name: Any) -> None:
    with pytest.raises(TypeError, match="object name"):
        naming.meta_subject("b", name)


@pytest.mark.parametrize("bucket", ["b", "b" * 25])
def test_longest_name_is_what_a_servers_command_line_takes(bucket: str) -> None:
    """Beside a name there are a verb, a reply subject and two sizes."""
    assert len(naming.meta_subject(bucket, "n" * 2985)) <= 4096 - 60
    for name in ("n" * 3040, "é" * 1520, "😀" * 760):
        with pytest.raises(InvalidNameError, match="too long"):
            naming.meta_subject(bucket, name)


def test_nuids_are_recognised() -> None:
    for _ in range(100):
        assert naming.is_nuid(next_nuid())


@pytest.mark.parametrize(
    "nuid",
    [
        *("", ">", "*", "a.b", "a b", "a" * 21, "a" * 23, "a" * 10_000),
        *("a" * 21 + end for end in ("\n", "é", "*", ".", ">", " ")),
        *("a" * 22 + "\n", None, 5, b"a" * 22),
    ],
)
def test_nothing_else_is_a_nuid(nuid: Any) -> None:
    """What a meta says may have been written by anybody: it reaches no subject."""
    assert not naming.is_nuid(nuid)
    with pytest.raises(InvalidNameError, match="NUID"):
        naming.chunk_subject("b", nuid)


@pytest.mark.parametrize(
    "subject",
    ["$O.b.M.w6k", "$O.b.M.bXk/ZmlsZX4=", "$O.b.M.6Q==", "$O.b.M.!", "$O.b.M.é"],
)
def test_subjects_of_other_clients_belong_to_no_name(subject: str) -> None:
    """Without padding, in another alphabet, of another encoding, or none at all."""
    assert naming.name_of(subject) is None
