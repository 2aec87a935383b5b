"""
The server, the workers, and whose turn it is.

All clients use one server (a second one if there is TLS), each from a process of its own.
In every round each of them has its turn, so that what the machine does meanwhile concerns
all of them alike.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import itertools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trustme

import objstore
from tests.benchmarks import usage
from tests.benchmarks.cases import CLIENTS, Case, object_names
from tests.benchmarks.clients.base import Job
from tests.benchmarks.clients.data import Pattern, pattern, write_pattern
from tests.benchmarks.worker import Worker

__all__ = ["Bench", "why_missing"]

_TLS = """
tls {{ cert_file: "{directory}/server.pem", key_file: "{directory}/server.key" }}
"""


def why_missing(client: str) -> str:
    """Why a client cannot be asked; empty if it can."""
    package = {"nats-py": "nats", "natsrpy": "natsrpy"}.get(client, "json")
    return "" if importlib.util.find_spec(package) else f"{client} is not installed"


class Bench:
    """
    Everything that runs while samples are taken.

    Args:
        clients: Names of `CLIENTS`.
        binary: The nats-server program; None for the one that `LocalServer` finds.
        say: Takes lines for people.
    """

    def __init__(
        self, clients: list[str], binary: str | None, say: Callable[[str], object]
    ) -> None:
        self._clients = clients
        self._binary = binary
        self._say = say
        self._numbers = itertools.count(1)
        self._stack = contextlib.ExitStack()
        self._directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self._servers: dict[bool, objstore.LocalServer] = {}
        self._helpers: dict[bool, objstore.Client] = {}
        self._workers: dict[tuple[str, bool], Worker] = {}
        self._ca: Path | None = None

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # What runs

    def helper(self, tls: bool = False) -> objstore.Client:
        """A client that makes and removes buckets."""
        if tls not in self._helpers:
            url, ca, _ = self._server(tls)
            options = {"tls_cacert": str(ca)} if ca else {}
            client = objstore.connect(url, **options)  # type: ignore[arg-type]
            self._helpers[tls] = self._stack.enter_context(client)
        return self._helpers[tls]

    @property
    def server_version(self) -> str:
        """What the server says of itself."""
        return str(self.helper().server_info["version"])

    def _server(self, tls: bool) -> tuple[str, Path | None, int]:
        if tls not in self._servers:
            config = self._make_tls_config() if tls else None
            server = objstore.LocalServer(
                self._directory / f"server-{tls}", binary=self._binary, config=config
            )
            self._servers[tls] = self._stack.enter_context(server)
        server = self._servers[tls]
        if tls:
            return server.url.replace("nats://", "tls://"), self._ca, server.pid
        return server.url, None, server.pid

    def _make_tls_config(self) -> Path:
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        self._ca = self._directory / "ca.pem"
        authority.cert_pem.write_to_path(self._ca)
        certificate.private_key_pem.write_to_path(self._directory / "server.key")
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(self._directory / "server.pem", append=True)
        config = self._directory / "tls.conf"
        config.write_text(_TLS.format(directory=self._directory))
        return config

    def _worker(self, client: str, case: Case) -> Worker:
        module = CLIENTS[client]
        url, ca, pid = self._server(case.tls)
        if case.unit == "copies":
            return Worker(module, url, ca, pid, usage.make_copy_counter(self._directory))
        if case.fresh:
            return Worker(module, url, ca, pid)
        key = (client, case.tls)
        if key not in self._workers:
            self._workers[key] = worker = Worker(module, url, ca, pid)
            self._stack.callback(worker.stop)
        return self._workers[key]

    # Rounds

    def run(self, case: Case, rounds: int) -> dict[str, list[dict[str, Any]]]:
        """Let every client take its turn in every round; return the samples of each."""
        samples: dict[str, list[dict[str, Any]]] = {}
        clients = [name for name in self._clients if self._can(name, case)]
        source = self._directory / "source"
        if case.operation in ("put_file", "put_pipe"):
            write_pattern(source, case.size)
        shared = self._make_bucket(case) if case.shared else ""
        for _ in range(1 if case.once else rounds):
            for client in list(clients):
                bucket = shared or self._make_bucket(case)
                try:
                    sample = self._sample(client, case, bucket, source)
                except (RuntimeError, TimeoutError, EOFError, OSError) as error:
                    self._say(f"  {client} is left out of this: {error}")
                    sample = {"error": str(error)}
                    clients.remove(client)
                    self._forget_worker(client, case)
                samples.setdefault(client, []).append(sample)
                if not shared:
                    self.helper(case.tls).delete_object_store(bucket)
        if shared:
            self.helper(case.tls).delete_object_store(shared)
        source.unlink(missing_ok=True)
        return samples

    def _can(self, client: str, case: Case) -> bool:
        if case.only and client not in case.only:
            return False
        if client in case.left_out:
            self._say(f"  {client} is left out: {case.left_out[client]}")
            return False
        module = importlib.import_module(f"tests.benchmarks.clients.{CLIENTS[client]}")
        return hasattr(module.Client, case.operation)

    def _make_bucket(self, case: Case) -> str:
        """A bucket with what there has to be."""
        store = self.helper(case.tls).create_object_store(f"bench-{next(self._numbers)}")
        if case.stored > 1:
            data = pattern(case.size)
            store.put_many((name, data) for name in object_names(case.stored))
        elif case.stored:
            store.put("o0", Pattern(case.size))
        return store.bucket

    def _sample(self, client: str, case: Case, bucket: str, source: Path) -> dict[str, Any]:
        target = self._directory / "target"
        job = Job(
            case.operation,
            case.calls,
            bucket=bucket,
            size=case.size,
            workers=case.workers,
            apart=case.apart,
            source=source,
            target=target,
            busy=case.busy,
            trace=case.unit == "calls",
        )
        worker = self._worker(client, case)
        consumers = self._consumers(bucket, case.tls)
        try:
            sample = worker.measure(job)
        finally:
            if case.fresh:
                worker.stop()
            target.unlink(missing_ok=True)
        sample["consumers"] = self._consumers(bucket, case.tls) - consumers
        return sample

    def _forget_worker(self, client: str, case: Case) -> None:
        worker = self._workers.pop((client, case.tls), None)
        if worker is not None:
            worker.stop()

    def _consumers(self, bucket: str, tls: bool) -> int:
        """Consumers on the server, working or forgotten."""
        answer = self.helper(tls).request(f"$JS.API.STREAM.INFO.OBJ_{bucket}")
        return int(json.loads(answer.payload)["state"]["consumer_count"])
