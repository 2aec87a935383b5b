"""`ObjectStoreManager`: make, find, change, list and delete buckets. `Client` is one."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from objstore import naming
from objstore.bucket import bucket_errors
from objstore.config import ConfigKeywords, ObjectStoreConfig, ObjectStoreStatus
from objstore.core.deadline import DEFAULT_TIMEOUT, Deadline
from objstore.errors import BucketExistsError, BucketNotFoundError, JetStreamError
from objstore.jetstream.api import ErrorCode, JetStream
from objstore.store import ObjectStore

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["ObjectStoreManager"]

logger = logging.getLogger(__name__)


class ObjectStoreManager:
    """
    The buckets of a server, or cluster. Safe to use from many threads.

    Errors of every method: `ConnectionLostError`, `RequestTimeoutError`,
    `NoRespondersError` where JetStream is not enabled, `JetStreamError` for what else the
    server refuses.
    """

    _js: JetStream

    def object_store(self, bucket: str, *, timeout: float | None = DEFAULT_TIMEOUT) -> ObjectStore:
        """
        Return a bucket that exists.

        Raises:
            BucketNotFoundError: If it does not; it is never made by this.
        """
        stream = naming.stream_name(bucket)
        with bucket_errors(bucket):
            info = self._js.stream_info(stream, Deadline(timeout))
        return ObjectStore(self._js, bucket, info, owner=self)

    def create_object_store(
        self,
        bucket_or_config: str | ObjectStoreConfig,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        **config: Unpack[ConfigKeywords],
    ) -> ObjectStore:
        """
        Make a bucket; the same call again returns it.

        Args:
            bucket_or_config: Name, or a whole configuration.
            config: Fields of `ObjectStoreConfig`.

        Raises:
            BucketExistsError: If it exists with another configuration.

        Example:
            >>> store = client.create_object_store("photos", ttl=3600, replicas=3)
        """
        wanted = _make_config(bucket_or_config, config)
        deadline = Deadline(timeout)
        try:
            info = self._js.create_stream(wanted.to_stream(), deadline)
        except JetStreamError as error:
            if error.err_code != ErrorCode.STREAM_NAME_IN_USE:
                raise
            info = self._existing(wanted, deadline, error)
        else:
            _warn_of_missing(wanted, info["config"])
        return ObjectStore(self._js, wanted.bucket, info, owner=self)

    def _existing(
        self, wanted: ObjectStoreConfig, deadline: Deadline, error: JetStreamError
    ) -> dict[str, Any]:
        """
        Return the stream in the way, if it is the bucket that was wanted.

        The server compares every field, and subjects in their order, so that a bucket of
        another client is "different" even if it differs in nothing that matters.
        """
        info = self._js.stream_info(naming.stream_name(wanted.bucket), deadline)
        differences = wanted.differences(info["config"])
        if differences:
            raise BucketExistsError(
                wanted.bucket,
                f"it exists with another {', '.join(differences)}; open it as it is, or update it",
            ) from error
        return info

    def update_object_store(
        self,
        bucket_or_config: str | ObjectStoreConfig,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        **config: Unpack[ConfigKeywords],
    ) -> ObjectStore:
        """
        Change the configuration of a bucket.

        Args:
            bucket_or_config: Name: then only the given fields change. Or a whole
                configuration, of which every field is set.

        Raises:
            BucketNotFoundError: If it does not exist.
            JetStreamError: If the server refuses the change, for one of the storage.
        """
        wanted = _make_config(bucket_or_config, config)
        stream = naming.stream_name(wanted.bucket)
        deadline = Deadline(timeout)
        with bucket_errors(wanted.bucket):
            current = self._js.stream_info(stream, deadline)["config"]
            only = config if isinstance(bucket_or_config, str) else None
            info = self._js.update_stream(wanted.change(current, only), deadline)
        return ObjectStore(self._js, wanted.bucket, info, owner=self)

    def create_or_update_object_store(
        self,
        bucket_or_config: str | ObjectStoreConfig,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        **config: Unpack[ConfigKeywords],
    ) -> ObjectStore:
        """Change the configuration of a bucket, or make it if it does not exist."""
        try:
            return self.update_object_store(bucket_or_config, timeout=timeout, **config)
        except BucketNotFoundError:
            return self.create_object_store(bucket_or_config, timeout=timeout, **config)

    def delete_object_store(self, bucket: str, *, timeout: float | None = DEFAULT_TIMEOUT) -> None:
        """
        Delete a bucket with all its objects, also a sealed one.

        Raises:
            BucketNotFoundError: If it does not exist.
        """
        stream = naming.stream_name(bucket)
        with bucket_errors(bucket):
            self._js.delete_stream(stream, Deadline(timeout))

    def object_store_names(self, *, timeout: float | None = DEFAULT_TIMEOUT) -> Iterator[str]:
        """Yield the names of all buckets; asks the server page by page."""
        for stream in self._js.stream_names(naming.ANY_CHUNK, timeout):
            bucket = naming.bucket_of_stream(stream)
            if bucket is not None:
                yield bucket

    def object_stores(
        self, *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> Iterator[ObjectStoreStatus]:
        """Yield the status of all buckets; asks the server page by page."""
        for info in self._js.streams(naming.ANY_CHUNK, timeout):
            config = info["config"]
            bucket = naming.bucket_of_stream(config["name"])
            # Any stream may have a name, or a subject, like that of a bucket; not both.
            if bucket is not None and naming.chunk_subjects(bucket) in config["subjects"]:
                yield ObjectStoreStatus.from_stream(bucket, info)


def _make_config(
    bucket_or_config: str | ObjectStoreConfig, fields: ConfigKeywords
) -> ObjectStoreConfig:
    if isinstance(bucket_or_config, ObjectStoreConfig):
        return dataclasses.replace(bucket_or_config, **fields)
    return ObjectStoreConfig(naming.check_bucket(bucket_or_config), **fields)


def _warn_of_missing(wanted: ObjectStoreConfig, echoed: dict[str, Any]) -> None:
    """Say what an old server dropped without a word."""
    missing = wanted.differences(echoed)
    if missing:
        logger.warning(
            "bucket %s: this server is too old for %s", wanted.bucket, ", ".join(missing)
        )
