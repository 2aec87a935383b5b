"""The exceptions: what each one is, what it knows, what it says, and that it travels."""

from __future__ import annotations

import copy
import errno
import inspect
import pickle
import threading

import pytest

from objstore import _pynats2 as pynats2
from objstore import errors
from objstore.errors import (
    AuthenticationError,
    BucketNotFoundError,
    ConnectError,
    ConnectionLostError,
    DigestMismatchError,
    JetStreamError,
    ObjectNotFoundError,
    ObjStoreError,
    OutcomeUnknownError,
    PermissionsViolationError,
    PreconditionFailedError,
    TruncatedObjectError,
    fresh,
    shorten,
)

#: Every class, what else it is, and one of its kind.
TABLE: list[tuple[ObjStoreError, tuple[type[BaseException], ...]]] = [
    (ObjStoreError("text"), (pynats2.NATSError,)),
    (ConnectError("text"), (ConnectionError, pynats2.NATSConnectionError)),
    (AuthenticationError("text"), (ConnectError, PermissionError, ConnectionError)),
    (
        errors.InvalidURLError("text"),
        (
            ConnectError,
            ValueError,
            pynats2.NATSInvalidUrlError,
            pynats2.NATSInvalidSchemeError,
        ),
    ),
    (
        errors.TLSNotOfferedError("text"),
        (ConnectError, pynats2.NATSTCPConnectionRequiredError),
    ),
    (
        errors.TLSRequiredError("text"),
        (ConnectError, pynats2.NATSTLSConnectionRequiredError),
    ),
    (ConnectionLostError("text"), (ConnectionError, pynats2.NATSConnectionError)),
    (PermissionsViolationError("text", "a.b"), (PermissionError,)),
    (errors.ProtocolError("text"), ()),
    (errors.ServerError("text"), ()),
    (errors.SlowConsumerError("text"), ()),
    (errors.NoRespondersError("text"), ()),
    (
        errors.RequestTimeoutError("text"),
        (TimeoutError, pynats2.NATSRequestTimeoutError),
    ),
    (JetStreamError(404, 10059, "stream not found"), ()),
    (errors.InvalidNameError("text"), (ValueError,)),
    (BucketNotFoundError("photos", "text"), (FileNotFoundError, KeyError)),
    (errors.BucketExistsError("photos", "text"), (FileExistsError,)),
    (errors.BucketSealedError("photos", "text"), (PermissionError,)),
    (errors.BucketFullError("photos", "text"), (OSError,)),
    (ObjectNotFoundError("photos", "cat.jpg", "text"), (FileNotFoundError, KeyError)),
    (errors.ObjectAlreadyExistsError("photos", "cat.jpg", "text"), (FileExistsError,)),
    (PreconditionFailedError("photos", "cat.jpg", "text", 7), ()),
    (errors.BadObjectMetaError("photos", "cat.jpg", "text"), (ValueError,)),
    (errors.LinkError("photos", "cat.jpg", "text"), ()),
    (errors.LinkNotAllowedError("photos", "cat.jpg", "text"), (errors.LinkError,)),
    (errors.LinkToLinkError("photos", "cat.jpg", "text"), (errors.LinkError,)),
    (errors.LinkToDeletedError("photos", "cat.jpg", "text"), (errors.LinkError,)),
    (errors.BucketLinkError("photos", "cat.jpg", "text"), (errors.LinkError,)),
    (errors.LinkLoopError("photos", "cat.jpg", "text"), (errors.LinkError,)),
    (DigestMismatchError("photos", "cat.jpg", "SHA-256=a", "SHA-256=b"), (OSError,)),
    (TruncatedObjectError("photos", "cat.jpg", 5, 9), (OSError,)),
    (errors.ObjectChangedError("photos", "cat.jpg", "text"), (OSError,)),
    (OutcomeUnknownError("photos", "cat.jpg", "NUID"), ()),
]

#: What a caller may catch without meaning it: only the classes above that say so are these.
BUILTINS = (OSError, ValueError, KeyError, TypeError, ConnectionError, PermissionError)

