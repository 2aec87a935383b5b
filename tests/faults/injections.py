"""
The faults: what each does at its moment, how it is healed, and what it may cost.

The letters are those of the catalogue in docs/topics/reliability.md.
"""

from __future__ import annotations

import contextlib
import random
import resource
import signal
import threading
from typing import ClassVar

from objstore.client import Client
from objstore.errors import ObjStoreError
from tests.cluster import Cluster
from tests.faults.bench import Bench
from tests.helpers import pattern, wait_until
from tests.node import Node
from tests.raw_bucket import digest_of

__all__ = ["CLUSTER_INJECTIONS", "INJECTIONS", "ClusterInjection", "Injection", "ProcessInjection"]

#: What others write under the name that an operation is about.
THEIRS = pattern(5000)
#: That name, and the one to which a rename takes what it finds there.
CONTESTED = frozenset({"n", "m"})


class Injection:
    """
    A fault on one server.

    Attributes:
        shared: Whether it strikes all operations of a run at once, when each is at its point.
        lasting: Seconds until it is healed; None for when the operations have ended.
        timeout: What the operations are given.
        survived: Whether every call is to succeed: it heals in time, and nothing is lost.
        contends: Whether a put on a condition may fail because of others all the same.
        damages: Whether objects may be unreadable afterwards, or gone: no client can help it.
        litters: Whether chunks may stay behind.
        garbles: Whether the server may complain of what it was sent.
        theirs: What may be under a name because others have put it there; "" is nothing.
    """

    key: ClassVar[str]
    title: ClassVar[str]
    shared: ClassVar[bool] = False
    lasting: ClassVar[float | None] = 0.0
    timeout: ClassVar[float] = 10.0
    survived: ClassVar[bool] = False
    contends: ClassVar[bool] = False
    damages: ClassVar[bool] = False
    litters: ClassVar[bool] = False
    garbles: ClassVar[bool] = False
    config: ClassVar[str] = ""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(f"{self.key} {seed}")

    def prepare(self, bench: Bench) -> None:
        """Called when the bucket is filled, before the operation begins."""

    def act(self, bench: Bench) -> None:
        """Called at the moment, in a thread of the proxy, which waits for it."""

    def heal(self, bench: Bench) -> None:
        """Called for each bench when it has lasted."""

    def theirs(self, name: str) -> set[str]:
        return set()


# The network


class EndOfStream(Injection):
    key, title = "N3", "the connection ends at any byte"
    survived = True
    lasting = 0.5

    def act(self, bench: Bench) -> None:
        direction = self.random.choice(["c2s", "s2c"])
        for proxy in bench.proxies:
            proxy.drop_after(direction, self.random.randrange(400))

    def heal(self, bench: Bench) -> None:
        for proxy in bench.proxies:
            proxy.heal()


class Cut(Injection):
    key, title = "N4", "the connection is cut and whatever is on its way lost"
    survived = True

    def act(self, bench: Bench) -> None:
        for proxy in bench.proxies:
            proxy.cut()


class CutForAWhile(Injection):
    key, title = "N5", "the connection is cut, and none is accepted for 0.4 s"
    survived = True
    lasting = 0.4

    def act(self, bench: Bench) -> None:
        for proxy in bench.proxies:
            proxy.refuse()
            proxy.cut()

    def heal(self, bench: Bench) -> None:
        for proxy in bench.proxies:
            proxy.heal()


class CutTwice(Injection):
    key, title = "N6", "the connection is cut, and the next one too"
    survived = True
    lasting = 0.5

    def act(self, bench: Bench) -> None:
        for proxy in bench.proxies:
            proxy.on(b"PUB ", proxy.cut, before=self.random.random() < 0.5)
            proxy.cut()

    def heal(self, bench: Bench) -> None:
        for proxy in bench.proxies:
            proxy.heal()


class HalfOpen(Injection):
    key, title = "N7", "packets vanish for 0.5 s; then the connection is gone"
    survived = True
    lasting = 0.5

    def act(self, bench: Bench) -> None:
        for proxy in bench.proxies:
            proxy.hold_c2s()
            proxy.hold_s2c()

    def heal(self, bench: Bench) -> None:
        for proxy in bench.proxies:
            proxy.cut()
            proxy.heal()


class DeafPeer(Injection):
    key, title = "N8", "the server takes nothing for 0.5 s, then all of it"
    survived = True
    lasting = 0.5

    def act(self, bench: Bench) -> None:
        for proxy in bench.proxies:
            proxy.hold_c2s()

    def heal(self, bench: Bench) -> None:
        for proxy in bench.proxies:
            proxy.heal()


