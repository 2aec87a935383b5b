"""
The contexts of the `nats` tool: named files of settings, and which of them is selected.

They are in `$XDG_CONFIG_HOME/nats`, by default `~/.config/nats`: `context/<name>.json`
each, and the selected name in `context.txt`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from objstore.core.secret import SECRETS, hide
from objstore.errors import shorten

__all__ = ["read_context", "selected_context"]

#: Fields of a context, and our keywords for them.
_KEYWORDS = {
    "url": "servers",
    "user": "user",
    "password": "password",
    "token": "token",
    "creds": "credentials",
    "nkey": "credentials",
    "user_jwt": "jwt",
    "user_seed": "nkey_seed",
    "cert": "tls_client_cert",
    "key": "tls_client_key",
    "ca": "tls_cacert",
    "tls_first": "tls_first",
    "inbox_prefix": "inbox_prefix",
    "jetstream_domain": "domain",
    "jetstream_api_prefix": "api_prefix",
}
_FILES = frozenset({"creds", "nkey", "cert", "key", "ca"})
#: Fields that say how to get in, in ways that we do not know.
_UNKNOWN = ("nsc", "socks_proxy", "windows_cert_store")


def _directory(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_CONFIG_HOME")
    return Path(base) / "nats" if base else Path.home() / ".config" / "nats"


def selected_context(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the name that `nats context select` has chosen; None if there is none."""
    try:
        text = (_directory(environ) / "context.txt").read_text(encoding="utf-8")
    except (OSError, RuntimeError, ValueError):  # RuntimeError: there is no home
        return None
    return text.strip() or None


def read_context(name: str, environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """
    Return the settings of a context, under the names of our keywords.

    Raises:
        FileNotFoundError: If there is no such context.
        ValueError: If it is not the name of one, or cannot be used.
        OSError: If it cannot be read.
    """
    if not isinstance(name, str):
        raise TypeError(f"context must be the name of one, not {shorten(name)}")
    if not name or name.startswith(".") or any(character in name for character in "/\\\0"):
        raise ValueError(f"context {shorten(name)} is not the name of one")
    path = _directory(environ) / "context" / f"{name}.json"
    try:
        fields = json.loads(path.read_bytes(), object_hook=_hide)
    except FileNotFoundError as error:
        raise FileNotFoundError(error.errno, f"there is no context {name!r}", str(path)) from error
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise ValueError(f"context {name!r}: {str(path)!r} is not a JSON object")
    for field in _UNKNOWN:
        if fields.get(field):
            raise ValueError(f"context {name!r} uses {field}, which is not supported here")
    settings: dict[str, Any] = {}
    for field, keyword in _KEYWORDS.items():
        value = fields.get(field)
        if not value:
            continue
        if not isinstance(value, bool if field == "tls_first" else str):
            raise ValueError(f"context {name!r}: {field} must not be a {type(value).__name__}")
        if field in _FILES:
            value = os.path.expanduser(str(value))
        if keyword not in SECRETS and field not in ("url", "tls_first"):
            value = str(value)
        settings.setdefault(keyword, value)
    return settings


def _hide(fields: dict[str, Any]) -> dict[str, Any]:
    """Keep what may be a secret out of tracebacks."""
    return {key: hide(value) for key, value in fields.items()}
