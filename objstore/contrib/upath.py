"""
`UPath("objstore://bucket/path")`: objects as paths, for who likes pathlib.

Needs the extra `fsspec` and universal_pathlib: `pip install "nats-objstore[fsspec]"
universal_pathlib`.
"""

from __future__ import annotations

from typing import Any, cast

from fsspec.registry import register_implementation
from upath import UPath
from upath.implementations.cloud import CloudPath

from objstore.contrib.fsspec import ObjectStoreFileSystem

__all__ = ["ObjectStorePath"]

# Asked how paths are to be cut, universal_pathlib looks for a class, not an entry point.
register_implementation("objstore", ObjectStoreFileSystem, clobber=True)
# The bucket is the anchor of a path, as a drive is, and nothing lies above it.
cast(Any, UPath.parser).protocol_config["netloc_is_anchor"].add("objstore")


class ObjectStorePath(CloudPath):
    """
    The path of an object, or of a bucket. Made by `UPath`.

    Example:
        >>> path = UPath("objstore://photos/pets/cat.jpg")
        >>> path.parent / "dog.jpg"
        ObjectStorePath('photos/pets/dog.jpg', protocol='objstore')
    """

    __slots__ = ()
