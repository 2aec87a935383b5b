"""
From an object's name to a path below a directory.

Names come from whoever can write to the bucket: `../../etc/passwd` is one. Nothing here
makes a path of a name unless the file is sure to be in the directory, on every system.
"""

from __future__ import annotations

import os
import re
import unicodedata

from objstore.errors import InvalidNameError, shorten

__all__ = ["path_below"]

#: Names of devices on Windows, with any ending.
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])(?:[ .:].*)?", re.I)
_DRIVE = re.compile(r"[a-z]:", re.I)


def path_below(directory: str | os.PathLike[str], name: str) -> str:
    """
    Return the path of the file that an object becomes below a directory.

    Each `/` of the name begins a directory. Directories that are symbolic links are not
    passed, since they may lead anywhere; nobody else may make one meanwhile. A link in the
    place of the file itself does no harm: `get_file` replaces it.

    Raises:
        InvalidNameError: If the name is absolute, leads out, or has a part that is no file
            name on every system: `.`, `..`, a device, a backslash, a control character.

    Example:
        >>> path = path_below("out", "2026/cat.jpg")
        >>> os.makedirs(os.path.dirname(path), exist_ok=True)
        >>> store.get_file("2026/cat.jpg", path)
    """
    if not isinstance(name, str):
        raise TypeError(f"an object name must be a str, not {shorten(name)}")
    path = os.fspath(directory)
    *parents, base = name.split("/")
    for part in [*parents, base]:
        if reason := _find_fault(part):
            raise InvalidNameError(f"object name {shorten(name)} is no path: {reason}")
    if _DRIVE.match(name):
        raise InvalidNameError(f"object name {shorten(name)} is no path: it names a drive")
    for part in parents:
        path = os.path.join(path, part)
        if os.path.islink(path) or _is_junction(path):
            raise InvalidNameError(
                f"object name {shorten(name)} is no path: {path!r} is a symbolic link"
            )
    return os.path.join(path, base)


def _is_junction(path: str) -> bool:
    """Whether it is one of Windows' own links between directories (Python 3.12 knows)."""
    return hasattr(os.path, "isjunction") and os.path.isjunction(path)


def _find_fault(part: str) -> str:
    """Return why one part of a path cannot be used; "" if it can."""
    if part in ("", os.curdir, os.pardir):
        return f"it has an empty part, or {os.curdir} or {os.pardir}"
    if "\\" in part or (os.name == "nt" and set(part) & set('<>:"|?*')):
        return "it has a character that no file name has on every system"
    if any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in part):
        return "it has a control character"
    if _DEVICE.fullmatch(part):
        return "it names a device"
    if part != part.rstrip(" ."):
        return "a part of it ends with a blank or a dot"
    return ""
