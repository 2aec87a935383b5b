"""URLs, keywords and the environment: what they mean, what is refused, what stays secret."""

from __future__ import annotations

import inspect
import math
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from objstore.core.options import (
    ConnectKeywords,
    ConnectOptions,
    ServerURL,
    make_options,
    make_tls_context,
    parse_url,
)
from objstore.errors import ConnectError, InvalidNameError, InvalidURLError

# URLs


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("nats://demo", ServerURL("demo")),
        ("nats://demo:1234", ServerURL("demo", 1234)),
        ("nats://demo/", ServerURL("demo")),
        ("tls://demo:1234", ServerURL("demo", 1234, tls=True)),
        ("NATS://Demo", ServerURL("demo")),
        ("demo", ServerURL("demo")),
        ("demo:1234", ServerURL("demo", 1234)),
        ("127.0.0.1", ServerURL("127.0.0.1")),
        ("nats://[::1]:1234", ServerURL("::1", 1234)),
        ("[2001:db8::1]", ServerURL("2001:db8::1")),
        ("nats://joe:s3cret@demo", ServerURL("demo", user="joe", password="s3cret")),
        ("joe:s3cret@demo:1234", ServerURL("demo", 1234, user="joe", password="s3cret")),
        ("nats://joe:@demo", ServerURL("demo", user="joe", password="")),
        ("nats://t0ken@demo", ServerURL("demo", token="t0ken")),
        ("nats://joe:a:b@demo", ServerURL("demo", user="joe", password="a:b")),
        ("tls://joe:s3cret@[::1]:1", ServerURL("::1", 1, tls=True, user="joe", password="s3cret")),
        ("nats://j%40e:a%2Fb%3A%25@demo", ServerURL("demo", user="j@e", password="a/b:%")),
        ("nats://%C3%A4:%E2%82%AC@demo", ServerURL("demo", user="ä", password="€")),
        ("nats://a%2Fb%40c@demo", ServerURL("demo", token="a/b@c")),
        ("nats://demo/my/app", ServerURL("demo", prefix="my.app")),
        ("nats://demo/my.app/", ServerURL("demo", prefix="my.app")),
    ],
)
def test_url(url: str, expected: ServerURL) -> None:
    """Host, port, TLS, credentials and prefix, each where it belongs."""
    assert parse_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            " ",
            "a b",
            "nats:// a",
            "nats://",
            "tls://:4222",
            "nats://joe:s3cret@",
            "://demo",
            "nats:///x",
            "nats://a,b",
            "tls://[::]:@a]",
            "nats://de\r\nmo",
            "nats://demo/\0",
        ),
        *("http://demo", "ws://demo", "nats+tls://demo", "file:///tmp/x"),
        *("nats://demo:port", "nats://demo:65536", "nats://demo:-1", "nats://[::1"),
    ],
)
def test_url_that_is_none_is_refused(url: str) -> None:
    """One kind of error for all of them, which is also a ValueError."""
    with pytest.raises(InvalidURLError) as caught:
        parse_url(url)
    assert isinstance(caught.value, ConnectError) and isinstance(caught.value, ValueError)


@pytest.mark.parametrize("url", [None, b"nats://demo", 4222, ["nats://demo"]])
def test_url_that_is_no_text_is_a_type_error(url: Any) -> None:
    """The message says what a URL is."""
    with pytest.raises(TypeError, match="a server URL must be a str"):
        parse_url(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://joe:s3cret@demo/prefix", "nats://demo:4222"),
        ("tls://t0ken@demo:1", "tls://demo:1"),
        ("nats://[::1]", "nats://[::1]:4222"),
    ],
)
def test_url_is_shown_without_credentials(url: str, shown: str) -> None:
    """The text of a URL may appear in any log."""
    assert str(parse_url(url)) == shown


def test_shown_url_is_a_url() -> None:
    """It leads to the same server."""
    for url in ("nats://demo:1", "tls://[::1]:2", "demo"):
        server = parse_url(url)
        assert parse_url(str(server)) == server


# Secrets