class SmallSegments(DeafPeer):
    key, title = "N9", "segments of one byte for 0.3 s"
    lasting = 0.3

    def act(self, bench: Bench) -> None:
        for proxy in bench.proxies:
            proxy.split(1)


class SlowNetwork(DeafPeer):
    key, title = "N10", "0.1 s of delay and 1 MiB/s for 1 s"
    lasting = 1.0

    def act(self, bench: Bench) -> None:
        for proxy in bench.proxies:
            proxy.delay(0.1)
            proxy.rate(1 << 20)


class Corruption(Injection):
    key, title = "N11", "a bit flips on the way"
    damages = litters = garbles = True
    timeout = 4.0
    lasting = 0.5

    def act(self, bench: Bench) -> None:
        direction = self.random.choice(["c2s", "s2c"])
        for proxy in bench.proxies:
            proxy.flip(direction, self.random.randrange(300))

    def heal(self, bench: Bench) -> None:
        for proxy in bench.proxies:
            proxy.heal()


# The server


class Killed(Injection):
    key, title = "S1", "the server is killed and comes back after 0.5 s"
    shared = survived = True
    lasting = 0.5

    def act(self, bench: Bench) -> None:
        bench.nodes[0].kill()

    def heal(self, bench: Bench) -> None:
        bench.nodes[0].start()


class Restarted(Killed):
    key, title = "S2", "the server is killed and comes back at once"
    lasting = 0.0


class Paused(Injection):
    key, title = "S3", "the server is paused for 2 s"
    shared = survived = True
    lasting = 2.0

    def act(self, bench: Bench) -> None:
        bench.nodes[0].pause()

    def heal(self, bench: Bench) -> None:
        bench.nodes[0].resume()


class ConsumersDeleted(Injection):
    key, title = "S11", "consumers are deleted"
    survived = True

    def act(self, bench: Bench) -> None:
        bench.raw.delete_consumers()


class BucketDeleted(Injection):
    key, title = "S12", "the bucket is deleted, and sometimes made again"
    damages = litters = True  # what is gone is gone
    timeout = 4.0

    def act(self, bench: Bench) -> None:
        config = bench.raw.config
        bench.raw.call("STREAM.DELETE.%")
        if self.random.random() < 0.5:
            bench.raw.call("STREAM.CREATE.%", config)

    def heal(self, bench: Bench) -> None:
        pass


class TooManyRequests(Injection):
    key, title = "S13", "the server refuses messages that it has no time for (429)"
    lasting = None
    config = "jetstream { max_buffered_msgs: 5 }"


# Readers


class Overwritten(Injection):
    key, title = "R1", "the object is overwritten or deleted"

    def act(self, bench: Bench) -> None:
        if self.random.random() < 0.5:
            bench.other.put("n", THEIRS)
        else:
            bench.other.delete("n", missing_ok=True)

    def theirs(self, name: str) -> set[str]:
        return {digest_of(THEIRS), ""} if name in CONTESTED else set()


class ChunkLost(Injection):
    key, title = "R2", "a chunk of the object is gone from the disk"
    damages = True

    def act(self, bench: Bench) -> None:
        for chunks in bench.raw.subjects(f"$O.{bench.bucket}.C.>"):
            message = bench.raw.message(last_by_subj=chunks)
            if message is not None:
                bench.raw.remove(message["seq"])


class Expired(Injection):
    key, title = "R3", "everything expires within 0.3 s"
    damages = litters = True
    lasting = 0.3
    timeout = 4.0

    def act(self, bench: Bench) -> None:
        self._set_age(bench, 100_000_000)

    def heal(self, bench: Bench) -> None:
        self._set_age(bench, 0)

    def _set_age(self, bench: Bench, age: int) -> None:
        config = {**bench.raw.config, "max_age": age}
        config["duplicate_window"] = min(config["duplicate_window"], age or 120_000_000_000)
        answer = bench.raw.call("STREAM.UPDATE.%", config)
        assert "error" not in answer, answer


class SlowReader(Injection):
    key, title = "R6", "the client takes nothing for 1 s, then all of it"
    survived = True
    lasting = 1.0

    def act(self, bench: Bench) -> None:
        for proxy in bench.proxies:
            proxy.hold_s2c()

    def heal(self, bench: Bench) -> None:
        for proxy in bench.proxies:
            proxy.heal()


# Storage


