"""
Every exception of the package, one tree. Open to all floors.

    ObjStoreError (pynats2.NATSError)
    ├── ConnectError                      ConnectionError, NATSConnectionError
    │   ├── AuthenticationError           PermissionError
    │   ├── InvalidURLError               ValueError, NATSInvalidUrlError, NATSInvalidSchemeError
    │   ├── TLSNotOfferedError            NATSTCPConnectionRequiredError
    │   └── TLSRequiredError              NATSTLSConnectionRequiredError
    ├── ConnectionLostError               ConnectionError, NATSConnectionError
    ├── PermissionsViolationError         PermissionError
    ├── ProtocolError
    ├── ServerError
    ├── SlowConsumerError
    ├── NoRespondersError                 NATSRequestTimeoutError
    ├── RequestTimeoutError               TimeoutError, NATSRequestTimeoutError
    ├── JetStreamError
    ├── InvalidNameError                  ValueError
    ├── BucketNotFoundError               FileNotFoundError, KeyError
    ├── BucketExistsError                 FileExistsError
    ├── BucketSealedError                 PermissionError
    ├── BucketFullError                   OSError
    ├── ObjectNotFoundError               FileNotFoundError, KeyError
    ├── ObjectAlreadyExistsError          FileExistsError
    ├── PreconditionFailedError
    ├── BadObjectMetaError                ValueError
    ├── LinkError
    │   ├── LinkNotAllowedError
    │   ├── LinkToLinkError
    │   ├── LinkToDeletedError
    │   ├── BucketLinkError
    │   └── LinkLoopError
    ├── DigestMismatchError               OSError
    ├── TruncatedObjectError              OSError
    ├── ObjectChangedError                OSError
    └── OutcomeUnknownError

Each leaf is also the builtin that a caller would guess, so `except FileNotFoundError`
and `except KeyError` both catch a missing object. What an exception knows is in its
attributes; its message is a sentence that names the cure where there is one. All pickle.
"""

from __future__ import annotations

import errno as _errno
from typing import Any

from objstore._pynats2 import (
    NATSConnectionError,
    NATSError,
    NATSInvalidSchemeError,
    NATSInvalidUrlError,
    NATSRequestTimeoutError,
    NATSTCPConnectionRequiredError,
    NATSTLSConnectionRequiredError,
)

__all__ = [
    "AuthenticationError",
    "BadObjectMetaError",
    "BucketExistsError",
    "BucketFullError",
    "BucketLinkError",
    "BucketNotFoundError",
    "BucketSealedError",
    "ConnectError",
    "ConnectionLostError",
    "DigestMismatchError",
    "InvalidNameError",
    "InvalidURLError",
    "JetStreamError",
    "LinkError",
    "LinkLoopError",
    "LinkNotAllowedError",
    "LinkToDeletedError",
    "LinkToLinkError",
    "NoRespondersError",
    "ObjStoreError",
    "ObjectAlreadyExistsError",
    "ObjectChangedError",
    "ObjectNotFoundError",
    "OutcomeUnknownError",
    "PermissionsViolationError",
    "PreconditionFailedError",
    "ProtocolError",
    "RequestTimeoutError",
    "ServerError",
    "SlowConsumerError",
    "TLSNotOfferedError",
    "TLSRequiredError",
    "TruncatedObjectError",
    "fresh",
    "shorten",
]


def shorten(value: object, limit: int = 60) -> str:
    """Return `repr(value)`, cut to `limit` characters: values from outside can be huge."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _rebuild(cls: type[ObjStoreError], args: tuple[Any, ...], state: dict[str, Any]) -> Any:
    error = cls.__new__(cls)
    Exception.__init__(error, *args)
    error.__dict__.update(state)
    return error


class ObjStoreError(NATSError):
    """Base of every exception that this package raises on purpose."""

    def __init__(self, message: str = "") -> None:
        # Called by name: pynats2's constructors drop the message, and OSError gives
        # meaning to extra arguments.
        Exception.__init__(self, message)

    def add_context(self, text: str) -> None:
        """Say more in the message."""
        self.args = (f"{self} ({text})",)

    def __str__(self) -> str:
        # KeyError would show the repr of its argument.
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> Any:
        return _rebuild, (type(self), self.args, self.__dict__)


def fresh(error: ObjStoreError) -> ObjStoreError:
    """
    Return a copy of `error`.

    A failure is recorded once and raised in many threads; each gets an exception, and so
    a traceback, of its own.
    """
    copy: ObjStoreError = _rebuild(type(error), error.args, error.__dict__)
    copy.__cause__ = error.__cause__
    return copy


# Connection


class ConnectError(ObjStoreError, ConnectionError, NATSConnectionError):
    """Raised when no server could be reached, or none accepted the connection."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.line = message  # pynats2's name for it


class AuthenticationError(ConnectError, PermissionError):
    """Raised when a server refuses the credentials."""


class InvalidURLError(ConnectError, ValueError, NATSInvalidUrlError, NATSInvalidSchemeError):
    """Raised when a server URL cannot be understood."""


class TLSNotOfferedError(ConnectError, NATSTCPConnectionRequiredError):
    """Raised when TLS was asked for and the server does not offer it; nothing was sent."""


class TLSRequiredError(ConnectError, NATSTLSConnectionRequiredError):
    """Raised when the server requires TLS, the URL did not ask for it, and the default failed."""