every_error = pytest.mark.parametrize(
    "error", [e for e, _ in TABLE], ids=lambda e: type(e).__name__
)


def test_table_is_complete() -> None:
    """Each public class is in the table above, once, and in `__all__`."""
    classes = {
        cls
        for name, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, ObjStoreError) and not name.startswith("_")
    }
    assert [type(error) for error, _ in TABLE if type(error) in classes] == [
        type(error) for error, _ in TABLE
    ]
    assert {type(error) for error, _ in TABLE} == classes
    assert len(TABLE) == len(classes)
    assert classes == {
        getattr(errors, name) for name in errors.__all__ if name not in ("fresh", "shorten")
    }


@pytest.mark.parametrize(("error", "bases"), TABLE, ids=lambda value: type(value).__name__)
def test_class(error: ObjStoreError, bases: tuple[type[BaseException], ...]) -> None:
    """Each is an `ObjStoreError`, what the table says, and no other builtin."""
    assert isinstance(error, ObjStoreError) and isinstance(error, pynats2.NATSError)
    for base in bases:
        assert isinstance(error, base)
    for builtin in BUILTINS:
        expected = any(issubclass(base, builtin) for base in bases)
        assert isinstance(error, builtin) == expected, builtin


@every_error
def test_docstring_says_when(error: ObjStoreError) -> None:
    """The first words say when it is raised, or that it is a base."""
    assert (type(error).__doc__ or "").strip().startswith(("Raised ", "Base "))


@every_error
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_keeps_everything(error: ObjStoreError, protocol: int) -> None:
    """Class, message and attributes arrive in another process."""
    copied = pickle.loads(pickle.dumps(error, protocol))
    assert type(copied) is type(error)
    assert (copied.args, vars(copied), str(copied)) == (error.args, vars(error), str(error))


@every_error
def test_copy_keeps_everything(error: ObjStoreError) -> None:
    """Shallow or deep."""
    for copied in (copy.copy(error), copy.deepcopy(error)):
        assert copied is not error and type(copied) is type(error)
        assert (copied.args, vars(copied), str(copied)) == (error.args, vars(error), str(error))


@every_error
def test_message_is_one_line_with_all_that_is_known(error: ObjStoreError) -> None:
    """Every text and number in the attributes is in the message; no quotes around it."""
    message = str(error)
    assert message and "\n" not in message
    assert message == error.args[0]
    for name, value in vars(error).items():
        if name not in ("nuid", "subject", "revision"):  # for programs, or said by the caller
            assert str(value) in message


@every_error
def test_errno_and_filename_are_there_for_code_about_files(error: ObjStoreError) -> None:
    """An `OSError` about a bucket or an object has a number; a name names it."""
    bucket, name = getattr(error, "bucket", None), getattr(error, "name", None)
    if bucket is not None:
        expected = bucket if name is None else f"{bucket}/{name}"
        assert error.filename == expected  # type: ignore[attr-defined]
        if isinstance(error, OSError):
            assert isinstance(error.errno, int)
    elif isinstance(error, OSError):
        assert error.errno is None and error.filename is None


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("BucketNotFoundError", errno.ENOENT),
        ("BucketExistsError", errno.EEXIST),
        ("BucketSealedError", errno.EPERM),
        ("BucketFullError", errno.ENOSPC),
        ("ObjectNotFoundError", errno.ENOENT),
        ("ObjectAlreadyExistsError", errno.EEXIST),
        ("DigestMismatchError", errno.EIO),
        ("TruncatedObjectError", errno.EIO),
        ("ObjectChangedError", errno.ESTALE),
    ],
)
def test_errno(name: str, number: int) -> None:
    """The number that a file system would give."""
    (error,) = (error for error, _ in TABLE if type(error).__name__ == name)
    assert isinstance(error, OSError) and error.errno == number


