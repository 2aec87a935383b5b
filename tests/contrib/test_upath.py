"""`UPath("objstore://bucket/path")`: objects as paths."""

from __future__ import annotations

import pickle
from pathlib import PurePosixPath
from typing import Any

import pytest

pytest.importorskip("fsspec")
upath = pytest.importorskip("upath")

from objstore.contrib.upath import ObjectStorePath  # noqa: E402
from objstore.store import ObjectStore  # noqa: E402


@pytest.fixture
def root(filesystem: Any, store: ObjectStore) -> Any:
    """The path of a bucket with a few objects in it."""
    for name in ("a.txt", "d/b.txt", "d/e/c.csv"):
        store.put_string(name, name)
    return upath.UPath(f"objstore://{store.bucket}")


def test_parts_of_a_path() -> None:
    path = upath.UPath("objstore://b/d/e/c.tar.gz")
    assert isinstance(path, ObjectStorePath)
    assert str(path) == "objstore://b/d/e/c.tar.gz"
    assert (path.drive, path.root, path.parts) == ("b", "/", ("b/", "d", "e", "c.tar.gz"))
    assert (path.name, path.stem, path.suffixes) == ("c.tar.gz", "c.tar", [".tar", ".gz"])
    assert str(path.parent) == "objstore://b/d/e"
    assert [str(parent) for parent in path.parents][-1] == "objstore://b/"
    assert path.is_absolute()
    assert path == upath.UPath("objstore://b") / "d" / "e" / "c.tar.gz"
    assert str(path.relative_to("objstore://b/d")) == "e/c.tar.gz"
    assert str(path.with_suffix(".xz")) == "objstore://b/d/e/c.tar.xz"
    assert pickle.loads(pickle.dumps(path)) == path
    assert PurePosixPath(path.path) == PurePosixPath("b/d/e/c.tar.gz")


def test_what_is_there(root: Any) -> None:
    assert root.is_dir() and (root / "d").is_dir() and (root / "a.txt").is_file()
    assert not (root / "x").exists() and not (root / "x").is_file() and not (root / "d").is_file()
    assert sorted(path.name for path in root.iterdir()) == ["a.txt", "d"]
    assert sorted(path.name for path in (root / "d").iterdir()) == ["b.txt", "e"]
    assert [path.name for path in root.glob("**/*.txt")] == ["a.txt", "b.txt"]
    assert sorted(path.name for path in root.rglob("*.csv")) == ["c.csv"]
    stat = (root / "d/b.txt").stat()
    assert stat.st_size == 7 and stat.st_mtime > 0
    assert root in upath.UPath("objstore://").iterdir()
    walked = {str(path): (dirs, files) for path, dirs, files in root.walk()}
    assert walked[f"{root}d"] == (["e"], ["b.txt"])


def test_reading_and_writing(root: Any) -> None:
    path = root / "new" / "n.txt"
    assert path.write_text("ü\n") and path.read_text() == "ü\n"
    assert path.write_bytes(b"12345") == 5 and path.read_bytes() == b"12345"
    with path.open("rb") as file:
        assert file.seek(2) == 2 and file.read() == b"345"
    with pytest.raises(ZeroDivisionError), path.open("w") as file:
        file.write(str(1 / 0))
    assert path.read_bytes() == b"12345"
    path.touch()
    assert path.exists()
    path.unlink()
    with pytest.raises(FileNotFoundError):
        path.unlink()
    path.unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        path.read_text()


@pytest.mark.parametrize("kind", ["path", "url", "absolute"])
def test_rename(root: Any, kind: str) -> None:
    target = root / "new" / "name.txt"
    given = {"path": target, "url": str(target), "absolute": target.path}[kind]
    renamed = (root / "d" / "b.txt").rename(given)
    assert renamed == target and target.read_text() == "d/b.txt"
    assert not (root / "d" / "b.txt").exists()
    (root / "d").move(root / "moved")
    assert (root / "moved/e/c.csv").read_text() == "d/e/c.csv" and not (root / "d").exists()


def test_buckets(root: Any) -> None:
    bucket = upath.UPath(f"{root}".rstrip("/") + "-2")
    bucket.mkdir()
    with pytest.raises(FileExistsError):
        bucket.mkdir()
    bucket.mkdir(exist_ok=True)
    with pytest.raises(FileExistsError):
        (root / "d").mkdir()
    (root / "a.txt").copy_into(bucket)
    assert (bucket / "a.txt").read_text() == "a.txt"
    with pytest.raises(OSError):
        bucket.rmdir(recursive=False)
    bucket.rmdir(recursive=True)
    assert not bucket.exists() and root.exists()
