"""Every command, on a real server: what it does, what it prints, and what it refuses."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from objstore import audit
from objstore.client import Client
from objstore.core.nuid import next_nuid
from objstore.errors import BucketNotFoundError
from objstore.store import ObjectStore
from tests.cli.conftest import Result
from tests.helpers import pattern
from tests.raw_bucket import RawBucket, digest_of

Run = Callable[..., Result]

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs pipes with names")

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"

#: A name that would clear the screen.
EVIL = "evil\x1b[2J\n"
EVIL_SHOWN = r"evil\x1b[2J\n"


class Keyboard(io.StringIO):
    """What is typed at a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function that makes a terminal, at which this is typed."""

    def answer(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", Keyboard(text))
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    return answer


# add


def test_add(run: Run, client: Client, bucket: str) -> None:
    """All that can be said of a bucket is in it."""
    options = "--ttl 1h30m --max-bucket-size 10MB --storage memory --description text --compress"
    result = run("add", bucket, *options.split(), "--metadata", "a=b=c", "--metadata", "d=")
    assert result == (0, b"", f"{bucket}: ready\n")
    status = client.object_store(bucket).status()
    assert (status.ttl, status.storage, status.description) == (5400.0, "memory", "text")
    assert status.is_compressed
    assert status.stream_info["config"]["max_bytes"] == 10_000_000
    assert {key: status.metadata[key] for key in ("a", "d")} == {"a": "b=c", "d": ""}


def test_add_again(run: Run, bucket: str) -> None:
    """The same is no error, another one is; the alias is the same command."""
    assert run("add", bucket, "-q") == (0, b"", "")
    assert run("mb", bucket).code == 0
    result = run("add", bucket, "--ttl", "5")
    assert result.code == 6
    assert result.err.startswith(f"objstore: bucket '{bucket}': it exists with another ")


def test_add_json(run: Run, bucket: str) -> None:
    """A script learns what was made."""
    assert run("add", bucket, "--json").json == {
        "bucket": bucket,
        "description": "",
        "size": 0,
        "max_bytes": -1,
        "ttl": None,
        "storage": "file",
        "replicas": 1,
        "compressed": False,
        "sealed": False,
        "metadata": {},
    }


@pytest.mark.parametrize("words", [["a.b"], ["ok", "--replicas", "7"], ["ok", "--ttl", "0.01"]])
def test_add_what_cannot_be(words: list[str], run: Run) -> None:
    """What the library finds wrong with an argument is wrong usage."""
    result = run("add", *words)
    assert (result.code, result.err.count("\n")) == (2, 1)


# ls


def test_ls_buckets(run: Run, client: Client, bucket: str) -> None:
    """One line for each, below a header."""
    client.create_object_store(bucket, description="two\nlines")
    result = run("ls")
    assert (result.code, result.err) == (0, "")
    assert result.lines[0].split() == ["SIZE", "STORAGE", "BUCKET", "DESCRIPTION"]
    (line,) = (line for line in result.lines if f" {bucket} " in line)
    assert re.fullmatch(rf" *0 B  file     {bucket} +two\\nlines", line)


def test_ls_bucket_names(run: Run, store: ObjectStore) -> None:
    """Names, one to a line."""
    assert store.bucket in run("ls", "-n").lines


def test_ls_buckets_json(run: Run, store: ObjectStore) -> None:
    """One object for each line."""
    buckets = [json.loads(line) for line in run("ls", "--json").lines]
    assert store.bucket in [bucket["bucket"] for bucket in buckets]


def test_ls_objects(run: Run, store: ObjectStore) -> None:
    """Sizes to the right, times, and names with nothing dangerous in them."""
    store.put("small", b"x")
    store.put(EVIL, bytes(1536))
    store.add_link("link", store.get_info("small"))
    result = run("ls", store.bucket)
    assert (result.code, result.err) == (0, "")
    header, *lines = result.lines
    assert header == "   SIZE  MODIFIED              NAME"
    shown = [re.fullmatch(rf"(.{{7}})  {TIME}  (.*)", line) for line in lines]
    assert [match and match.groups() for match in shown] == [
        ("    1 B", "small"),
        ("1.5 KiB", EVIL_SHOWN),
        ("    0 B", f"link -> {store.bucket}/small"),
    ]


def test_ls_prefix(run: Run, store: ObjectStore) -> None:
    """Only names that begin so; an empty listing is empty, not an error."""
    store.put_many({"a/1": b"", "b/1": b"", "a/2": b""})
    assert run("ls", store.bucket, "a/", "-n").lines == ["a/1", "a/2"]
    assert run("ls", store.bucket, "c/") == (0, b"", "")


def test_ls_json(run: Run, store: ObjectStore) -> None:
    """Names are exact in JSON, of objects and alone."""
    store.put(EVIL, b"x")
    (line,) = run("ls", store.bucket, "--json").lines
    assert json.loads(line)["name"] == EVIL
    (line,) = run("ls", store.bucket, "-n", "--json").lines
    assert json.loads(line) == EVIL
    assert run("ls", store.bucket, "-n").lines == [EVIL_SHOWN]


# info


def test_info_of_a_bucket(run: Run, client: Client, bucket: str) -> None:
    """What it is, a line for each thing."""
    client.create_object_store(bucket, max_bytes=1 << 30, ttl=90, metadata={"k": "v"})
    assert run("info", bucket).lines == [
        f"bucket      {bucket}",
        "size        0 (0 B)",
        "limit       1073741824 (1.0 GiB)",
        "ttl         90 s",
        "storage     file",
        "replicas    1",
        "compressed  no",
        "sealed      no",
        "metadata    k=v",
    ]


def test_info_of_an_object(run: Run, store: ObjectStore) -> None:
    """What is stored of it, a line for each thing."""
    info = store.put(
        EVIL, bytes(3000), description="Grüße", headers={"h": ["1", "2"]}, metadata={"k": "v"}
    )
    result = run("info", store.bucket, EVIL)
    assert (result.code, result.err) == (0, "")
    assert [line for line in result.lines if not line.startswith("modified")] == [
        f"name         {EVIL_SHOWN}",
        f"bucket       {store.bucket}",
        "description  Grüße",
        "size         3000 (2.9 KiB)",
        "chunks       1",
        f"digest       {info.digest}",
        f"nuid         {info.nuid}",
        f"revision     {info.revision}",
        "header       h: 1",
        "header       h: 2",
        "metadata     k=v",
    ]


def test_info_json(run: Run, store: ObjectStore) -> None:
    """All of it, named as on the wire."""
    info = store.put("a", b"x", headers={"h": "1"}, metadata={"k": "v"}, description="d")
    fields = run("info", store.bucket, "a", "--json").json
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", fields.pop("mtime"))
    assert fields == {
        "bucket": store.bucket,
        "name": "a",
        "size": 1,
        "chunks": 1,
        "digest": info.digest,
        "nuid": info.nuid,
        "description": "d",
        "headers": {"h": ["1"]},
        "metadata": {"k": "v"},
        "deleted": False,
        "link": None,
        "max_chunk_size": 131072,
        "revision": info.revision,
    }


def test_info_of_a_link(run: Run, store: ObjectStore) -> None:
    """Of the link itself, with where it leads."""
    store.add_link("link", store.put("a", b"x"))
    assert f"link to   {store.bucket}/a" in run("info", store.bucket, "link").lines
    link = run("info", store.bucket, "link", "--json").json["link"]
    assert link == {"bucket": store.bucket, "name": "a"}


# put


def test_put(run: Run, store: ObjectStore, directory: Path) -> None:
    """A file goes under its base name; the digest is told beside the data."""
    (directory / "sub").mkdir()
    (directory / "sub" / "a.bin").write_bytes(pattern(300_000))
    result = run("put", store.bucket, "sub/a.bin")
    digest = digest_of(pattern(300_000))
    assert result == (0, b"", f"{store.bucket}/a.bin: 300000 bytes, {digest}\n")
    assert store["a.bin"] == pattern(300_000)


def test_put_with_everything(run: Run, store: ObjectStore, directory: Path) -> None:
    """Name, headers, metadata, description, chunk size."""
    (directory / "a").write_bytes(pattern(3000))
    options = ["--name", "b", "-H", "K: 1", "-H", "K:2", "--metadata", "m=v"]
    options += ["--description", "text", "--chunk-size", "1KiB", "--json"]
    fields = run("put", store.bucket, "a", *options).json
    assert (fields["name"], fields["headers"]) == ("b", {"K": ["1", "2"]})
    assert (fields["metadata"], fields["description"]) == ({"m": "v"}, "text")
    assert (fields["max_chunk_size"], fields["chunks"]) == (1024, 3)
    assert store["b"] == pattern(3000)


def test_put_under_an_empty_name(run: Run, store: ObjectStore, directory: Path) -> None:
    """Of a variable that was not set, perhaps: not the name of the file in its place."""
    (directory / "a").write_bytes(b"")
    assert run("put", store.bucket, "a", "--name", "").code == 2
    assert list(store) == []


def test_put_several_files(run: Run, store: ObjectStore, directory: Path) -> None:
    """One JSON for each; the first that fails is the last."""
    for name in ("a", "b"):
        (directory / name).write_text(name)
    result = run("put", store.bucket, "a", "missing", "b", "--json")
    assert result.code == 1
    assert [json.loads(line)["name"] for line in result.lines] == ["a"]
    assert result.err == "objstore: missing: No such file or directory\n"
    assert list(store) == ["a"]


def test_put_standard_input(
    run: Run, store: ObjectStore, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To its end, byte for byte; it stays open."""
    (directory / "a").write_bytes(pattern(200_000))
    with open("a", encoding="ascii") as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert run("put", store.bucket, "-", "--name", "x/y").code == 0
        assert not file.closed
    assert store["x/y"] == pattern(200_000)


