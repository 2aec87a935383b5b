"""
A storage for Django's files, and a view that serves objects.

Needs the extra `django`: `pip install "nats-objstore[django]"`.
"""

from __future__ import annotations

import functools
import posixpath
import re
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from types import TracebackType
from typing import Any
from urllib.parse import urljoin

from django.conf import settings
from django.contrib.staticfiles.storage import ManifestFilesMixin
from django.core.exceptions import ImproperlyConfigured, SuspiciousFileOperation
from django.core.files.base import File
from django.core.files.storage import Storage
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.deconstruct import deconstructible
from django.utils.encoding import filepath_to_uri
from django.utils.functional import cached_property
from django.utils.http import (
    content_disposition_header,
    http_date,
    parse_http_date_safe,
    quote_etag,
)
from django.utils.timezone import get_default_timezone, make_naive

from objstore.client import Client
from objstore.contrib.http import BLOCK_SIZE, entity_tag, file_name, guess_type, open_range
from objstore.core.deadline import DEFAULT_TIMEOUT
from objstore.core.options import ConnectKeywords
from objstore.errors import (
    BucketNotFoundError,
    InvalidNameError,
    ObjectNotFoundError,
    PreconditionFailedError,
)
from objstore.store import ObjectStore

__all__ = ["ManifestStaticObjectStorage", "ObjectStorage", "StaticObjectStorage", "serve"]

#: Seconds without a question after which a listing of static files is taken anew.
_LISTING_AGE = 5.0
_CLIENT_OPTIONS = {"servers", "domain", "api_prefix", *ConnectKeywords.__annotations__}
_RANGE = re.compile(r"bytes=([0-9]{0,19})-([0-9]{0,19})")


@functools.cache
def _shared_client(options: frozenset[tuple[str, Any]]) -> Client:
    """Return the one client of this process for these options; it connects at first use."""
    return Client(**dict(options))


@deconstructible
class ObjectStorage(Storage):
    """
    Files in a bucket, for Django's `STORAGES`. Safe to use from many threads.

    Nothing is connected before the first use, so preloading servers may fork after it is
    made. Storages with the same options share one connection.

    Args:
        bucket: Name of the bucket.
        create_bucket: Whether to create it when it does not exist.
        location: Prefix of all names, such as `media`.
        base_url: What `url` puts before a name; by default `MEDIA_URL`.
        overwrite: Whether `save` replaces a file of that name instead of choosing another.
        timeout: Seconds without progress; None for ever.
        options: As of `objstore.connect`; `servers` by default from `$NATS_URL`.

    Raises:
        ImproperlyConfigured: If there is no such option, or no bucket is named.
        SuspiciousFileOperation: From any method, if a name leads out of the location.

    Example:
        >>> STORAGES = {
        ...     "default": {
        ...         "BACKEND": "objstore.contrib.django.ObjectStorage",
        ...         "OPTIONS": {"bucket": "media", "servers": "nats://localhost:4222"},
        ...     },
        ... }
    """

    def __init__(
        self,
        bucket: str = "",
        *,
        create_bucket: bool = False,
        location: str = "",
        base_url: str | None = None,
        overwrite: bool = False,
        timeout: float | None = DEFAULT_TIMEOUT,
        **options: Any,
    ) -> None:
        if not bucket:
            raise ImproperlyConfigured("the storage's OPTIONS name no bucket")
        if unknown := sorted(options.keys() - _CLIENT_OPTIONS):
            raise ImproperlyConfigured(f"{type(self).__name__} has no option {unknown[0]!r}")
        self.bucket = bucket
        self.location = location.strip("/")
        self.overwrite = overwrite
        self._create_bucket = create_bucket
        self._base_url = base_url
        self._timeout = timeout
        if isinstance(options.get("servers"), list):
            options["servers"] = tuple(options["servers"])
        self.client = _shared_client(frozenset(options.items()))

    @cached_property
    def store(self) -> ObjectStore:
        """The bucket."""
        try:
            return self.client.object_store(self.bucket)
        except BucketNotFoundError:
            if not self._create_bucket:
                raise
            return self.client.create_object_store(self.bucket)

    @property
    def base_url(self) -> str:
        """What `url` puts before a name."""
        url = self._base_url if self._base_url is not None else self._default_url()
        return url if url.endswith("/") else f"{url}/"

    def _default_url(self) -> str:
        return str(settings.MEDIA_URL)

    def _object_name(self, name: str) -> str:
        """Return the name of the object behind a file; "" for the location itself."""
        path = posixpath.normpath(str(name).replace("\\", "/"))
        if path.startswith("/") or path.split("/")[0] == "..":
            raise SuspiciousFileOperation(f"{name!r:.60} leads out of the storage")
        path = "" if path == "." else path
        return "/".join(part for part in (self.location, path) if part)

    # What Django asks for

    def _open(self, name: str, mode: str = "rb") -> File:
        return _ObjectFile(self, name, mode)

    def _save(self, name: str, content: File) -> str:
        while True:
            try:
                self.store.put(
                    self._object_name(name),
                    _encoded(content),
                    if_absent=not self.overwrite,
                    timeout=self._timeout,
                )
                return str(name).replace("\\", "/")
            except PreconditionFailedError:
                if not content.seekable():
                    raise
                name = self.get_available_name(name)  # someone else was faster

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        """Return a name to save under: `name` itself if that is free, or may be replaced."""
        if self.overwrite and (max_length is None or len(name) <= max_length):
            return str(name).replace("\\", "/")
        return str(super().get_available_name(name, max_length=max_length))

    def delete(self, name: str) -> None:
        """Delete a file; one that does not exist is none the worse for it."""
        if not name:
            raise ValueError("delete needs the name of a file")
        self.store.delete(self._object_name(name), missing_ok=True, timeout=self._timeout)

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        object_name = self._object_name(name)
        return bool(object_name) and object_name in self.store

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        """Return the names of directories and files in a directory, by one listing."""
        directory = self._object_name(path)
        prefix = f"{directory}/" if directory else ""
        directories: set[str] = set()
        files = []
        for info in self.store.list(prefix=prefix, timeout=self._timeout):
            first, slash, _ = info.name.removeprefix(prefix).partition("/")
            if slash:
                directories.add(first)
            else:
                files.append(first)
        return sorted(directories), sorted(files)

    def size(self, name: str) -> int:
        """Return the bytes of a file."""
        with self.store.get(self._object_name(name), timeout=self._timeout) as reader:
            return reader.size

    def url(self, name: str | None) -> str:
        """Return where the file is served: see `serve`."""
        return urljoin(self.base_url, filepath_to_uri(name or "").lstrip("/"))

    def get_modified_time(self, name: str) -> datetime:
        """Return when the file was stored: aware if `USE_TZ` is true."""
        info = self.store.get_info(self._object_name(name), timeout=self._timeout)
        return _local_time(info.mtime)

    def get_created_time(self, name: str) -> datetime:
        """Return when the file was stored: a version never changes."""
        return self.get_modified_time(name)


