"""
A synchronous, blocking client for the NATS JetStream Object Store: files in, files out.

    >>> with objstore.connect("nats://localhost:4222") as client:
    ...     store = client.create_object_store("photos")
    ...     store.put("a", open("a.jpg", "rb"))
    ...     with open("b.jpg", "wb") as f:
    ...         shutil.copyfileobj(store.get("a"), f)
"""

from __future__ import annotations

import logging

from objstore._version import __version__
from objstore.client import Client, connect
from objstore.config import ObjectStoreConfig, ObjectStoreStatus, Placement
from objstore.errors import (
    AuthenticationError,
    BadObjectMetaError,
    BucketExistsError,
    BucketFullError,
    BucketLinkError,
    BucketNotFoundError,
    BucketSealedError,
    ConnectError,
    ConnectionLostError,
    DigestMismatchError,
    InvalidNameError,
    InvalidURLError,
    JetStreamError,
    LinkError,
    LinkLoopError,
    LinkNotAllowedError,
    LinkToDeletedError,
    LinkToLinkError,
    NoRespondersError,
    ObjectAlreadyExistsError,
    ObjectChangedError,
    ObjectNotFoundError,
    ObjStoreError,
    OutcomeUnknownError,
    PermissionsViolationError,
    PreconditionFailedError,
    ProtocolError,
    RequestTimeoutError,
    ServerError,
    SlowConsumerError,
    TLSNotOfferedError,
    TLSRequiredError,
    TruncatedObjectError,
)
from objstore.mapping import ObjectMapping
from objstore.models import ObjectInfo, ObjectLink, ObjectMeta
from objstore.paths import path_below
from objstore.reader import ObjectReader
from objstore.reports import CheckReport, ChunkSet, Finding, SweepReport
from objstore.server import LocalServer, local
from objstore.store import ObjectStore
from objstore.watcher import ObjectWatcher
from objstore.writer import ObjectWriter

__all__ = [
    "AuthenticationError",
    "BadObjectMetaError",
    "BucketExistsError",
    "BucketFullError",
    "BucketLinkError",
    "BucketNotFoundError",
    "BucketSealedError",
    "CheckReport",
    "ChunkSet",
    "Client",
    "ConnectError",
    "ConnectionLostError",
    "DigestMismatchError",
    "Finding",
    "InvalidNameError",
    "InvalidURLError",
    "JetStreamError",
    "LinkError",
    "LinkLoopError",
    "LinkNotAllowedError",
    "LinkToDeletedError",
    "LinkToLinkError",
    "LocalServer",
    "NoRespondersError",
    "ObjStoreError",
    "ObjectAlreadyExistsError",
    "ObjectChangedError",
    "ObjectInfo",
    "ObjectLink",
    "ObjectMapping",
    "ObjectMeta",
    "ObjectNotFoundError",
    "ObjectReader",
    "ObjectStore",
    "ObjectStoreConfig",
    "ObjectStoreStatus",
    "ObjectWatcher",
    "ObjectWriter",
    "OutcomeUnknownError",
    "PermissionsViolationError",
    "Placement",
    "PreconditionFailedError",
    "ProtocolError",
    "RequestTimeoutError",
    "ServerError",
    "SlowConsumerError",
    "SweepReport",
    "TLSNotOfferedError",
    "TLSRequiredError",
    "TruncatedObjectError",
    "__version__",
    "connect",
    "local",
    "path_below",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())