def test_put_refuses_to_overwrite(run: Run, store: ObjectStore, directory: Path) -> None:
    """Unless that is meant."""
    store.put("a", b"old")
    (directory / "a").write_bytes(b"new")
    result = run("put", store.bucket, "a")
    assert result.code == 6
    assert re.fullmatch(
        rf"objstore: object 'a' in bucket '{store.bucket}': it exists.*; -f overwrites it\n",
        result.err,
    )
    assert store["a"] == b"old"
    assert run("put", store.bucket, "a", "-f").code == 0
    assert store["a"] == b"new"


def test_put_in_place_of_a_deleted_object(run: Run, store: ObjectStore, directory: Path) -> None:
    """There is nothing to overwrite."""
    store.put("a", b"old")
    store.delete("a")
    (directory / "a").write_bytes(b"new")
    assert run("put", store.bucket, "a").code == 0
    assert store["a"] == b"new"


@pytest.mark.parametrize(("typed", "code", "data"), [("y\n", 0, b"new"), ("n\n", 6, b"old")])
def test_put_asks_at_a_terminal(
    typed: str,
    code: int,
    data: bytes,
    run: Run,
    store: ObjectStore,
    directory: Path,
    answer: Callable[[str], None],
) -> None:
    """The answer decides."""
    store.put("a", b"old")
    (directory / "a").write_bytes(b"new")
    answer(typed)
    result = run("put", store.bucket, "a")
    assert result.code == code
    assert f"{store.bucket}/a exists; overwrite it? [y/N]" in result.err
    assert store["a"] == data