class ConnectionLostError(ObjStoreError, ConnectionError, NATSConnectionError):
    """Raised by calls in flight when the connection breaks, and by calls after `close()`."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.line = message  # pynats2's name for it


class PermissionsViolationError(ObjStoreError, PermissionError):
    """Raised when the server denies a publish or a subscription."""

    def __init__(self, message: str, subject: str) -> None:
        super().__init__(message)
        self.subject = subject


class ProtocolError(ObjStoreError):
    """Raised when the server sends what the NATS protocol does not allow."""


class ServerError(ObjStoreError):
    """Raised when the server reports an error (`-ERR`) of no more specific kind."""


class SlowConsumerError(ObjStoreError):
    """Raised when messages arrive faster than they are taken and the limit is reached."""


class NoRespondersError(ObjStoreError, NATSRequestTimeoutError):
    """
    Raised when nobody serves the subject of a request (status 503).

    The server says so at once; pynats2 would have waited for the whole timeout.
    """


class RequestTimeoutError(ObjStoreError, TimeoutError, NATSRequestTimeoutError):
    """Raised when there was no progress within the timeout."""


class JetStreamError(ObjStoreError):
    """
    Raised when the JetStream API refuses a request.

    Attributes:
        code: Status in the manner of HTTP, for example 404.
        err_code: The server's own number, for example 10059 for "stream not found".
        description: The server's text.
    """

    def __init__(self, code: int, err_code: int, description: str) -> None:
        super().__init__(f"{description} (code {code}, err_code {err_code})")
        self.code = code
        self.err_code = err_code
        self.description = description


# Buckets


class InvalidNameError(ObjStoreError, ValueError):
    """Raised when a bucket, object or subject name cannot be used; nothing was sent."""


class _BucketError(ObjStoreError):
    """A bucket and a sentence about it."""

    def __init__(self, bucket: str, detail: str) -> None:
        super().__init__(f"bucket {shorten(bucket)}: {detail}")
        self.bucket = bucket

    @property
    def filename(self) -> str:
        """The bucket, where code written for files looks for it."""
        return self.bucket


class BucketNotFoundError(_BucketError, FileNotFoundError, KeyError):
    """Raised when a bucket does not exist, or disappears while it is used."""

    errno = _errno.ENOENT


class BucketExistsError(_BucketError, FileExistsError):
    """Raised when a bucket exists with another configuration."""

    errno = _errno.EEXIST


class BucketSealedError(_BucketError, PermissionError):
    """Raised when a sealed bucket is asked to change."""

    errno = _errno.EPERM


class BucketFullError(_BucketError, OSError):
    """Raised when a bucket, an account or the server has no room for the data."""

    errno = _errno.ENOSPC


# Objects


class _ObjectError(ObjStoreError):
    """An object and a sentence about it."""

    def __init__(self, bucket: str, name: str, detail: str) -> None:
        super().__init__(f"object {shorten(name)} in bucket {shorten(bucket)}: {detail}")
        self.bucket = bucket
        self.name = name

    @property
    def filename(self) -> str:
        """`bucket/name`, where code written for files looks for it."""
        return f"{self.bucket}/{self.name}"


class ObjectNotFoundError(_ObjectError, FileNotFoundError, KeyError):
    """Raised when an object does not exist, or is deleted."""

    errno = _errno.ENOENT


class ObjectAlreadyExistsError(_ObjectError, FileExistsError):
    """Raised when a live object stands where a link or a new name should go."""

    errno = _errno.EEXIST


class PreconditionFailedError(_ObjectError):
    """
    Raised when `if_absent` or `if_revision` does not hold; nothing was changed.

    Attributes:
        revision: The object's revision now; 0 if it never existed.
    """

    def __init__(self, bucket: str, name: str, detail: str, revision: int) -> None:
        super().__init__(bucket, name, detail)
        self.revision = revision


class BadObjectMetaError(_ObjectError, ValueError):
    """Raised when the stored description of an object cannot be used."""


class LinkError(_ObjectError):
    """Base of the errors about links."""


class LinkNotAllowedError(LinkError):
    """Raised when `put` is given a link."""


class LinkToLinkError(LinkError):
    """Raised when the target of a new link is a link itself."""


class LinkToDeletedError(LinkError):
    """Raised when the target of a new link is deleted."""


class BucketLinkError(LinkError):
    """Raised when a link to a whole bucket is read as an object."""


class LinkLoopError(LinkError):
    """Raised when links lead in a circle, or through too many hops."""


class DigestMismatchError(_ObjectError, OSError):
    """Raised when an object's bytes do not match its stored digest."""

    errno = _errno.EIO

    def __init__(self, bucket: str, name: str, expected: str, actual: str) -> None:
        super().__init__(bucket, name, f"digest is {actual}, expected {expected}")
        self.expected = expected
        self.actual = actual


class TruncatedObjectError(_ObjectError, OSError):
    """
    Raised when chunks of an object are missing.

    Attributes:
        offset: Position of the first missing byte.
        size: Size that the object should have.
    """

    errno = _errno.EIO

    def __init__(self, bucket: str, name: str, offset: int, size: int) -> None:
        super().__init__(bucket, name, f"the bytes from {offset} on are missing, expected {size}")
        self.offset = offset
        self.size = size


class ObjectChangedError(_ObjectError, OSError):
    """Raised when an object was overwritten or deleted while it was read."""

    errno = _errno.ESTALE


class OutcomeUnknownError(_ObjectError):
    """
    Raised when a change was sent and its fate could not be learnt in time.

    The object holds either what it held before or what was written; it is not broken.

    Attributes:
        nuid: The id that the object has if the change was stored.
    """

    def __init__(self, bucket: str, name: str, nuid: str) -> None:
        super().__init__(bucket, name, "the change was sent, and its outcome could not be learnt")
        self.nuid = nuid
