"""Directories to objects and back: the same tree, and never a file outside of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from objstore.client import Client
from objstore.store import ObjectStore
from tests.cli.conftest import Result

Run = Callable[..., Result]

FILES = {"a.txt": b"a", "sub/b.bin": bytes(300_000), "sub/deep/c": b"", "sub/é x.txt": b"x"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "tree"


def read(directory: Path) -> dict[str, bytes]:
    """Every file below a directory."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_there_and_back(run: Run, store: ObjectStore, tree: Path, tmp_path: Path) -> None:
    assert run("put", store.bucket, "-r", f"{tree}/").code == 0
    assert sorted(store) == sorted(FILES)
    assert run("get", store.bucket, "-r", "-O", str(tmp_path / "out")).code == 0
    assert read(tmp_path / "out") == FILES


def test_prefix(run: Run, store: ObjectStore, tree: Path, tmp_path: Path) -> None:
    """What `--prefix` puts before the names, a NAME with a slash at its end takes away."""
    store["other"] = b""
    assert run("put", store.bucket, "-r", str(tree), "--prefix", "2026/").code == 0
    assert sorted(store) == sorted(["other", *(f"2026/{name}" for name in FILES)])
    out = tmp_path / "out"
    assert run("get", store.bucket, "-r", "2026/", "-O", str(out)).code == 0
    assert read(out) == FILES


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("*.txt", {"a.txt", "sub/é x.txt"}),
        ("sub/?.bin", {"sub/b.bin"}),
        ("sub/[bd]*", {"sub/b.bin", "sub/deep/c"}),
        ("sub", {"sub/b.bin", "sub/deep/c", "sub/é x.txt"}),
        ("", set(FILES)),
    ],
)
def test_patterns(
    run: Run, store: ObjectStore, tmp_path: Path, wanted: str, found: set[str]
) -> None:
    for name, data in FILES.items():
        store[name] = data
    assert run("get", store.bucket, "-r", wanted, "-O", str(tmp_path / "out")).code == 0
    assert set(read(tmp_path / "out")) == found


def test_nothing_is_like_that(run: Run, store: ObjectStore, tmp_path: Path) -> None:
    result = run("get", store.bucket, "-r", "*.gif", "-O", str(tmp_path / "out"))
    assert result.code == 4
    assert "no object has a name like that" in result.err


def test_existing_objects_are_not_overwritten(run: Run, store: ObjectStore, tree: Path) -> None:
    store["sub/b.bin"] = b"precious"
    assert run("put", store.bucket, "-r", str(tree)).code == 6
    assert store["sub/b.bin"] == b"precious"
    assert run("put", store.bucket, "-r", str(tree), "-f").code == 0
    assert store["sub/b.bin"] == FILES["sub/b.bin"]


def test_existing_files_are_seen_before_anything_is_written(
    run: Run, store: ObjectStore, tree: Path
) -> None:
    store["a.txt"] = b"new"
    store["0"] = b"new"
    assert run("get", store.bucket, "-r", "-O", str(tree)).code == 6
    assert read(tree) == FILES
    assert run("get", store.bucket, "-r", "-O", str(tree), "-f").code == 0
    assert read(tree) == FILES | {"a.txt": b"new", "0": b"new"}


def test_hostile_names_never_leave_the_directory(
    run: Run, store: ObjectStore, tmp_path: Path
) -> None:
    """They are named, with no control character; the others are written."""
    for name in ("../escaped", "/etc/x", "a/../../escaped", "link/x", "good", "evil\x1b[2J"):
        store[name] = b"data"
    out = tmp_path / "out"
    out.mkdir()
    (out / "link").symlink_to(tmp_path)
    result = run("get", store.bucket, "-r", "-O", str(out))
    assert result.code == 1
    assert "5 objects were not written" in result.err
    assert "\x1b" not in result.err
    assert read(out) == {"good": b"data"}
    assert sorted(os.listdir(tmp_path)) == ["out"]


def test_name_that_others_lead_through(run: Run, store: ObjectStore, tmp_path: Path) -> None:
    """It cannot be a file and a directory. Who may store one such name stops nobody else's."""
    for name in ("a", "a/b/c", "a/b", "ab", "z"):
        store[name] = name.encode()
    out = tmp_path / "out"
    result = run("get", store.bucket, "-r", "-O", str(out))
    assert result.code == 1
    assert "2 objects were not written" in result.err
    assert read(out) == {"a/b/c": b"a/b/c", "ab": b"ab", "z": b"z"}


def test_links_and_pipes_in_a_tree(run: Run, store: ObjectStore, tree: Path) -> None:
    """A link that leads in a circle ends nothing; a pipe would never end."""
    (tree / "circle").symlink_to(tree)
    (tree / "file").symlink_to(tree / "a.txt")
    os.mkfifo(tree / "pipe")
    assert run("put", store.bucket, "-r", str(tree)).code == 0
    assert sorted(store) == sorted([*FILES, "file"])


def test_files_beside_directories(run: Run, store: ObjectStore, tree: Path) -> None:
    files = [str(tree / "sub"), str(tree / "a.txt")]
    assert run("put", store.bucket, "-r", *files, "--prefix", "p/").code == 0
    assert sorted(store) == sorted(["p/a.txt", "p/b.bin", "p/deep/c", "p/é x.txt"])
    assert run("put", store.bucket, str(tree)).code == 1  # a directory needs -r


# cp, mv, edit, completion


def test_cp(run: Run, store: ObjectStore, client: Client) -> None:
    store.put("a", b"data", description="text", metadata={"k": "v"})
    assert run("cp", store.bucket, "a", "b").code == 0
    info = store.get_info("b")
    assert (store["b"], info.description, info.metadata) == (b"data", "text", {"k": "v"})
    result = run("cp", store.bucket, "a", "b")
    assert result.code == 6
    assert "-f overwrites it" in result.err
    other = client.create_object_store(f"{store.bucket}-other")
    assert run("cp", store.bucket, "a", "c", "--to", other.bucket, "-f").code == 0
    assert other["c"] == b"data"
    client.delete_object_store(other.bucket)


def test_mv(run: Run, store: ObjectStore) -> None:
    store["a"] = b"1"
    store["taken"] = b"2"
    assert run("mv", store.bucket, "a", "taken").code == 6
    result = run("mv", store.bucket, "a", "b", "--json")
    assert result.json["name"] == "b"
    assert sorted(store) == ["b", "taken"]


def test_edit(run: Run, store: ObjectStore) -> None:
    result = run("edit", store.bucket, "--ttl", "1h", "--description", "text", "--json")
    assert (result.json["ttl"], result.json["description"]) == (3600.0, "text")
    assert run("edit", store.bucket, "--ttl", "0").err == f"{store.bucket}: changed\n"
    status = store.status()
    assert (status.ttl, status.description) == (None, "text")
    assert run("edit", "nothing", "--ttl", "1h").code == 3


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion(run: Run, shell: str) -> None:
    pytest.importorskip("shtab")
    result = run("completion", shell)
    assert result.code == 0
    assert b"--max-bucket-size" in result.out


def test_completion_without_shtab(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    result = run("completion", "bash")
    assert result.code == 1
    assert "nats-objstore[completion]" in result.err
