"""From URLs and keywords to `ConnectOptions`. No socket, no thread."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypedDict
from urllib.parse import unquote, urlsplit

from objstore.core.credentials import read_credentials
from objstore.core.deadline import CONNECT_TIMEOUT, check_timeout
from objstore.core.nkeys import UserKey
from objstore.core.protocol import check_subject
from objstore.core.secret import Secret, hide
from objstore.errors import InvalidURLError

__all__ = [
    "ConnectKeywords",
    "ConnectOptions",
    "ServerURL",
    "make_options",
    "make_tls_context",
    "parse_url",
    "split_urls",
]

_DEFAULT_URL = "nats://localhost:4222"
_DEFAULT_PORT = 4222
#: Characters of an inbox prefix: it stands in commands beside the longest object names.
_MAX_INBOX_PREFIX = 40
_HOST = re.compile(r"[^\s,;'\"\\<>^`{|}\[\]]+")
_CONTROL = re.compile(r"[\0-\x1f\x7f]")


@dataclass(frozen=True)
class ServerURL:
    """
    Where a server is, and who we are to it.

    Attributes:
        tls: Whether it is refused without TLS.
        prefix: What pynats2 makes of the URL's path: put before every subject.
        tls_name: Name that its certificate must have, where that is not `host`.
        discovered: Whether another server named it.
    """

    host: str
    port: int = _DEFAULT_PORT
    tls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    prefix: str = ""
    tls_name: str = ""
    discovered: bool = False

    def __str__(self) -> str:
        """The URL without credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'tls' if self.tls else 'nats'}://{host}:{self.port}"


@dataclass(frozen=True)
class ConnectOptions:
    """
    Everything a connection needs to know. Durations are seconds.

    Attributes:
        servers: Tried in order; more may be learnt from the cluster.
        tls: Context to use; None makes a verifying one where TLS is needed.
        require_tls: Whether a server without TLS is refused.
        tls_first: Whether TLS begins before the server says a word.
        credentials: File of a JWT and a seed, or of a seed.
        ignore_discovered_servers: Whether to use no server but `servers`.
        timeout: To connect, over all servers.
        ping_interval: Silence after which the server is asked for a sign of life.
        inbox_prefix: Subject under which answers are received.
    """

    servers: tuple[ServerURL, ...]
    name: str = "objstore"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    credentials: str | None = None
    nkey_seed: str | None = field(default=None, repr=False)
    jwt: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    require_tls: bool = False
    tls_first: bool = False
    ignore_discovered_servers: bool = False
    timeout: float | None = CONNECT_TIMEOUT
    ping_interval: float = 30.0
    inbox_prefix: str = "_INBOX"
    verbose: bool = False
    pedantic: bool = False
    socket_keepalive: bool = False


def parse_url(url: str) -> ServerURL:
    """
    Parse `nats://[user:password@|token@]host[:port][/prefix]`, `tls://…` or `host[:port]`.

    User, password and token are percent-decoded.

    Raises:
        InvalidURLError: If it is none of these.
    """
    if not isinstance(url, str):
        raise TypeError(f"a server URL must be a str, not {type(url).__name__}")
    url = Secret(url)
    parts = _split(url)
    if parts is None:
        # No word of the URL or of the error: either may hold a piece of a password.
        raise InvalidURLError(
            "a server URL cannot be parsed: the port is a number up to 65535, and "
            "special characters in a user or password are percent-encoded"
        )
    if parts.scheme not in ("nats", "tls"):
        raise InvalidURLError(f"a server URL starts with nats:// or tls://, not {parts.scheme}://")
    if not _HOST.fullmatch(parts.host):
        raise InvalidURLError("a server URL names no host")
    user, password, token = parts.user, parts.password, None
    if password is None:
        user, token = None, user
    return ServerURL(
        host=parts.host,
        port=parts.port or _DEFAULT_PORT,
        tls=parts.scheme == "tls",
        user=None if user is None else str(user),
        password=password,
        token=token,
        prefix=parts.path.strip("/").replace("/", "."),
    )


class _Parts(NamedTuple):
    """What a URL says; unlike urllib's own, it can be shown."""

    scheme: str
    host: str
    port: int | None
    path: str
    user: Secret | None
    password: Secret | None


