"""
What pynats2 0.9.0 tests of its own client, asked of `objstore.Client`.

PyPI has no source of pynats2, so its 13 cases, each with a plain URL and with a path in it,
are told anew, without the waiting that makes one of them fail now and then. They look at
less than `tests/test_contract.py`; here it is whether each of pynats2's claims is kept.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pynats2
import pytest
import trustme

from objstore.client import Client
from objstore.server import LocalServer

TIMEOUT = 10.0

#: What msgpack makes of {b"v": 3338}: with the end of a line of the protocol in it.
PACKED = b"\x81\xc4\x01v\xcd\r\n"


@pytest.fixture(params=["", "/vhost1"])
def url(server: LocalServer, request: pytest.FixtureRequest) -> str:
    return f"{server.url}{request.param}"


@pytest.fixture
def received(url: str) -> Iterator[queue.Queue[Any]]:
    """What a member of a queue group gets that wants two messages; it answers requests."""
    messages: queue.Queue[Any] = queue.Queue()
    with Client(url, socket_timeout=2) as client:

        def callback(message: Any) -> None:
            messages.put(message)
            if message.reply:
                client.publish(message.reply, payload=PACKED if message.payload else b"empty")

        client.subscribe("test-subject", callback=callback, queue="test-queue", max_messages=2)
        client.flush(TIMEOUT)
        yield messages


def test_connect_and_close(url: str) -> None:
    client = Client(url, socket_timeout=2)
    client.connect()
    client.ping()
    client.close()


def test_connect_and_close_using_context_manager(url: str) -> None:
    with Client(url) as client:
        client.ping()


@pytest.mark.parametrize("path", ["", "/vhost1"])
def test_connect_timeout(make_server: Callable[..., LocalServer], path: str) -> None:
    server = make_server()
    server.stop()
    with pytest.raises(OSError):
        Client(server.url + path, socket_timeout=2).connect()


def test_reconnect(url: str) -> None:
    client = Client(url)
    client.connect()
    client.ping()
    client.reconnect()
    client.ping()
    client.close()


@pytest.mark.parametrize("path", ["", "/vhost1"])
def test_tls_connect(make_server: Callable[..., LocalServer], tmp_path: Path, path: str) -> None:
    """With one word more: pynats2 does not look at certificates, we do unless told."""
    certificate = trustme.CA().issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    server = make_server(
        f'tls {{ cert_file: "{tmp_path}/cert.pem", key_file: "{tmp_path}/key.pem" }}'
    )
    client = Client(f"tls://127.0.0.1:{server.port}{path}", verbose=True, tls_verify=False)
    client.connect()
    client.ping()
    client.close()


@pytest.mark.parametrize("path", ["", "/vhost1"])
def test_invalid_scheme(path: str) -> None:
    with pytest.raises(pynats2.NATSInvalidSchemeError):
        Client(f"http://127.0.0.1:4224{path}", verbose=True).connect()


def test_subscribe_unsubscribe(url: str) -> None:
    with Client(url) as client:
        subscription = client.subscribe(
            "test-subject", callback=lambda x: x, queue="test-queue", max_messages=2
        )
        client.unsubscribe(subscription)


# pynats2 has a second class for those who never subscribe; `Client` stands for both.
@pytest.mark.parametrize("kind", ["", "send only"])
def test_publish(url: str, received: queue.Queue[Any], kind: str) -> None:
    with Client(url, socket_timeout=2) as client:
        client.publish("test-subject")
        client.publish("test-subject", payload=b"test-payload")
    messages = [received.get(timeout=TIMEOUT) for _ in range(2)]
    assert [message.subject for message in messages] == ["test-subject"] * 2
    assert [message.reply for message in messages] == [""] * 2
    assert [message.payload for message in messages] == [b"", b"test-payload"]


@pytest.mark.parametrize("kind", ["", "send only", "msgpack"])
def test_request(url: str, received: queue.Queue[Any], kind: str) -> None:
    with Client(url, socket_timeout=2) as client:
        for payload, answer in ((b"", b"empty"), (b"\xactest-payload", PACKED)):
            response = client.request("test-subject", payload=payload, timeout=TIMEOUT)
            assert response.subject.startswith("_INBOX.")
            assert (response.reply, response.payload) == ("", answer)


def test_request_timeout(url: str) -> None:
    with Client(url) as client, pytest.raises(pynats2.NATSRequestTimeoutError):
        client.request("test-subject", timeout=2)