def test_attributes() -> None:
    """What an exception knows is in attributes, not to be read out of its message."""
    assert PermissionsViolationError("text", "a.b").subject == "a.b"
    api = JetStreamError(404, 10059, "stream not found")
    assert (api.code, api.err_code, api.description) == (404, 10059, "stream not found")
    missing = ObjectNotFoundError("photos", "cat.jpg", "it is deleted")
    assert (missing.bucket, missing.name) == ("photos", "cat.jpg")
    assert PreconditionFailedError("photos", "cat.jpg", "text", 7).revision == 7
    digest = DigestMismatchError("photos", "cat.jpg", "SHA-256=a", "SHA-256=b")
    assert (digest.expected, digest.actual) == ("SHA-256=a", "SHA-256=b")
    truncated = TruncatedObjectError("photos", "cat.jpg", 5, 9)
    assert (truncated.offset, truncated.size) == (5, 9)
    assert OutcomeUnknownError("photos", "cat.jpg", "NUID").nuid == "NUID"


def test_messages() -> None:
    """A sentence that names the bucket and the object."""
    assert str(BucketNotFoundError("photos", "it does not exist")) == (
        "bucket 'photos': it does not exist"
    )
    assert str(ObjectNotFoundError("photos", "a b", "it is deleted")) == (
        "object 'a b' in bucket 'photos': it is deleted"
    )
    assert str(JetStreamError(404, 10059, "stream not found")) == (
        "stream not found (code 404, err_code 10059)"
    )


@pytest.mark.parametrize("name", ["x" * 5000, "\x1b[31mred", "a\r\nb", "\ud800"])
def test_names_from_outside_are_shown_safely(name: str) -> None:
    """Shortened, and without characters that a terminal obeys; the attribute is the name."""
    error = ObjectNotFoundError("photos", name, "it is deleted")
    assert len(str(error)) < 200
    assert str(error).isprintable()
    assert error.name == name


@pytest.mark.parametrize("cls", [ConnectError, ConnectionLostError, AuthenticationError])
def test_line_is_what_pynats2_calls_the_message(cls: type[ObjStoreError]) -> None:
    """Code written for pynats2 reads it."""
    assert cls("text").line == "text"  # type: ignore[attr-defined]


def test_no_message_is_an_empty_one() -> None:
    """As with the builtins."""
    assert str(ObjStoreError()) == str(ConnectError()) == ""


def test_caught_like_a_missing_key_or_file() -> None:
    """Both ways to look for a missing object work, and neither shows quotes."""
    with pytest.raises(KeyError) as by_key:
        raise ObjectNotFoundError("photos", "cat.jpg", "it is deleted")
    with pytest.raises(FileNotFoundError):
        raise by_key.value
    assert str(by_key.value) == "object 'cat.jpg' in bucket 'photos': it is deleted"


# One failure, many waiters


@every_error
def test_fresh_copy(error: ObjStoreError) -> None:
    """Equal in everything but identity, with the same cause."""
    error.__cause__ = cause = OSError("broken pipe")
    try:
        copied = fresh(error)
    finally:
        error.__cause__ = None
    assert copied is not error and type(copied) is type(error)
    assert (copied.args, vars(copied), str(copied)) == (error.args, vars(error), str(error))
    assert copied.__cause__ is cause


def test_fresh_copies_have_tracebacks_of_their_own() -> None:
    """Raised in many threads, a failure does not collect their tracebacks."""
    failure = ConnectionLostError("cut")
    caught: list[ConnectionLostError] = []

    def wait() -> None:
        try:
            raise fresh(failure)
        except ConnectionLostError as error:
            caught.append(error)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert failure.__traceback__ is None
    assert len({id(error.__traceback__) for error in caught}) == 3


# Shortening


def test_shorten() -> None:
    """The repr, whole if it is short, else cut and marked."""
    assert shorten("ab") == "'ab'"
    assert shorten("x" * 58) == "'" + "x" * 58 + "'"
    assert shorten("x" * 59) == "'" + "x" * 58 + "…"
    assert shorten("x" * 100, 10) == "'xxxxxxxx…"
    assert shorten(None) == "None"
