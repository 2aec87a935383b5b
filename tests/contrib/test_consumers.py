"""
What numpy, pandas, pyarrow and Pillow read from `store.get(name)`, as from any open file.

Those of the standard library are in `tests/test_reader.py`: together they are the consumers
that break where reads are short or there is no seek.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from typing import Any

import pytest

from objstore.store import ObjectStore
from tests.helpers import pattern

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

#: Name, the library that writes and reads, and how; the last gives what is compared.
CONSUMERS: dict[str, tuple[str, Callable[..., Any], Callable[..., Any]]] = {
    "numpy npy": (
        "numpy",
        lambda np, file: np.save(file, np.arange(20_000)),
        lambda np, file: np.load(file).tolist(),
    ),
    "numpy npz": (
        "numpy",
        lambda np, file: np.savez(file, a=np.arange(20_000)),
        lambda np, file: np.load(file)["a"].tolist(),
    ),
    **{
        f"pandas {kind}": (
            "pandas",
            lambda pd, file, kind=kind: getattr(make_frame(pd), f"to_{kind}")(file),
            lambda pd, file, kind=kind: getattr(pd, f"read_{kind}")(file).to_dict("list"),
        )
        for kind in ("csv", "json", "parquet", "pickle", "feather")
    },
    "pyarrow parquet": (
        "pyarrow.parquet",
        lambda pq, file: pq.write_table(make_table(), file),
        lambda pq, file: pq.ParquetFile(file).read_row_group(0).to_pydict(),
    ),
    "pyarrow ipc": (
        "pyarrow.ipc",
        lambda ipc, file: write_ipc(ipc, file),
        lambda ipc, file: ipc.open_file(file).read_all().to_pydict(),
    ),
    **{
        f"Pillow {kind}": (
            "PIL.Image",
            lambda image, file, kind=kind: make_image(image).save(file, kind),
            lambda image, file: image.open(file).convert("L").tobytes(),
        )
        for kind in ("PNG", "JPEG", "TIFF")
    },
}


def load(consumer: str) -> tuple[Any, Callable[..., Any], Callable[..., Any]]:
    """Return a library, and how it writes and reads; or skip the test."""
    name, write, read = CONSUMERS[consumer]
    for needed in (name, "pyarrow") if consumer.endswith(("parquet", "feather")) else (name,):
        pytest.importorskip(needed, reason=f"{needed} is not installed (extra test-data)")
    return importlib.import_module(name), write, read


def make_frame(pandas: Any) -> Any:
    return pandas.DataFrame({"n": range(20_000), "word": [f"word {n}" for n in range(20_000)]})


def make_table() -> Any:
    return importlib.import_module("pyarrow").table({"n": list(range(20_000))})


def write_ipc(ipc: Any, file: Any) -> None:
    with ipc.new_file(file, make_table().schema) as writer:
        writer.write_table(make_table())


def make_image(image: Any) -> Any:
    return image.frombytes("L", (300, 300), pattern(90_000))


@pytest.mark.parametrize("chunk_size", [1000, None])
@pytest.mark.parametrize("consumer", CONSUMERS)
def test_library_reads_an_object(store: ObjectStore, consumer: str, chunk_size: int | None) -> None:
    """What it reads from a file in memory it reads from the object."""
    library, write, read = load(consumer)
    memory = io.BytesIO()
    write(library, memory)
    data = memory.getvalue()
    store.put("a", data, chunk_size=chunk_size)
    with store.get("a") as reader:
        assert read(library, reader) == read(library, io.BytesIO(data))


# TIFF is read and changed while it is written; JSON is text.
@pytest.mark.parametrize("consumer", sorted(CONSUMERS.keys() - {"Pillow TIFF", "pandas json"}))
def test_library_writes_an_object(store: ObjectStore, consumer: str) -> None:
    """To `store.open`, where it cannot seek back."""
    library, write, read = load(consumer)
    with store.open("a", "wb") as writer:
        write(library, writer)
    memory = io.BytesIO()
    write(library, memory)
    with store.get("a") as reader:
        assert read(library, reader) == read(library, io.BytesIO(memory.getvalue()))
