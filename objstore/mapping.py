"""`ObjectMapping`: a bucket, or the objects below a prefix, as a dict of bytes."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING

from objstore.errors import InvalidNameError, ObjectNotFoundError

if TYPE_CHECKING:
    from objstore.store import ObjectStore

__all__ = ["ObjectMapping"]


class ObjectMapping(MutableMapping[str, bytes]):
    """
    Objects as a dict: names below `prefix`, without it, to bytes.

    Iterating and `len` list the bucket; each other operation is one of the store's.
    """

    def __init__(self, store: ObjectStore, prefix: str = "") -> None:
        self._store = store
        self._prefix = prefix

    def __repr__(self) -> str:
        return f"<ObjectMapping of {self._store.bucket}, prefix {self._prefix!r:.60}>"

    def __getitem__(self, name: str) -> bytes:
        if not isinstance(name, str):
            raise KeyError(name)
        try:
            return self._store.get_bytes(self._prefix + name)
        except (ObjectNotFoundError, InvalidNameError) as error:
            raise KeyError(name) from error

    def __setitem__(self, name: str, data: bytes) -> None:
        self._store.put(self._prefix + name, data)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._store.delete(self._prefix + name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._prefix + name in self._store

    def __iter__(self) -> Iterator[str]:
        for name in self._store:
            if name.startswith(self._prefix):
                yield name[len(self._prefix) :]

    def __len__(self) -> int:
        return sum(1 for _ in self)
