"""Where settings come from: arguments, the environment, contexts, and what goes together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import objstore
from objstore.core.contexts import read_context, selected_context
from objstore.core.settings import gather


@pytest.fixture
def config(tmp_path: Path) -> dict[str, str]:
    """An environment whose configuration of the `nats` tool is empty."""
    (tmp_path / "nats/context").mkdir(parents=True)
    return {"XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}


def write_context(config: dict[str, str], name: str, **fields: Any) -> None:
    path = Path(config["XDG_CONFIG_HOME"]) / "nats/context" / f"{name}.json"
    path.write_text(json.dumps(fields))


# The environment


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, {}),
        ({"NATS_URL": "", "NATS_USER": ""}, {}),
        ({"NATS_URL": "nats://a,b"}, {"servers": "nats://a,b"}),
        ({"NATS_USER": "joe", "NATS_PASSWORD": "x"}, {"user": "joe", "password": "x"}),
        ({"NATS_USER": "t0ken"}, {"token": "t0ken"}),
        ({"NATS_PASSWORD": "x"}, {}),
        ({"NATS_TOKEN": "t"}, {"token": "t"}),
        ({"NATS_CREDS": "/a.creds"}, {"credentials": "/a.creds"}),
        ({"NATS_NKEY": "/a.nk"}, {"credentials": "/a.nk"}),
        ({"NATS_JWT": "j", "NATS_SEED": "s"}, {"jwt": "j", "nkey_seed": "s"}),
        (
            {"NATS_CERT": "/c", "NATS_KEY": "/k", "NATS_CA": "/ca"},
            {"tls_client_cert": "/c", "tls_client_key": "/k", "tls_cacert": "/ca"},
        ),
        ({"NATS_TIMEOUT": "5"}, {"timeout": 5.0}),
        ({"NATS_TIMEOUT": "500ms"}, {"timeout": 0.5}),
        ({"NATS_TIMEOUT": "2m"}, {"timeout": 120.0}),
    ],
)
def test_variables(variables: dict[str, str], expected: dict[str, Any]) -> None:
    """Each as the `nats` tool reads it."""
    assert gather({}, environ=variables) == expected
    assert gather({}, environ=variables, use_environment=False) == {}


def test_bad_timeout_is_refused() -> None:
    """With the name of the variable."""
    with pytest.raises(ValueError, match="NATS_TIMEOUT is 'soon'"):
        gather({}, environ={"NATS_TIMEOUT": "soon"})


@pytest.mark.parametrize(
    ("given", "variables", "expected"),
    [
        ({"servers": "a"}, {"NATS_URL": "b"}, {"servers": "a"}),
        ({"timeout": None}, {"NATS_TIMEOUT": "5"}, {"timeout": None}),
        ({"user": "joe"}, {"NATS_PASSWORD": "x", "NATS_USER": "ann"}, {"user": "joe"}),
        ({"token": "t"}, {"NATS_CREDS": "/a"}, {"token": "t"}),
        ({"servers": "nats://joe:x@a"}, {"NATS_CREDS": "/a"}, {"servers": "nats://joe:x@a"}),
        ({"servers": "a"}, {"NATS_TOKEN": "t"}, {"servers": "a", "token": "t"}),
        (
            {"token": "t"},
            {"NATS_URL": "tls://joe:x@a/b,c"},
            {"token": "t", "servers": ["tls://a/b", "c"]},
        ),
        ({"tls_client_cert": "/c"}, {"NATS_KEY": "/k"}, {"tls_client_cert": "/c"}),
        ({"tls": False}, {"NATS_CA": "/ca", "NATS_CERT": "/c"}, {"tls": False}),
    ],
)
def test_arguments_come_first_and_what_belongs_together_stays_together(
    given: dict[str, Any], variables: dict[str, str], expected: dict[str, Any]
) -> None:
    """Half of who we are from here and half from there would be nobody."""
    assert gather(given, environ=variables) == expected


def test_client_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless it is told not to."""
    monkeypatch.setenv("NATS_URL", "nats://one,tls://two:1")
    assert repr(objstore.Client()) == ("<Client of nats://one:4222, tls://two:1: not connected>")
    assert "localhost" in repr(objstore.Client(use_environment=False))
    assert "three" in repr(objstore.Client("three"))


def test_name_of_a_missing_file_is_shown(config: dict[str, str]) -> None:
    """It is no secret, wherever it comes from."""
    variables = gather({}, environ={**config, "NATS_CREDS": "/missing", "NATS_USER": "joe"})
    assert repr(variables["credentials"]) == "'/missing'"
    with pytest.raises(FileNotFoundError, match="'missing'"):
        gather({}, environ={**config, "NATS_CONTEXT": "missing"})


