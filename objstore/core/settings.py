"""
Where settings come from: arguments, then the environment, then a context, then defaults.

What belongs together is taken from one place: a password in the environment does not go
with a user in the arguments, and a server in the arguments that names its own user gets
nobody else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from objstore.core.contexts import read_context
from objstore.core.options import parse_url, split_urls
from objstore.core.secret import SECRETS, Secret, hide

__all__ = ["gather", "hide_secrets", "names_user"]

#: Variables that the `nats` tool reads, too, and our keywords for them.
_VARIABLES = {
    "NATS_URL": "servers",
    "NATS_USER": "user",
    "NATS_PASSWORD": "password",
    "NATS_TOKEN": "token",
    "NATS_CREDS": "credentials",
    "NATS_NKEY": "credentials",
    "NATS_JWT": "jwt",
    "NATS_SEED": "nkey_seed",
    "NATS_CERT": "tls_client_cert",
    "NATS_KEY": "tls_client_key",
    "NATS_CA": "tls_cacert",
    "NATS_TIMEOUT": "timeout",
    "NATS_CONTEXT": "context",
}
_FILES = frozenset({"NATS_CREDS", "NATS_NKEY", "NATS_CERT", "NATS_KEY", "NATS_CA"})

_IDENTITY = frozenset({"user", "password", "token", "credentials", "nkey_seed", "jwt"})
_CERTIFICATE = frozenset({"tls_client_cert", "tls_client_key"})
_PREFIX = frozenset({"domain", "api_prefix"})
_GROUPS = (_IDENTITY, _CERTIFICATE, _PREFIX)
#: All of TLS; an argument `tls` leaves nothing of it to others.
_TLS = _CERTIFICATE | {"tls_cacert", "tls_first"}

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def hide_secrets(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy in which no traceback shows a secret."""
    return {
        key: hide(value) if key in SECRETS or key == "servers" else value
        for key, value in given.items()
    }


def gather(
    given: Mapping[str, Any],
    *,
    context: str | None = None,
    use_environment: bool = True,
    environ: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """
    Fill in what `given` does not say; what is None there is not said, but for a `timeout`.

    Args:
        context: Name of a context of the `nats` tool; by default `$NATS_CONTEXT`.
        use_environment: False looks at no variable.

    Raises:
        FileNotFoundError: If there is no such context.
        ValueError: If a variable or the context cannot be used.
    """
    environ = _pick(os.environ if environ is None else environ)
    settings = {key: v for key, v in given.items() if v is not None or key == "timeout"}
    variables = _read_environment(environ) if use_environment else {}
    context = context or variables.pop("context", None)
    variables.pop("context", None)
    _add(settings, variables)
    if context is not None:
        _add(settings, read_context(context, environ))
    return settings


def _add(settings: dict[str, Any], lower: dict[str, Any]) -> None:
    """Take from a lower place what no higher one has said."""
    said = set(settings)
    for group in _GROUPS:
        if said & group:
            said |= group
    if "tls" in said:
        said |= _TLS
    if "servers" in said and names_user(settings["servers"]):
        said |= _IDENTITY
    new = {key: value for key, value in lower.items() if key not in said}
    if "servers" in new and said & _IDENTITY:
        new["servers"] = _without_users(new["servers"])
    settings.update(new)


def names_user(servers: Any) -> bool:
    """Whether one of the URLs says who we are."""
    return any(
        url.user is not None or url.token is not None for url in map(parse_url, split_urls(servers))
    )


def _without_users(servers: Any) -> list[Secret]:
    """Return the URLs without what they say about who we are."""
    urls = []
    for text in split_urls(servers):
        scheme, mark, rest = text.rpartition("://")
        authority, slash, path = rest.partition("/")
        urls.append(Secret(scheme + mark + authority.rpartition("@")[2] + slash + path))
    return urls


def _pick(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that say something to us, with values that do not show themselves."""
    names = (*_VARIABLES, "XDG_CONFIG_HOME")
    return {name: Secret(environ[name]) for name in names if name in environ}


def _read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for variable, keyword in _VARIABLES.items():
        text = environ.get(variable)
        if not text:
            continue
        if variable in _FILES:
            text = os.path.expanduser(text)
        values.setdefault(keyword, str(text))
    if "user" in values and "password" not in values:
        values["token"] = values.pop("user")  # as the `nats` tool has it
    elif "user" not in values:
        values.pop("password", None)  # of nobody
    values = hide_secrets(values)
    if "timeout" in values:
        values["timeout"] = _parse_timeout(values["timeout"])
    return values


def _parse_timeout(text: str) -> float:
    """Read `5`, `5s` or `500ms`, as the `nats` tool does."""
    number = text.rstrip("msh")
    unit = text[len(number) :] or "s"
    try:
        return float(number) * _SECONDS[unit]
    except (KeyError, ValueError):
        raise ValueError(f"$NATS_TIMEOUT is {text!r:.20}, not a duration like 5s") from None
