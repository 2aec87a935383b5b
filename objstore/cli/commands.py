"""
What each command of the command line does: one small function for each, in one table.

They raise what goes wrong; `main` makes an exit code of it.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import io
import itertools
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from objstore._version import __version__
from objstore.cli.options import make_parser
from objstore.cli.output import (
    bucket_fields,
    confirm,
    copy_bytes,
    emit,
    emit_json,
    emit_pairs,
    emit_table,
    name_with_target,
    note,
    object_fields,
    report_fields,
)
from objstore.cli.progress import Progress
from objstore.cli.trees import place_files, walk_files
from objstore.client import Client
from objstore.core.contexts import selected_context
from objstore.core.options import ConnectKeywords
from objstore.display import format_size, format_time
from objstore.errors import (
    BucketNotFoundError,
    ObjectNotFoundError,
    ObjStoreError,
    PreconditionFailedError,
)
from objstore.files import write_file
from objstore.models import ObjectInfo, ObjectMeta
from objstore.reader import ObjectReader
from objstore.reports import CheckReport, SweepReport
from objstore.server import LocalServer, local
from objstore.store import ObjectStore

__all__ = ["run"]


#: Exit code of who looked for damage and found some.
_DAMAGED = 7


def run(args: argparse.Namespace) -> int:
    """Run the command that `args` names, with a connection if it needs one; return its code."""
    if args.command in _OFFLINE_COMMANDS:
        _OFFLINE_COMMANDS[args.command](args)
        return 0
    with _make_client(args) as client:
        return _COMMANDS[args.command](args, client) or 0


def _make_client(args: argparse.Namespace) -> Client:
    options: ConnectKeywords = {
        "tls_cacert": args.tlsca,
        "tls_client_cert": args.tlscert,
        "tls_client_key": args.tlskey,
    }
    if args.connect_timeout is not None:
        options["timeout"] = args.connect_timeout
    if args.tlsfirst:
        options["tls_first"] = True
    if args.local is not None:
        return local(args.local, **options)
    options["credentials"] = args.creds
    context = args.context or os.environ.get("NATS_CONTEXT") or selected_context()
    return Client(args.server, context=context, **options)


def _open(args: argparse.Namespace, client: Client) -> ObjectStore:
    return client.object_store(args.bucket, timeout=args.timeout)


def _tell(line: str, args: argparse.Namespace) -> None:
    if not args.quiet:
        note(line)


# Buckets


def _add(args: argparse.Namespace, client: Client) -> None:
    store = client.create_object_store(
        args.bucket,
        description=args.description,
        ttl=args.ttl,
        max_bytes=args.max_bucket_size,
        storage=args.storage,
        replicas=args.replicas,
        compression=args.compress,
        metadata=dict(args.metadata),
        timeout=args.timeout,
    )
    if args.json:
        emit_json(bucket_fields(store.status(timeout=args.timeout)))
    else:
        _tell(f"{args.bucket}: ready", args)


def _edit(args: argparse.Namespace, client: Client) -> None:
    given = {
        "description": args.description,
        "ttl": args.ttl,
        "max_bytes": args.max_bucket_size,
        "replicas": args.replicas,
        "compression": args.compress or None,
        "metadata": dict(args.metadata) or None,
    }
    changed: Any = {key: value for key, value in given.items() if value is not None}
    store = client.update_object_store(args.bucket, timeout=args.timeout, **changed)
    if args.json:
        emit_json(bucket_fields(store.status(timeout=args.timeout)))
    else:
        _tell(f"{args.bucket}: changed", args)


def _seal(args: argparse.Namespace, client: Client) -> None:
    store = _open(args, client)
    if not (args.force or confirm(f"seal bucket {args.bucket} for ever?")):
        raise ValueError(f"bucket {args.bucket!r} was not sealed; -f seals without asking")
    store.seal(timeout=args.timeout)
    _tell(f"{args.bucket}: sealed", args)


def _list_buckets(args: argparse.Namespace, client: Client) -> None:
    if args.names:
        _show_names(client.object_store_names(timeout=args.timeout), args)
        return
    buckets = list(client.object_stores(timeout=args.timeout))
    if args.json:
        for status in buckets:
            emit_json(bucket_fields(status))
    else:
        emit_table(
            ("SIZE", "STORAGE", "BUCKET", "DESCRIPTION"),
            [(format_size(b.size), b.storage, b.bucket, b.description) for b in buckets],
        )


# Objects: listing


def _ls(args: argparse.Namespace, client: Client) -> None:
    if args.bucket is None:
        _list_buckets(args, client)
        return
    infos = _open(args, client).list(prefix=args.prefix, timeout=args.timeout)
    if args.names:
        _show_names([info.name for info in infos], args)
    elif args.json:
        for info in infos:
            emit_json(object_fields(info))
    else:
        emit_table(
            ("SIZE", "MODIFIED", "NAME"),
            [(format_size(i.size), format_time(i.mtime), name_with_target(i)) for i in infos],
        )


def _show_names(names: Iterable[str], args: argparse.Namespace) -> None:
    show: Callable[[str], None] = emit_json if args.json else emit
    for name in names:
        show(name)


def _info(args: argparse.Namespace, client: Client) -> None:
    store = _open(args, client)
    if args.name is None:
        status = store.status(timeout=args.timeout)
        fields, lines = bucket_fields(status), status.describe()
    else:
        info = store.get_info(args.name, timeout=args.timeout)
        fields, lines = object_fields(info), info.describe()
    if args.json:
        emit_json(fields)
    else:
        emit_pairs(lines)


def _watch(args: argparse.Namespace, client: Client) -> None:
    with _open(args, client).watch(
        include_history=args.include_history,
        ignore_deletes=args.ignore_deletes,
        updates_only=args.updates_only,
        timeout=args.timeout,
    ) as watcher:
        _tell(f"{args.bucket}: watching", args)
        infos = (info for info in watcher if info is not None)
        for info in itertools.islice(infos, args.count):
            if args.json:
                emit_json(object_fields(info), flush=True)
            else:
                emit(_describe_change(info), flush=True)


def _describe_change(info: ObjectInfo) -> str:
    verb = "del" if info.deleted else "link" if info.is_link else "put"
    size = format_size(info.size)
    return f"{format_time(info.mtime)}  {verb:4}  {size:>10}  {name_with_target(info)}"


# Objects: putting


def _put(args: argparse.Namespace, client: Client) -> None:
    store = _open_or_create(args, client)
    headers: dict[str, list[str]] = {}
    for key, value in args.header:
        headers.setdefault(key, []).append(value)
    for file, name in _named_files(args):
        meta = ObjectMeta(
            name,
            description=args.description or "",
            headers=headers,
            metadata=dict(args.metadata),
            chunk_size=args.chunk_size,
        )
        info = _put_file(store, meta, file, args)
        _report(info, args, to_stdout=args.json)


def _named_files(args: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Yield the files to put, and the names of their objects."""
    for file in args.files:
        if args.recursive and os.path.isdir(file):
            for path, name in walk_files(file):
                yield path, f"{args.prefix}{name}"
        else:
            base = f"{args.prefix}{os.path.basename(file)}"
            yield file, base if args.name is None else args.name