# Contexts


def test_context_by_name(config: dict[str, str]) -> None:
    """Its fields, under our names."""
    write_context(
        config,
        "prod",
        description="production",
        url="tls://a,tls://b",
        creds="~/a.creds",
        ca="/ca",
        cert="/c",
        key="/k",
        tls_first=True,
        inbox_prefix="_INBOX_ops",
        jetstream_domain="hub",
        jetstream_api_prefix="",
        color_scheme="",
    )
    assert read_context("prod", config) == {
        "servers": "tls://a,tls://b",
        "credentials": str(Path("~/a.creds").expanduser()),
        "tls_cacert": "/ca",
        "tls_client_cert": "/c",
        "tls_client_key": "/k",
        "tls_first": True,
        "inbox_prefix": "_INBOX_ops",
        "domain": "hub",
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"user": "joe", "password": "x"}, {"user": "joe", "password": "x"}),
        ({"token": "t"}, {"token": "t"}),
        ({"nkey": "/a.nk"}, {"credentials": "/a.nk"}),
        ({"user_jwt": "j", "user_seed": "s"}, {"jwt": "j", "nkey_seed": "s"}),
        ({"jetstream_api_prefix": "JS.API"}, {"api_prefix": "JS.API"}),
        ({}, {}),
    ],
)
def test_context_says_who_we_are(
    fields: dict[str, str], expected: dict[str, str], config: dict[str, str]
) -> None:
    """In whichever way."""
    write_context(config, "c", **fields)
    assert read_context("c", config) == expected


def test_environment_comes_before_the_context(config: dict[str, str]) -> None:
    """As with the `nats` tool."""
    write_context(config, "c", url="nats://c", token="t", ca="/ca")
    variables = {**config, "NATS_URL": "nats://e", "NATS_CONTEXT": "c"}
    expected = {"servers": "nats://e", "token": "t", "tls_cacert": "/ca"}
    assert gather({}, environ=variables) == expected
    assert gather({}, context="c", environ={**config, "NATS_URL": "nats://e"}) == expected


def test_context_by_name_comes_before_that_of_the_environment(config: dict[str, str]) -> None:
    """The nearer to the call the stronger."""
    write_context(config, "c", url="nats://c")
    variables = {**config, "NATS_CONTEXT": "other"}
    assert gather({}, context="c", environ=variables) == {"servers": "nats://c"}


@pytest.mark.parametrize("name", ["", ".", "..", "../c", "a/b", "a\\b", "/etc/x", "a\0b"])
def test_what_is_not_the_name_of_a_context(name: str, config: dict[str, str]) -> None:
    """No path comes of it."""
    with pytest.raises(ValueError, match="not the name"):
        read_context(name, config)


def test_missing_context(config: dict[str, str]) -> None:
    """The message names it, and where it was looked for."""
    with pytest.raises(FileNotFoundError, match=r"there is no context 'c'.*c\.json"):
        read_context("c", config)


@pytest.mark.parametrize("content", ["", "[]", "{", '"x"', "[" * 100_000, "\ud800"])
def test_context_that_is_none(content: str, config: dict[str, str]) -> None:
    """A clear error, without its content."""
    path = Path(config["XDG_CONFIG_HOME"]) / "nats/context/c.json"
    path.write_text(content, errors="surrogatepass")
    with pytest.raises(ValueError, match="not a JSON object"):
        read_context("c", config)


@pytest.mark.parametrize(
    "fields", [{"nsc": "nsc://a"}, {"socks_proxy": "x"}, {"url": 1}, {"tls_first": "yes"}]
)
def test_context_that_cannot_be_used(fields: dict[str, Any], config: dict[str, str]) -> None:
    """To leave out how to get in would lead somewhere else."""
    write_context(config, "c", **fields)
    with pytest.raises(ValueError, match=next(iter(fields))):
        read_context("c", config)


def test_selected_context(config: dict[str, str]) -> None:
    """What `nats context select` has written, or nothing."""
    assert selected_context(config) is None
    (Path(config["XDG_CONFIG_HOME"]) / "nats/context.txt").write_text("prod\n")
    assert selected_context(config) == "prod"


def test_domain_of_the_context_reaches_the_client(
    config: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And an argument comes before it."""
    write_context(config, "c", jetstream_domain="hub")
    monkeypatch.setenv("XDG_CONFIG_HOME", config["XDG_CONFIG_HOME"])
    assert objstore.Client(context="c")._js.prefix == "$JS.hub.API"
    assert objstore.Client(context="c", domain="leaf")._js.prefix == "$JS.leaf.API"
    assert objstore.Client(context="c", api_prefix="X")._js.prefix == "X"