#: A password in the forms in which it may be written, each a URL that is fine or is not.
SECRET_URLS = [
    "nats://joe:s3cret@demo",
    "nats://s3cret@demo",
    "http://joe:s3cret@demo",
    "nats://joe:s3cret@",
    "nats://joe:s3cret@demo:port",
    "nats://joe:s3cret@demo:99999",
    "nats://joe:s3cret/more@demo",
    "nats://joe:s3cret#more@demo",
    "nats://joe:s3cret?more@demo",
    "nats://joe:[s3cret@demo",
    "nats://joe:s3cret\u2100@demo",
    "nats://joe:%73%33cret@demo",
]


@pytest.mark.parametrize("url", SECRET_URLS, ids=ascii)
@pytest.mark.parametrize("wrap", [str, list, set, bytes], ids=["text", "list", "set", "bytes"])
def test_no_password_in_repr_or_message(url: str, wrap: Any) -> None:
    """Not in what is accepted, nor in the error about what is not."""
    servers = url.encode() if wrap is bytes else url if wrap is str else wrap([url])
    try:
        options = make_options(servers)
    except (InvalidURLError, TypeError) as error:
        shown = f"{error!r} {error} {vars(error)}"
    else:
        shown = f"{options!r} {options} {options.servers[0]}"
    assert "s3cret" not in shown


def test_no_password_or_token_of_the_keywords_in_repr() -> None:
    """The options may appear in a traceback or a log."""
    assert "s3cret" not in repr(make_options(user="joe", password="s3cret"))
    assert "s3cret" not in repr(make_options(token="s3cret"))


# Servers


def test_default_is_localhost() -> None:
    """Without servers and environment."""
    assert make_options().servers == (ServerURL("localhost", 4222),)


@pytest.mark.parametrize("servers", ["a,b:1", " a , b:1 ", ["a", "b:1"], ("a", " b:1")])
def test_several_servers(servers: Any) -> None:
    """A list, or one text with commas; blanks around a URL do not matter."""
    assert make_options(servers).servers == (ServerURL("a"), ServerURL("b", 1))


@pytest.mark.parametrize("servers", [[], ()])
def test_no_servers_are_refused(servers: Any) -> None:
    """An empty list is a mistake, not a wish for the default."""
    with pytest.raises(ValueError, match="at least one"):
        make_options(servers)


@pytest.mark.parametrize("servers", ["a,,b", ["a", ""], ",", "a,http://b"])
def test_one_bad_url_among_good_ones_is_refused(servers: Any) -> None:
    """Better now than when the others are down."""
    with pytest.raises(InvalidURLError):
        make_options(servers)


@pytest.mark.parametrize("servers", [1, b"nats://a", Path("a"), {"a"}, {"a": 1}, [None], [b"a"]])
def test_servers_of_another_type_are_a_type_error(servers: Any) -> None:
    """The message says what is wanted."""
    with pytest.raises(TypeError, match="URL"):
        make_options(servers)


# The other keywords


def test_defaults() -> None:
    """What a connection does when nothing is said."""
    options = make_options("demo")
    assert options == ConnectOptions(servers=(ServerURL("demo"),))
    assert (options.name, options.timeout, options.tls) == ("objstore", 5.0, None)
    assert not options.require_tls and not options.verbose


def test_what_was_said_is_kept() -> None:
    """Every plain keyword arrives."""
    said: dict[str, Any] = {
        "name": "me",
        "user": "joe",
        "password": "s3cret",
        "timeout": 1.5,
        "ping_interval": 2,
        "inbox_prefix": "my.inbox",
        "verbose": True,
        "pedantic": True,
        "socket_keepalive": True,
    }
    options = make_options("demo", **said)
    assert {key: getattr(options, key) for key in said} == said
    assert make_options("demo", name=None).name == "objstore"


def test_keywords_are_written_down_once_more_for_those_who_pass_them_on() -> None:
    """The typed dictionary has the keywords of the function, no more and no less."""
    keywords = inspect.signature(make_options).parameters.keys() - {"servers"}
    assert ConnectKeywords.__annotations__.keys() == keywords


@pytest.mark.parametrize("timeout", [None, math.inf])
def test_timeout_may_be_for_ever(timeout: float | None) -> None:
    """None and infinity are the same."""
    assert make_options(timeout=timeout).timeout is None


@pytest.mark.parametrize("keyword", ["timeout", "ping_interval"])
def test_bad_durations_are_refused(keyword: str) -> None:
    """A number of seconds, or a clear error."""
    for value in (-1, math.nan):
        with pytest.raises(ValueError):
            make_options(**{keyword: value})
    with pytest.raises(TypeError):
        make_options(**{keyword: "5"})  # type: ignore[arg-type]


