"""
`Client`: the door for users. Both pynats2's client and the manager of buckets.

Of pynats2 it keeps the constructor, methods, messages and exceptions; none of its engine
runs. The one deliberate difference: TLS is verified unless `tls_verify=False` is given.
"""

from __future__ import annotations

import contextlib
import dataclasses
import ssl
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from objstore._pynats2 import NATSClient, NATSMessage, NATSSubscription
from objstore.callbacks import CallbackPool
from objstore.checks import check_integer
from objstore.core.connection import Connection, State
from objstore.core.deadline import DEFAULT_TIMEOUT, Deadline
from objstore.core.headers import is_reserved
from objstore.core.options import ConnectKeywords, make_options, split_urls
from objstore.core.protocol import check_subject, encode_unsub
from objstore.core.secret import SECRETS, hide
from objstore.core.settings import gather, hide_secrets, names_user
from objstore.display import html_pairs
from objstore.errors import InvalidNameError, ObjStoreError, shorten
from objstore.jetstream.api import JetStream
from objstore.manager import ObjectStoreManager

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

__all__ = ["Client", "connect"]

#: Seconds that `close` waits for the server to take what was published.
_FLUSH_TIMEOUT = 2.0
#: Threads for callbacks: as in pynats2, and at the most.
_DEFAULT_WORKERS = 3
_MAX_WORKERS = 1000