def _split(url: Secret) -> _Parts | None:
    """Return the parts of a URL; None if it has none."""
    if _CONTROL.search(url):  # which urllib would leave out
        return None
    try:
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        return _Parts(
            parts.scheme,
            parts.hostname or "",
            parts.port,
            parts.path,
            Secret(unquote(parts.username)) if parts.username else None,
            Secret(unquote(parts.password)) if parts.password is not None else None,
        )
    except ValueError:
        return None


def make_tls_context(
    *,
    ca: str | os.PathLike[str] | None = None,
    cert: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    verify: bool = True,
) -> ssl.SSLContext:
    """
    Return a client context of at least TLS 1.2 that verifies certificate and host name.

    Args:
        ca: File of the authorities to trust instead of the system's.
        cert: File of the client's certificate chain.
        key: File of its private key, where the certificate's file does not hold it.
        verify: False accepts any server: for experiments only.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If it holds no certificate, or no key.
    """
    for file in (ca, cert, key):
        if file is not None:
            open(file, "rb").close()  # ssl would not say which one is missing
    try:
        context = ssl.create_default_context(cafile=None if ca is None else os.fspath(ca))
    except ssl.SSLError as error:
        raise ValueError(f"tls_cacert: {os.fspath(ca or '')!r} holds no certificate") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cert is not None:
        try:
            context.load_cert_chain(os.fspath(cert), None if key is None else os.fspath(key))
        except ssl.SSLError as error:
            raise ValueError(
                f"tls_client_cert: {os.fspath(cert)!r} and tls_client_key do not hold "
                "a certificate and its key"
            ) from error
    elif key is not None:
        raise ValueError("tls_client_key is given without tls_client_cert")
    return context


def split_urls(servers: str | Sequence[str]) -> list[str]:
    """
    Return the URLs in one text, with commas between, or in a list.

    Raises:
        TypeError: If it is neither.
    """
    if isinstance(servers, str):
        servers = servers.split(",")
    if isinstance(servers, (bytes, os.PathLike)) or not isinstance(servers, Sequence):
        raise TypeError(f"servers must be a URL or a list of them, not {type(servers).__name__}")
    return [hide(url.strip()) if isinstance(url, str) else url for url in servers]


def _share_credentials(servers: tuple[ServerURL, ...]) -> tuple[ServerURL, ...]:
    """
    Give the credentials of the first URL that has any to those that have none.

    Who gets what was meant for a server with TLS has to have TLS, too.
    """
    donor = next((url for url in servers if url.user is not None or url.token is not None), None)
    if donor is None:
        return servers
    return tuple(
        url
        if url.user is not None or url.token is not None
        else replace(
            url,
            user=donor.user,
            password=donor.password,
            token=donor.token,
            tls=url.tls or donor.tls,
        )
        for url in servers
    )


class ConnectKeywords(TypedDict, total=False):
    """The keywords of `make_options`, for those who pass them on."""

    name: str | None
    user: str | None
    password: str | None
    token: str | None
    credentials: str | os.PathLike[str] | None
    nkey_seed: str | None
    jwt: str | None
    tls: bool | ssl.SSLContext | None
    tls_cacert: str | os.PathLike[str] | None
    tls_client_cert: str | os.PathLike[str] | None
    tls_client_key: str | os.PathLike[str] | None
    tls_verify: bool
    tls_first: bool
    ignore_discovered_servers: bool
    timeout: float | None
    ping_interval: float
    inbox_prefix: str
    verbose: bool
    pedantic: bool
    socket_keepalive: bool


