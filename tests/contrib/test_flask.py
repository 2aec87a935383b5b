"""`send_object`: objects as responses, through Flask's test client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

flask = pytest.importorskip("flask")

from objstore.client import Client  # noqa: E402
from objstore.contrib.flask import send_object  # noqa: E402
from objstore.store import ObjectStore  # noqa: E402
from tests.conftest import Traffic  # noqa: E402
from tests.helpers import wait_until  # noqa: E402
from tests.raw_bucket import RawBucket  # noqa: E402

CHUNK = 128 * 1024
DATA = bytes(range(256)) * 4096  # 8 chunks


@pytest.fixture
def browser(store: ObjectStore) -> Iterator[Any]:
    """A browser of an application that serves the store, to show or to `?save`."""
    app = flask.Flask(__name__)

    @app.get("/<path:name>")
    def media(name: str) -> Any:
        return send_object(store, name, as_attachment="save" in flask.request.args)

    store.put("films/a.mp4", DATA)
    with app.test_client() as browser:
        yield browser


def test_whole_object(browser: Any, store: ObjectStore) -> None:
    response = browser.get("/films/a.mp4")
    assert response.status_code == 200
    assert response.data == DATA
    assert response.content_type == "video/mp4"
    assert response.content_length == len(DATA)
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["Content-Disposition"] == "inline; filename=a.mp4"
    info = store.get_info("films/a.mp4")
    assert response.get_etag() == (info.digest.removeprefix("SHA-256="), False)
    assert response.last_modified == info.mtime.replace(microsecond=0)


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
    store: ObjectStore, client: Client, browser: Any, wanted: str, start: int, stop: int
) -> None:
    traffic = Traffic(client)
    response = browser.get("/films/a.mp4", headers={"Range": wanted})
    assert response.status_code == 206
    assert response.data == DATA[start:stop]
    assert response.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(DATA)}"
    assert traffic.chunks(CHUNK) <= 2


def test_range_outside_of_the_object(browser: Any) -> None:
    response = browser.get("/films/a.mp4", headers={"Range": f"bytes={len(DATA)}-"})
    assert response.status_code == 416
    assert response.headers["Content-Range"] == f"bytes */{len(DATA)}"


@pytest.mark.parametrize("header", ["If-None-Match", "If-Modified-Since"])
def test_what_the_browser_has_is_not_read_again(client: Client, browser: Any, header: str) -> None:
    headers = browser.head("/films/a.mp4").headers
    known = headers["ETag" if header == "If-None-Match" else "Last-Modified"]
    traffic = Traffic(client)
    response = browser.get("/films/a.mp4", headers={header: known})
    assert (response.status_code, response.data) == (304, b"")
    assert traffic.chunks(CHUNK) == 0


def test_conditions_come_before_the_range(client: Client, browser: Any) -> None:
    """And what is refused has no length but that of the refusal: browsers would wait for it."""
    known = browser.head("/films/a.mp4").headers["ETag"]
    traffic = Traffic(client)
    for condition, status in (("If-None-Match", 304), ("If-Match", 412)):
        tag = known if status == 304 else '"another"'
        for more in ({}, {"Range": "bytes=0-9"}):
            response = browser.get("/films/a.mp4", headers={condition: tag, **more})
            assert (response.status_code, response.data) == (status, b"")
            assert response.headers.get("Content-Length") == (None if status == 304 else "0")
    assert browser.head("/films/a.mp4", headers={"Range": "bytes=0-9"}).status_code == 200
    assert traffic.chunks(CHUNK) == 0


def test_head_reads_nothing(client: Client, browser: Any) -> None:
    traffic = Traffic(client)
    response = browser.head("/films/a.mp4")
    assert (response.status_code, response.data) == (200, b"")
    assert response.headers["Content-Length"] == str(len(DATA))
    assert traffic.chunks(CHUNK) == 0


def test_range_of_another_version_gives_the_whole_object(browser: Any, store: ObjectStore) -> None:
    """`If-Range`: a download that is taken up again must not mix two versions."""
    etag = browser.head("/films/a.mp4").headers["ETag"]
    wanted = {"Range": "bytes=0-9", "If-Range": etag}
    assert browser.get("/films/a.mp4", headers=wanted).status_code == 206
    store.put("films/a.mp4", b"new")
    response = browser.get("/films/a.mp4", headers=wanted)
    assert (response.status_code, response.data) == (200, b"new")


def test_overwritten_between_two_steps(
    browser: Any, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A range is of the version that the headers describe."""
    get, calls = store.get, []

    def overwriting(name: str, **options: Any) -> Any:
        if options.get("length"):
            calls.append(name)
            if len(calls) == 1:
                store.put(name, b"0123456789")
        return get(name, **options)

    monkeypatch.setattr(store, "get", overwriting)
    response = browser.get("/films/a.mp4", headers={"Range": "bytes=2-4"})
    assert response.data == b"234"
    assert response.headers["Content-Range"] == "bytes 2-4/10"
    assert len(calls) == 2


def test_link_and_attachment(browser: Any, store: ObjectStore) -> None:
    store.add_link("newest", store.get_info("films/a.mp4"))
    response = browser.get("/newest?save", headers={"Range": "bytes=256-259"})
    assert response.data == b"\0\1\2\3"
    assert response.headers["Content-Disposition"] == "attachment; filename=newest"
    assert response.content_type == "application/octet-stream"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.tar.gz", "application/gzip"), ("é\x1bx.html", "text/html; charset=utf-8")],
)
def test_types_and_names(browser: Any, store: ObjectStore, name: str, kind: str) -> None:
    store.put(name, b"")
    response = browser.get(f"/{quote(name)}")
    assert response.content_type == kind
    assert response.headers["Content-Disposition"].isprintable()


def test_missing_object(browser: Any) -> None:
    assert browser.get("/films/b.mp4").status_code == 404


def test_a_browser_that_goes_away_leaves_nothing_behind(
    browser: Any, store: ObjectStore, raw: RawBucket
) -> None:
    store.put("large", bytes(16 << 20))
    response = browser.get("/large", buffered=False)
    blocks = response.iter_encoded()
    assert sum(len(next(blocks)) for _ in range(24)) == 6 << 20
    assert raw.consumers == 1  # else this test shows nothing
    response.close()
    wait_until(lambda: raw.consumers == 0)