class Client(ObjectStoreManager, NATSClient):
    """
    A client of a NATS server or cluster. Safe to use from many threads.

    It opens no socket and starts no thread before its first use, so one may be made before
    a fork. Lost connections come back by themselves, and subscriptions with them.

    Args:
        url: One URL, several with commas between, or a list; by default `$NATS_URL`, then
            `nats://localhost:4222`. As in pynats2 a path in it is put before every subject.
        servers: The same, under another name.
        workers: Threads for the callbacks of `subscribe`.
        socket_timeout: pynats2's name for `timeout`.
        domain, api_prefix, context, use_environment, options: As of `objstore.connect`.

    Raises:
        InvalidURLError, TypeError, ValueError: If an argument, or what stands for it in the
            environment or the context, cannot be used.
        OSError: If a file cannot be read.
    """

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        *,
        servers: str | Sequence[str] | None = None,
        workers: int = _DEFAULT_WORKERS,
        domain: str | None = None,
        api_prefix: str | None = None,
        socket_timeout: float | None = None,
        context: str | None = None,
        use_environment: bool = True,
        **options: Unpack[ConnectKeywords],
    ) -> None:
        # Not super().__init__(): it would set up pynats2's engine.
        url, servers = hide(url), hide(servers)
        given = hide_secrets(options)
        del options
        if url is not None and servers is not None:
            raise TypeError("url and servers are two names for one thing; give one")
        if domain is not None and api_prefix is not None:
            raise TypeError("domain and api_prefix exclude each other")
        check_integer("workers", workers, 1, _MAX_WORKERS)
        given.update(
            servers=url if servers is None else servers, domain=domain, api_prefix=api_prefix
        )
        if socket_timeout is not None:
            given.setdefault("timeout", socket_timeout)
        self._arguments: dict[str, Any] = {
            **given,
            "workers": workers,
            "context": context,
            "use_environment": use_environment,
        }
        settings = gather(given, context=context, use_environment=use_environment)
        domain, api_prefix = settings.pop("domain", None), settings.pop("api_prefix", None)
        for word, prefix in (("domain", domain), ("api_prefix", api_prefix)):
            if prefix is not None:
                _check_prefix(word, prefix)
        self._options = make_options(**settings)
        self._api_prefix = api_prefix or ("$JS.API" if domain is None else f"$JS.{domain}.API")
        self._vhost_name = self._options.servers[0].prefix
        if self._vhost_name:
            # Who answers puts the prefix before every subject, the reply's too.
            inbox_prefix = f"{self._vhost_name}.{self._options.inbox_prefix}"
            self._options = dataclasses.replace(self._options, inbox_prefix=inbox_prefix)
        self._workers_count = workers
        self._on_close: list[Callable[[], None]] = []
        self._open()

    def _open(self) -> None:
        """Set up a connection, without connecting."""
        self._connection = Connection(self._options)
        self._js = JetStream(self._connection, prefix=self._api_prefix)
        self._pool = CallbackPool(self._workers_count)
        # A client that nobody holds any more takes its reader thread with it.
        self._finalizer = weakref.finalize(self, self._connection.abandon)
        # Not at exit: threads that use the client would see it break, and say so.
        self._finalizer.atexit = False

    def __reduce__(self) -> tuple[Any, ...]:
        """
        Pickle as the arguments: the copy has a connection of its own, made at its first use.

        Raises:
            TypeError: If secrets are among them: a pickle is no place for these.
        """
        secret = next(
            (word for word in sorted(SECRETS) if self._arguments.get(word) is not None), None
        )
        servers = self._arguments["servers"]
        if secret is None and servers is not None and names_user(servers):
            secret = "the URL's user"
        if secret is not None:
            raise TypeError(
                f"a client that was given {secret} is not pickled, since a pickle keeps no "
                "secret; let both processes read it from a file or the environment"
            )
        if isinstance(self._arguments.get("tls"), ssl.SSLContext):
            raise TypeError(
                "a client that was given an SSLContext cannot be pickled; name the files: "
                "tls_cacert, tls_client_cert, tls_client_key"
            )
        urls = None if servers is None else [str(url) for url in split_urls(servers)]
        return _restore, ({**self._arguments, "servers": urls},)

    def __repr__(self) -> str:
        if "_connection" not in vars(self):  # in a traceback of what it could not be made of
            return "<Client>"
        servers = ", ".join(str(server) for server in self._options.servers)
        return f"<Client of {servers}: {self._connection.state.value}>"

    def _repr_html_(self) -> str:
        servers = ", ".join(str(server) for server in self._options.servers)
        return html_pairs([("client of", servers), ("state", self._connection.state.value)])

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Lifecycle

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now."""
        return self._connection.state is State.CONNECTED

    @property
    def server_info(self) -> dict[str, Any]:
        """What the server says of itself, for example `max_payload`; connects if needed."""
        self._connection.connect()
        return self._connection.info

    def connect(self) -> None:
        """
        Connect, unless that is done; again after `close`.

        Raises:
            ConnectError: If no server accepts; for one AuthenticationError.
        """
        if self._connection.state is State.CLOSED:
            self._open()
        self._connection.connect()

    def close(self) -> None:
        """
        Close, from any thread: what was published goes out first, what waits fails.

        Twice is fine. Every later call raises ConnectionLostError, but for `connect`.
        """
        if self._connection.state is State.CONNECTED:
            with contextlib.suppress(ObjStoreError):  # it is being closed anyway
                self._connection.flush(_FLUSH_TIMEOUT)
        self._connection.close()
        self._finalizer.detach()
        self._pool.stop()
        while self._on_close:
            self._on_close.pop()()

    def reconnect(self) -> None:
        """Leave the connection, open or closed, and make another with all subscriptions."""
        if self._connection.state is not State.CLOSED:
            self._connection.reconnect()
            return
        handles = self._pool.handles
        self.connect()
        for handle in handles:
            self._subscribe(handle)

    def ping(self) -> None:
        """Send a PING, without waiting for the answer."""
        self._connection.ping_server()

    def flush(self, timeout: float | None = DEFAULT_TIMEOUT) -> None:
        """
        Wait until the server has taken everything that was published.

        Raises:
            RequestTimeoutError: If it does not say so for `timeout` seconds.
        """
        self._connection.flush(timeout)

    # Messages, as in pynats2

    def _vhost(self, subject: str) -> str:
        return f"{self._vhost_name}.{subject}" if self._vhost_name and subject else subject

    def _del_vhost(self, subject: str) -> str:
        return subject.removeprefix(f"{self._vhost_name}.") if self._vhost_name else subject

    def publish(
        self,
        subject: str,
        *,
        payload: bytes = b"",
        reply: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        """
        Publish a message.

        Args:
            payload: Bytes; a str is sent as UTF-8.
            reply: Subject for answers.
            headers: Key to value. Those that begin with `Nats-` are refused: with them a
                server is told what to do, for one to empty a bucket.

        Raises:
            InvalidNameError, ValueError: If it cannot be sent; nothing was.
            PermissionsViolationError: If the server denies it.
            ConnectionLostError: If there is no connection.
        """
        for key in headers or ():
            if isinstance(key, str) and is_reserved(key):
                raise ValueError(f"header {shorten(key)} is the server's: choose another name")
        self._connection.publish(
            self._vhost(subject), _to_bytes(payload), reply=self._vhost(reply), headers=headers
        )

    def request(
        self, subject: str, *, payload: bytes = b"", timeout: float | None = 120.0
    ) -> NATSMessage:
        """
        Publish a message and return the first answer.

        Raises:
            RequestTimeoutError: If there is none within `timeout` seconds; it is also a
                pynats2.NATSRequestTimeoutError.
            NoRespondersError: If nobody serves the subject.
        """
        answer = self._connection.request(self._vhost(subject), _to_bytes(payload), timeout=timeout)
        return NATSMessage(
            sid=answer.sid,
            subject=self._del_vhost(answer.subject),
            reply=self._del_vhost(answer.reply),
            payload=bytes(answer.payload),
        )

    def subscribe(
        self,
        subject: str,
        *,
        callback: Callable[[NATSMessage], object],
        queue: str = "",
        max_messages: int | None = None,
    ) -> NATSSubscription:
        """
        Call `callback` with each message, in another thread, in order.

        Args:
            subject: Literal, or with wildcards.
            queue: Name of a queue group, of which one member gets each message.
            max_messages: Unsubscribe after so many.

        Raises:
            PermissionsViolationError: If the server denies it.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r:.60}")
        handle = NATSSubscription(
            sid=0, subject=subject, queue=queue, callback=callback, max_messages=max_messages
        )
        self._subscribe(handle)
        return handle

    def _subscribe(self, handle: NATSSubscription) -> None:
        subject = self._vhost(handle.subject)
        subscription = self._connection.subscribe(subject, queue=handle.queue)
        handle.sid = subscription.sid
        self._pool.add(subscription, handle, self._del_vhost)

    def unsubscribe(self, sub: NATSSubscription) -> None:
        """End a subscription. Twice is fine."""
        self._pool.remove(sub)

    def auto_unsubscribe(self, sub: NATSSubscription) -> None:
        """Let the server end a subscription after its `max_messages`."""
        if sub.max_messages is not None:
            line = encode_unsub(sub.sid, sub.max_messages)
            self._connection.send([line], Deadline(DEFAULT_TIMEOUT))


