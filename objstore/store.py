"""
`ObjectStore`: the objects of one bucket.

Reading a name and changing it is a compare-and-set everywhere: the change names the
version that was read, and on a conflict it is read again.
"""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar, overload

from objstore import audit, changes, naming
from objstore.batch import SmallObject, put_small
from objstore.bucket import Bucket, bucket_errors
from objstore.checks import MAX_SIZE, check_integer, check_text
from objstore.chunks import ask_ahead
from objstore.commit import outcome_unknown
from objstore.config import ObjectStoreStatus
from objstore.core.deadline import DEFAULT_TIMEOUT, Deadline, check_timeout
from objstore.display import html_table
from objstore.errors import (
    InvalidNameError,
    LinkNotAllowedError,
    LinkToDeletedError,
    LinkToLinkError,
    ObjectChangedError,
    ObjStoreError,
    shorten,
)
from objstore.files import PutData, check_data, is_buffer, write_data, write_file
from objstore.jetstream.api import JetStream
from objstore.links import follow
from objstore.listing import iterate_infos, iterate_names
from objstore.many import get_small, windows
from objstore.mapping import ObjectMapping
from objstore.models import (
    DEFAULT_CHUNK_SIZE,
    Listing,
    ObjectInfo,
    ObjectLink,
    ObjectMeta,
)
from objstore.reader import ObjectReader
from objstore.reports import CheckReport, SweepReport
from objstore.small import SMALL, get_small_one
from objstore.watcher import ObjectWatcher
from objstore.writer import ObjectWriter, TextWriter

__all__ = ["ObjectStore"]


#: Seconds in a hundred years.
_LONGEST_AGE = 100 * 365 * 86400.0

_NO_DATA = object()
#: Objects that a notebook shows of a store, and seconds to find them.
_SHOWN = 20
_SHOW_TIMEOUT = 2.0
_Callback = Callable[[int], object]
_T = TypeVar("_T")