class StaticObjectStorage(ObjectStorage):
    """
    Static files in a bucket, for `STORAGES["staticfiles"]`.

    `collectstatic` asks for every file whether it exists and how old it is: one listing
    answers them all. It is taken anew when nothing was asked for five seconds.

    Args:
        base_url: By default `STATIC_URL`.
        overwrite: By default true.
        options: The others are those of `ObjectStorage`.
    """

    def __init__(self, bucket: str = "", *, overwrite: bool = True, **options: Any) -> None:
        super().__init__(bucket, overwrite=overwrite, **options)
        self._times: dict[str, datetime] = {}
        self._times_used = -_LISTING_AGE

    def _default_url(self) -> str:
        return str(settings.STATIC_URL)

    def _listing(self) -> dict[str, datetime]:
        now = time.monotonic()
        if now - self._times_used >= _LISTING_AGE:
            prefix = f"{self.location}/" if self.location else ""
            infos = self.store.list(prefix=prefix, timeout=self._timeout)
            self._times = {info.name: info.mtime for info in infos}
        self._times_used = time.monotonic()
        return self._times

    def exists(self, name: str) -> bool:
        """Whether there is such a file, by the listing."""
        return self._object_name(name) in self._listing()

    def get_modified_time(self, name: str) -> datetime:
        """Return when the file was stored, by the listing: aware if `USE_TZ` is true."""
        try:
            return _local_time(self._listing()[self._object_name(name)])
        except KeyError:
            return super().get_modified_time(name)

    def delete(self, name: str) -> None:
        """Delete a file; one that does not exist is none the worse for it."""
        super().delete(name)
        self._times.pop(self._object_name(name), None)

    def _save(self, name: str, content: File) -> str:
        saved = super()._save(name, content)
        self._times[self._object_name(saved)] = datetime.now(timezone.utc)
        return saved


class ManifestStaticObjectStorage(ManifestFilesMixin, StaticObjectStorage):
    """
    Static files under names with a hash in them, as `ManifestStaticFilesStorage` does it.

    It reads the manifest when it is made, which Django puts off until a template needs it.
    """


