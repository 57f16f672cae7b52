"""The life of a replica, on virtual time: two or more over one store."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from state.backends.memory.store import MemoryStore
from state.errors import InvalidEndpoints
from state.ledger import Booking
from state.merge import Merge
from state.model import Endpoint, Observation, ReplicaId, ShardId, Snapshot
from state.modes import Mode
from state.ports import EndpointListener, EndpointSource
from state.replica import Replica
from state.settings import StateSettings
from tests.support import builders
from tests.support.clock import LoopClock
from tests.support.store import FlakyStore, ToldSource

SETTINGS = StateSettings()
GAP, HEARTBEAT, LEASE = (
    SETTINGS.flush_gap_seconds,
    SETTINGS.heartbeat_seconds,
    SETTINGS.lease_seconds,
)
SOON = GAP / 10
"""Time for tasks that are ready to run, in virtual seconds."""


class Site:
    """One replica with its own way to the common store."""

    def __init__(
        self, name: str, store: MemoryStore, endpoints: Sequence[Endpoint] | None = None
    ) -> None:
        self.store = FlakyStore(store)
        self.source = ToldSource(builders.endpoints(2) if endpoints is None else endpoints)
        self.replica = make_replica(name, self.store, self.source)

    @property
    def requests(self) -> list[int]:
        requests: list[int] = self.replica.merge.view.requests.tolist()
        return requests

    @property
    def live(self) -> int:
        return self.replica.merge.view.replicas

    def book(self, number: int = 0) -> Booking:
        uid = builders.endpoint(number).uid
        return self.replica.merge.ledger.book(uid, prefill_tokens=100, decode_tokens=10)


def make_replica(name: str, store: FlakyStore, source: EndpointSource) -> Replica:
    return Replica(
        merge=Merge(ReplicaId(name)),
        store=store,
        source=source,
        clock=LoopClock(),
        settings=SETTINGS,
    )


@asynccontextmanager
async def running(*sites: Site) -> AsyncIterator[dict[str, asyncio.Task[None]]]:
    """Run replicas beside the context's body; the body may cancel their tasks (a kill)."""
    async with asyncio.TaskGroup() as group:
        tasks = {site.replica.id: group.create_task(site.replica.run()) for site in sites}
        await asyncio.sleep(SOON)
        try:
            yield {str(name): task for name, task in tasks.items()}
        finally:
            for task in tasks.values():
                task.cancel()


@pytest.fixture
async def store() -> MemoryStore:
    """Return an empty store on the loop's time."""
    return MemoryStore(LoopClock(), lease_seconds=LEASE)


@pytest.mark.looptime
async def test_booking_is_seen_by_the_other_within_the_flush_gap(store: MemoryStore) -> None:
    """Gauges are pushed, not polled."""
    a, b = Site("a", store), Site("b", store)
    async with running(a, b):
        await asyncio.sleep(GAP)
        a.book()
        await asyncio.sleep(SOON)
        assert [1, 0] == b.requests
        booking = a.book(1)
        await asyncio.sleep(GAP + SOON)
        assert [1, 1] == b.requests == a.requests
        booking.release()
        await asyncio.sleep(GAP + SOON)
        assert [1, 0] == b.requests


@pytest.mark.looptime
async def test_burst_of_bookings_is_few_gauges(store: MemoryStore) -> None:
    """At most one per gap, and the last one has it all."""
    a, b = Site("a", store), Site("b", store)
    async with running(a, b):
        published = len(a.store.gauges)
        for _ in range(100):
            a.book()
            await asyncio.sleep(GAP / 20)
        await asyncio.sleep(GAP + SOON)
        assert 5 <= len(a.store.gauges) - published <= 8
        assert [100, 0] == b.requests


@pytest.mark.looptime
async def test_quiet_replica_publishes_with_every_heartbeat(store: MemoryStore) -> None:
    """Silence would be taken for death."""
    a = Site("a", store)
    async with running(a):
        published = len(a.store.gauges)
        await asyncio.sleep(10 * HEARTBEAT + SOON)
        assert 10 == len(a.store.gauges) - published


@pytest.mark.looptime
async def test_newcomer_starts_with_the_peers_view(store: MemoryStore) -> None:
    """It reads before it serves."""
    a, b = Site("a", store), Site("b", store)
    async with running(a):
        a.book()
        await asyncio.sleep(10 * HEARTBEAT)
        async with running(b):
            assert [1, 0] == b.requests
            assert (2, 2) == (a.live, b.live)


