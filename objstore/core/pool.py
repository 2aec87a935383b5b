"""The servers of one cluster: those we were told, and those they told us of."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

from objstore.core.deadline import Deadline
from objstore.core.link import Link, open_link
from objstore.core.options import ConnectOptions, ServerURL, parse_url
from objstore.errors import AuthenticationError, ConnectError, InvalidURLError

__all__ = ["ServerPool"]

#: Servers remembered from `INFO`; a cluster has a handful.
_MAX_ADVERTISED = 64


class ServerPool:
    """
    Opens a link to whichever server accepts, beginning with the last that did.

    Used by one thread at a time: the one that connects.
    """

    def __init__(self, options: ConnectOptions) -> None:
        self._options = options
        self._servers = list(options.servers)

    def learn(self, info: dict[str, Any], told_by: ServerURL) -> None:
        """Remember the servers that an `INFO` names; they are held to the same TLS rules."""
        urls = info.get("connect_urls")
        for text in urls if isinstance(urls, list) else []:
            try:
                server = parse_url(text)
            except (InvalidURLError, TypeError):
                continue
            server = dataclasses.replace(server, tls=told_by.tls)
            known = {(other.host, other.port) for other in self._servers}
            if (server.host, server.port) not in known and len(known) < _MAX_ADVERTISED:
                self._servers.append(server)

    def open(self, deadline: Deadline, closing: threading.Event) -> Link:
        """
        Try each server once.

        Raises:
            ConnectError: If none accepts; its message lists every attempt. An
                AuthenticationError if a server refuses the credentials.
        """
        failures: list[ConnectError] = []
        servers = list(self._servers)
        for server in servers:
            if closing.is_set():
                break
            remaining = deadline.remaining()
            if remaining == 0 and failures:
                failures.append(ConnectError(f"{server}: not tried, the time was up"))
                continue
            if remaining is not None and server is not servers[-1]:
                remaining /= 2  # one that does not answer may not use up the others' time
            try:
                link = open_link(server, self._options, Deadline(remaining))
            except ConnectError as error:
                failures.append(error)
            else:
                self._servers.remove(server)
                self._servers.insert(0, server)
                self.learn(link.info, server)
                return link
        self._servers.append(self._servers.pop(0))  # the next attempt begins with another one
        raise _summary(failures)


def _summary(failures: list[ConnectError]) -> ConnectError:
    if len(failures) == 1:
        return failures[0]
    refused = any(isinstance(failure, AuthenticationError) for failure in failures)
    text = "; ".join(str(failure) for failure in failures) or "the connection is being closed"
    error = AuthenticationError if refused else ConnectError
    return error(f"no server accepts the connection: {text}")