def make_options(
    servers: str | Sequence[str] | None = None,
    *,
    name: str | None = None,
    user: str | None = None,
    password: str | None = None,
    token: str | None = None,
    credentials: str | os.PathLike[str] | None = None,
    nkey_seed: str | None = None,
    jwt: str | None = None,
    tls: bool | ssl.SSLContext | None = None,
    tls_cacert: str | os.PathLike[str] | None = None,
    tls_client_cert: str | os.PathLike[str] | None = None,
    tls_client_key: str | os.PathLike[str] | None = None,
    tls_verify: bool = True,
    tls_first: bool = False,
    ignore_discovered_servers: bool = False,
    timeout: float | None = CONNECT_TIMEOUT,
    ping_interval: float = 30.0,
    inbox_prefix: str = "_INBOX",
    verbose: bool = False,
    pedantic: bool = False,
    socket_keepalive: bool = False,
) -> ConnectOptions:
    """
    Check the keywords of `objstore.connect` and fill in what was not said.

    Without `servers` that is localhost. A URL given as one text may name several servers,
    with commas between.

    Raises:
        InvalidURLError: If a URL cannot be understood.
        TypeError, ValueError: If another value cannot be used.
        OSError: If a certificate or credentials file cannot be read.
        ObjStoreError: If no library is installed that can sign.
    """
    servers = hide(servers)
    password, token, nkey_seed, jwt = map(hide, (password, token, nkey_seed, jwt))
    urls = tuple(parse_url(url) for url in split_urls(_DEFAULT_URL if servers is None else servers))
    if not urls:
        raise ValueError("servers is empty: name at least one URL")
    if tls is not None and not isinstance(tls, (bool, ssl.SSLContext)):
        raise TypeError(f"tls must be True, False or an ssl.SSLContext, not {tls!r:.60}")
    for word, value in (
        ("tls_verify", tls_verify),
        ("tls_first", tls_first),
        ("ignore_discovered_servers", ignore_discovered_servers),
    ):
        if not isinstance(value, bool):
            raise TypeError(f"{word} must be True or False, not {value!r:.60}")
    credentials = None if credentials is None else os.fspath(credentials)
    _check_identity(user, password, token, credentials, nkey_seed, jwt)
    if all(value is None for value in (user, token, credentials, nkey_seed, jwt)):
        urls = _share_credentials(urls)
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name must be a str, not {name!r:.60}")
    interval = check_timeout(ping_interval, "ping_interval")
    if not interval:
        raise ValueError(f"ping_interval must be a number of seconds above 0, not {ping_interval}")
    check_subject(inbox_prefix)
    if len(inbox_prefix) > _MAX_INBOX_PREFIX:
        raise ValueError(f"inbox_prefix is longer than {_MAX_INBOX_PREFIX} characters")
    context = tls if isinstance(tls, ssl.SSLContext) else None
    has_files = any(file is not None for file in (tls_cacert, tls_client_cert, tls_client_key))
    if context is not None and has_files:
        raise ValueError("tls is a context of your own: load the certificate files into it")
    if context is None and tls is not False and (has_files or not tls_verify):
        context = make_tls_context(
            ca=tls_cacert, cert=tls_client_cert, key=tls_client_key, verify=tls_verify
        )
    return ConnectOptions(
        servers=urls,
        name="objstore" if name is None else name,
        user=user,
        password=password,
        token=token,
        credentials=credentials,
        nkey_seed=nkey_seed,
        jwt=jwt,
        tls=context,
        require_tls=bool(tls) or has_files or tls_first,
        tls_first=tls_first,
        ignore_discovered_servers=ignore_discovered_servers,
        timeout=check_timeout(timeout),
        ping_interval=interval,
        inbox_prefix=inbox_prefix,
        verbose=verbose,
        pedantic=pedantic,
        socket_keepalive=socket_keepalive,
    )


def _check_identity(
    user: str | None,
    password: str | None,
    token: str | None,
    credentials: str | None,
    nkey_seed: str | None,
    jwt: str | None,
) -> None:
    """
    Refuse what says nothing or two things about who we are, and what can sign nothing.

    Raises:
        TypeError, ValueError, OSError, ObjStoreError: If it is that.
    """
    names = {
        "user": user,
        "token": token,
        "credentials": credentials,
        "nkey_seed or jwt": jwt if nkey_seed is None else nkey_seed,
    }
    for word, value in (*names.items(), ("password", password), ("jwt", jwt)):
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{word} must be a str, not {type(value).__name__}")
    said = [word for word, value in names.items() if value is not None]
    if len(said) > 1:
        raise ValueError(f"{' and '.join(said)} exclude each other: give one of them")
    if password is not None and user is None:
        raise ValueError("password is given without user")
    if nkey_seed is not None:
        UserKey(nkey_seed)
    if credentials is not None and (seed := read_credentials(credentials).seed):
        UserKey(seed)
