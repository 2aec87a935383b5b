"""Secrets: text that does not show itself in a `repr`, a traceback's variables, or a pickle."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any, NoReturn
from urllib.parse import quote

__all__ = ["SECRETS", "Secret", "hide", "redact"]

#: Keywords whose values are secrets themselves; `servers` may hold one.
SECRETS = frozenset({"password", "token", "nkey_seed", "jwt"})


class Secret(str):
    """
    A password, a token, a seed, or a URL that may hold one.

    It is a str for all who use it. Only its `repr` is another, which is what debuggers, logs
    of arguments and tracebacks with variables show; and it refuses to be pickled.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'…'"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a secret is not pickled: name a credentials file, or the environment")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self


def hide(value: Any) -> Any:
    """Return `value` with every text in it as a Secret; what holds none is left as it is."""
    if isinstance(value, str):
        return Secret(value)
    if type(value) is list or type(value) is tuple:
        return [hide(item) for item in value]
    return value


def redact(text: str, secrets: Iterable[str]) -> str:
    """
    Return `text` without the secrets in it, however they are written there.

    For what a server says: it knows our password, and may well repeat it.
    """
    for secret in secrets:
        raw = secret.encode()
        forms = {
            secret,
            json.dumps(secret)[1:-1],
            str.__repr__(secret)[1:-1],
            repr(raw)[2:-1],
            quote(secret),
            quote(secret, safe=""),
            base64.b64encode(raw).decode(),
            base64.urlsafe_b64encode(raw).decode(),
        }
        for form in sorted(forms, key=len, reverse=True):
            if form:
                text = text.replace(form, "…")
    return text