def _restore(arguments: dict[str, Any]) -> Client:
    """Make a client that came from another process; connects at its first use."""
    return Client(**arguments)


def _check_prefix(what: str, prefix: str) -> None:
    """Refuse what cannot stand at the beginning of a subject."""
    try:
        check_subject(prefix)
    except InvalidNameError as error:
        raise InvalidNameError(f"{what}: {error}") from error


def _to_bytes(payload: bytes | str) -> bytes:
    return payload.encode() if isinstance(payload, str) else payload


def connect(
    servers: str | Sequence[str] | None = None,
    *,
    workers: int = _DEFAULT_WORKERS,
    domain: str | None = None,
    api_prefix: str | None = None,
    context: str | None = None,
    use_environment: bool = True,
    **options: Unpack[ConnectKeywords],
) -> Client:
    """
    Connect to a NATS server or cluster.

    What is not said here is taken from the environment, then from the context: see
    `docs/reference/environment.md`.

    Args:
        servers: One URL, several with commas between, or a list; by default `$NATS_URL`,
            then `nats://localhost:4222`. `tls://` demands TLS.
        domain: JetStream domain to talk to.
        api_prefix: Prefix of the JetStream API where an account has another than `$JS.API`.
        workers: Threads for the callbacks of `Client.subscribe`.
        context: Name of a context of the `nats` tool; by default `$NATS_CONTEXT`.
        use_environment: False looks at no `NATS_*` variable.
        name: Name of this client, for the server's logs.
        user, password, token: Credentials, where the URL has none.
        credentials: File with a user's JWT and nkey seed, or a seed alone. It is read for
            each connection, so that what replaces it counts.
        nkey_seed: The seed itself, with a `jwt` where the account gives one.
        tls: True to demand TLS, or an `ssl.SSLContext`. Servers are verified.
        tls_cacert: File of the authorities to trust instead of the system's.
        tls_client_cert, tls_client_key: Files of a client certificate.
        tls_verify: False accepts any server: for experiments only.
        tls_first: Begin with TLS, before the server speaks (its `handshake_first`).
        ignore_discovered_servers: Use no server but these, whichever others they name.
        timeout: Seconds to connect, over all servers; 5 by default, None for ever.
        ping_interval: Seconds of silence after which the server is asked for a sign of life;
            2.5 at the most while a call waits for an answer.
        inbox_prefix: Subject below which answers are received; `_INBOX` by default.
        verbose, pedantic, socket_keepalive: As in pynats2.

    Returns:
        A connected client; a `with` block closes it.

    Raises:
        ConnectError: If no server accepts; its message lists every attempt.
        AuthenticationError: If the credentials are refused.
        InvalidURLError, TypeError, ValueError: If an argument, or what stands for it in the
            environment or the context, cannot be used.
        OSError: If a file cannot be read.
        ObjStoreError: If nkeys are used, and no library is installed that can sign.

    Example:
        >>> with objstore.connect("nats://localhost:4222") as client:
        ...     store = client.create_object_store("photos")
    """
    servers = hide(servers)
    hidden: Any = hide_secrets(options)
    del options
    client = Client(
        servers,
        workers=workers,
        domain=domain,
        api_prefix=api_prefix,
        context=context,
        use_environment=use_environment,
        **hidden,
    )
    client.connect()
    return client
