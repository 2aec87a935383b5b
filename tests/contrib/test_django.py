"""Django's storage and view, on a real server."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

django = pytest.importorskip("django")

from django.conf import settings  # noqa: E402
from django.contrib.staticfiles.finders import get_finder  # noqa: E402
from django.core.exceptions import ImproperlyConfigured, SuspiciousFileOperation  # noqa: E402
from django.core.files.base import ContentFile  # noqa: E402
from django.core.files.storage import storages  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.http import Http404  # noqa: E402
from django.test import RequestFactory, override_settings  # noqa: E402

from objstore.client import Client  # noqa: E402
from objstore.contrib.django import (  # noqa: E402
    ManifestStaticObjectStorage,
    ObjectStorage,
    StaticObjectStorage,
    _shared_client,
    serve,
)
from objstore.errors import BucketNotFoundError  # noqa: E402
from objstore.server import LocalServer  # noqa: E402
from objstore.store import ObjectStore  # noqa: E402
from tests.conftest import Traffic  # noqa: E402
from tests.helpers import wait_until  # noqa: E402
from tests.raw_bucket import RawBucket  # noqa: E402

CHUNK = 128 * 1024
DATA = bytes(range(256)) * 4096  # 8 chunks

if not settings.configured:
    settings.configure(
        INSTALLED_APPS=["django.contrib.staticfiles"],
        MEDIA_URL="/media/",
        STATIC_URL="/static/",
        USE_TZ=True,
        TIME_ZONE="Asia/Tokyo",
    )
    django.setup()


@pytest.fixture
def make_storage(server: LocalServer, store: ObjectStore) -> Iterator[Callable[..., Any]]:
    """A function that makes a storage of the store's bucket; what it connects is closed."""
    made: list[ObjectStorage] = []

    def make(backend: type[ObjectStorage] = ObjectStorage, **options: Any) -> Any:
        options = {"bucket": store.bucket, "servers": [server.url], **options}
        made.append(backend(**options))
        return made[-1]

    yield make
    for storage in made:
        storage.client.close()
    _shared_client.cache_clear()


@pytest.fixture
def storage(make_storage: Callable[..., Any]) -> ObjectStorage:
    return make_storage()


# The storage


def test_save_and_open(storage: ObjectStorage, store: ObjectStore) -> None:
    content = ContentFile(DATA, name="a.bin")
    assert storage.save("films/a.bin", content) == "films/a.bin"
    assert not content.closed
    assert store["films/a.bin"] == DATA
    with storage.open("films/a.bin") as file:
        assert (file.name, file.size) == ("films/a.bin", len(DATA))
        assert b"".join(file.chunks()) == DATA
        file.seek(256)
        assert file.read(4) == b"\0\1\2\3"
    assert file.closed
    with file.open() as again:
        assert again.read() == DATA


def test_text_is_stored_as_utf8(storage: ObjectStorage, store: ObjectStore) -> None:
    storage.save("a.txt", ContentFile("é\n"))
    assert store["a.txt"] == "é\n".encode()
    with storage.open("a.txt", "r") as file:
        assert file.read() == "é\n"


def test_saving_never_replaces(storage: ObjectStorage, store: ObjectStore) -> None:
    storage.save("a.txt", ContentFile(b"one"))
    other = storage.save("a.txt", ContentFile(b"two"))
    assert other != "a.txt"
    assert (store["a.txt"], store[other]) == (b"one", b"two")


