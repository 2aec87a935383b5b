"""
A bucket as files and directories: what the slashes in names make of a listing. Pure.

Nothing stores a directory. One exists as long as an object's name leads through it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from objstore.models import ObjectInfo

__all__ = ["Entry", "Tree", "make_directory", "make_file"]

#: What fsspec calls an info: at least `name`, `size` and `type`.
Entry = dict[str, Any]


def make_directory(path: str) -> Entry:
    """Return the entry of a directory."""
    return {"name": path, "size": 0, "type": "directory"}


def make_file(path: str, info: ObjectInfo) -> Entry:
    """Return the entry of an object."""
    return {
        "name": path,
        "size": info.size,
        "type": "file",
        "mtime": info.mtime,
        "digest": info.digest,
        "revision": info.revision,
        "description": info.description,
        "headers": info.headers,
        "metadata": info.metadata,
    }


class Tree:
    """
    The objects of a bucket at one moment, as files and directories.

    An object `a` may stand beside an object `a/b`: then `a` is both. An object `a/` is
    how some programs mark an empty directory: it is no file.

    Attributes:
        files: Path to entry.
        directories: Path to the entries in it.
        markers: Paths of the directories that are marked by an object.
    """

    def __init__(self, bucket: str, entries: Iterable[Entry]) -> None:
        self.files: dict[str, Entry] = {}
        self.directories: dict[str, list[Entry]] = {bucket: []}
        self.markers: set[str] = set()
        for entry in entries:
            path = entry["name"]
            if path.endswith("/"):
                self.markers.add(path.rstrip("/"))
                self._add_directory(path.rstrip("/"))
            else:
                self.files[path] = entry
                self._add_directory(_parent(path))
                self.directories[_parent(path)].append(entry)

    def _add_directory(self, path: str) -> None:
        missing = []
        while path not in self.directories:
            missing.append(path)
            path = _parent(path)
        for path in reversed(missing):
            self.directories[path] = []
            self.directories[_parent(path)].append(make_directory(path))

    def entry(self, path: str) -> Entry | None:
        """Return what is at `path`; the file, if it is a directory as well."""
        if path in self.files:
            return self.files[path]
        return make_directory(path) if path in self.directories else None

    def below(self, path: str, maxdepth: int | None, withdirs: bool) -> Iterator[Entry]:
        """Yield the entries below a directory, `maxdepth` levels deep."""
        start = f"{path}/" if path else ""
        files = self.files.values()
        directories = map(make_directory, self.directories) if withdirs else ()
        for entries in (directories, files):
            for entry in entries:
                name = entry["name"]
                deep = name.count("/", len(start)) + 1
                if name.startswith(start) and (maxdepth is None or deep <= maxdepth):
                    yield entry


def _parent(path: str) -> str:
    """Return the directory that a path is in; empty parts, as in `a//b`, are none."""
    return path.rpartition("/")[0].rstrip("/")
