"""From the options to the fields of `CONNECT` that say who we are."""

from __future__ import annotations

from objstore.core.options import ConnectOptions, ServerURL

__all__ = ["credential_fields"]


def credential_fields(options: ConnectOptions, server: ServerURL) -> dict[str, str]:
    """
    Return the credentials for one server.

    A URL's own credentials come before those of the options; a server that the cluster
    advertised has none of its own and gets those of the first URL that has.
    """
    for url in (server, *options.servers):
        if url is not server and (options.user is not None or options.token is not None):
            break
        if url.token is not None:
            return {"auth_token": url.token}
        if url.user is not None:
            return {"user": url.user, "pass": url.password or ""}
    if options.token is not None:
        return {"auth_token": options.token}
    if options.user is not None:
        return {"user": options.user, "pass": options.password or ""}
    return {}
