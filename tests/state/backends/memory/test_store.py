"""What only the memory store promises; the rest is in tests/contract."""

from state.backends.memory.store import LONGEST_BACKLOG, MemoryStore
from state.model import Gauge, ReplicaId
from state.runtime.clock import ManualClock
from tests.support import builders

A, B = ReplicaId("a"), ReplicaId("b")


async def test_slow_subscriber_loses_the_oldest() -> None:
    """Each event carries whole state, so the newest heals."""
    store = MemoryStore(ManualClock())
    await store.join(A)
    async with store.events() as events:
        for seq in range(1, LONGEST_BACKLOG + 11):
            await store.publish_gauge(builders.gauge("a", seq, {}))
        received = [await anext(events) for _ in range(LONGEST_BACKLOG)]
    seqs = [event.seq for event in received if isinstance(event, Gauge)]
    assert list(range(11, LONGEST_BACKLOG + 11)) == seqs


async def test_end_of_a_lease_is_told_with_the_next_call() -> None:
    """Any member's heartbeat reaps the dead."""
    clock = ManualClock()
    store = MemoryStore(clock, lease_seconds=1.5)
    await store.join(A)
    clock.advance(1.0)
    alive = await store.join(B)
    async with store.events() as events:
        clock.advance(0.5)
        await store.renew(alive)
        assert A == await anext(events)


async def test_stores_are_pools_of_their_own() -> None:
    """Another object is another content, and another epoch."""
    one, other = MemoryStore(ManualClock()), MemoryStore(ManualClock())
    first, second = await one.join(A), await other.join(A)
    assert first.epoch != second.epoch
    assert 1 == first.incarnation == second.incarnation
