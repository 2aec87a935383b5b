"""Directories and objects: which file becomes which object, and the other way round."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Iterator

from objstore.errors import InvalidNameError, shorten
from objstore.paths import path_below

__all__ = ["place_files", "walk_files"]


def walk_files(directory: str) -> Iterator[tuple[str, str]]:
    """
    Yield the files below a directory, in order, with their paths in it as names.

    Links to files are followed, links to directories are not: they may lead in a circle.
    Empty directories, pipes and devices are left out.
    """
    for path, directories, files in os.walk(directory, onerror=_raise):
        directories.sort()
        for file in sorted(files):
            source = os.path.join(path, file)
            if os.path.isfile(source):
                yield source, os.path.relpath(source, directory).replace(os.sep, "/")


def _raise(error: OSError) -> None:
    raise error


def place_files(
    directory: str, names: Iterable[str], wanted: str
) -> tuple[dict[str, str], list[InvalidNameError]]:
    """
    Return the file below a directory for each name that is wanted.

    Args:
        wanted: A pattern if it has `*`, `?` or `[` in it, which match `/`, too. Else the
            beginning of the names, without which the paths are made if it ends with `/`.

    Returns:
        Names to paths, and why others have none: for one a name that others go on from, which
        would be a file and a directory.
    """
    places: dict[str, str] = {}
    refused = []
    is_pattern = any(sign in wanted for sign in "*?[")
    for name in names:
        if is_pattern:
            matches, below = fnmatch.fnmatchcase(name, wanted), name
        else:
            matches = name.startswith(wanted)
            below = name.removeprefix(wanted) if wanted.endswith("/") else name
        if matches:
            try:
                places[name] = path_below(directory, below)
            except InvalidNameError as error:
                refused.append(error)
    directories: set[str] = set()
    for path in places.values():
        while (path := os.path.dirname(path)) not in directories:
            directories.add(path)
    for name in [name for name, path in places.items() if path in directories]:
        del places[name]
        detail = "other names lead through it, as through a directory"
        refused.append(InvalidNameError(f"object name {shorten(name)} is no path: {detail}"))
    return places, refused
