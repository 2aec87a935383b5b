"""From the options to the fields of `CONNECT` that say who we are."""

from __future__ import annotations

from objstore.core.credentials import Credentials, read_credentials
from objstore.core.nkeys import UserKey
from objstore.core.options import ConnectOptions, ServerURL
from objstore.core.secret import Secret
from objstore.errors import AuthenticationError

__all__ = ["credential_fields"]

#: Characters of the longest nonce that is signed: servers send 15.
_MAX_NONCE = 256


def credential_fields(
    options: ConnectOptions, server: ServerURL, nonce: object = None
) -> dict[str, str]:
    """
    Return the credentials for one server: its URL's own, or those of the options.

    Args:
        nonce: What the server's `INFO` gives to be signed.

    Raises:
        AuthenticationError: If there is nothing to sign, or nothing that can be.
        OSError, ValueError: If the credentials file cannot be used any more.
    """
    if server.token is not None:
        return {"auth_token": server.token}
    if server.user is not None:
        return {"user": server.user, "pass": server.password or ""}
    if options.token is not None:
        return {"auth_token": options.token}
    if options.user is not None:
        return {"user": options.user, "pass": options.password or ""}
    if options.credentials is not None:
        return _signed(read_credentials(options.credentials), server, nonce)
    if options.jwt is not None or options.nkey_seed is not None:
        credentials = Credentials(Secret(options.jwt or ""), Secret(options.nkey_seed or ""))
        return _signed(credentials, server, nonce)
    return {}


def _signed(credentials: Credentials, server: ServerURL, nonce: object) -> dict[str, str]:
    if not credentials.seed:
        return {"jwt": credentials.jwt}  # of a bearer
    if nonce is None:
        return {}  # it asks nobody who he is, or says so when it misses an answer
    if not isinstance(nonce, str) or not 0 < len(nonce) <= _MAX_NONCE or not nonce.isascii():
        raise AuthenticationError(f"{server} asks to sign what is no nonce")
    key = UserKey(credentials.seed)
    fields: dict[str, str] = {"sig": key.sign(nonce)}
    if credentials.jwt:
        fields["jwt"] = credentials.jwt
    else:
        fields["nkey"] = key.public
    return fields
