"""How values look to people: exact, escaped, and as tables in notebooks."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from objstore.client import Client
from objstore.config import ObjectStoreStatus
from objstore.display import (
    count,
    escape,
    format_size,
    format_table,
    format_time,
    html_pairs,
    html_table,
)
from objstore.models import Listing, ObjectInfo, ObjectLink
from objstore.store import ObjectStore


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain Grüße 日本 🙂", "plain Grüße 日本 🙂"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x9b2J\x7f", r"\x9b2J\x7f"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("\ud800", r"\ud800"),
        ("back\\slash", "back\\slash"),
    ],
)
def test_escape(text: str, shown: str) -> None:
    """Nothing that moves the cursor, changes a colour or the direction of writing is left."""
    assert escape(text) == shown
    assert escape(shown) == shown


@pytest.mark.parametrize(
    ("size", "shown"),
    {
        **{0: "0 B", 1: "1 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB"},
        **{10**6: "976.6 KiB", 1 << 20: "1.0 MiB", 4 * 10**9: "3.7 GiB", 5 << 40: "5.0 TiB"},
        **{1 << 50: "1.0 PiB", 2**63 - 1: "8.0 EiB"},
    }.items(),
)
def test_format_size(size: int, shown: str) -> None:
    """Bytes are exact; the rest has one decimal."""
    assert format_size(size) == shown


def test_format_time() -> None:
    """UTC, whatever zone it was."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, timezone(timedelta(hours=2)))
    assert format_time(moment) == "2026-01-02T01:04:05Z"
    assert format_time(moment, "microseconds") == "2026-01-02T01:04:05.678901Z"


def test_html_is_escaped() -> None:
    """Names come from whoever can write to the bucket."""
    table = html_table(["<th>"], [["<script>&\x1b"]], "<caption>")
    assert "<script>" not in table
    assert "&lt;script&gt;&amp;\\x1b" in table
    assert "&lt;th&gt;" in table
    assert "<caption>&lt;caption&gt;</caption>" in table


def test_html_pairs_leave_out_what_is_empty() -> None:
    """Zero is not empty."""
    table = html_pairs([("a", ""), ("b", 0), ("c", None)])
    assert ">b</td>" in table
    assert ">a</td>" not in table
    assert ">c</td>" not in table


def make_info(name: str, **fields: object) -> ObjectInfo:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    return ObjectInfo("b", name, "N", 3, 1, "SHA-256=x", moment, **fields)  # type: ignore[arg-type]


def test_info_in_a_notebook() -> None:
    info = make_info("<b>", headers={"k": ["v"]}, metadata={"m": "w"}, link=ObjectLink("c", "x"))
    shown = info._repr_html_()
    for text in ("&lt;b&gt;", "3 (3 B)", "2026-01-02T03:04:05Z", "k: v", "m=w", "c/x"):
        assert text in shown


def test_listing_is_a_list_and_a_table() -> None:
    listing = Listing(make_info(f"n{number}") for number in range(150))
    assert listing == [make_info(f"n{number}") for number in range(150)]
    shown = listing._repr_html_()
    assert "150 objects, 50 not shown" in shown
    assert "n99<" in shown
    assert "n100<" not in shown


def test_status_in_a_notebook(store: ObjectStore) -> None:
    status = store.status()
    assert isinstance(status, ObjectStoreStatus)
    assert f'<td style="text-align: left">{store.bucket}</td>' in status._repr_html_()


def test_store_in_a_notebook(store: ObjectStore, client: Client) -> None:
    """The first objects; and a word about what went wrong instead of a traceback."""
    for number in range(25):
        store[f"n{number:02}"] = b""
    shown = store._repr_html_()
    assert f"{store.bucket}: the first 20 objects" in shown
    assert shown.count("<tr>") == 21
    assert "n19" in shown
    client.delete_object_store(store.bucket)
    assert "does not exist" in store._repr_html_()


def test_client_in_a_notebook() -> None:
    """It asks nobody, and shows no password."""
    client = Client("nats://user:secret@localhost:1")
    shown = client._repr_html_()
    assert "nats://localhost:1" in shown
    assert "not connected" in shown
    assert "secret" not in shown


def test_count() -> None:
    assert [count(number, "chunk") for number in (0, 1, 2)] == ["0 chunks", "1 chunk", "2 chunks"]


def test_table() -> None:
    """Columns are as wide as what is shown in them; lines end with no blanks."""
    assert format_table(("A", "NAME"), [("long", "x\n"), ("b", "")]) == [
        "A     NAME",
        r"long  x\n",
        "b",
    ]
    assert format_table(("A", "B"), [("10", "x")], right=1) == [" A  B", "10  x"]