def _open_or_create(args: argparse.Namespace, client: Client) -> ObjectStore:
    try:
        return _open(args, client)
    except BucketNotFoundError as error:
        if args.create:
            return client.create_object_store(args.bucket, timeout=args.timeout)
        detail = "it does not exist; --create creates it"
        raise BucketNotFoundError(error.bucket, detail) from error


def _put_file(
    store: ObjectStore, meta: ObjectMeta, file: str, args: argparse.Namespace
) -> ObjectInfo:
    """Store a file, in place of nothing that the user did not agree to lose."""
    if args.force:
        return _send(store, meta, file, args)
    try:
        return _send(store, meta, file, args, if_absent=True)
    except PreconditionFailedError as error:
        if file == "-" or not confirm(f"{store.bucket}/{meta.name} exists; overwrite it?"):
            raise FileExistsError(f"{error}; -f overwrites it") from error
        return _send(store, meta, file, args, if_revision=error.revision)


def _send(
    store: ObjectStore,
    meta: ObjectMeta,
    file: str,
    args: argparse.Namespace,
    *,
    if_absent: bool = False,
    if_revision: int | None = None,
) -> ObjectInfo:
    with _open_source(file) as source, _progress(meta.name, args) as progress:
        status = os.fstat(source.fileno())
        progress.total = status.st_size if stat.S_ISREG(status.st_mode) else None
        return store.put(
            meta,
            source,
            if_absent=if_absent,
            if_revision=if_revision,
            callback=progress.update,
            timeout=args.timeout,
        )