class BucketFull(Injection):
    key, title = "D1", "the bucket is full up to 50 kB"
    lasting = None
    timeout = 4.0
    room: ClassVar[int] = 50_000

    def act(self, bench: Bench) -> None:
        self._limit(bench, bench.raw.state["bytes"] + self.room)

    def heal(self, bench: Bench) -> None:
        self._limit(bench, -1)

    def _limit(self, bench: Bench, size: int) -> None:
        answer = bench.raw.call("STREAM.UPDATE.%", {**bench.raw.config, "max_bytes": size})
        assert "error" not in answer, answer


class BucketBrimful(BucketFull):
    key, title = "D2", "the bucket is full to the last byte"
    room = 0


class BucketFullFromTheStart(BucketFull):
    key, title = "D3", "the bucket has been full to the last byte for long"

    def prepare(self, bench: Bench) -> None:
        self._limit(bench, bench.raw.state["bytes"])

    def act(self, bench: Bench) -> None:
        pass


class ServerFull(Injection):
    key, title = "D4", "the server is full"
    shared = True
    lasting = None
    timeout = 4.0
    config = "jetstream { max_file_store: 120MB }"

    def act(self, bench: Bench) -> None:
        bench.raw.call("STREAM.CREATE.junk", {"name": "junk", "subjects": ["junk"]})
        size = 1 << 19
        while size >= 64:
            try:
                bench.raw.publish("junk", bytes(size))
            except AssertionError:
                size //= 2

    def heal(self, bench: Bench) -> None:
        bench.raw.call("STREAM.DELETE.junk")


class DiskBroken(Injection):
    key, title = "D5", "the disk takes no more bytes, until the server is restarted"
    shared = True
    litters = True  # a purge is not written either
    lasting = None
    timeout = 1.5

    def act(self, bench: Bench) -> None:
        pid = bench.nodes[0].pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))

    def heal(self, bench: Bench) -> None:
        bench.nodes[0].kill()
        bench.nodes[0].start()


# Other clients