@pytest.mark.looptime
async def test_newcomer_starts_with_the_snapshots(store: MemoryStore) -> None:
    """Also with those of long ago; their age tells."""
    lease = await store.acquire_shard(ShardId("0"), "collector")
    assert lease is not None
    observation = Observation(uid=builders.endpoint(0).uid, age_seconds=0.5, running=3.0)
    snapshot = Snapshot(
        shard=lease.shard, fence=lease.fence, version=1, observations=(observation,)
    )
    await store.publish_snapshot(lease, snapshot)
    a = Site("a", store)
    async with running(a):
        assert 3.0 == a.replica.merge.view.running[0]


@pytest.mark.looptime
async def test_snapshots_reach_all(store: MemoryStore) -> None:
    """As events."""
    a, b = Site("a", store), Site("b", store)
    async with running(a, b):
        lease = await store.acquire_shard(ShardId("0"), "collector")
        assert lease is not None
        snapshot = Snapshot(shard=lease.shard, fence=lease.fence, version=1, observations=())
        await store.publish_snapshot(lease, snapshot)
        await asyncio.sleep(SOON)
        expected = {lease.shard: (lease.fence, 1)}
        assert expected == a.replica.merge.view.versions == b.replica.merge.view.versions


@pytest.mark.looptime
async def test_leaving_drops_the_share_at_once(store: MemoryStore) -> None:
    """Nobody waits for a lease."""
    a, b = Site("a", store), Site("b", store)
    async with running(a, b):
        a.book()
        await asyncio.sleep(GAP)
        await a.replica.leave()
        await asyncio.sleep(SOON)
        assert [0, 0] == b.requests
        assert 1 == b.live


@pytest.mark.looptime
@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.1])
async def test_nothing_is_published_after_leaving(store: MemoryStore, seconds: float) -> None:
    """A gauge that the leave overtook is refused, and that is no reason to join again."""
    a, b = Site("a", store), Site("b", store)
    async with running(a, b):
        await asyncio.sleep(GAP)
        a.store.seconds = seconds
        a.book()
        await asyncio.sleep(seconds / 2)
        a.store.seconds = 0.0
        await a.replica.leave()
        await a.replica.leave()
        for _ in range(40):
            a.book()
            await asyncio.sleep(HEARTBEAT / 4)
            assert 1 == b.live
        assert None is a.replica.membership


@pytest.mark.looptime
async def test_leaving_while_joining_leaves_nothing_behind(store: MemoryStore) -> None:
    """The answer to the join comes when nobody wants it any more."""
    a, b = Site("a", store), Site("b", store)
    a.store.seconds = 0.1
    async with running(b), running(a):
        await asyncio.sleep(0.15)
        await a.replica.leave()
        await asyncio.sleep(2 * HEARTBEAT)
        assert None is a.replica.membership
        assert frozenset({"b"}) == await store.renew(b.replica.membership)  # type: ignore[arg-type]


@pytest.mark.looptime
async def test_killed_peer_is_dropped_after_its_lease(store: MemoryStore) -> None:
    """A hang or a kill: it says nothing more (C6)."""
    a, b = Site("a", store), Site("b", store)
    async with running(a, b) as tasks:
        a.book()
        await asyncio.sleep(GAP)
        tasks["a"].cancel()
        await asyncio.sleep(LEASE - HEARTBEAT)
        assert [1, 0] == b.requests
        await asyncio.sleep(2 * HEARTBEAT)
        assert [0, 0] == b.requests
        assert 1 == b.live


@pytest.mark.looptime
async def test_peer_falls_silent_while_the_store_is_away(store: MemoryStore) -> None:
    """Its lease ends on our clock too, or its share would stay for as long as the outage."""
    a, b = Site("a", store), Site("b", store)
    async with running(a, b):
        a.book()
        await asyncio.sleep(GAP)
        with capture_logs():
            b.store.available = False
            await asyncio.sleep(LEASE + 2 * HEARTBEAT)
            assert [0, 0] == b.requests