def test_two_who_save_one_name_at_once(
    storage: ObjectStorage, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes second learns of it from the server and takes another name."""
    exists = storage.exists

    def overtaken(name: str) -> bool:
        answer = exists(name)
        if name == "a.txt" and not answer:
            store["a.txt"] = b"faster"
        return answer

    monkeypatch.setattr(storage, "exists", overtaken)
    name = storage.save("a.txt", ContentFile(b"slower"))
    assert name != "a.txt"
    assert (store["a.txt"], store[name]) == (b"faster", b"slower")


def test_overwrite(make_storage: Callable[..., Any], store: ObjectStore) -> None:
    storage = make_storage(overwrite=True)
    assert storage.save("a.txt", ContentFile(b"one")) == "a.txt"
    assert storage.save("a.txt", ContentFile(b"two")) == "a.txt"
    assert store["a.txt"] == b"two"
    assert len(storage.get_available_name("a-long-name.txt", max_length=14)) <= 14


def test_writing_commits_as_a_whole(storage: ObjectStorage, store: ObjectStore) -> None:
    with storage.open("a.txt", "wb") as file:
        file.write(b"one")
        assert "a.txt" not in store
    assert store["a.txt"] == b"one"
    with contextlib.suppress(KeyboardInterrupt), storage.open("a.txt", "wb") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert store["a.txt"] == b"one"


def test_missing_files(storage: ObjectStorage) -> None:
    assert not storage.exists("a")
    assert not storage.exists("")
    storage.delete("a")
    for question in (storage.open, storage.size, storage.get_modified_time):
        with pytest.raises(FileNotFoundError):
            question("a")
    with pytest.raises(ValueError, match="name of a file"):
        storage.delete("")


def test_listdir_takes_one_listing(
    storage: ObjectStorage, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "films/b", "films/2024/c", "films/2024/d", "filmsx"):
        store[name] = b""
    listings = count_listings(storage, monkeypatch)
    assert storage.listdir("") == (["films"], ["a", "filmsx"])
    assert storage.listdir("films/") == (["2024"], ["b"])
    assert storage.listdir("nothing") == ([], [])
    assert len(listings) == 3


def count_listings(storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows by the prefix of each listing."""
    take, prefixes = storage.store.list, []

    def count(*, prefix: str = "", **options: Any) -> Any:
        prefixes.append(prefix)
        return take(prefix=prefix, **options)

    monkeypatch.setattr(storage.store, "list", count)
    return prefixes


def test_location_stands_before_every_name(
    make_storage: Callable[..., Any], store: ObjectStore
) -> None:
    storage = make_storage(location="/media/")
    assert storage.save("a\\b.txt", ContentFile(b"1")) == "a/b.txt"
    assert store["media/a/b.txt"] == b"1"
    assert storage.exists("a/b.txt")
    assert storage.listdir("a") == ([], ["b.txt"])
    storage.delete("a/b.txt")
    assert "media/a/b.txt" not in store


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", "..", "..\\a", "/"])
def test_names_that_lead_out_are_refused(storage: ObjectStorage, name: str) -> None:
    for method in (storage.exists, storage.delete, storage.open, storage.size, storage.listdir):
        with pytest.raises(SuspiciousFileOperation):
            method(name)


@pytest.mark.parametrize("use_tz", [True, False])
def test_times(storage: ObjectStorage, store: ObjectStore, use_tz: bool) -> None:
    store["a"] = b""
    mtime = store.get_info("a").mtime
    with override_settings(USE_TZ=use_tz):
        modified = storage.get_modified_time("a")
        assert storage.get_created_time("a") == modified
    if use_tz:
        assert modified == mtime
    else:  # TIME_ZONE is nine hours ahead
        assert modified.tzinfo is None
        assert (modified - mtime.replace(tzinfo=None)).total_seconds() == 9 * 3600


def test_urls(make_storage: Callable[..., Any]) -> None:
    assert make_storage().url("a b/é?.txt") == "/media/a%20b/%C3%A9%3F.txt"
    assert make_storage(base_url="https://x.example/m").url("a") == "https://x.example/m/a"
    assert make_storage(StaticObjectStorage).url("a.css") == "/static/a.css"


def test_options_are_checked() -> None:
    with pytest.raises(ImproperlyConfigured, match="no bucket"):
        ObjectStorage()
    with pytest.raises(ImproperlyConfigured, match="no option 'bukket'"):
        ObjectStorage(bucket="a", bukket="b")


def test_bucket_is_created_only_where_that_is_asked_for(
    make_storage: Callable[..., Any], client: Client, bucket: str
) -> None:
    with pytest.raises(BucketNotFoundError):
        make_storage(bucket=f"{bucket}-new").exists("a")
    storage = make_storage(bucket=f"{bucket}-new", create_bucket=True)
    assert not storage.exists("a")
    client.delete_object_store(f"{bucket}-new")


def test_connects_late_and_once(server: LocalServer) -> None:
    options = {"bucket": "b", "servers": server.url, "name": "late"}
    first = ObjectStorage(**options)
    assert ObjectStorage(location="x", **options).client is first.client
    assert not first.client.is_connected
    assert ObjectStorage(bucket="b", servers=server.url).client is not first.client


def test_migrations_can_name_a_storage() -> None:
    storage = ObjectStorage(bucket="b", location="x")
    path, args, options = storage.deconstruct()
    assert (path, args) == ("objstore.contrib.django.ObjectStorage", ())
    assert options == {"bucket": "b", "location": "x"}


def test_settings_name_the_storage(server: LocalServer, store: ObjectStore) -> None:
    backend = {
        "BACKEND": "objstore.contrib.django.ObjectStorage",
        "OPTIONS": {"bucket": store.bucket, "servers": server.url},
    }
    with override_settings(STORAGES={"default": backend}):
        storage = storages["default"]
        try:
            storage.save("a", ContentFile(b"1"))
            assert store["a"] == b"1"
        finally:
            storage.client.close()
            _shared_client.cache_clear()


# collectstatic


@pytest.mark.parametrize("backend", [StaticObjectStorage, ManifestStaticObjectStorage])
def test_collectstatic(
    make_storage: Callable[..., Any],
    store: ObjectStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    backend: type[StaticObjectStorage],
) -> None:
    """The second time nothing is copied, and one listing tells so."""
    (tmp_path / "css").mkdir()
    (tmp_path / "css/a.css").write_text("body { background: url(../b.png) }")
    (tmp_path / "b.png").write_bytes(b"png")
    storage = make_storage(backend)

    def collect() -> str:
        printed = io.StringIO()
        call_command("collectstatic", interactive=False, stdout=printed)
        return printed.getvalue()

    listings = count_listings(storage, monkeypatch)
    monkeypatch.setattr("django.contrib.staticfiles.storage.staticfiles_storage", storage)
    command = "django.contrib.staticfiles.management.commands.collectstatic"
    monkeypatch.setattr(f"{command}.staticfiles_storage", storage)
    with override_settings(
        STATICFILES_DIRS=[tmp_path],
        STATICFILES_FINDERS=["django.contrib.staticfiles.finders.FileSystemFinder"],
    ):
        get_finder.cache_clear()
        assert "2 static files copied" in collect()
        assert len(listings) == 1
        storage._times_used = -1000.0  # another process begins with a listing of its own
        second = collect()
        assert "0 static files copied" in second
        assert "2 unmodified" in second
        assert len(listings) == 2
    assert store["b.png"] == b"png"
    if backend is ManifestStaticObjectStorage:
        hashed = storage.stored_name("css/a.css")
        assert hashed != "css/a.css"
        assert b"b." in store[hashed]
        assert "staticfiles.json" in store


# The view

WANTED = RequestFactory()


def body(response: Any) -> bytes:
    data = b"".join(response.streaming_content) if response.streaming else response.content
    response.close()
    return data


@pytest.fixture
def film(store: ObjectStore) -> ObjectStore:
    store.put("films/a.mp4", DATA)
    return store


def test_whole_object(film: ObjectStore) -> None:
    response = serve(WANTED.get("/"), film, "films/a.mp4")
    assert response.status_code == 200
    assert response["Content-Type"] == "video/mp4"
    assert response["Content-Length"] == str(len(DATA))
    assert response["Accept-Ranges"] == "bytes"
    assert response["Content-Disposition"] == 'inline; filename="a.mp4"'
    digest = film.get_info("films/a.mp4").digest.removeprefix("SHA-256=")
    assert response["ETag"] == f'"{digest}"'
    assert body(response) == DATA


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        ("bytes=0-99", 0, 100),
        ("bytes=300000-300099", 300_000, 300_100),
        ("bytes=-100", len(DATA) - 100, len(DATA)),
        (f"bytes={len(DATA) - 5}-", len(DATA) - 5, len(DATA)),
        (f"bytes=1048000-{len(DATA) + 9}", 1_048_000, len(DATA)),
    ],
)
def test_range_fetches_only_the_chunks_that_it_touches(
    film: ObjectStore, client: Client, wanted: str, start: int, stop: int
) -> None:
    traffic = Traffic(client)
    response = serve(WANTED.get("/", headers={"range": wanted}), film, "films/a.mp4")
    assert response.status_code == 206
    assert response["Content-Range"] == f"bytes {start}-{stop - 1}/{len(DATA)}"
    assert response["Content-Length"] == str(stop - start)
    assert body(response) == DATA[start:stop]
    assert traffic.chunks(CHUNK) <= 2