class PutsAtOnce(Injection):
    key, title = "C1", "three others put the same name"
    survived = contends = True

    def act(self, bench: Bench) -> None:
        threads = [
            threading.Thread(target=bench.other.put, args=("n", THEIRS[number:]))
            for number in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def theirs(self, name: str) -> set[str]:
        return {digest_of(THEIRS[number:]) for number in range(3)} if name in CONTESTED else set()


class DeletedByAnother(Injection):
    key, title = "C2", "another deletes the name"

    def act(self, bench: Bench) -> None:
        bench.other.delete("n", missing_ok=True)

    def theirs(self, name: str) -> set[str]:
        return {""} if name in CONTESTED else set()


class MetaUpdatedByAnother(Injection):
    key, title = "C3", "another changes the description"
    survived = contends = True

    def act(self, bench: Bench) -> None:
        with contextlib.suppress(ObjStoreError):  # it may be gone already
            bench.other.update_meta("n", description="theirs")


class RenamedByAnother(Injection):
    key, title = "C4", "another renames it, and puts something else in its place"

    def act(self, bench: Bench) -> None:
        with contextlib.suppress(ObjStoreError):
            bench.other.update_meta("n", new_name="moved")
        bench.other.put("n", THEIRS)

    def theirs(self, name: str) -> set[str]:
        return {digest_of(THEIRS)} if name in CONTESTED else set()


class Overwrites(Injection):
    key, title = "C7", "another overwrites many names all the time"
    survived = True
    lasting = 0.5

    def prepare(self, bench: Bench) -> None:
        self._ended = threading.Event()
        self._writer = threading.Thread(target=self._write, args=(bench,))

    def act(self, bench: Bench) -> None:
        self._writer.start()

    def _write(self, bench: Bench) -> None:
        while not self._ended.is_set():
            bench.other.put_many((f"n{number}", pattern(100 + number)) for number in range(20))

    def heal(self, bench: Bench) -> None:
        self._ended.set()
        if self._writer.ident is not None:
            self._writer.join()

    def theirs(self, name: str) -> set[str]:
        return {digest_of(pattern(100 + int(name[1:])))} if name[1:].isdigit() else set()


# The process


class ProcessInjection(Injection):
    """A fault of the process: the operation runs in one of its own, which gets a signal."""

    number: ClassVar[int]


class Interrupted(ProcessInjection):
    key, title, number = "P1", "an interrupt (SIGINT)", signal.SIGINT
    litters = True  # what was replaced, if the interrupt comes before its purge


class Forked(ProcessInjection):
    key, title, number = "P3", "a fork whose child uses the client too", signal.SIGUSR1
    survived = True


class WriterKilled(ProcessInjection):
    key, title, number = "P6", "the process is killed", signal.SIGKILL
    litters = True  # one set of chunks, of the upload that was going on


INJECTIONS: tuple[type[Injection], ...] = (
    EndOfStream,
    Cut,
    CutForAWhile,
    CutTwice,
    HalfOpen,
    DeafPeer,
    SmallSegments,
    SlowNetwork,
    Corruption,
    Killed,
    Restarted,
    Paused,
    ConsumersDeleted,
    BucketDeleted,
    TooManyRequests,
    Overwritten,
    ChunkLost,
    Expired,
    SlowReader,
    BucketFull,
    BucketBrimful,
    BucketFullFromTheStart,
    ServerFull,
    DiskBroken,
    PutsAtOnce,
    DeletedByAnother,
    MetaUpdatedByAnother,
    RenamedByAnother,
    Overwrites,
    Interrupted,
    Forked,
    WriterKilled,
)


# A cluster of three


class ClusterInjection(Injection):
    """A fault of a cluster; all buckets are led by one node, and all clients on another."""

    shared = True
    timeout = 30.0
    survived = True
    #: Whether the clients are connected to the leader.
    on_leader: ClassVar[bool] = False

    def __init__(self, seed: int, cluster: Cluster) -> None:
        super().__init__(seed)
        self.cluster = cluster

    def leader(self, bench: Bench) -> Node:
        found: list[Node] = []

        def ask() -> bool:
            with Client(self.cluster.url) as client:
                node = self.cluster.leader(client, bench.stream)
            found.extend([node] if node is not None else [])
            return bool(found)

        wait_until(ask, 20)
        return found[-1]

    def heal(self, bench: Bench) -> None:
        for node in self.cluster.nodes:
            node.resume()
            node.start()


class StepDown(ClusterInjection):
    key, title = "S4", "the leader steps down"

    def act(self, bench: Bench) -> None:
        answer = bench.raw.call("STREAM.LEADER.STEPDOWN.%", {})
        assert answer.get("success"), answer


class LeaderKilled(ClusterInjection):
    key, title = "S5", "the leader is killed and comes back after 10 s"
    lasting = 10.0

    def act(self, bench: Bench) -> None:
        self.leader(bench).kill()


class LeaderPaused(ClusterInjection):
    key, title = "S6", "the leader is paused for 9 s"
    lasting = 9.0

    def act(self, bench: Bench) -> None:
        self.leader(bench).pause()


class OwnNodeKilled(ClusterInjection):
    key, title = "S7", "the node that the client is connected to is killed"
    lasting = 3.0

    def act(self, bench: Bench) -> None:
        self.cluster.nodes[0].kill()


class StaleLeader(LeaderPaused):
    key, title = "S8", "the leader, to which the client is connected, is paused for 9 s"
    on_leader = True


class LaggingFollower(ClusterInjection):
    key, title = "S9", "followers lag behind a leader under load"
    lasting = 2.0

    def prepare(self, bench: Bench) -> None:
        self._ended = threading.Event()
        self._writer = threading.Thread(target=self._write, args=(bench,))

    def act(self, bench: Bench) -> None:
        self._writer.start()

    def _write(self, bench: Bench) -> None:
        while not self._ended.is_set():
            bench.other.put("load", pattern(17 * 131072))

    def heal(self, bench: Bench) -> None:
        self._ended.set()
        if self._writer.ident is not None:
            self._writer.join()

    def theirs(self, name: str) -> set[str]:
        return {digest_of(pattern(17 * 131072)), ""} if name == "load" else set()


class QuorumLost(ClusterInjection):
    key, title = "S10", "two of three nodes are killed"
    survived = False
    litters = True  # nobody takes a purge
    timeout = 5.0
    lasting = None

    def act(self, bench: Bench) -> None:
        for node in self.cluster.nodes[1:]:
            node.kill()


class LameDuck(ClusterInjection):
    key, title = "N15", "the node that the client is connected to retires (lame duck)"
    lasting = 15.0

    def act(self, bench: Bench) -> None:
        self.cluster.nodes[0].signal(signal.SIGUSR2)

    def heal(self, bench: Bench) -> None:
        self.cluster.nodes[0].kill()
        super().heal(bench)


CLUSTER_INJECTIONS: tuple[type[ClusterInjection], ...] = (
    StepDown,
    LeaderKilled,
    LeaderPaused,
    OwnNodeKilled,
    StaleLeader,
    LaggingFollower,
    QuorumLost,
    LameDuck,
)