def _open_source(file: str) -> io.FileIO:
    # Without Python's buffer: filling that from a pipe, it would not notice an interrupt.
    if file == "-":
        return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
    return open(file, "rb", buffering=0)


def _report(info: ObjectInfo, args: argparse.Namespace, *, to_stdout: bool) -> None:
    """Say what was transferred: as data, or beside the data."""
    if to_stdout:
        emit_json(object_fields(info))
    else:
        _tell(f"{info.bucket}/{info.name}: {info.size} bytes, {info.digest}", args)


# Objects: getting


def _get(args: argparse.Namespace, client: Client) -> None:
    if args.recursive:
        _get_tree(args, client)
        return
    path = _local_name(args.name) if args.output is None else args.output
    if path != "-" and not args.force:
        _check_free(path)
    _fetch(_open(args, client), args.name, path, args)


def _get_tree(args: argparse.Namespace, client: Client) -> None:
    """Write objects to files below a directory; none before all of them have a place there."""
    store = _open(args, client)
    infos = store.list(timeout=args.timeout)
    names = [info.name for info in infos]
    places, refused = place_files(args.output or os.curdir, names, args.name)
    if args.name and not places and not refused:
        raise ObjectNotFoundError(store.bucket, args.name, "no object has a name like that")
    if not args.force:
        for path in places.values():
            _check_free(path)
    for name, path in places.items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        _fetch(store, name, path, args)
    for error in refused:
        note(f"objstore: {error}")
    if refused:
        raise ObjStoreError(f"{len(refused)} objects were not written; -O FILE writes one of them")


def _fetch(store: ObjectStore, name: str, path: str, args: argparse.Namespace) -> None:
    """Write an object to a file, or to standard output."""
    to_stdout = path == "-"
    with (
        _progress(name, args, quiet=to_stdout) as progress,
        store.get(name, callback=progress.update, timeout=args.timeout) as reader,
    ):
        progress.total = reader.size
        if to_stdout:
            copy_bytes(reader, sys.stdout.buffer)
        else:
            _write(reader, path)
    _report(reader.info, args, to_stdout=args.json and not to_stdout)


def _progress(name: str, args: argparse.Namespace, *, quiet: bool = False) -> Progress:
    return Progress(name, quiet=quiet or args.quiet or args.no_progress)


def _local_name(name: str) -> str:
    """Return the last part of an object's name, which is never outside of this directory."""
    base = os.path.basename(name)
    if base in ("", os.curdir, os.pardir) or "\0" in base:
        raise ValueError(f"object name {name!r} does not end like a file's; -O FILE gives one")
    return base


def _check_free(path: str) -> None:
    if os.path.lexists(path) and not (os.path.isdir(path) or _is_special(path)):
        raise FileExistsError(f"{path!r} exists; -f overwrites it, -O FILE writes another")


def _is_special(path: str) -> bool:
    """Whether there is a device or a pipe, which is written to and never replaced."""
    return os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path))


def _write(reader: ObjectReader, path: str) -> None:
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path!r} is a directory; -O FILE names a file")
    if _is_special(path):
        with open(path, "wb") as file:
            copy_bytes(reader, file)
    else:
        write_file(reader, path)


def _cat(args: argparse.Namespace, client: Client) -> None:
    store = _open(args, client)
    with store.get(
        args.name, offset=args.offset, length=args.length, timeout=args.timeout
    ) as reader:
        copy_bytes(reader, sys.stdout.buffer)


# Copying, renaming and removing


def _cp(args: argparse.Namespace, client: Client) -> None:
    store = _open(args, client)
    target = store
    if args.to is not None:
        target = client.object_store(args.to, timeout=args.timeout)
    with (
        _progress(args.name, args) as progress,
        store.get(args.name, callback=progress.update, timeout=args.timeout) as reader,
    ):
        progress.total = reader.size
        meta = dataclasses.replace(reader.info.meta, name=args.new_name)
        try:
            info = target.put(meta, reader, if_absent=not args.force, timeout=args.timeout)
        except PreconditionFailedError as error:
            raise FileExistsError(f"{error}; -f overwrites it") from error
    _report(info, args, to_stdout=args.json)