def test_put_overwrites_only_what_it_asked_about(
    run: Run, store: ObjectStore, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who says yes has seen one version; another may have come meanwhile."""
    store.put("a", b"old")
    (directory / "a").write_bytes(b"new")

    class SlowReader(Keyboard):
        def readline(self, *args: object) -> str:
            store.put("a", b"newer")
            return "y\n"

    monkeypatch.setattr(sys, "stdin", SlowReader())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run("put", store.bucket, "a").code == 6
    assert store["a"] == b"newer"


def test_put_without_a_bucket(run: Run, client: Client, bucket: str, directory: Path) -> None:
    """The message says how to have it created; then it is."""
    (directory / "a").write_bytes(b"x")
    result = run("put", bucket, "a")
    message = f"objstore: bucket '{bucket}': it does not exist; --create creates it\n"
    assert result == (3, b"", message)
    assert run("put", bucket, "a", "--create").code == 0
    assert run("put", bucket, "a", "--create", "--name", "b").code == 0
    assert list(client.object_store(bucket)) == ["a", "b"]


@posix_only
def test_put_a_directory(run: Run, store: ObjectStore, directory: Path) -> None:
    """One line says that it is one."""
    assert run("put", store.bucket, str(directory)) == (
        1,
        b"",
        f"objstore: {directory}: Is a directory\n",
    )


# get


def test_get(run: Run, store: ObjectStore, directory: Path) -> None:
    """The file has the last part of the name."""
    info = store.put("x/y/a.bin", pattern(300_000))
    result = run("get", store.bucket, "x/y/a.bin")
    assert result == (0, b"", f"{store.bucket}/x/y/a.bin: 300000 bytes, {info.digest}\n")
    assert [path.name for path in directory.iterdir()] == ["a.bin"]
    assert (directory / "a.bin").read_bytes() == pattern(300_000)


@pytest.mark.parametrize("name", ["../a", "/a", "../../etc/a", "x/../a"])
def test_get_stays_in_the_directory(
    name: str, run: Run, store: ObjectStore, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names come from elsewhere."""
    (directory / "inside").mkdir()
    monkeypatch.chdir(directory / "inside")
    store.put(name, b"x")
    assert run("get", store.bucket, name).code == 0
    assert sorted(directory.rglob("*")) == [directory / "inside", directory / "inside" / "a"]


@pytest.mark.parametrize("name", ["..", "x/..", ".", "/", "x/", "nul\0"])
def test_get_needs_a_name_for_the_file(
    name: str, run: Run, store: ObjectStore, directory: Path
) -> None:
    """Where the name gives none, -O has to."""
    store.put(name, b"x")
    result = run("get", store.bucket, name)
    assert result.code == 2
    assert result.err.endswith("-O FILE gives one\n")
    assert list(directory.iterdir()) == []
    assert run("get", store.bucket, name, "-O", "out").code == 0
    assert (directory / "out").read_bytes() == b"x"


def test_get_refuses_to_overwrite(run: Run, store: ObjectStore, directory: Path) -> None:
    """Unless that is meant."""
    store.put("a", b"new")
    (directory / "a").write_bytes(b"old")
    result = run("get", store.bucket, "a")
    assert (result.code, (directory / "a").read_bytes()) == (6, b"old")
    assert result.err == "objstore: 'a' exists; -f overwrites it, -O FILE writes another\n"
    assert run("get", store.bucket, "a", "-f").code == 0
    assert (directory / "a").read_bytes() == b"new"


@posix_only
def test_get_refuses_to_overwrite_a_link(run: Run, store: ObjectStore, directory: Path) -> None:
    """Even one that leads nowhere yet."""
    store.put("a", b"new")
    (directory / "a").symlink_to(directory / "elsewhere")
    assert run("get", store.bucket, "a").code == 6
    assert not (directory / "elsewhere").exists()


def test_get_json(run: Run, store: ObjectStore, directory: Path) -> None:
    """Of a link it tells of what was read."""
    store.add_link("link", store.put("a", b"x"))
    result = run("get", store.bucket, "link", "--json")
    assert (result.json["name"], result.json["size"], result.err) == ("a", 1, "")
    assert (directory / "link").read_bytes() == b"x"


def test_get_to_standard_output(run: Run, store: ObjectStore, directory: Path) -> None:
    """The data and nothing else, whatever else is asked for."""
    info = store.put("a", pattern(3_000_000))
    line = f"{store.bucket}/a: 3000000 bytes, {info.digest}\n"
    assert run("get", store.bucket, "a", "-O", "-", "--json") == (0, pattern(3_000_000), line)
    assert list(directory.iterdir()) == []


def test_get_into_a_directory(run: Run, store: ObjectStore, directory: Path) -> None:
    """It is for -O to name the file."""
    store.put("a", b"x")
    (directory / "d").mkdir()
    for words in (["-O", "d"], ["-O", "d", "-f"]):
        result = run("get", store.bucket, "a", *words)
        assert (result.code, result.err) == (
            1,
            "objstore: 'd' is a directory; -O FILE names a file\n",
        )
    assert list((directory / "d").iterdir()) == []


@posix_only
def test_get_into_a_pipe(run: Run, store: ObjectStore, directory: Path) -> None:
    """A pipe, or a device, is written to; it is not a file that one could lose."""
    store.put("a", pattern(3_000_000))
    os.mkfifo("pipe")
    received = []
    reader = threading.Thread(
        target=lambda: received.append((directory / "pipe").read_bytes()), daemon=True
    )
    reader.start()
    try:
        assert run("get", store.bucket, "a", "-O", "pipe").code == 0
    finally:
        reader.join(10)
    assert received == [pattern(3_000_000)]
    assert (directory / "pipe").is_fifo()


def test_get_leaves_nothing_behind(
    run: Run, client: Client, store: ObjectStore, directory: Path
) -> None:
    """What is broken becomes no file, and replaces none."""
    RawBucket(client._connection, store.bucket).put_object("a", [b"x"], digest=digest_of(b"y"))
    (directory / "a").write_bytes(b"old")
    assert run("get", store.bucket, "a", "-f").code == 7
    assert [path.read_bytes() for path in directory.iterdir()] == [b"old"]


# cat


def test_cat(run: Run, store: ObjectStore) -> None:
    """All of it, or a part."""
    store.put("a", b"0123456789")
    assert run("cat", store.bucket, "a") == (0, b"0123456789", "")
    assert run("cat", store.bucket, "a", "--offset", "7").out == b"789"
    assert run("cat", store.bucket, "a", "--offset", "2", "--length", "3").out == b"234"
    assert run("cat", store.bucket, "a", "--length", "0").out == b""
    assert run("cat", store.bucket, "a", "--offset", "1K") == (0, b"", "")


# rm


def test_rm(run: Run, store: ObjectStore) -> None:
    """Several names; it tells what it did."""
    store.put_many({"a": b"", "b": b"", "c": b""})
    lines = f"{store.bucket}/a: deleted\n{store.bucket}/b: deleted\n"
    assert run("rm", store.bucket, "a", "b") == (0, b"", lines)
    assert list(store) == ["c"]
    assert run("del", store.bucket, "c", "-q") == (0, b"", "")
    assert list(store) == []


def test_rm_of_what_is_missing(run: Run, store: ObjectStore) -> None:
    """An error, also for what was deleted; with -f it is none."""
    store.put("a", b"")
    store.delete("a")
    assert run("rm", store.bucket, "a").code == 4
    assert run("rm", store.bucket, "never").code == 4
    assert run("rm", store.bucket, "a", "never", "-f").code == 0


def test_rm_prefix(run: Run, store: ObjectStore) -> None:
    """All that begin so; no match is no error."""
    store.put_many({"a/1": b"", "a/2": b"", "b/1": b"", EVIL: b""})
    assert run("rm", store.bucket, "--prefix", "a/").code == 0
    assert list(store) == ["b/1", EVIL]
    assert run("rm", store.bucket, "--prefix", "a/") == (0, b"", "")
    assert EVIL_SHOWN in run("rm", store.bucket, "--prefix=", "-f").err
    assert list(store) == []


def test_rm_bucket(run: Run, client: Client, store: ObjectStore) -> None:
    """Not by accident."""
    result = run("rm", store.bucket)
    message = f"objstore: bucket '{store.bucket}' was not deleted; -f deletes without asking\n"
    assert result == (2, b"", message)
    assert client.object_store(store.bucket)
    assert run("rm", store.bucket, "-f") == (0, b"", f"{store.bucket}: deleted\n")
    with pytest.raises(BucketNotFoundError):
        client.object_store(store.bucket)


def test_rm_bucket_asks_at_a_terminal(
    run: Run, client: Client, store: ObjectStore, answer: Callable[[str], None]
) -> None:
    """The answer decides."""
    answer("n\ny\n")
    assert run("rm", store.bucket).code == 2
    assert client.object_store(store.bucket)
    result = run("rm", store.bucket)
    assert result.code == 0
    assert f"delete bucket {store.bucket} with all its objects? [y/N]" in result.err


# watch


def test_watch(run: Run, store: ObjectStore) -> None:
    """A line for each object that is there; it ends after so many."""
    store.put(EVIL, bytes(1536))
    store.add_link("link", store.put("a", b"x"))
    store.put("b", b"x")
    store.delete("b")
    result = run("watch", store.bucket, "--count", "4")
    assert (result.code, result.err) == (0, f"{store.bucket}: watching\n")
    lines = [re.sub(f"^{TIME}", "TIME", line) for line in result.lines]
    assert lines == [
        rf"TIME  put      1.5 KiB  {EVIL_SHOWN}",
        r"TIME  put          1 B  a",
        rf"TIME  link         0 B  link -> {store.bucket}/a",
        r"TIME  del          0 B  b",
    ]


def test_watch_options(run: Run, store: ObjectStore) -> None:
    """What is left out, and what is added."""
    store.put("a", b"1")
    store.delete("a")
    store.put("b", b"1")
    result = run("watch", store.bucket, "--ignore-deletes", "--json", "--count", "1", "-q")
    assert (result.json["name"], result.err) == ("b", "")
    result = run("watch", store.bucket, "--include-history", "--json", "--count", "2")
    assert [json.loads(line)["deleted"] for line in result.lines] == [True, False]


# seal


def test_seal(run: Run, store: ObjectStore, directory: Path) -> None:
    """Not by accident, and for ever."""
    (directory / "a").write_bytes(b"x")
    assert run("seal", store.bucket).code == 2
    assert run("put", store.bucket, "a").code == 0
    assert run("seal", store.bucket, "-f") == (0, b"", f"{store.bucket}: sealed\n")
    assert store.status().sealed
    result = run("put", store.bucket, "a", "-f")
    assert result.code == 1
    assert result.err.endswith("it is sealed and cannot be changed\n")


def test_seal_asks_at_a_terminal(
    run: Run, store: ObjectStore, answer: Callable[[str], None]
) -> None:
    """The answer decides."""
    answer("\ny\n")
    assert run("seal", store.bucket).code == 2
    assert not store.status().sealed
    assert run("seal", store.bucket).code == 0
    assert store.status().sealed


# version


# check and sweep


def test_check(run: Run, store: ObjectStore, raw: RawBucket) -> None:
    """Damage that only reading shows, a warning, and a name that would clear the screen."""
    info = store.put(EVIL, b"data")
    result = run("check", store.bucket)
    assert (result.code, result.err) == (0, "")
    assert "1 object, 4 B in 1 chunk; 0 read; no problem" in result.lines[0]
    raw.purge(raw.chunk_subject(info.nuid))
    raw.put_chunk(info.nuid, b"DATA")
    store.add_bucket_link("l", "nowhere")
    result = run("check", store.bucket)
    assert (result.code, result.err) == (0, "")
    assert result.lines[-1].startswith("warning  dangling  l ")
    for option in (["--read-data"], ["--read-fraction", "1"], ["--read-fraction", "100%"]):
        result = run("check", store.bucket, *option)
        assert (result.code, result.err) == (7, "")
        assert any(EVIL_SHOWN in line and "damaged" in line for line in result.lines)
        assert b"\x1b" not in result.out
    fields = run("check", store.bucket, "--read-data", "--json").json
    assert (fields["ok"], fields["objects"], fields["read"]) == (False, 1, 1)
    assert fields["problems"][0]["name"] == EVIL
    assert fields["warnings"][0]["kind"] == "dangling"
    assert run("check", f"{store.bucket}-x").code == 3


@pytest.mark.parametrize("fraction", ["2", "101%", "x", "", "%", "-1"])
def test_check_takes_a_fraction(run: Run, fraction: str) -> None:
    assert run("check", "b", "--read-fraction", fraction).code == 2


def test_sweep(
    run: Run, store: ObjectStore, raw: RawBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows; with -f it removes; beside an entry that cannot be read it does not."""
    monkeypatch.setattr(audit, "_GRACE", 0.0)
    nuid = next_nuid()
    raw.put_chunk(nuid, b"data")
    result = run("sweep", store.bucket)
    assert (result.code, result.err) == (0, "")
    assert "1 younger than 86400 s" in result.lines[0]
    result = run("sweep", store.bucket, "--min-age", "0s")
    assert result.code == 0
    assert "1 set of chunks without an object to be removed: 1 chunk, 4 B" in result.lines[0]
    assert result.lines[-1].startswith(f"{nuid}  1       4 B   ")
    assert result.err == "nothing was removed; -f removes\n"
    raw.put_meta("a", b"{")
    result = run("sweep", store.bucket, "--min-age", "0s", "-f")
    assert result.code == 7
    assert "1 entry cannot be read" in result.lines[0]
    assert nuid in raw.chunks
    store.put("a", b"")
    fields = run("sweep", store.bucket, "--min-age", "0s", "-f", "--json").json
    assert (fields["ok"], fields["dry_run"], fields["obstacles"]) == (True, False, [])
    assert (fields["orphans"][0]["nuid"], fields["orphans"][0]["size"]) == (nuid, 4)
    assert fields["orphans"][0]["stored_at"].endswith("Z")
    assert raw.chunks == {}


def test_version(run: Run) -> None:
    """It needs no server."""
    (line,) = run("version", "--server", "nats://localhost:1").lines
    assert re.fullmatch(r"objstore \d+\.\d+\.\d+\S*", line)
    assert run("version", "--json").json["version"] == line.removeprefix("objstore ")