@pytest.mark.looptime
async def test_paused_replica_is_fenced_and_joins_again(store: MemoryStore) -> None:
    """Its bookings live on under the new incarnation (C6)."""
    a, b = Site("a", store), Site("b", store)
    async with running(a, b):
        a.book()
        await asyncio.sleep(GAP)
        first = a.replica.membership
        await store.join(ReplicaId("a"))  # somebody fenced it
        await asyncio.sleep(HEARTBEAT + SOON)
        second = a.replica.membership
        assert first is not None
        assert second is not None
        assert first.incarnation + 2 == second.incarnation
        assert [1, 0] == b.requests
        assert {("a", second.incarnation)} == {
            (peer.replica, peer.incarnation) for peer in b.replica.merge.report(0.0)
        }


@pytest.mark.looptime
async def test_refused_gauge_is_published_again_at_once(store: MemoryStore) -> None:
    """A fenced replica must not stay invisible until its next heartbeat."""
    a, b = Site("a", store), Site("b", store)
    async with running(a, b):
        await store.join(ReplicaId("a"))
        a.book()
        await asyncio.sleep(2 * GAP)
        assert [1, 0] == b.requests


@pytest.mark.looptime
async def test_outage_is_survived_and_heals(store: MemoryStore) -> None:
    """Bookings go on; when the store is back both see each other again."""
    a, b = Site("a", store), Site("b", store)
    async with running(a, b):
        with capture_logs() as logs:
            a.store.available = b.store.available = False
            booking = a.book()
            await asyncio.sleep(3.0)
            assert [1, 0] == a.requests
            b.book(1)
            booking.release()
            a.store.available = b.store.available = True
            await asyncio.sleep(6.0)
        assert [0, 1] == a.requests == b.requests
        assert (2, 2) == (a.live, b.live)
        assert "task failed" not in {entry["event"] for entry in logs}


@pytest.mark.looptime
async def test_outage_is_a_mode_that_is_entered_and_left(store: MemoryStore) -> None:
    """Visible within a second, logged once per change, left within a heartbeat of the store."""
    a, b = Site("a", store), Site("b", store)
    modes = []
    async with running(a, b):
        with capture_logs() as logs:
            for available, seconds in ((True, HEARTBEAT), (False, 1.2), (False, 5.0), (True, 2.0)):
                a.store.available = available
                await asyncio.sleep(seconds)
                modes.append(a.replica.mode.value)
        changes = [entry["now"] for entry in logs if entry["event"] == "mode changed"]
    assert ["normal", "store-away", "store-away", "normal"] == modes
    assert ["store-away", "normal"] == changes


@pytest.mark.looptime
async def test_silent_peers_are_estimated_during_an_outage(store: MemoryStore) -> None:
    """They go on placing unseen: the view says how many they are and how old it is."""
    a, b = Site("a", store), Site("b", store)
    async with running(a, b):
        await asyncio.sleep(2 * HEARTBEAT)
        with capture_logs():
            a.store.available = False
            await asyncio.sleep(LEASE + 3 * HEARTBEAT)
            assert 2 == a.replica.merge.view.replicas
            assert 1.0 == a.replica.merge.view.peers_age_seconds
            a.store.available = True
            await asyncio.sleep(3.0)
        assert 0.1 > a.replica.merge.view.peers_age_seconds


@pytest.mark.looptime
async def test_peers_that_died_in_an_outage_count_no_more_after_it(store: MemoryStore) -> None:
    """Nobody announces them: they are neither heard nor dropped again."""
    a, b = Site("a", store), Site("b", store)
    async with running(a, b) as tasks:
        await asyncio.sleep(2 * HEARTBEAT)
        with capture_logs():
            a.store.available = False
            tasks["b"].cancel()
            await asyncio.sleep(4 * LEASE)
            assert 2 == a.live
            a.store.available = True
            await asyncio.sleep(3 * LEASE)
        assert Mode.NORMAL is a.replica.mode
        assert 1 == a.live


@pytest.mark.looptime
async def test_flush_gap_grows_with_the_replicas(store: MemoryStore) -> None:
    """What a replica hears in a second stays bounded."""
    a = Site("a", store)
    async with running(a):
        for number in range(15):
            await store.join(ReplicaId(f"peer-{number}"))
            await store.publish_gauge(builders.gauge(f"peer-{number}", 1, {}))
        await asyncio.sleep(HEARTBEAT)
        assert 16 == a.live
        assert 2 * GAP <= a.replica.merge.view.peers_age_seconds


