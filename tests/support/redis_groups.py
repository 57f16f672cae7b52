"""Redis servers that belong together: a master with its copy and a Sentinel, and a Cluster."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.redis_server import RedisServer, free_port

READY_SECONDS = 15.0
SLOTS = 16384

SENTINEL = """
sentinel monitor mm 127.0.0.1 {port} 1
sentinel down-after-milliseconds mm 300
sentinel failover-timeout mm 2000
"""


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for servers to agree."""
    end = time.monotonic() + READY_SECONDS
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


class Watched:
    """A master, a copy of it, and a Sentinel that watches them as `mm`."""

    def __init__(self, folder: Path) -> None:
        """Choose ports."""
        self.master = RedisServer(_below(folder, "master"))
        copies = ("--replicaof", "127.0.0.1", str(self.master.port))
        self.copy = RedisServer(_below(folder, "copy"), *copies, "--repl-diskless-sync-delay", "0")
        configuration = _below(folder, "sentinel") / "sentinel.conf"
        configuration.write_text(SENTINEL.format(port=self.master.port))
        self.sentinel = RedisServer(configuration.parent, "--sentinel", configuration=configuration)
        # A Sentinel that is down is passed over.
        self.url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{self.sentinel.port}/mm"
        self.servers = (self.master, self.copy, self.sentinel)

    def start(self) -> None:
        """Start all."""
        for each in self.servers:
            each.start()

    def wait_for_copy(self) -> None:
        """Return when the Sentinel could fail over."""
        wait_until(self._copied, "the Sentinel does not see the copy")

    def _copied(self) -> bool:
        told = self.sentinel.command("SENTINEL", "REPLICAS", "mm").split()
        return ("master-link-status", "ok") in pairwise(told[1::2])


class ClusterOfThree:
    """Three masters that share the slots."""

    def __init__(self, folder: Path) -> None:
        """Choose ports."""
        self.servers = tuple(cluster_node(_below(folder, f"node-{i}")) for i in range(3))
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.servers)
        self.url = f"redis+cluster://{hosts}"

    def start(self) -> None:
        """Start all, and return when they serve."""
        _, *others = self.servers
        for index, each in enumerate(self.servers):
            each.start()
            ends = (SLOTS * index // 3, SLOTS * (index + 1) // 3 - 1)
            each.command("CLUSTER", "ADDSLOTSRANGE", *ends)
            # Epochs that differ from the start spare the nodes a round of agreeing on them.
            each.command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
        for each in others:
            self._meet(each)
        wait_until(lambda: all(map(_serves, self.servers)), "the Cluster does not form")

    def owner(self, slot: int) -> RedisServer:
        """Return the node that serves a slot from the start."""
        return self.servers[min(slot * 3 // SLOTS, 2)]

    def add_copy(self, copy: RedisServer, master: RedisServer) -> None:
        """Start a further node, and return when it holds what a master holds."""
        copy.start()
        self._meet(copy)
        name = master.command("CLUSTER", "MYID").split()[-1]
        # A copy that takes over takes the slots that it knows of.
        wait_until(lambda: "cluster_state:ok" in copy.command("CLUSTER", "INFO"), "no slots known")
        copy.command("CLUSTER", "REPLICATE", name)
        wait_until(
            lambda: "master_link_status:up" in copy.command("INFO", "replication"),
            "the copy is not made",
        )

    def _meet(self, other: RedisServer) -> None:
        bus = other.command("CONFIG", "GET", "cluster-port").split()[-1]
        self.servers[0].command("CLUSTER", "MEET", "127.0.0.1", other.port, bus)

    def move(self, slot: int, to: RedisServer) -> None:
        """Empty all nodes, and give a slot to another one."""
        for each in self.servers:
            each.command("FLUSHALL")
        name = to.command("CLUSTER", "MYID").split()[-1]
        for each in (to, *(each for each in self.servers if each is not to)):
            each.command("CLUSTER", "SETSLOT", slot, "NODE", name)


def cluster_node(folder: Path) -> RedisServer:
    """Return a node that knows no others yet."""
    options = ("--cluster-port", str(free_port()), "--cluster-node-timeout", "2000")
    copying = ("--repl-diskless-sync-delay", "0")
    return RedisServer(folder, "--cluster-enabled", "yes", *options, *copying)


@contextmanager
def running(group: Watched | ClusterOfThree) -> Iterator[None]:
    """Start a group, and end its servers afterwards."""
    with ExitStack() as stack:
        for each in group.servers:
            stack.callback(each.kill)
        group.start()
        yield


@pytest.fixture(scope="session")
def redis_sentinel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Share a watched master; whoever uses it takes a pool of its own, and harms nothing."""
    group = Watched(tmp_path_factory.mktemp("watched"))
    with running(group):
        yield group


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterOfThree]:
    """Share a Cluster; whoever uses it takes a pool of its own, and harms nothing."""
    group = ClusterOfThree(tmp_path_factory.mktemp("cluster"))
    with running(group):
        yield group


def _below(folder: Path, name: str) -> Path:
    below = folder / name
    below.mkdir()
    return below


def _serves(server: RedisServer) -> bool:
    told = server.command("CLUSTER", "INFO")
    return "cluster_state:ok" in told and "cluster_known_nodes:3" in told