class ObjectStore:
    """
    The objects of one bucket. Safe to use from many threads.

    Made by a client: `client.object_store("photos")`. Every method that can wait takes
    `timeout`: seconds without progress, 30 by default; None waits for ever.

    `name in store`, `for name in store`, `store[name]`, `store[name] = data` and
    `del store[name]` do what they do with a dict of bytes. There is no `len`: it would
    need a listing.

    Attributes:
        bucket: Name of the bucket.

    Errors of every method: `BucketNotFoundError` if the bucket is gone,
    `ConnectionLostError`, `RequestTimeoutError`, `JetStreamError`.
    """

    def __init__(
        self, js: JetStream, bucket: str, stream_info: dict[str, Any], *, owner: object = None
    ) -> None:
        self.bucket = bucket
        # A client that nobody else holds must not be closed while it is used.
        self._bucket = Bucket(js, bucket, stream_info, owner=owner)

    def __repr__(self) -> str:
        return f"<ObjectStore {self.bucket}>"

    def _repr_html_(self) -> str:
        try:
            infos = iterate_infos(self._bucket, Deadline(_SHOW_TIMEOUT))
            live = (info for info in infos if not info.deleted)
            first = Listing(itertools.islice(live, _SHOWN + 1))
        except ObjStoreError as error:
            return html_table([], [[error]], self.bucket)
        title = f": the first {_SHOWN} objects" if len(first) > _SHOWN else ""
        return Listing(first[:_SHOWN])._repr_html_(f"{self.bucket}{title}")

    # Putting

    @overload
    def put(
        self,
        name_or_meta: str | ObjectMeta | ObjectInfo,
        *,
        description: str | None = ...,
        headers: Mapping[str, str | Sequence[str]] | None = ...,
        metadata: Mapping[str, str] | None = ...,
        chunk_size: int | None = ...,
        if_absent: bool = ...,
        if_revision: int | None = ...,
        callback: _Callback | None = ...,
        timeout: float | None = ...,
    ) -> ObjectWriter: ...

    @overload
    def put(
        self,
        name_or_meta: str | ObjectMeta | ObjectInfo,
        data: PutData,
        *,
        description: str | None = ...,
        headers: Mapping[str, str | Sequence[str]] | None = ...,
        metadata: Mapping[str, str] | None = ...,
        chunk_size: int | None = ...,
        if_absent: bool = ...,
        if_revision: int | None = ...,
        callback: _Callback | None = ...,
        timeout: float | None = ...,
    ) -> ObjectInfo: ...

    def put(
        self,
        name_or_meta: str | ObjectMeta | ObjectInfo,
        data: Any = _NO_DATA,
        *,
        description: str | None = None,
        headers: Mapping[str, str | Sequence[str]] | None = None,
        metadata: Mapping[str, str] | None = None,
        chunk_size: int | None = None,
        if_absent: bool = False,
        if_revision: int | None = None,
        callback: _Callback | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> ObjectInfo | ObjectWriter:
        """
        Store an object, in place of whatever has that name.

        It becomes visible at once and as a whole when all of it is stored; on any error
        nothing has changed. Stored means: by the server, or by a majority of the replicas.
        When the server writes to its disk is its own setting (`sync_interval`).

        Args:
            name_or_meta: Name, or a meta with more.
            data: Bytes-like; a binary file of any length, seekable or not, read from where
                it stands and left open; an iterable of bytes; or a path. Without data the
                result is a file to write.
            description: For people.
            headers: Key to one or more values.
            metadata: Key to value.
            chunk_size: Bytes per chunk; None for 128 KiB.
            if_absent: Only if there is no live object of that name.
            if_revision: Only if the name has this revision (`info.revision`); 0 if never used.
            callback: Called in this thread with the number of bytes of each step.
            timeout: Seconds without progress; None for ever.

        Returns:
            What is stored; without data an `ObjectWriter`.

        Raises:
            PreconditionFailedError: If `if_absent` or `if_revision` does not hold.
            BucketFullError, BucketSealedError: If the bucket takes no more.
            OutcomeUnknownError: If the last step was sent and its fate could not be learnt.
            TypeError, ValueError: If an argument cannot be used; nothing was sent.
            LinkNotAllowedError: If the meta is that of a link.

        Source: ADR-20, "Put".
        """
        meta = self._make_meta(name_or_meta, description, headers, metadata, chunk_size)
        check_timeout(timeout)
        _check_revision(if_revision)
        if if_absent and if_revision is not None:
            raise ValueError("if_absent and if_revision exclude each other")
        _check_callback(callback)
        if data is not _NO_DATA:
            check_data(data)
        if if_revision is None and not if_absent and callback is None:
            deadline = Deadline(timeout)
            small = self._prepare_small(meta, data, deadline)
            if small is not None:
                return self._put_small(small, deadline)
        if isinstance(data, os.PathLike):
            with open(data, "rb", buffering=0) as file:
                return self.put(
                    meta,
                    file,
                    if_absent=if_absent,
                    if_revision=if_revision,
                    callback=callback,
                    timeout=timeout,
                )
        writer = ObjectWriter(
            self._bucket,
            meta,
            if_absent=if_absent,
            if_revision=if_revision,
            callback=callback,
            timeout=timeout,
        )
        if data is _NO_DATA:
            return writer
        with writer:
            write_data(writer, data)
        self._bucket.recent.note(writer.info)
        return writer.info

    def _put_small(self, small: SmallObject, deadline: Deadline) -> ObjectInfo:
        with bucket_errors(self.bucket):
            (info,) = put_small(self._bucket, [small], deadline)
        return info

    def _make_meta(
        self,
        name_or_meta: str | ObjectMeta | ObjectInfo,
        description: str | None,
        headers: Mapping[str, str | Sequence[str]] | None,
        metadata: Mapping[str, str] | None,
        chunk_size: int | None,
    ) -> ObjectMeta:
        if isinstance(name_or_meta, ObjectInfo):
            if name_or_meta.is_link:
                raise LinkNotAllowedError(
                    self.bucket, name_or_meta.name, "put takes no link; add_link makes one"
                )
            name_or_meta = name_or_meta.meta
        meta = name_or_meta if isinstance(name_or_meta, ObjectMeta) else ObjectMeta(name_or_meta)
        self._bucket.meta_subject(meta.name)  # refuses names that are too long
        if description is None and headers is None and metadata is None and chunk_size is None:
            return meta
        given = {
            "description": description,
            "headers": headers,
            "metadata": metadata,
            "chunk_size": chunk_size,
        }
        fields = {key: value for key, value in given.items() if value is not None}
        return ObjectMeta(**{**vars(meta), **fields})

    def put_bytes(
        self, name: str, data: bytes, *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> ObjectInfo:
        """Store bytes."""
        if not is_buffer(data):
            raise TypeError(f"data must be bytes-like, not {shorten(data)}")
        return self.put(name, data, timeout=timeout)

    def put_string(
        self, name: str, text: str, *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> ObjectInfo:
        """Store text, as UTF-8."""
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, not {type(text).__name__}; put takes bytes")
        return self.put(name, text.encode(), timeout=timeout)

    def put_file(
        self,
        path: str | os.PathLike[str],
        name: str | None = None,
        *,
        callback: _Callback | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> ObjectInfo:
        """Store a file, under its base name if no other is given."""
        path = os.fspath(path)
        with open(path, "rb", buffering=0) as file:
            return self.put(
                os.path.basename(path) if name is None else name,
                file,
                callback=callback,
                timeout=timeout,
            )

    def put_many(
        self,
        items: Mapping[str, PutData] | Iterable[tuple[str | ObjectMeta, PutData]],
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> list[ObjectInfo]:
        """
        Store many objects, small ones with many in flight at once.

        Args:
            items: Name, or meta, to data; data as for `put`.

        Returns:
            Infos, in the order of the items. When one fails, its error is raised; those
            before it are stored, and those shortly after it may be.
        """
        infos: list[ObjectInfo] = []
        pairs = items.items() if isinstance(items, Mapping) else items
        deadline = Deadline(timeout)
        prepared = (self._prepare(name_or_meta, data, deadline) for name_or_meta, data in pairs)
        # Of two with one name the last one stays, whatever is lost on the way.
        for batch in windows(prepared, _small_size, lambda item: item[0].name):
            small = [item for item in batch if isinstance(item, SmallObject)]
            if len(small) == len(batch):
                with bucket_errors(self.bucket):
                    infos += put_small(self._bucket, small, Deadline(timeout))
            else:
                infos += [self.put(item[0], item[1], timeout=timeout) for item in batch]
        return infos

    def _prepare(
        self, name_or_meta: str | ObjectMeta, data: Any, deadline: Deadline
    ) -> SmallObject | tuple[ObjectMeta, Any]:
        check_data(data)
        meta = self._make_meta(name_or_meta, None, None, None, None)
        return self._prepare_small(meta, data, deadline) or (meta, data)

    def _prepare_small(self, meta: ObjectMeta, data: Any, deadline: Deadline) -> SmallObject | None:
        """Return what fits one chunk; None for anything else."""
        if not isinstance(data, (bytes, bytearray)):
            return None
        most = min(meta.chunk_size or SMALL, SMALL)
        if len(data) > most or len(data) > self._bucket.max_chunk_size(deadline):
            return None
        return SmallObject(meta, bytes(data))

    # Getting

    def get(
        self,
        name: str | ObjectInfo,
        *,
        offset: int = 0,
        length: int | None = None,
        show_deleted: bool = False,
        verify: bool = True,
        callback: _Callback | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> ObjectReader:
        """
        Open an object to read; links are followed, also into other buckets.

        Args:
            name: Name of the object, or an info from `list`: then this very version is
                read, also one that another client has stored under a subject of its own.
            offset: Bytes to leave out at the beginning.
            length: Bytes to read at the most. A range cannot be verified.
            show_deleted: Give an empty file for a deleted object instead of an error.
            verify: False reads what does not match its digest, or has none.
            callback: Called in this thread with the number of bytes of each read.
            timeout: Seconds without progress; None for ever.

        Returns:
            A file: seekable, and closed by a `with` block.

        Raises:
            ObjectNotFoundError: If it does not exist. It is also a FileNotFoundError and a
                KeyError.
            BucketLinkError, LinkLoopError: If a link leads to no object.
            BadObjectMetaError: If what is stored of it cannot be used.

        Source: ADR-20, "Get".
        """
        check_integer("offset", offset, 0, MAX_SIZE)
        if length is not None:
            check_integer("length", length, 0, MAX_SIZE)
        return self._open_to_read(
            name,
            Deadline(timeout),
            offset=offset,
            length=length,
            show_deleted=show_deleted,
            verify=verify,
            callback=callback,
        )

    def _open_to_read(
        self,
        name: str | ObjectInfo,
        deadline: Deadline,
        *,
        offset: int = 0,
        length: int | None = None,
        show_deleted: bool = False,
        verify: bool = True,
        callback: _Callback | None = None,
    ) -> ObjectReader:
        """Do what `get` does, within what is left of a deadline."""
        _check_callback(callback)
        self._check_info(name)
        known = None
        if isinstance(name, ObjectInfo):
            known, name = name, name.name
        recent = self._bucket.recent
        ahead = ask_ahead(self._bucket, name, deadline) if known is None and not offset else None
        try:
            bucket, info = follow(self._bucket, name, known, show_deleted, deadline)
            reader = ObjectReader(
                bucket,
                info,
                name=name,
                offset=offset,
                length=length,
                verify=verify,
                callback=callback,
                timeout=deadline.timeout,
                ahead=ahead,
            )
        except BaseException:
            if ahead is not None:
                recent.forget(name)
                ahead.close()
            raise
        if bucket is self._bucket and name == info.name:
            recent.note(info)
        return reader

    def _check_info(self, name: str | ObjectInfo) -> None:
        if isinstance(name, ObjectInfo) and name.bucket != self.bucket:
            raise ValueError(f"the info is of bucket {shorten(name.bucket)}, not {self.bucket}")

    def get_bytes(
        self, name: str | ObjectInfo, *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> bytes:
        """Return an object's bytes."""
        deadline = Deadline(timeout)
        if isinstance(name, str):
            data = get_small_one(self._bucket, name, deadline)
            if data is not None:
                return data
        return self._read_whole(name, ObjectReader.read, deadline)

    def _read_whole(
        self,
        name: str | ObjectInfo,
        use: Callable[[ObjectReader], _T],
        deadline: Deadline,
        callback: _Callback | None = None,
    ) -> _T:
        """Use all of an object; begin again if another version takes its place meanwhile."""
        while True:
            with self._open_to_read(name, deadline, callback=callback) as reader:
                try:
                    return use(reader)
                except ObjectChangedError:
                    # Who asks for one very version cannot be given another.
                    if isinstance(name, ObjectInfo) or deadline.expired:
                        raise

    def get_string(self, name: str | ObjectInfo, *, timeout: float | None = DEFAULT_TIMEOUT) -> str:
        """Return an object's text, which must be UTF-8."""
        return self.get_bytes(name, timeout=timeout).decode()

    def get_file(
        self,
        name: str | ObjectInfo,
        path: str | os.PathLike[str],
        *,
        callback: _Callback | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> ObjectInfo:
        """
        Write an object to a file, which appears at once and as a whole.

        The bytes go to a temporary file beside it, are verified, and replace what is at
        `path`; on any error that is untouched. A symbolic link at `path` is replaced, not
        followed.

        Returns:
            What is stored of the object.

        Raises:
            OSError: If the file cannot be written, beside the errors of `get`.
        """
        path = os.fspath(path)
        if os.path.isdir(path):
            raise IsADirectoryError(f"{path!r} is a directory; name a file in it")

        def write(reader: ObjectReader) -> ObjectInfo:
            write_file(reader, path)
            return reader.info

        return self._read_whole(name, write, Deadline(timeout), callback)

    def get_many(
        self, names: Iterable[str], *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> Iterator[tuple[str, bytes]]:
        """
        Yield names and bytes of many objects, small ones with many in flight at once.

        Raises:
            ObjectNotFoundError: When it is the turn of one that does not exist.
        """
        if isinstance(names, (str, bytes)):
            raise TypeError("names must be an iterable of names, not one name")
        check_timeout(timeout)
        return self._get_many(names, timeout)

    def _get_many(self, names: Iterable[str], timeout: float | None) -> Iterator[tuple[str, bytes]]:
        for batch in windows(names, lambda name: SMALL // 4):
            with bucket_errors(self.bucket):
                found = get_small(self._bucket, batch, Deadline(timeout))
            for name, data in zip(batch, found, strict=True):
                yield name, self.get_bytes(name, timeout=timeout) if data is None else data

    @overload
    def open(
        self,
        name: str,
        mode: Literal["rb"] = ...,
        buffering: int = ...,
        *,
        timeout: float | None = ...,
    ) -> ObjectReader: ...

    @overload
    def open(
        self,
        name: str,
        mode: Literal["wb", "xb"],
        buffering: int = ...,
        *,
        timeout: float | None = ...,
    ) -> ObjectWriter: ...

    @overload
    def open(
        self,
        name: str,
        mode: Literal["r", "rt"],
        buffering: int = ...,
        *,
        encoding: str | None = ...,
        errors: str | None = ...,
        newline: str | None = ...,
        timeout: float | None = ...,
    ) -> io.TextIOWrapper: ...

    @overload
    def open(
        self,
        name: str,
        mode: Literal["w", "wt", "x", "xt"],
        buffering: int = ...,
        *,
        encoding: str | None = ...,
        errors: str | None = ...,
        newline: str | None = ...,
        timeout: float | None = ...,
    ) -> TextWriter: ...

    @overload
    def open(
        self,
        name: str,
        mode: str,
        buffering: int = ...,
        *,
        encoding: str | None = ...,
        errors: str | None = ...,
        newline: str | None = ...,
        timeout: float | None = ...,
    ) -> Any: ...

    def open(
        self,
        name: str,
        mode: str = "rb",
        buffering: int = -1,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> Any:
        """
        Open an object like the builtin `open`.

        Args:
            mode: `rb` and `r` read, `wb` and `w` write, `xb` and `x` write what must not
                exist yet. Objects cannot be appended to or changed in place.
            buffering: Bytes of an `io.BufferedReader` around a reader; -1 and 0 give the
                reader itself, which is buffered already.
            encoding, errors, newline: Of text, as for the builtin; but UTF-8 by default, on
                every system.

        Raises:
            ObjectAlreadyExistsError: With `x`, if the object exists.
            io.UnsupportedOperation: For `a` and `+`.
            ValueError: For any other mode.
        """
        if not isinstance(mode, str):
            raise TypeError(f"mode must be a str, not {shorten(mode)}")
        if "a" in mode or "+" in mode:
            raise io.UnsupportedOperation(
                f"mode {shorten(mode)}: an object is written as a whole; "
                "read it and put it again to append or change"
            )
        if mode not in ("r", "rb", "rt", "w", "wb", "wt", "x", "xb", "xt"):
            raise ValueError(f"mode must be one of rb, wb, xb, r, w, x, not {shorten(mode)}")
        text = "b" not in mode
        if not text and not encoding == errors == newline is None:
            raise ValueError("binary mode takes no encoding, errors or newline")
        options: dict[str, Any] = {"encoding": encoding or "utf-8", "errors": errors}
        options["newline"] = newline
        if "r" in mode:
            reader = self.get(name, timeout=timeout)
            if text:
                return io.TextIOWrapper(io.BufferedReader(reader), **options)
            return io.BufferedReader(reader, buffering) if buffering > 0 else reader
        writer = ObjectWriter(
            self._bucket,
            self._make_meta(name, None, None, None, None),
            exclusive="x" in mode,
            timeout=timeout,
        )
        return TextWriter(writer, **options) if text else writer

    # Infos

    def get_info(
        self,
        name: str | ObjectInfo,
        *,
        show_deleted: bool = False,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> ObjectInfo:
        """
        Return what is stored of an object beside its bytes; of a link, the link's own.

        Args:
            name: Name of the object, or an info from `list`: then what has become of it,
                also where another client has stored it under a subject of its own.

        Raises:
            ObjectNotFoundError: If it does not exist, or is deleted and that was not asked for.
            BadObjectMetaError: If what is stored of it cannot be used.
        """
        self._check_info(name)
        info = self._bucket.meta(name, Deadline(timeout))
        if info is None or (info.deleted and not show_deleted):
            raise changes.not_found(self.bucket, name, info)
        return info

    def update_meta(
        self,
        name: str | ObjectInfo,
        meta: ObjectMeta | None = None,
        *,
        new_name: str | None = None,
        description: str | None = None,
        headers: Mapping[str, str | Sequence[str]] | None = None,
        metadata: Mapping[str, str] | None = None,
        if_revision: int | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> ObjectInfo:
        """
        Change what is stored of an object beside its bytes.

        Args:
            name: Name of the object, or an info from `list`.
            meta: Replaces name, description, headers and metadata altogether.
            new_name: Renames. In a bucket made with `atomic=True` that is one change.
                Elsewhere the new name comes first and the old one goes then, so that the
                bytes always have a name; a reader may see both for a moment, and a process
                that dies in between leaves both. The same call again finishes it. With an
                info, its own name as the new one brings an object that another client has
                stored under a subject of its own to where it is found by the name.
            description, headers, metadata: Change just these; "" and {} clear.
            if_revision: Only if the object has this revision.

        Returns:
            What is stored now.

        Raises:
            ObjectNotFoundError: If it does not exist or is deleted.
            ObjectAlreadyExistsError: If the new name is taken, or an earlier rename to
                another one was not finished.
            PreconditionFailedError: If `if_revision` does not hold.
            OutcomeUnknownError: If it was sent and its fate could not be learnt.

        Source: ADR-20, "Update meta".
        """
        keywords = {"description": description, "headers": headers, "metadata": metadata}
        given: dict[str, Any] = {key: v for key, v in keywords.items() if v is not None}
        if meta is not None:
            if given or new_name is not None:
                raise ValueError("give either a meta or keywords")
            if not isinstance(meta, ObjectMeta):
                raise TypeError(f"meta must be an ObjectMeta, not {shorten(meta)}")
            given, new_name = {key: getattr(meta, key) for key in keywords}, meta.name
        elif not given and new_name is None:
            raise ValueError("nothing to change: give a meta or keywords")
        self._check_info(name)
        old_name = name.name if isinstance(name, ObjectInfo) else name
        changed = ObjectMeta(old_name if new_name is None else new_name, **given)
        if new_name is not None:
            self._bucket.meta_subject(new_name)  # refuses names that are too long
        fields = {key: getattr(changed, key) for key in given}
        _check_revision(if_revision)
        return changes.update(self._bucket, name, new_name, fields, if_revision, Deadline(timeout))

    # Removing

    def delete(
        self,
        name: str | ObjectInfo,
        *,
        missing_ok: bool = False,
        if_revision: int | None = None,
        purge: bool = False,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> None:
        """
        Delete an object, or a link, but not what it leads to.

        A small message stays behind and tells watchers of it. Deleting twice is fine.

        Args:
            name: Name of the object, or an info from `list`: also of an object that another
                client has stored under a subject of its own.
            missing_ok: Do nothing if no object ever had that name.
            if_revision: Only if the object has this revision.
            purge: Remove the message that stays behind, too.

        Raises:
            ObjectNotFoundError: If no object ever had that name.
            PreconditionFailedError: If `if_revision` does not hold.
            OutcomeUnknownError: If it was sent and its fate could not be learnt.

        Source: ADR-20, "Delete".
        """
        self._check_info(name)
        _check_revision(if_revision)
        deadline = Deadline(timeout)
        tombstone = changes.delete(self._bucket, name, if_revision, deadline)
        if tombstone is None and not missing_ok:
            raise changes.not_found(self.bucket, name, None)
        if purge and tombstone is not None:
            with outcome_unknown(self._bucket, tombstone):
                self._bucket.purge_meta(name, tombstone.revision, deadline)

    # Links

    def add_link(
        self, name: str, target: ObjectInfo, *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> ObjectInfo:
        """
        Make a name that leads to another object, in this bucket or another.

        Args:
            target: What `get_info` said of the object.

        Raises:
            LinkToLinkError, LinkToDeletedError: If the target is such.
            ObjectAlreadyExistsError: If an object, that is no link, has the name.

        Source: ADR-20, "Links".
        """
        if not isinstance(target, ObjectInfo):
            raise TypeError(f"target must be an ObjectInfo, as of get_info, not {shorten(target)}")
        naming.meta_subject(target.bucket, target.name)
        if target.deleted:
            raise LinkToDeletedError(
                self.bucket, name, f"its target {target.name!r:.60} is deleted"
            )
        if target.is_link:
            raise LinkToLinkError(self.bucket, name, f"its target {target.name!r:.60} is a link")
        link = ObjectLink(target.bucket, target.name)
        return changes.add_link(self._bucket, name, link, Deadline(timeout))

    def add_bucket_link(
        self,
        name: str,
        bucket: ObjectStore | str,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> ObjectInfo:
        """
        Make a name that leads to a bucket.

        Raises:
            ObjectAlreadyExistsError: If an object, that is no link, has the name.

        Source: ADR-20, "Links".
        """
        target = bucket.bucket if isinstance(bucket, ObjectStore) else bucket
        link = ObjectLink(naming.check_bucket(target))
        return changes.add_link(self._bucket, name, link, Deadline(timeout))

    # The bucket

    def list(
        self,
        *,
        prefix: str = "",
        show_deleted: bool = False,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> Listing:
        """
        Return the infos of all objects, in the order of their last change.

        Every object that is there for the whole call is in it, once. An entry that cannot
        be read is left out, with a warning in the log.

        Args:
            prefix: Only names that begin so. The whole bucket is read all the same.
            show_deleted: With what deleted objects leave behind.
        """
        check_text("prefix", prefix)
        return Listing(
            info
            for info in iterate_infos(self._bucket, Deadline(timeout))
            if info.name.startswith(prefix) and (show_deleted or not info.deleted)
        )

    def watch(
        self,
        *,
        include_history: bool = False,
        ignore_deletes: bool = False,
        updates_only: bool = False,
        prefix: str = "",
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> ObjectWatcher:
        """
        Watch the bucket: what is there, then None, then what changes.

        Args:
            include_history: Begin with every version that is stored, not only the last.
            ignore_deletes: Leave deleted objects out.
            updates_only: Leave out what is there, and the None.
            prefix: Only names that begin so.
            timeout: Seconds to begin; the watch itself waits for changes for ever.
        """
        check_text("prefix", prefix)
        return ObjectWatcher(
            self._bucket,
            include_history=include_history,
            ignore_deletes=ignore_deletes,
            updates_only=updates_only,
            prefix=prefix,
            timeout=timeout,
        )

    def status(self, *, timeout: float | None = DEFAULT_TIMEOUT) -> ObjectStoreStatus:
        """Return how the bucket is: its configuration and its size."""
        info = self._bucket.stream_info(Deadline(timeout))
        return ObjectStoreStatus.from_stream(self.bucket, info)

    def seal(self, *, timeout: float | None = DEFAULT_TIMEOUT) -> None:
        """Let the bucket never change again. It can still be deleted as a whole."""
        deadline = Deadline(timeout)
        config = {**self._bucket.stream_info(deadline)["config"], "sealed": True}
        with bucket_errors(self.bucket):
            self._bucket.js.update_stream(config, deadline)

    def check(
        self,
        *,
        read_data: bool | float = False,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> CheckReport:
        """
        Look for what is broken: objects that cannot be read as they were stored.

        The sizes of all chunks are compared with what is said of the objects, and what
        looks wrong is read. Bits that changed on a disk show only to who reads everything.

        Args:
            read_data: True reads all objects and compares their digests; a number from 0
                to 1 reads that fraction of them, chosen at random.
            timeout: Seconds without progress; None for ever.

        Returns:
            A report: true if all is well, and a table when printed.

        Example:
            >>> report = store.check(read_data=True)
            >>> if not report:
            ...     print(report)
        """
        return audit.check(self._bucket, _check_fraction(read_data), timeout)

    def sweep(
        self,
        *,
        min_age: float = 86400.0,
        dry_run: bool = True,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> SweepReport:
        """
        Remove chunks that belong to no object, as a writer that was killed leaves them.

        Args:
            min_age: Seconds since the last of them was stored, at the least. Chunks of an
                upload that is going on belong to no object either, so this must be longer
                than any upload may pause.
            dry_run: Only tell what would be removed.
            timeout: Seconds without progress; None for ever.

        Returns:
            A report of what was removed, or would be. Nothing is removed while the bucket
            has an entry that cannot be read: its chunks might be any.

        Raises:
            BucketSealedError: If the bucket can no longer be changed.
        """
        min_age = _check_age(min_age)
        if not isinstance(dry_run, bool):
            raise TypeError(f"dry_run must be True or False, not {shorten(dry_run)}")
        return audit.sweep(self._bucket, min_age, dry_run, timeout)

    def copy(
        self,
        name: str | ObjectInfo,
        new_name: str,
        *,
        store: ObjectStore | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> ObjectInfo:
        """
        Copy an object with its meta, through this process; a link is followed.

        Args:
            name: Name of the object, or an info from `list`.
            store: Where the copy goes; this bucket if None.
        """
        target = self if store is None else store
        if not isinstance(target, ObjectStore):
            raise TypeError(f"store must be an ObjectStore, not {shorten(store)}")
        target._bucket.meta_subject(new_name)  # refuses what can be no name

        def put(reader: ObjectReader) -> ObjectInfo:
            meta = ObjectMeta(**{**vars(reader.info.meta), "name": new_name})
            return target.put(meta, reader, timeout=timeout)

        return self._read_whole(name, put, Deadline(timeout))

    # The store as a dict

    def mapping(self, prefix: str = "") -> ObjectMapping:
        """Return a full `MutableMapping` of names to bytes; names below `prefix`, without it."""
        return ObjectMapping(self, prefix)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        try:
            info = self._bucket.meta(name, Deadline(DEFAULT_TIMEOUT))
        except InvalidNameError:
            return False  # nothing can have that name
        return info is not None and not info.deleted

    def __iter__(self) -> Iterator[str]:
        return iterate_names(self._bucket, Deadline(DEFAULT_TIMEOUT))

    def __getitem__(self, name: str) -> bytes:
        return self.get_bytes(name)

    def __setitem__(self, name: str, data: PutData) -> None:
        self.put(name, data)

    def __delitem__(self, name: str) -> None:
        changes.live_info(self._bucket, name, None, Deadline(DEFAULT_TIMEOUT))
        self.delete(name)


def _check_callback(callback: object) -> None:
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable, not {shorten(callback)}")


def _check_fraction(read_data: object) -> float:
    if isinstance(read_data, bool):
        return float(read_data)
    if not isinstance(read_data, (int, float)):
        raise TypeError(f"read_data must be True, False or a fraction, not {shorten(read_data)}")
    if not 0 <= read_data <= 1:
        raise ValueError(f"read_data must be a fraction from 0 to 1, not {read_data}")
    return float(read_data)


def _check_age(min_age: object) -> float:
    if isinstance(min_age, bool) or not isinstance(min_age, (int, float)):
        raise TypeError(f"min_age must be a number of seconds, not {shorten(min_age)}")
    if not 0 <= min_age <= _LONGEST_AGE:
        raise ValueError(f"min_age must be from 0 to {_LONGEST_AGE:g} seconds, not {min_age}")
    return float(min_age)


def _check_revision(if_revision: int | None) -> None:
    if if_revision is not None:
        check_integer("if_revision", if_revision, 0, MAX_SIZE)


def _small_size(item: SmallObject | tuple[ObjectMeta, Any]) -> int:
    return len(item.data) if isinstance(item, SmallObject) else DEFAULT_CHUNK_SIZE