@pytest.mark.parametrize("wanted", [f"bytes={len(DATA)}-", "bytes=-0"])
def test_range_outside_of_the_object(film: ObjectStore, wanted: str) -> None:
    response = serve(WANTED.get("/", headers={"range": wanted}), film, "films/a.mp4")
    assert response.status_code == 416
    assert response["Content-Range"] == f"bytes */{len(DATA)}"


@pytest.mark.parametrize(
    "wanted",
    ["bytes=5-2", "bytes=-", "bytes=0-1,4-5", "lines=0-1", "bytes=a-b", "bytes=٣-", "bytes"],
)
def test_what_is_no_range_is_ignored(film: ObjectStore, wanted: str) -> None:
    response = serve(WANTED.get("/", HTTP_RANGE=wanted), film, "films/a.mp4")
    assert response.status_code == 200
    assert body(response) == DATA


def test_what_the_browser_has_is_not_read_again(film: ObjectStore, client: Client) -> None:
    known = serve(WANTED.head("/"), film, "films/a.mp4")
    traffic = Traffic(client)
    for header, value in (("If-None-Match", "ETag"), ("If-Modified-Since", "Last-Modified")):
        response = serve(WANTED.get("/", headers={header: known[value]}), film, "films/a.mp4")
        assert (response.status_code, body(response)) == (304, b"")
        assert response["ETag"] == known["ETag"]
    response = serve(WANTED.get("/", headers={"If-Match": '"other"'}), film, "films/a.mp4")
    assert response.status_code == 412
    assert traffic.chunks(CHUNK) == 0


