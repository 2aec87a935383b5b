"""
`objstore://bucket/path`: buckets as a filesystem, for everything that speaks fsspec.

The first part of a path is a bucket, the rest the name of an object. Directories are what
the slashes in names make of it: none has to be made, and each goes with what is in it.

Listings are never kept from one call to the next; but within a call a bucket is listed at
most once, however many directories it has.

Needs the extra `fsspec`: `pip install "nats-objstore[fsspec]"`.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import os
import shutil
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeVar, cast

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.compression import compr
from fsspec.core import get_compression
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem
from fsspec.transaction import Transaction
from fsspec.utils import isfilelike, tokenize

from objstore.client import Client
from objstore.contrib.tree import Entry, Tree, make_directory, make_file
from objstore.contrib.writers import CompressedWriter, TransactionWriter
from objstore.core.deadline import DEFAULT_TIMEOUT, Deadline
from objstore.digest import parse_digest
from objstore.errors import (
    BadObjectMetaError,
    BucketExistsError,
    InvalidNameError,
    LinkError,
    ObjectAlreadyExistsError,
    ObjectChangedError,
    ObjectNotFoundError,
)
from objstore.models import ObjectInfo
from objstore.reader import ObjectReader
from objstore.store import ObjectStore
from objstore.writer import TextWriter

__all__ = ["ObjectStoreFileSystem"]

#: Requests in flight at once, where a call needs many.
_PARALLEL = 8
#: Bytes copied at once.
_BLOCK_SIZE = 1 << 20

#: The client for each set of options: all threads of a process share its connection.
_clients: weakref.WeakValueDictionary[str, Client] = weakref.WeakValueDictionary()

_T = TypeVar("_T")
_R = TypeVar("_R")
_Method = TypeVar("_Method", bound=Callable[..., Any])


class _Environment:
    """The variables that clients read: with others a filesystem is not the same one."""

    def __get__(self, instance: object, owner: type) -> list[tuple[str, str]]:
        return sorted(item for item in os.environ.items() if item[0].startswith("NATS_"))


def _one_listing(method: _Method) -> _Method:
    """Let all that `method` does see each bucket as it was at the first look."""

    @functools.wraps(method)
    def call(self: ObjectStoreFileSystem, *args: Any, **kwargs: Any) -> Any:
        if self._trees is not None:
            return method(self, *args, **kwargs)
        self._trees = {}
        try:
            return method(self, *args, **kwargs)
        finally:
            self._trees = None

    return cast(_Method, call)


class _Transaction(Transaction):
    """
    A transaction that ends also when a commit fails.

    Those of older releases of fsspec do not: every later write would wait for a commit.
    """

    def complete(self, commit: bool = True) -> None:
        """Commit or discard all files; after an error discard those that are left."""
        fs, files = self.fs, self.files
        try:
            super().complete(commit)
        finally:
            fs._intrans = False
            fs._transaction = None
            while files:
                with contextlib.suppress(Exception):  # the first error is the one to tell
                    files.popleft().discard()


class ObjectStoreFileSystem(AbstractFileSystem):
    """
    The buckets of a server, or cluster, as a filesystem. Safe to use from many threads.

    Filesystems with the same options share one client, which connects at the first use and
    again after a fork. It is closed when nobody holds one any more; fsspec itself holds them
    until `ObjectStoreFileSystem.clear_instance_cache()`.

    Pickled are the options, not what the environment or a file says: a password is safer there.

    Args:
        options: As of `objstore.Client`, for example `servers`, `user`, `password`; by
            default `$NATS_URL` and the variables beside it say where the server is.

    Errors are those of `ObjectStore`; a bucket or object that does not exist is a
    `FileNotFoundError`.

    Example:
        >>> fs = fsspec.filesystem("objstore", servers="nats://localhost:4222")
        >>> with fs.open("photos/pets/cat.jpg") as file:
        ...     header = file.read(16)
    """

    protocol = "objstore"
    transaction_type = _Transaction
    _environment = _Environment()
    _extra_tokenize_attributes = ("_environment",)

    def __init__(
        self,
        *,
        use_listings_cache: bool = False,
        listings_expiry_time: float | None = None,
        max_paths: int | None = None,
        asynchronous: bool = False,
        loop: object = None,
        **options: Any,
    ) -> None:
        # fsspec's own options are taken and not needed: nothing is cached here.
        super().__init__()
        token = tokenize(self._environment, **options)
        # Two threads may make two clients; the one that loses has not connected yet.
        client = _clients.get(token) or Client(**options)
        self._client = _clients.setdefault(token, client)
        self._stores: dict[str, ObjectStore] = {}
        self._local = threading.local()

    @property
    def _trees(self) -> dict[str, Tree] | None:
        """Listings of the call that this thread is in; None if they are not to be kept."""
        return getattr(self._local, "trees", None)

    @_trees.setter
    def _trees(self, trees: dict[str, Tree] | None) -> None:
        self._local.trees = trees

    # Paths

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        path = super()._strip_protocol(path)
        return path if isinstance(path, list) else path.lstrip("/")

    def _split(self, path: str) -> tuple[str, str]:
        bucket, _, name = self._strip_protocol(path).partition("/")
        return bucket, name

    def _store(self, bucket: str) -> ObjectStore:
        if bucket not in self._stores:
            self._stores[bucket] = self._client.object_store(bucket)
        return self._stores[bucket]

    def _locate(self, path: str) -> tuple[ObjectStore, str]:
        """Return the bucket and the name that a path stands for."""
        bucket, name = self._split(path)
        if not name:
            raise _is_directory(path)
        return self._store(bucket), name

    # Listing

    def _tree(self, bucket: str, trees: dict[str, Tree] | None = None) -> Tree:
        """Return a listing of a bucket: that of this call, if it has one."""
        if trees is None:
            trees = {} if self._trees is None else self._trees
        if bucket not in trees:
            try:
                infos = self._store(bucket).list()
            except InvalidNameError as error:
                raise _not_found(bucket) from error
            trees[bucket] = Tree(bucket, map(self._entry, infos))
        return trees[bucket]

    def _entry(self, info: ObjectInfo) -> Entry:
        """Return the entry of an object; of a link, with the size of its target."""
        path = f"{info.bucket}/{info.name}"
        if info.link is None:
            return make_file(path, info)
        names = (info.link.bucket, info.link.name)
        link = {"islink": True, "destination": "/".join(name for name in names if name)}
        try:
            with self._store(info.bucket).get(info) as reader:
                return {**make_file(path, reader.info), **link}
        except (FileNotFoundError, LinkError, BadObjectMetaError):
            return {"name": path, "size": None, "type": "other", **link}

    def ls(
        self,
        path: str,
        detail: bool = True,
        trees: dict[str, Tree] | None = None,
        **kwargs: Any,
    ) -> list[Any]:
        """
        List a directory: entries, or with `detail=False` paths.

        Raises:
            FileNotFoundError: If there is neither a directory nor a file at `path`.
        """
        path = self._strip_protocol(path)
        if not path:
            entries = [make_directory(name) for name in sorted(self._client.object_store_names())]
        else:
            tree = self._tree(self._split(path)[0], trees)
            if path in tree.directories:
                entries = sorted(tree.directories[path], key=lambda entry: entry["name"])
            elif path in tree.files:
                entries = [tree.files[path]]
            else:
                raise _not_found(path)
        return entries if detail else [entry["name"] for entry in entries]

    def info(self, path: str, **kwargs: Any) -> Entry:
        """
        Return name, size, type and more of what is at `path`.

        Raises:
            FileNotFoundError: If there is nothing.
        """
        path = self._strip_protocol(path)
        bucket, name = self._split(path)
        try:
            if not name:
                if bucket:
                    self._stores[bucket] = self._client.object_store(bucket)
                return make_directory(path)
            tree = self._trees.get(bucket) if self._trees else None
            if tree is None:
                try:
                    return self._entry(self._store(bucket).get_info(name))
                except ObjectNotFoundError:
                    tree = self._tree(bucket)
        except InvalidNameError as error:
            raise _not_found(path) from error
        entry = tree.entry(path)
        if entry is None:
            raise _not_found(path)
        return entry

    def exists(self, path: str, **kwargs: Any) -> bool:
        """Whether there is anything at `path`; raises if that cannot be learnt."""
        return self._type(path) is not None

    def isdir(self, path: str) -> bool:
        """Whether there is a directory at `path`, and no file."""
        return bool(self._type(path) == "directory")

    def isfile(self, path: str) -> bool:
        """Whether there is an object at `path`."""
        return bool(self._type(path) == "file")

    def _type(self, path: str) -> Any:
        # fsspec's own way takes any error for "no": then who cannot connect may overwrite.
        try:
            return self.info(path)["type"]
        except FileNotFoundError:
            return None

    def walk(
        self,
        path: str,
        maxdepth: int | None = None,
        topdown: bool = True,
        on_error: Any = "omit",
        **kwargs: Any,
    ) -> Iterator[Any]:
        """Yield path, directories and files of each directory, all of one listing."""
        kwargs.setdefault("trees", {})
        yield from super().walk(path, maxdepth, topdown, on_error, **kwargs)

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Return the paths of all files below `path`; with `detail=True` a dict of entries."""
        if maxdepth is not None and maxdepth < 1:
            raise ValueError(f"maxdepth must be at least 1, not {maxdepth}")
        path = self._strip_protocol(path)
        bucket = self._split(path)[0]
        found: dict[str, Entry] = {}
        for name in [bucket] if bucket else sorted(self._client.object_store_names()):
            with contextlib.suppress(FileNotFoundError):
                tree = self._tree(name)
                if withdirs and path in tree.directories:
                    found[path] = make_directory(path)
                for entry in tree.below(path, maxdepth, withdirs):
                    found[entry["name"]] = entry
                if not found and path in tree.files:
                    found[path] = tree.files[path]
        return dict(sorted(found.items())) if detail else sorted(found)

    def du(
        self,
        path: str,
        total: bool = True,
        maxdepth: int | None = None,
        withdirs: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Return the bytes of all files below `path`; with `total=False` for each path."""
        found = self.find(path, maxdepth=maxdepth, withdirs=withdirs, detail=True)
        sizes = {name: entry["size"] or 0 for name, entry in found.items()}
        return sum(sizes.values()) if total else sizes

    glob = _one_listing(AbstractFileSystem.glob)
    expand_path = _one_listing(AbstractFileSystem.expand_path)
    get = _one_listing(AbstractFileSystem.get)

    # What an object is

    def modified(self, path: str) -> datetime:
        """Return when an object was stored; aware, UTC."""
        entry = self.info(path)
        if entry["type"] == "directory":
            raise _is_directory(path)
        if entry["type"] == "other":  # a link that leads nowhere
            raise _not_found(path)
        return cast(datetime, entry["mtime"])

    def created(self, path: str) -> datetime:
        """Return when an object was stored: every version is a new one."""
        return self.modified(path)

    def checksum(self, path: str) -> int:
        """Return the SHA-256 of an object, as it was stored, as a number."""
        with contextlib.suppress(ValueError):  # it has none, or one of another kind
            return int.from_bytes(parse_digest(self.info(path).get("digest", "")), "big")
        return cast(int, super().checksum(path))

    # Files

    def open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        cache_options: dict[str, Any] | None = None,
        compression: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """
        Open a file. What is written appears when it is closed, as a whole.

        An exception in its `with` block, or dropping it, leaves everything as it was; text
        and compression included.

        Args:
            mode: `rb` and `r` read, `wb` and `w` write, `xb` and `x` write what must not
                exist yet. Objects cannot be appended to.
            cache_options: With `cache_type`: have fsspec cache what is read, in its way.
            compression: Name of a codec of fsspec, or "infer".
            kwargs: `encoding`, `errors`, `newline` of text, UTF-8 by default; and what `get`
                and `put` of a store take, for example `metadata`.
        """
        if "b" not in mode:
            kwargs.setdefault("encoding", "utf-8")
        if "r" in mode:
            return super().open(path, mode, block_size, cache_options, compression, **kwargs)
        text = {key: kwargs.pop(key) for key in ("encoding", "errors", "newline") if key in kwargs}
        if "b" in mode and text:
            raise ValueError("binary mode takes no encoding, errors or newline")
        binary = mode.replace("t", "").replace("b", "") + "b"
        autocommit = kwargs.pop("autocommit", not self._intrans)
        file: Any = self._open(path, binary, autocommit=autocommit, **kwargs)
        if not autocommit:
            self.transaction.files.append(file)
        codec = get_compression(self._strip_protocol(path), compression)
        if codec is not None:
            file = CompressedWriter(file, compr[codec])
        return TextWriter(file, **text) if text else file

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        cache_type: str | None = None,
        size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        store, name = self._locate(path)
        if mode == "rb":
            if cache_type is None:
                return store.get(name, **kwargs)
            return _CachedFile(
                self,
                self._strip_protocol(path),
                mode,
                block_size,
                cache_type=cache_type,
                cache_options=cache_options,
                size=size,
            )
        writer = store.put(name, **kwargs) if mode == "wb" else store.open(name, mode, **kwargs)
        return writer if autocommit else TransactionWriter(writer)

    # Bytes

    def cat_file(
        self,
        path: str,
        start: int | None = None,
        end: int | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> bytes:
        """Return an object's bytes, or a slice of them; negative numbers count from the end."""
        store, name = self._locate(path)
        return store._read_whole(
            name, lambda file: _read_slice(file, start, end), Deadline(timeout)
        )

    def cat_ranges(
        self,
        paths: list[str],
        starts: int | list[int | None] | None,
        ends: int | list[int | None] | None,
        max_gap: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[Any]:
        """
        Return many ranges of many objects, several in flight at once.

        Args:
            starts, ends: One for each path, or one for all.
            on_error: "return" puts exceptions into the list, "raise" raises the first.
        """
        if max_gap is not None:
            raise NotImplementedError("max_gap: ranges are read as they are")
        if not isinstance(paths, list):
            raise TypeError(f"paths must be a list, not {type(paths).__name__}")
        count = len(paths)
        starts = starts if isinstance(starts, list) else [starts] * count
        ends = ends if isinstance(ends, list) else [ends] * count
        if len(starts) != count or len(ends) != count:
            raise ValueError(f"{count} paths, {len(starts)} starts and {len(ends)} ends")
        # Ranges of one object that are near to each other are read by one reader.
        ranges = sorted(
            zip(range(count), paths, starts, ends), key=lambda item: (item[1], item[2] or 0)
        )
        size = -(-count // _PARALLEL) or 1
        runs = [ranges[start : start + size] for start in range(0, count, size)]
        results: dict[int, Any] = {}
        for run in _in_parallel(self._read_ranges, runs):
            results.update(run if isinstance(run, dict) else {})
        out = [results[number] for number in range(count)]
        if on_error == "raise":
            for result in out:
                if isinstance(result, Exception):
                    raise result
        return out

    def _read_ranges(
        self, ranges: Sequence[tuple[int, str, int | None, int | None]]
    ) -> dict[int, bytes | Exception]:
        """Read ranges one after the other; return number to bytes, or to an exception."""
        results: dict[int, bytes | Exception] = {}
        for path, group in itertools.groupby(ranges, key=lambda item: item[1]):
            wanted = list(group)
            try:
                store, name = self._locate(path)
                with store.get(name) as file:
                    for number, _, start, end in wanted:
                        results[number] = _read_slice(file, start, end)
            except Exception as error:
                results.update((item[0], error) for item in wanted if item[0] not in results)
        return results

    @_one_listing
    def cat(
        self, path: Any, recursive: bool = False, on_error: str = "raise", **kwargs: Any
    ) -> Any:
        """
        Return an object's bytes; for a list, a pattern or a directory, a dict of them.

        Args:
            on_error: "raise" raises the first error, "omit" leaves out what failed, "return"
                puts exceptions into the dict.
        """
        paths = self.expand_path(path, recursive=recursive)
        if recursive:
            paths = [name for name in paths if not self.isdir(name)]
        if paths == [self._strip_protocol(path)]:
            return self.cat_file(paths[0], **kwargs)
        results = _in_parallel(lambda name: self.cat_file(name, **kwargs), paths)
        out = {}
        for name, result in zip(paths, results):
            if isinstance(result, Exception):
                if on_error == "raise":
                    raise result
                if on_error == "omit":
                    continue
            out[name] = result
        return out

    def pipe_file(self, path: str, value: Any, mode: str = "overwrite", **kwargs: Any) -> None:
        """
        Store bytes.

        Args:
            mode: "create" if the object must not exist yet: then FileExistsError.
        """
        with self.open(path, _write_mode(mode), **kwargs) as file:
            file.write(value)

    def pipe(self, path: Any, value: Any = None, **kwargs: Any) -> None:
        """Store bytes; of a dict of paths to bytes, many in flight at once."""
        if not isinstance(path, dict) or kwargs or self._intrans:
            super().pipe(path, value, **kwargs)
            return
        buckets: dict[str, dict[str, Any]] = {}
        for name, data in path.items():
            store, name = self._locate(name)
            buckets.setdefault(store.bucket, {})[name] = data
        for bucket, objects in buckets.items():
            self._store(bucket).put_many(objects)

    # Local files

    def put_file(
        self,
        lpath: str,
        rpath: str,
        callback: Any = DEFAULT_CALLBACK,
        mode: str = "overwrite",
        **kwargs: Any,
    ) -> None:
        """Store a local file. A directory needs no making."""
        if os.path.isdir(lpath):
            return
        with open(lpath, "rb", buffering=0) as source:
            callback.set_size(os.path.getsize(lpath))
            with self.open(rpath, _write_mode(mode), **kwargs) as target:
                buffer = memoryview(bytearray(_BLOCK_SIZE))
                while count := source.readinto(buffer):
                    target.write(buffer[:count])
                    callback.relative_update(count)

    def get_file(
        self,
        rpath: str,
        lpath: Any = None,
        callback: Any = DEFAULT_CALLBACK,
        outfile: Any = None,
        **kwargs: Any,
    ) -> None:
        """
        Write an object to a local file, which appears at once and as a whole.

        Args:
            lpath: Path of the file; directories on the way are made. Or a file to write to.
        """
        outfile = lpath if outfile is None and isfilelike(lpath) else outfile
        if callback is not DEFAULT_CALLBACK:
            callback.set_size(self.size(rpath))
        try:
            store, name = self._locate(rpath)
            if outfile is not None:
                with store.get(name, callback=callback.relative_update, **kwargs) as reader:
                    shutil.copyfileobj(reader, outfile, _BLOCK_SIZE)
            else:
                os.makedirs(os.path.dirname(lpath) or ".", exist_ok=True)
                store.get_file(name, lpath, callback=callback.relative_update, **kwargs)
        except (IsADirectoryError, ObjectNotFoundError):
            if outfile is not None or not self.isdir(rpath):
                raise
            os.makedirs(lpath, exist_ok=True)

    # Changes

    def cp_file(self, path1: str, path2: str, move: bool = False, **kwargs: Any) -> None:
        """Copy an object, through this process."""
        if self._split(path1) == self._split(path2):
            return
        try:
            source, name = self._locate(path1)
            target, new_name = self._locate(path2)
            if move:
                _move(source, name, target, new_name)
            else:
                source.copy(name, new_name, store=target)
        except (IsADirectoryError, ObjectNotFoundError):
            if not self.isdir(path1):
                raise

    @_one_listing
    def copy(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        on_error: str | None = None,
        **kwargs: Any,
    ) -> None:
        """
        Copy objects, through this process.

        Args:
            on_error: "ignore" goes on when an object is missing; the default is to raise.
        """
        # fsspec ignores errors by default, for the sake of directories: ours make none.
        super().copy(path1, path2, recursive, maxdepth, on_error or "raise", **kwargs)

    @_one_listing
    def mv(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """
        Move objects. Within a bucket to a free name no byte is copied.

        What was changed while it was copied stays where it was, too, with a
        PreconditionFailedError.
        """
        if path1 != path2:
            self.copy(path1, path2, recursive, maxdepth, on_error="raise", move=True)

    @_one_listing
    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """
        Delete objects; with `recursive=True` directories, and buckets with their configuration.

        Raises:
            FileNotFoundError: If there is nothing to delete.
            IsADirectoryError: If there is a directory, and that was not meant.
        """
        paths = self.expand_path(path, recursive=recursive, maxdepth=maxdepth)
        buckets = [name for name in paths if "/" not in name]
        objects = [name for name in paths if "/" in name]
        if recursive:
            directories = [name for name in objects if self.isdir(name)]
            objects = [name for name in objects if name not in set(directories)]
            objects += [f"{name}/" for name in directories + buckets if self._is_marked(name)]
        elif buckets:
            raise _is_directory(buckets[0])
        for error in _in_parallel(self._delete, objects):
            if isinstance(error, Exception):
                raise error
        for bucket in buckets if maxdepth is None else ():
            self.rmdir(bucket)

    def _is_marked(self, path: str) -> bool:
        return path in self._tree(self._split(path)[0]).markers

    def _delete(self, path: str) -> None:
        bucket, _, name = path.partition("/")
        try:
            del self._store(bucket)[name]
        except ObjectNotFoundError:
            if self.isdir(path):
                raise _is_directory(path) from None
            raise

    def rm_file(self, path: str) -> None:
        """
        Delete an object.

        Raises:
            FileNotFoundError: If it does not exist.
        """
        store, name = self._locate(path)
        del store[name]

    _rm = rm_file

    def mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        """
        Make a bucket. Directories in it need no making.

        Args:
            create_parents: Make the bucket that a directory is to be in.
            kwargs: Fields of `ObjectStoreConfig`, for example `replicas`; `mode`, of files, is
                ignored.

        Raises:
            FileExistsError: If the bucket exists.
            FileNotFoundError: If the bucket of a directory does not.
        """
        kwargs.pop("mode", None)
        bucket, name = self._split(path)
        if not name and self._type(bucket) is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        if name and not create_parents:
            self._store(bucket)
        elif self._type(bucket) is None:
            self._stores[bucket] = self._client.create_object_store(bucket, **kwargs)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """
        Make a bucket, if it is missing. Directories in it need no making.

        Raises:
            FileExistsError: If the directory exists, and that was not expected.
        """
        bucket, _ = self._split(path)
        if not exist_ok and self.exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        if self._type(bucket) is None:
            with contextlib.suppress(BucketExistsError):  # somebody else just made it
                self._client.create_object_store(bucket)

    def rmdir(self, path: str) -> None:
        """
        Delete a bucket that is empty. Other directories are none when they are.

        Raises:
            OSError: If it is not empty.
            FileNotFoundError: If it does not exist.
            NotADirectoryError: If it is an object.
        """
        bucket, name = self._split(path)
        if name:
            kind = self._type(path)
            if kind == "directory":
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
            if kind is not None:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            raise _not_found(path)
        if self._store(bucket).list():
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
        self._stores.pop(bucket, None)
        self._client.delete_object_store(bucket)


class _CachedFile(AbstractBufferedFile):
    """A file whose blocks fsspec caches, all of them of the version that was opened."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        # Caches call from threads of their own, too: each call has a reader of its own.
        store, name = self.fs._locate(self.path)
        with store.get(name, offset=start, length=end - start) as reader:
            if (reader.info.size, reader.info.digest) != (self.size, self.details["digest"]):
                raise ObjectChangedError(store.bucket, name, "it was overwritten while it was read")
            return cast(bytes, reader.read())


def _not_found(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def _is_directory(path: str) -> IsADirectoryError:
    return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)


def _write_mode(mode: str) -> str:
    """Return the mode of `open` for a mode of `pipe` and `put`."""
    if mode not in ("overwrite", "create"):
        raise ValueError(f"mode must be overwrite or create, not {mode!r:.60}")
    return "xb" if mode == "create" else "wb"


def _read_slice(file: ObjectReader, start: int | None, end: int | None) -> bytes:
    first, last, _ = slice(start, end).indices(file.size)
    file.seek(first)
    return file.read(max(last - first, 0))


def _move(source: ObjectStore, name: str, target: ObjectStore, new_name: str) -> None:
    if source.bucket == target.bucket:
        with contextlib.suppress(ObjectAlreadyExistsError):
            source.update_meta(name, new_name=new_name)
            return
    # What is there is replaced at once, as by any put; what is stored under the old name
    # meanwhile is not deleted.
    revision = source.get_info(name).revision
    source.copy(name, new_name, store=target)
    source.delete(name, if_revision=revision)


def _in_parallel(function: Callable[[_T], _R], items: Iterable[_T]) -> list[_R | Exception]:
    """Return what `function` gives for each item, or the exception that it raises."""

    def attempt(item: _T) -> _R | Exception:
        try:
            return function(item)
        except Exception as error:
            return error

    items = list(items)
    if len(items) < 2:
        return [attempt(item) for item in items]
    pool = ThreadPoolExecutor(min(len(items), _PARALLEL), "objstore-fsspec")
    try:
        return list(pool.map(attempt, items))
    finally:
        pool.shutdown(cancel_futures=True)
