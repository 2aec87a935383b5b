"""The servers of one cluster: those we were told, and those they told us of."""

from __future__ import annotations

import dataclasses
import ipaddress
import threading
from typing import Any

from objstore.core.deadline import Deadline
from objstore.core.handshake import open_link
from objstore.core.link import Link
from objstore.core.options import ConnectOptions, ServerURL, parse_url
from objstore.errors import AuthenticationError, ConnectError, InvalidURLError

__all__ = ["ServerPool"]

#: Servers remembered from `INFO`; a cluster has a handful.
_MAX_SERVERS = 64


class ServerPool:
    """
    Opens a link to whichever server accepts, beginning with the last that did.

    Used by one thread at a time: the one that connects.
    """

    def __init__(self, options: ConnectOptions) -> None:
        self._options = options
        self._servers = list(options.servers)

    def learn(self, info: dict[str, Any], told_by: ServerURL, *, vouched: bool = True) -> None:
        """
        Remember the servers that an `INFO` names.

        They are who `told_by` is: the same user is known to them, and TLS is demanded if it
        has it. Their certificates may have their own names, or that of `told_by` where the
        cluster names addresses, or where nobody `vouched` for the `INFO`.
        """
        urls = info.get("connect_urls")
        if self._options.ignore_discovered_servers or not isinstance(urls, list):
            return
        name = told_by.tls_name or told_by.host
        for text in urls:
            try:
                server = parse_url(text)
            except (InvalidURLError, TypeError):
                continue
            has_own_name = vouched and (not _is_address(server.host) or _is_address(name))
            server = dataclasses.replace(
                told_by,
                host=server.host,
                port=server.port,
                tls_name="" if has_own_name else name,
                discovered=True,
            )
            self._remember(server)

    def _remember(self, server: ServerURL) -> None:
        """Add a server, or take what is said of it now; but TLS is never unlearnt."""
        for position, known in enumerate(self._servers):
            if (known.host, known.port) == (server.host, server.port):
                if known.discovered and (server.tls or not known.tls):
                    self._servers[position] = server
                return
        if len(self._servers) < _MAX_SERVERS:
            self._servers.append(server)

    def put_last(self, server: ServerURL) -> None:
        """Try the others before this one: it takes connections and does not answer."""
        if server in self._servers:
            self._servers.remove(server)
            self._servers.append(server)

    def open(
        self, deadline: Deadline, closing: threading.Event, *, instead_of: ServerURL | None = None
    ) -> Link:
        """
        Try each server once, but for `instead_of`.

        Raises:
            ConnectError: If none accepts; its message lists every attempt. An
                AuthenticationError if a server refuses the credentials.
        """
        failures: list[ConnectError] = []
        servers = [server for server in self._servers if server != instead_of]
        if not servers:
            raise ConnectError("there is no other server")
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
                link = open_link(server, self._options, Deadline(remaining, closing))
            except ConnectError as error:
                failures.append(error)
            else:
                self._servers.remove(server)
                self._servers.insert(0, link.server)
                self.learn(link.info, link.server, vouched=link.vouched)
                return link
        self._servers.append(self._servers.pop(0))  # the next attempt begins with another one
        raise _summary(failures)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _summary(failures: list[ConnectError]) -> ConnectError:
    if len(failures) == 1:
        return failures[0]
    refused = any(isinstance(failure, AuthenticationError) for failure in failures)
    text = "; ".join(str(failure) for failure in failures) or "the connection is being closed"
    error = AuthenticationError if refused else ConnectError
    return error(f"no server accepts the connection: {text}")