@pytest.mark.looptime
async def test_mode_is_alone_until_a_store_answers(store: MemoryStore) -> None:
    """A replica that never reached a store is not one that lost it."""
    a = Site("a", store)
    a.store.available = False
    with capture_logs():
        async with running(a):
            await asyncio.sleep(3.0)
            assert "alone" == a.replica.mode.value


@pytest.mark.looptime
async def test_store_that_comes_late_is_joined(store: MemoryStore) -> None:
    """A replica starts, and discovers, without it."""
    a = Site("a", store)
    a.store.available = False
    with capture_logs():
        async with running(a):
            assert a.replica.discovered.is_set()
            a.book()
            await asyncio.sleep(1.0)
            assert None is a.replica.membership
            a.store.available = True
            await asyncio.sleep(6.0)
            assert a.replica.membership is not None


@pytest.mark.looptime
async def test_leaving_during_an_outage_is_no_error(store: MemoryStore) -> None:
    """The lease will end it."""
    a = Site("a", store)
    async with running(a):
        with capture_logs() as logs:
            a.store.available = False
            await a.replica.leave()
        assert ["could not leave the pool, the lease will end it"] == [e["event"] for e in logs]


@pytest.mark.looptime
async def test_table_changes_while_running(store: MemoryStore) -> None:
    """Bookings on an endpoint that comes late to one replica count once it is there."""
    a, b = Site("a", store), Site("b", store, endpoints=builders.endpoints(1))
    async with running(a, b):
        a.book(1)
        await asyncio.sleep(GAP)
        assert [0] == b.requests
        b.source.tell(builders.endpoints(2))
        assert [0, 1] == b.requests


@pytest.mark.looptime
async def test_discovered_waits_for_the_first_set(store: MemoryStore) -> None:
    """An empty set is a set; none yet is not."""
    a = Site("a", store)
    a.source = ToldSource(None)
    a.replica = make_replica("a", a.store, a.source)
    async with running(a):
        assert not a.replica.discovered.is_set()
        a.source.tell([])
        assert a.replica.discovered.is_set()


@pytest.mark.looptime
@pytest.mark.parametrize("seconds", [1e-9, 0.0123456789, 0.5])
async def test_expected_end_of_a_prefill_is_told(store: MemoryStore, seconds: float) -> None:
    """Without another event of the stream, and without another pick."""
    a, b = Site("a", store), Site("b", store)
    async with running(a, b):
        await asyncio.sleep(2 * GAP)
        uid = builders.endpoint(0).uid
        now = asyncio.get_running_loop().time()
        a.replica.merge.ledger.book(
            uid, prefill_tokens=100, decode_tokens=10, prefilled_at=now + seconds
        )
        await asyncio.sleep(seconds / 2)
        assert 100 == a.replica.merge.view.prefill_tokens[0]
        await asyncio.sleep(seconds / 2 + 2 * GAP)
        for site in (a, b):
            assert [1, 0] == site.requests
            assert [0, 0] == site.replica.merge.view.prefill_tokens.tolist()


class BrokenSource:
    """A source whose first set is unusable."""

    async def run(self, listener: EndpointListener) -> None:  # noqa: ARG002  the port's shape
        raise InvalidEndpoints("endpoints.yaml", ["endpoints[0].port: 0"])


@pytest.mark.looptime
async def test_unusable_first_endpoints_end_the_run(store: MemoryStore) -> None:
    """The process must not serve on what it was not given."""
    replica = make_replica("a", FlakyStore(store), BrokenSource())
    with pytest.raises(BaseExceptionGroup) as caught:
        await replica.run()
    assert caught.group_contains(InvalidEndpoints, match="endpoints.yaml")


@pytest.mark.looptime
async def test_own_pick_rate_is_measured_between_heartbeats(store: MemoryStore) -> None:
    """Ten picks in a heartbeat, then none."""
    a = Site("a", store)
    async with running(a):
        for _ in range(10):
            a.book().release()
        await asyncio.sleep(HEARTBEAT)
        assert 10 / HEARTBEAT == pytest.approx(a.replica.merge.view.own_picks_per_second)
        await asyncio.sleep(HEARTBEAT)
        assert 0.0 == a.replica.merge.view.own_picks_per_second
