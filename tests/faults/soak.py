"""
A mixed load under faults that strike at chosen moments, for long.

    python -m tests.faults.soak --operations 20000 --replicas 1 --seed 1

Several clients, each in its own thread and behind its own proxy, put, put on a condition,
read, delete, rename and list in one bucket. Meanwhile one fault after the other waits for
its moment on the wire and strikes. In the end every history must be linearizable, no
session taken back, every object readable, no chunk an orphan, and nothing left in this
process. Prints its seed and its figures; exits with 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import gc
import itertools
import os
import random
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from objstore.client import Client
from objstore.core.connection import Connection
from objstore.core.options import make_options
from objstore.errors import RequestTimeoutError
from tests.cluster import Cluster
from tests.faults.bench import sweep
from tests.faults.history import ABSENT, OK, UNKNOWN, History, Operation
from tests.faults.history import Client as Recorder
from tests.faults.linearize import check_history
from tests.node import Node
from tests.proxy import Proxy
from tests.raw_bucket import RawBucket, digest_of

__all__ = ["Soak", "main"]

BUCKET = "soak"
NAMES = [f"name-{number}" for number in range(12)]
#: Names that are overwritten and never deleted: no list may lack one.
LASTING = [f"lasting-{number}" for number in range(6)]

#: How many work at once.
CLIENTS = 6
#: Seconds that a call is given: longer than any fault lasts.
TIMEOUT = 30.0
#: Seconds to wait for the moment of a fault, and between two of them.
MOMENT_TIMEOUT = 2.0
PAUSE = 0.05
#: Seconds that a server gets for what it has received, before it is killed.
SETTLING = 0.1

#: Bytes by which memory may grow from half-way to the end: the record of an operation, which
#: may be of several names, and what is left of a few objects.
MEMORY_DRIFT = 32 << 20
HISTORY_SIZE = 1500

#: Moments: what is on the wire, in which direction, held back or let through.
MOMENTS: tuple[tuple[bytes, str, bool], ...] = (
    (b"PUB $O.soak.C.", "c2s", True),
    (b"PUB $O.soak.C.", "c2s", False),
    (b"HPUB $O.soak.M.", "c2s", True),
    (b"HPUB $O.soak.M.", "c2s", False),
    (b"$JS.API.STREAM.PURGE.OBJ_soak", "c2s", True),
    (b"$JS.API.STREAM.PURGE.OBJ_soak", "c2s", False),
    (b"$JS.API.STREAM.MSG.GET.OBJ_soak", "c2s", False),
    (b"$O.soak.C.", "s2c", True),
    (b'"seq":', "s2c", True),
)


class Soak:
    """
    One run.

    Args:
        nodes: The servers.
        cluster: If they are one.
        operations: How many in all.
        without: Faults to leave out.
        clients: How many work at once. One alone stores new objects in one round trip.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        cluster: Cluster | None,
        operations: int,
        seed: int,
        without: Sequence[str] = (),
        clients: int = CLIENTS,
    ) -> None:
        self.nodes = nodes
        self.history = History()
        self.faults: collections.Counter[str] = collections.Counter()
        self.missed = 0
        self.problems: list[str] = []
        self.came_back = 0
        self.left_unknown = 0
        self._before_kills: list[tuple[int, set[str]]] = []
        self._cluster = cluster
        self._seed = seed
        self._without = set(without)
        self._clients = clients
        self._left = self._operations = operations
        #: Bytes of memory when half of the operations were done, and all of them.
        self.memory: list[int] = []
        self._lock = threading.Lock()
        self._ready = threading.Barrier(clients + 1, timeout=TIMEOUT)
        self._proxies: list[list[Proxy]] = []

    def run(self) -> None:
        """Do it, and judge it."""
        with ExitStack() as stack:
            direct = ",".join(node.url for node in self.nodes)
            keeper = stack.enter_context(Client(direct))
            store = keeper.create_object_store(BUCKET, replicas=len(self.nodes))
            for name in LASTING:
                store.put(name, name.encode())
            threads = [
                threading.Thread(target=self._work, args=(number,), name=f"client {number}")
                for number in range(self._clients)
            ]
            for _ in threads:
                self._proxies.append([stack.enter_context(Proxy(node.port)) for node in self.nodes])
            for thread in threads:
                thread.start()
            self._ready.wait()
            self._strike(threads)
            for thread in threads:
                thread.join(4 * TIMEOUT)
                if thread.is_alive():
                    self.problems.append(f"{thread.name} hangs")
            if self._cluster is not None:
                self._cluster.heal()
            self._judge(direct)

    # The clients

    def _work(self, number: int) -> None:
        rng = random.Random(f"{self._seed} client {number}")
        url = ",".join(proxy.url for proxy in self._proxies[number])
        try:
            with Client(url, ping_interval=1.0) as client:
                store = client.object_store(BUCKET, timeout=TIMEOUT)
                recorder = self.history.client(store, timeout=TIMEOUT)
                self._ready.wait()
                while self.take():
                    self._operate(recorder, rng)
        except BaseException as error:
            self.problems.append(f"client {number} ended with {error!r}")

    def take(self) -> bool:
        """Take one of the operations that are left; False if there is none."""
        with self._lock:
            if self._left in (self._operations // 2, 1):
                self.memory.append(_resources()[2])
            self._left -= 1
            return self._left >= 0

    def _operate(self, client: Recorder, rng: random.Random) -> None:
        name = rng.choice(NAMES)
        data = rng.randbytes(rng.choice((10, 2_000, 150_000, 500_000)))
        began = time.monotonic()
        dice = rng.random()
        if dice < 0.30:
            client.put(name, data)
        elif dice < 0.36:
            client.put_if_absent(name, data)
        elif dice < 0.42:
            seen = client.get(name)
            if seen.outcome == OK and seen.value != ABSENT:
                client.replace(seen, data)
        elif dice < 0.50:
            new = f"new-{rng.getrandbits(64):x}"
            client.put(new, data)
            client.get(new)
            client.delete(new)
        elif dice < 0.74:
            client.get(name)
        elif dice < 0.80:
            client.get_info(name)
        elif dice < 0.88:
            client.delete(name)
        elif dice < 0.92:
            # Names of its own: until a rename is over both have the same chunks.
            source = f"source-{rng.getrandbits(64):x}"
            made = client.put(source, data)
            if made.outcome == OK:
                renamed = client.rename(source, f"target-{source}", made.value)
                if renamed.outcome == OK:
                    client.delete(renamed.name)
        elif dice < 0.96:
            client.put(rng.choice(LASTING), data)
        else:
            self._list(client)
        seconds = time.monotonic() - began
        if seconds > 3 * TIMEOUT * 1.1:
            self.problems.append(f"an operation took {seconds:.1f} s")

    def _list(self, client: Recorder) -> None:
        with_names = set(NAMES)
        for each in client.list(lambda name: name in with_names or name in LASTING):
            if each.name in LASTING and each.outcome == OK and each.value == ABSENT:
                self.problems.append(f"a list lacks {each.name}")

    # The faults

    def _strike(self, threads: Sequence[threading.Thread]) -> None:
        rng = random.Random(f"{self._seed} faults")
        faults: list[tuple[str, Callable[[int, random.Random], None]]] = [
            ("cut", self._cut),
            ("refuse", self._refuse),
            ("hold", self._hold),
            ("drop after some bytes", self._drop),
        ]
        if self._cluster is None:
            faults += [("kill", self._kill), ("pause", self._pause)]
        else:
            faults += [
                ("step down", self._step_down),
                ("step down", self._step_down),
                ("kill leader", self._kill_leader),
                ("kill own node", self._kill),
            ]
        faults = [fault for fault in faults if fault[0] not in self._without]
        while any(thread.is_alive() for thread in threads):
            if self.stands_still(self.history.now()):
                return
            name, fault = rng.choice(faults)
            victim = rng.randrange(self._clients)
            pattern, direction, before = rng.choice(MOMENTS)
            reached, go_on = threading.Event(), threading.Event()

            def act(reached: threading.Event = reached, go_on: threading.Event = go_on) -> None:
                reached.set()
                go_on.wait(TIMEOUT)

            for proxy in self._proxies[victim]:
                proxy.on(
                    pattern,
                    act,
                    direction=direction,
                    nth=rng.randint(1, 4),
                    before=before,  # type: ignore[arg-type]
                )
            if reached.wait(MOMENT_TIMEOUT):
                self.faults[name] += 1
                try:
                    fault(victim, rng)
                except Exception as error:
                    self.problems.append(f"the fault {name!r} failed: {error!r}")
            else:
                self.missed += 1
            go_on.set()
            for proxy in self._proxies[victim]:
                proxy.heal()
            time.sleep(rng.uniform(0, 2 * PAUSE))

    def stands_still(self, now: float) -> bool:
        """Whether nothing has succeeded for longer than any fault lasts; if so, end it all."""
        since = now - 3 * TIMEOUT
        # The last ones have not ended, and have no outcome yet.
        recent = itertools.takewhile(
            lambda each: each.returned > since, reversed(self.history.operations)
        )
        if now < 3 * TIMEOUT or any(each.outcome == OK for each in recent):
            return False
        with self._lock:
            self._left = 0
        self.problems.append(f"nothing has succeeded for {3 * TIMEOUT:.0f} s")
        return True

    def _cut(self, victim: int, rng: random.Random) -> None:
        for proxy in self._proxies[victim]:
            proxy.cut()

    def _refuse(self, victim: int, rng: random.Random) -> None:
        for proxy in self._proxies[victim]:
            proxy.refuse()
            proxy.cut()
        time.sleep(rng.uniform(0, 0.5))

    def _hold(self, victim: int, rng: random.Random) -> None:
        for proxy in self._proxies[victim]:
            proxy.hold_s2c()
            if rng.random() < 0.5:
                proxy.hold_c2s()
        time.sleep(rng.uniform(0, 1.0))
        if rng.random() < 0.5:
            self._cut(victim, rng)

    def _drop(self, victim: int, rng: random.Random) -> None:
        for proxy in self._proxies[victim]:
            proxy.drop_after(rng.choice(("c2s", "s2c")), rng.randrange(2000))  # type: ignore[arg-type]

    def _kill(self, victim: int, rng: random.Random) -> None:
        node = self.nodes[victim % len(self.nodes)]
        if self._cluster is None:
            self._look_before_the_kill()
        node.kill()
        time.sleep(rng.uniform(0, 0.3))
        node.start()
        if self._cluster is not None:
            self._cluster.heal()

    def _look_before_the_kill(self) -> None:
        """Take down which chunks there are: what is purged by now must not come back."""
        for proxy in itertools.chain(*self._proxies):
            proxy.hold_c2s()
            proxy.hold_s2c()
        time.sleep(SETTLING)  # what the server has got it does
        connection = Connection(make_options(self.nodes[0].url))
        try:
            raw = RawBucket(connection, BUCKET)
            state = raw.call("STREAM.INFO.%", {"subjects_filter": ">"})["state"]
        finally:
            connection.close()
        self._before_kills.append((state["last_seq"], set(state.get("subjects") or ())))
        for proxy in itertools.chain(*self._proxies):
            proxy.cut()
            proxy.heal()

    def _origin(self, raw: RawBucket, nuid: str) -> str:
        """Say which call chunks come from, if they are all there."""
        return f"{nuid} is of {self._origin_of(raw, nuid) or 'a call whose other chunks are gone'}"

    def _came_back(self, raw: RawBucket, subject: str) -> bool:
        """
        Whether a killed server may have brought back the messages of a subject.

        nats-server forgets purges that it has confirmed: docs/topics/reliability.md. Metas
        must have been seen to be gone before a kill; of chunks it is enough to be older.
        """
        message = raw.message(seq=1, next_by_subj=subject)
        assert message is not None
        is_chunk = subject.startswith(raw.chunk_subject(""))
        return any(
            message["seq"] <= last and (is_chunk or subject not in subjects)
            for last, subjects in self._before_kills
        )

    def _origin_of(self, raw: RawBucket, nuid: str) -> Operation | None:
        digest = digest_of(b"".join(each["data"] for each in raw.chunk_messages(nuid)))
        made = (each for each in self.history.operations if each.writes and each.value == digest)
        return next(made, None)

    def _pause(self, victim: int, rng: random.Random) -> None:
        self.nodes[0].pause()
        time.sleep(rng.uniform(0, 1.5))
        self.nodes[0].resume()

    def _step_down(self, victim: int, rng: random.Random) -> None:
        subject = f"$JS.API.STREAM.LEADER.STEPDOWN.OBJ_{BUCKET}"
        with Client(self.nodes[0].url) as client:
            for _ in range(5):
                # Between two leaders nobody answers.
                with contextlib.suppress(RequestTimeoutError):
                    client.request(subject, payload=b"{}", timeout=3)
                    return
        raise AssertionError("there is no leader")

    def _kill_leader(self, victim: int, rng: random.Random) -> None:
        assert self._cluster is not None
        with Client(self._cluster.url) as client:
            leader = self._cluster.wait_for_leader(client, f"OBJ_{BUCKET}")
        leader.kill()
        time.sleep(rng.uniform(0, 3))
        leader.start()
        self._cluster.heal()

    # The verdict

    def _judge(self, direct: str) -> None:
        for node in self.nodes:
            self.problems += [f"the server complains: {line}" for line in node.complaints]
        with Client(direct) as client:
            store = client.object_store(BUCKET, timeout=TIMEOUT)
            looking = self.history.client(store, timeout=TIMEOUT)
            for name in NAMES:
                if looking.get(name).outcome != OK:
                    self.problems.append(f"{name} cannot be read in the end")
        lasting = [each for each in self.history.operations if each.name in LASTING]
        self.history.operations = [
            each for each in self.history.operations if each.name not in LASTING
        ]
        self.problems += check_history(self.history)
        self.history.operations += lasting
        connection = Connection(make_options(direct))
        try:
            raw = RawBucket(connection, BUCKET)
            found = sweep(raw)
            for name in list(found.unreadable):
                if self._came_back(raw, raw.meta_subject(name)):
                    del found.unreadable[name]
                    self.came_back += 1
            for nuid in list(found.orphans):
                if self._came_back(raw, raw.chunk_subject(nuid)):
                    del found.orphans[nuid]
                    self.came_back += 1
            # Who does not know whether its change was made purges nothing: neither its own
            # chunks nor those of the version that it was to replace.
            unknown = sum(each.outcome == UNKNOWN for each in self.history.operations)
            if len(found.orphans) <= unknown:
                self.left_unknown = len(found.orphans)
                found.orphans.clear()
            self.problems += found.problems
            self.problems += [self._origin(raw, nuid) for nuid in found.orphans]
        finally:
            connection.close()


def _resources() -> tuple[int, int, int]:
    """Return threads, descriptors and bytes of memory of this process."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        memory = int(file.read().split()[1]) * resource.getpagesize()
    return threading.active_count(), len(os.listdir("/proc/self/fd")), memory


def _report(soak: Soak, seed: int, seconds: float) -> None:
    outcomes = collections.Counter((each.kind, each.outcome) for each in soak.history.operations)
    total = len(soak.history.operations)
    print(f"seed {seed}: {total} operations in {seconds:.0f} s, {total / seconds:.0f} per second")
    for (kind, outcome), count in sorted(outcomes.items()):
        print(f"  {kind:8} {outcome:8} {count}")
    errors = collections.Counter(
        f"{each.kind} {each.error.partition('(')[0]}"
        for each in soak.history.operations
        if each.error
    )
    print("  errors:", ", ".join(f"{what} {count}" for what, count in sorted(errors.items())))
    faults = ", ".join(f"{name} {count}" for name, count in sorted(soak.faults.items()))
    print(f"  faults: {sum(soak.faults.values())} ({faults}); {soak.missed} without their moment")
    print(f"  subjects that were purged and that a killed server brought back: {soak.came_back}")
    print(f"  sets of chunks left by calls of unknown outcome: {soak.left_unknown}")
    for each in soak.history.operations:
        if each.outcome == UNKNOWN:
            print(f"  {each}")
    slow = [each for each in soak.history.operations if each.took > TIMEOUT / 2]
    print(f"  longest call: {soak.history.slowest:.1f} s", *slow, sep="\n    ")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return 0 if nothing was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak")
    parser.add_argument("--operations", type=int, default=20_000)
    parser.add_argument("--replicas", type=int, choices=(1, 3), default=1)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--without", action="append", default=[], help="a fault to leave out")
    parser.add_argument("--clients", type=int, default=CLIENTS, help="how many work at once")
    options = parser.parse_args(arguments)
    seed = random.randrange(10_000) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    before = _resources()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        cluster = None
        if options.replicas == 3:
            cluster = stack.enter_context(Cluster(Path(directory), advertise=False))
            nodes: Sequence[Node] = cluster.nodes
        else:
            nodes = [stack.enter_context(Node(Path(directory)))]
        soak = Soak(nodes, cluster, options.operations, seed, options.without, options.clients)
        soak.run()
        _report(soak, seed, time.monotonic() - began)
        problems = soak.problems
    after = _resources()
    half, whole = (size >> 20 for size in soak.memory)
    print(f"  threads and descriptors: {before[:2]}, then {after[:2]}")
    print(f"  memory: {half} MiB when half was done, {whole} MiB at the end")
    if whole - half > (MEMORY_DRIFT + options.operations // 2 * HISTORY_SIZE) >> 20:
        problems.append(f"memory grew by {whole - half} MiB")
    if after[:2] != before[:2]:
        problems.append(f"threads and descriptors are left: {after[:2]}, not {before[:2]}")
    for problem in problems:
        print(f"VIOLATION {problem}")
    print(f"{len(problems)} violations")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