class _ObjectFile(File):
    """An object as Django's `File`: it opens again after `close`, and commits as a whole."""

    def __init__(self, storage: ObjectStorage, name: str, mode: str) -> None:
        self._storage = storage
        super().__init__(self._open(name, mode), name)
        self.mode = mode

    def _open(self, name: str, mode: str) -> Any:
        object_name = self._storage._object_name(name)
        return self._storage.store.open(object_name, mode, timeout=self._storage._timeout)

    def open(self, mode: str | None = None) -> _ObjectFile:
        """Go back to the first byte; open again what is closed."""
        if not self.closed and mode in (None, self.mode):
            self.seek(0)
        else:
            self.close()
            self.mode = mode or self.mode
            self.file = self._open(self.name, self.mode)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Django would close, and so commit what an exception has cut short.
        self.file.__exit__(exc_type, exc, traceback)


def _encoded(content: File) -> Iterator[bytes]:
    """Yield the bytes of a file from its first one on; Django's text is UTF-8."""
    for chunk in content.chunks():
        yield chunk.encode() if isinstance(chunk, str) else chunk


def _local_time(moment: datetime) -> datetime:
    return moment if settings.USE_TZ else make_naive(moment, get_default_timezone())


def serve(
    request: HttpRequest,
    store: ObjectStore | ObjectStorage,
    name: str,
    *,
    content_type: str | None = None,
    as_attachment: bool = False,
    filename: str = "",
    timeout: float | None = DEFAULT_TIMEOUT,
) -> HttpResponseBase:
    """
    Answer a request with an object.

    The object is streamed, and links are followed. Its digest is the entity tag: a `HEAD`,
    and a request whose `If-None-Match` or `If-Modified-Since` holds, read no byte of it; a
    `Range` fetches only the chunks that it touches.

    Args:
        store: An object store, or a storage: then its location stands before the name.
        content_type: Media type; by default what the name stands for.
        as_attachment: Have the browser save it instead of showing it.
        filename: Name of the file to save; by default the last part of the name.
        timeout: Seconds without progress; None for ever.

    Raises:
        Http404: If there is no such object.

    Source: RFC 9110, sections 13 and 14.

    Example:
        >>> def media(request, name):
        ...     return serve(request, storages["default"], name)
    """
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    if isinstance(store, ObjectStorage):
        name = store._object_name(name)
        store = store.store
    while True:
        try:
            reader = store.get(name, timeout=timeout)
        except (ObjectNotFoundError, InvalidNameError) as error:
            raise Http404(f"there is no object {name!r:.60}") from error
        info = reader.info
        etag, modified = quote_etag(entity_tag(info)), int(info.mtime.timestamp())
        kind = content_type or guess_type(name)
        headers = {
            "Accept-Ranges": "bytes",
            "Content-Length": str(info.size),
            "ETag": etag,
            "Last-Modified": http_date(modified),
            "X-Content-Type-Options": "nosniff",
        }
        saved_as = filename or file_name(name)
        if disposition := content_disposition_header(as_attachment, saved_as):
            headers["Content-Disposition"] = disposition
        head = HttpResponse(content_type=kind, headers=headers)
        answer = get_conditional_response(request, etag, modified, head)
        if answer is not head or request.method == "HEAD":
            reader.close()
            return answer
        body, status = reader, 200
        part = _requested_range(request, info.size, etag, modified)
        if part is not None:
            reader.close()
            start, stop = part
            if start >= stop:
                return HttpResponse(status=416, headers={"Content-Range": f"bytes */{info.size}"})
            piece = open_range(store, info, name, start, stop, timeout=timeout)
            if piece is None:
                continue  # overwritten just now: answer with the new version
            body, status = piece, 206
            headers["Content-Length"] = str(stop - start)
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{info.size}"
        return _ObjectResponse(
            body,
            as_attachment=as_attachment,
            filename=saved_as,
            content_type=kind,
            status=status,
            headers=headers,
        )


class _ObjectResponse(FileResponse):
    block_size = BLOCK_SIZE


def _requested_range(
    request: HttpRequest, size: int, etag: str, modified: int
) -> tuple[int, int] | None:
    """
    Return the first byte that is wanted, and the one behind the last; None for all of them.

    What is no single range of bytes is ignored, as RFC 9110 has it.
    """
    match = _RANGE.fullmatch(request.headers.get("Range", ""))
    condition = request.headers.get("If-Range", etag)
    if match is None or (condition != etag and parse_http_date_safe(condition) != modified):
        return None
    first, last = match.groups()
    if (first and last and int(last) < int(first)) or not (first or last) or not size:
        return None
    if not first:
        return max(size - int(last), 0), size
    return int(first), min(int(last) + 1, size) if last else size
