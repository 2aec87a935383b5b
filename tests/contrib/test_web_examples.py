"""The applications of the how-to pages, used over HTTP as a browser would."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from objstore.client import Client
from objstore.server import LocalServer

EXAMPLES = Path(__file__).parents[2] / "docs/howto/examples"
DATA = bytes(range(256)) * 4096

SERVE = """
import importlib, sys
from wsgiref.simple_server import WSGIRequestHandler, make_server
sys.path.insert(0, sys.argv[1])
module = importlib.import_module(sys.argv[2])
WSGIRequestHandler.log_message = lambda *_: None
server = make_server("127.0.0.1", 0, getattr(module, "application", None) or module.app)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture(params=["flask", "django"])
def port(request: pytest.FixtureRequest, server: LocalServer, client: Client) -> Iterator[int]:
    """The port of an application that runs in a process of its own."""
    pytest.importorskip(request.param)
    command = [sys.executable, "-c", SERVE, str(EXAMPLES), f"{request.param}_app"]
    environment = {**os.environ, "NATS_URL": server.url, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        yield int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait()
    client.delete_object_store({"flask": "pictures", "django": "album"}[request.param])


def ask(
    port: int, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    connection.request(method, path, body or None, named)
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return response, data


@pytest.mark.slow
def test_upload_and_download(port: int) -> None:
    page, text = ask(port, "GET", "/")
    token = re.search(rb'name="csrfmiddlewaretoken" value="(\w+)"', text)
    cookie = (page.getheader("Set-Cookie") or "").partition(";")[0]
    form = b"--frontier\r\n"
    if token:
        form += b'Content-Disposition: form-data; name="csrfmiddlewaretoken"\r\n\r\n'
        form += token[1] + b"\r\n--frontier\r\n"
    form += b'Content-Disposition: form-data; name="picture"; filename="a.png"\r\n'
    form += b"Content-Type: image/png\r\n\r\n" + DATA + b"\r\n--frontier--\r\n"
    kind = "multipart/form-data; boundary=frontier"
    answer, _ = ask(port, "POST", "/", form, Content_Type=kind, Cookie=cookie)
    assert answer.status == 302

    _, text = ask(port, "GET", "/")
    link = re.search(rb'href="([^"]*a\.png)"', text)
    assert link
    path = link[1].decode()
    whole, data = ask(port, "GET", path)
    assert (whole.status, data) == (200, DATA)
    assert whole.getheader("Content-Type") == "image/png"
    part, data = ask(port, "GET", path, Range="bytes=500000-500009")
    assert (part.status, data) == (206, DATA[500_000:500_010])
    head, data = ask(port, "HEAD", path)
    assert (head.getheader("Content-Length"), data) == (str(len(DATA)), b"")
    etag = whole.getheader("ETag") or ""
    assert ask(port, "GET", path, If_None_Match=etag)[0].status == 304
    assert ask(port, "GET", path + "x")[0].status == 404