def test_head_reads_nothing(film: ObjectStore, client: Client) -> None:
    traffic = Traffic(client)
    response = serve(WANTED.head("/"), film, "films/a.mp4")
    assert (response.status_code, body(response)) == (200, b"")
    assert response["Content-Length"] == str(len(DATA))
    assert response["Content-Disposition"] == 'inline; filename="a.mp4"'
    assert traffic.chunks(CHUNK) == 0


def test_range_of_another_version_gives_the_whole_object(film: ObjectStore) -> None:
    """`If-Range`: a download that is taken up again must not mix two versions."""
    known = serve(WANTED.head("/"), film, "films/a.mp4")
    for value in (known["ETag"], known["Last-Modified"]):
        headers = {"range": "bytes=0-9", "if-range": value}
        response = serve(WANTED.get("/", headers=headers), film, "films/a.mp4")
        assert body(response) == DATA[:10]
    film.put("films/a.mp4", b"new")
    headers = {"range": "bytes=0-9", "if-range": known["ETag"]}
    response = serve(WANTED.get("/", headers=headers), film, "films/a.mp4")
    assert (response.status_code, body(response)) == (200, b"new")


def test_overwritten_between_two_steps(film: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A range is of the version that the headers describe."""
    get, calls = film.get, []

    def overwriting(name: str, **options: Any) -> Any:
        if options.get("length"):
            calls.append(name)
            if len(calls) == 1:
                film.put(name, b"0123456789")
        return get(name, **options)

    monkeypatch.setattr(film, "get", overwriting)
    response = serve(WANTED.get("/", headers={"range": "bytes=2-4"}), film, "films/a.mp4")
    assert response["Content-Range"] == "bytes 2-4/10"
    assert body(response) == b"234"
    assert len(calls) == 2


def test_storage_names_and_missing_objects(
    make_storage: Callable[..., Any], film: ObjectStore
) -> None:
    storage = make_storage(location="films")
    assert body(serve(WANTED.get("/"), storage, "a.mp4")) == DATA
    for store, name in ((storage, "b.mp4"), (film, "b"), (film, "")):
        with pytest.raises(Http404):
            serve(WANTED.get("/"), store, name)
    with pytest.raises(SuspiciousFileOperation):
        serve(WANTED.get("/"), storage, "../secret")
    assert serve(WANTED.post("/"), film, "films/a.mp4").status_code == 405


def test_a_browser_that_goes_away_leaves_nothing_behind(store: ObjectStore, raw: RawBucket) -> None:
    store.put("large", bytes(16 << 20))
    response: Any = serve(WANTED.get("/"), store, "large")
    blocks = iter(response)
    assert sum(len(next(blocks)) for _ in range(24)) == 6 << 20
    assert raw.consumers == 1  # else this test shows nothing
    response.close()
    wait_until(lambda: raw.consumers == 0)
