"""
A progress bar for transfers: tqdm's, as a widget in notebooks and a line in terminals.

Needs the extra `progress`: `pip install "nats-objstore[progress]"`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from tqdm.auto import tqdm

if TYPE_CHECKING:
    from typing import Any

__all__ = ["progress_bar"]


class _Sized(Protocol):
    name: str
    size: int


def progress_bar(
    source: _Sized | str | os.PathLike[str] | int | None = None, label: str | None = None
) -> Any:
    """
    Return a bar that shows how far a transfer is. A `with` block closes it.

    Its `update` is a callback for `put`, `put_file`, `get` and `get_file`.

    Args:
        source: What is transferred, for its size and name: the path of a file, an
            `ObjectInfo` or a reader. Or a number of bytes; None if nobody knows.
        label: Stands before the bar; by default the name.

    Example:
        >>> with progress_bar("cat.jpg") as bar:
        ...     store.put_file("cat.jpg", callback=bar.update)
    """
    total: int | None
    if source is None or isinstance(source, int):
        name, total = "", source
    elif isinstance(source, (str, os.PathLike)):
        name, total = os.path.basename(source), os.path.getsize(source)
    else:
        name, total = source.name, source.size
    # The names of objects come from elsewhere: nothing in them may command the terminal.
    text = "".join(char if char.isprintable() else "?" for char in str(name))
    return tqdm(
        desc=text if label is None else label,
        total=total,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
    )
