"""Credentials: where they come from, and to which server they go."""

from __future__ import annotations

from objstore.core.auth import credential_fields
from objstore.core.options import ServerURL, make_options, parse_url


def fields(servers: str, server: str | None = None, **keywords: str) -> dict[str, str]:
    """Return the credentials for `server`, by default the first of `servers`."""
    options = make_options(servers, **keywords)
    return credential_fields(options, parse_url(server) if server else options.servers[0])


def test_none() -> None:
    """Without credentials, none are sent: no empty user either."""
    assert fields("demo") == {}


def test_of_the_url() -> None:
    """User and password, or a token; a password may be empty."""
    assert fields("joe:s3cret@demo") == {"user": "joe", "pass": "s3cret"}
    assert fields("joe:@demo") == {"user": "joe", "pass": ""}
    assert fields("t0ken@demo") == {"auth_token": "t0ken"}


def test_of_the_keywords() -> None:
    """The same by keyword; a password may be missing."""
    assert fields("demo", user="joe", password="s3cret") == {"user": "joe", "pass": "s3cret"}
    assert fields("demo", user="joe") == {"user": "joe", "pass": ""}
    assert fields("demo", token="t0ken") == {"auth_token": "t0ken"}


def test_url_comes_before_the_keywords() -> None:
    """What is said about one server is more specific."""
    assert fields("ann:1@demo", user="joe", password="2") == {"user": "ann", "pass": "1"}
    assert fields("t0ken@demo", user="joe", password="2") == {"auth_token": "t0ken"}


def test_each_server_has_its_own() -> None:
    """The credentials of one URL are not sent to another that has its own."""
    assert fields("ann:1@one,joe:2@two", "joe:2@two") == {"user": "joe", "pass": "2"}


def test_advertised_server_gets_those_of_the_keywords() -> None:
    """They are meant for the whole cluster."""
    assert fields("demo", "advertised", user="joe", password="2") == {"user": "joe", "pass": "2"}
    assert fields("ann:1@demo", "advertised", token="t") == {"auth_token": "t"}
    assert fields("one,two", "advertised") == {}


def test_url_without_any_gets_those_of_the_first_that_has() -> None:
    """A cluster knows the same users everywhere."""
    one, two, three = make_options("one,ann:1@two,joe:2@three").servers
    assert (one.user, two.user, three.user) == ("ann", "ann", "joe")


def test_who_gets_what_is_meant_for_tls_has_to_have_tls() -> None:
    """Else the password in one URL would go out in clear to another."""
    one, _, three = make_options("one,tls://ann:1@two,joe:2@three").servers
    assert (one.user, one.tls) == ("ann", True)
    assert (three.user, three.tls) == ("joe", False)


def test_credentials_of_the_keywords_go_to_who_has_none() -> None:
    """What is said for all is not replaced by what is said for one."""
    one, _ = make_options("one,tls://ann:1@two", user="joe", password="2").servers
    assert (one.user, one.tls) == (None, False)


def test_decoded() -> None:
    """What is sent is the password, not its percent-encoding."""
    server = ServerURL("demo", user="joe", password="a/b")
    assert fields("joe:a%2Fb@demo") == credential_fields(make_options("demo"), server)
