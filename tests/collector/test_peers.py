"""The gauges that cuts are made of."""

import asyncio

import pytest

from collector.peers import PeerGauges
from state.backends.memory.store import MemoryStore
from state.model import Membership, ReplicaId
from tests.collector.fakes import LoopClock, run_for
from tests.support.builders import gauge

pytestmark = pytest.mark.looptime

LOADS = {1: (4, 100, 10)}


def replicas(peers: PeerGauges) -> dict[str, int]:
    return {cut.replica: int(cut.assigned_total.sum()) for cut in peers.cuts()}


async def join(store: MemoryStore, name: str) -> Membership:
    membership = await store.join(ReplicaId(name))
    await store.publish_gauge(gauge(name, 1, LOADS))
    return membership


async def test_gauges_from_before_and_after_the_start_are_known() -> None:
    """A collector that starts late reads what is there and hears what follows."""
    store = MemoryStore(LoopClock())
    peers = PeerGauges(store)

    async def life() -> None:
        await join(store, "early")
        await asyncio.sleep(0.1)
        assert {"early": 4} == replicas(peers)
        await join(store, "late")
        await store.publish_gauge(gauge("early", 2, {1: (6, 0, 0)}))
        await asyncio.sleep(0.1)
        assert {"early": 6, "late": 4} == replicas(peers)

    await run_for(1.0, life, peers.run)


async def test_replica_that_leaves_is_gone_at_once() -> None:
    """Leaving takes the replica out of the next cut."""
    store = MemoryStore(LoopClock())
    peers = PeerGauges(store)

    async def life() -> None:
        membership = await join(store, "r")
        await asyncio.sleep(0.1)
        await store.leave(membership)
        await asyncio.sleep(0.01)
        assert {} == replicas(peers)

    await run_for(0.5, life, peers.run)


async def test_replica_that_dies_is_gone_after_its_lease() -> None:
    """A replica whose lease is over is dropped at the next refresh."""
    store = MemoryStore(LoopClock(), lease_seconds=1.5)
    peers = PeerGauges(store)

    async def life() -> None:
        await join(store, "r")
        await asyncio.sleep(1.2)
        assert {"r": 4} == replicas(peers)
        await asyncio.sleep(1.5)
        assert {} == replicas(peers)

    await run_for(3.0, life, peers.run)