def _mv(args: argparse.Namespace, client: Client) -> None:
    store = _open(args, client)
    info = store.update_meta(args.name, new_name=args.new_name, timeout=args.timeout)
    _report(info, args, to_stdout=args.json)


def _rm(args: argparse.Namespace, client: Client) -> None:
    if args.names:
        _delete_names(args, client)
    elif args.prefix is not None:
        _delete_prefix(args, client)
    else:
        _delete_bucket(args, client)


def _delete_names(args: argparse.Namespace, client: Client) -> None:
    store = _open(args, client)
    for name in args.names:
        if not args.force:
            # A deleted object can be deleted again; who names it here made a mistake.
            store.get_info(name, timeout=args.timeout)
        _delete(store, name, args)


def _delete_prefix(args: argparse.Namespace, client: Client) -> None:
    store = _open(args, client)
    for info in store.list(prefix=args.prefix, timeout=args.timeout):
        _delete(store, info.name, args)


def _delete(store: ObjectStore, name: str, args: argparse.Namespace) -> None:
    store.delete(name, missing_ok=True, timeout=args.timeout)
    _tell(f"{store.bucket}/{name}: deleted", args)


def _delete_bucket(args: argparse.Namespace, client: Client) -> None:
    store = _open(args, client)
    if not (args.force or confirm(f"delete bucket {args.bucket} with all its objects?")):
        raise ValueError(f"bucket {args.bucket!r} was not deleted; -f deletes without asking")
    client.delete_object_store(store.bucket, timeout=args.timeout)
    _tell(f"{args.bucket}: deleted", args)


# Upkeep


def _check(args: argparse.Namespace, client: Client) -> int:
    store = _open(args, client)
    read_data = args.read_data if args.read_fraction is None else args.read_fraction
    return _show(store.check(read_data=read_data, timeout=args.timeout), args)


def _sweep(args: argparse.Namespace, client: Client) -> int:
    store = _open(args, client)
    report = store.sweep(min_age=args.min_age, dry_run=not args.force, timeout=args.timeout)
    code = _show(report, args)
    if report.dry_run and report.orphans:
        _tell("nothing was removed; -f removes", args)
    return code


def _show(report: CheckReport | SweepReport, args: argparse.Namespace) -> int:
    if args.json:
        emit_json(report_fields(report))
    else:
        for line in str(report).splitlines():
            emit(line)
    return 0 if report.ok else _DAMAGED


# Without a connection


def _serve(args: argparse.Namespace) -> None:
    directory = args.local if args.dir is None else args.dir
    with contextlib.suppress(KeyboardInterrupt), LocalServer(directory, args.port) as server:
        if args.json:
            emit_json({"url": server.url, "dir": str(server.directory)}, flush=True)
        else:
            emit(f"export NATS_URL={server.url}", flush=True)
        if directory is None:
            _tell("the data is gone when the server stops; --dir DIR keeps it", args)
        server.wait()
        raise ObjStoreError(f"the server has stopped; its log is {server.log_path}")


def _completion(args: argparse.Namespace) -> None:
    try:
        shtab = importlib.import_module("shtab")
    except ImportError as error:
        raise ObjStoreError(
            'completion needs shtab: pip install "nats-objstore[completion]"'
        ) from error
    print(shtab.complete(make_parser(), args.shell))


def _version(args: argparse.Namespace) -> None:
    if args.json:
        emit_json({"version": __version__})
    else:
        emit(f"objstore {__version__}")


_COMMANDS: dict[str, Callable[[argparse.Namespace, Client], int | None]] = {
    "add": _add,
    "edit": _edit,
    "ls": _ls,
    "info": _info,
    "put": _put,
    "get": _get,
    "cat": _cat,
    "cp": _cp,
    "mv": _mv,
    "rm": _rm,
    "watch": _watch,
    "seal": _seal,
    "check": _check,
    "sweep": _sweep,
}
_OFFLINE_COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "serve": _serve,
    "completion": _completion,
    "version": _version,
}