@pytest.mark.parametrize("interval", [0, 0.0, None, math.inf])
def test_ping_interval_has_an_end(interval: Any) -> None:
    """Without pings a dead connection would live for ever."""
    with pytest.raises(ValueError, match="ping_interval"):
        make_options(ping_interval=interval)


def test_huge_ping_interval_is_one_that_can_be_waited_for() -> None:
    """The same limit as for every timeout."""
    assert make_options(ping_interval=1e12).ping_interval == make_options(timeout=1e12).timeout


@pytest.mark.parametrize("prefix", ["", "a b", ">", "*", "a.>", "a.", "a\r\nb", "x" * 41])
def test_bad_inbox_prefix_is_refused(prefix: str) -> None:
    """It becomes part of a subject."""
    with pytest.raises(ValueError):
        make_options(inbox_prefix=prefix)


def test_inbox_prefix_that_is_no_subject_is_an_invalid_name() -> None:
    """As for any other subject."""
    with pytest.raises(InvalidNameError):
        make_options(inbox_prefix="a b")


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def test_context_verifies_by_default() -> None:
    """Certificate and host name, and nothing older than TLS 1.2."""
    context = make_tls_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_context_trusts_only_the_given_authority(ca_file: Path) -> None:
    """An authority of one's own replaces those of the system."""
    subjects = [cert["subject"] for cert in make_tls_context(ca=ca_file).get_ca_certs()]
    assert len(subjects) == 1


def test_context_that_verifies_nothing_has_to_be_asked_for() -> None:
    """For experiments."""
    context = make_tls_context(verify=False)
    assert context.verify_mode is ssl.CERT_NONE
    assert not context.check_hostname


def test_files_make_a_context_and_ask_for_tls(ca_file: Path) -> None:
    """Who names an authority wants it to be used."""
    options = make_options("demo", tls_cacert=ca_file)
    assert options.tls is not None and options.tls.verify_mode is ssl.CERT_REQUIRED
    assert options.require_tls


def test_client_certificate_asks_for_tls(authority: trustme.CA, tmp_path: Path) -> None:
    """With the key in a file of its own, or in the same one."""
    certificate = authority.issue_cert("client@example.org")
    cert, key, both = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "both.pem"
    certificate.cert_chain_pems[0].write_to_path(cert)
    certificate.private_key_pem.write_to_path(key)
    certificate.private_key_and_cert_chain_pem.write_to_path(both)
    assert make_options(tls_client_cert=cert, tls_client_key=key).require_tls
    assert make_options(tls_client_cert=str(both)).require_tls


def test_own_context_is_used_and_asks_for_tls() -> None:
    """As it is."""
    context = ssl.create_default_context()
    options = make_options("demo", tls=context)
    assert options.tls is context
    assert options.require_tls


def test_tls_may_be_asked_for_without_a_context() -> None:
    """Then a verifying one is made where it is needed."""
    options = make_options("demo", tls=True)
    assert options.tls is None
    assert options.require_tls
    assert not make_options("demo", tls=False).require_tls


def test_verification_can_be_turned_off() -> None:
    """That alone does not ask for TLS."""
    options = make_options("demo", tls_verify=False)
    assert options.tls is not None and options.tls.verify_mode is ssl.CERT_NONE
    assert not options.require_tls


@pytest.mark.parametrize("tls", ["yes", 1, {}, "/etc/ssl/ca.pem"])
def test_tls_of_another_type_is_a_type_error(tls: Any) -> None:
    """The message says what is wanted."""
    with pytest.raises(TypeError, match="SSLContext"):
        make_options("demo", tls=tls)


def test_missing_file_is_named(tmp_path: Path) -> None:
    """The system's own error."""
    for keyword in ("tls_cacert", "tls_client_cert"):
        with pytest.raises(FileNotFoundError):
            make_options(**{keyword: tmp_path / "missing.pem"})


def test_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    """`ssl` would not say which file it is."""
    path = tmp_path / "text.pem"
    path.write_text("not a certificate")
    with pytest.raises(ValueError, match=r"tls_cacert: .*text.pem"):
        make_options(tls_cacert=path)
