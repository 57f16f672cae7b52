"""A shard's snapshots: when they are published, and by whom."""

import asyncio

import pytest

from collector.board import ObservationBoard
from collector.publish import Publisher
from collector.settings import PublishSettings
from state.backends.memory.store import MemoryStore
from state.errors import StoreUnavailable
from state.model import ShardId, Snapshot
from state.ports import Lease
from tests.collector.fakes import LoopClock, gaps, metrics, observation, run_for

pytestmark = pytest.mark.looptime

SHARD = ShardId("0")


class WatchedStore(MemoryStore):
    """A memory store that notes accepted snapshots and can be out of reach."""

    def __init__(self) -> None:
        super().__init__(LoopClock(), shard_lease_seconds=2.0)
        self.snapshots: list[tuple[float, Snapshot]] = []
        self.away = False

    @property
    def times(self) -> list[float]:
        return [time for time, _ in self.snapshots]

    async def acquire_shard(self, shard: ShardId, owner: str) -> Lease | None:
        self._reach()
        return await super().acquire_shard(shard, owner)

    async def renew_shard(self, lease: Lease) -> bool:
        self._reach()
        return await super().renew_shard(lease)

    async def publish_snapshot(self, lease: Lease, snapshot: Snapshot) -> bool:
        self._reach()
        accepted = await super().publish_snapshot(lease, snapshot)
        if accepted:
            self.snapshots.append((asyncio.get_running_loop().time(), snapshot))
        return accepted

    def _reach(self) -> None:
        if self.away:
            raise StoreUnavailable


def publisher(store: WatchedStore, board: ObservationBoard, owner: str = "a") -> Publisher:
    return Publisher(
        store=store,
        shard=SHARD,
        owner=owner,
        board=board,
        clock=LoopClock(),
        settings=PublishSettings(),
        metrics=metrics(),
    )


async def scrape_every(seconds: float, board: ObservationBoard) -> None:
    while True:
        board.record(observation(), sent_at=asyncio.get_running_loop().time(), cuts=[])
        await asyncio.sleep(seconds)


async def test_news_are_published_at_most_once_per_gap() -> None:
    """However many scrapes arrive, snapshots keep their distance."""
    store, board = WatchedStore(), ObservationBoard()
    await run_for(2.0, publisher(store, board).run, lambda: scrape_every(0.003, board))
    assert all(gap >= 0.05 - 1e-9 for gap in gaps(store.times))
    assert 38 == pytest.approx(len(store.snapshots), abs=3)


async def test_single_news_is_published_at_once() -> None:
    """A scrape after a quiet time does not wait for a gap or a heartbeat."""
    store, board = WatchedStore(), ObservationBoard()

    async def scrape() -> None:
        await asyncio.sleep(0.7)
        board.record(observation(), sent_at=0.6, cuts=[])

    await run_for(0.9, publisher(store, board).run, scrape)
    time, snapshot = store.snapshots[-1]
    assert pytest.approx(0.7, abs=0.001) == time
    assert pytest.approx(0.1, abs=0.001) == snapshot.observations[0].age_seconds


async def test_snapshot_is_published_every_second_without_news() -> None:
    """The heartbeat goes on when nothing is scraped, and observations age."""
    store, board = WatchedStore(), ObservationBoard()
    board.record(observation(), sent_at=0.0, cuts=[])
    await run_for(5.5, publisher(store, board).run)
    assert 6 == pytest.approx(len(store.snapshots), abs=1)
    ages = [snapshot.observations[0].age_seconds for _, snapshot in store.snapshots]
    assert sorted(ages) == ages
    assert ages[-1] > 4.0


async def test_versions_only_grow() -> None:
    """Every snapshot is newer than the one before."""
    store, board = WatchedStore(), ObservationBoard()
    await run_for(3.0, publisher(store, board).run, lambda: scrape_every(0.1, board))
    orders = [snapshot.order for _, snapshot in store.snapshots]
    assert sorted(set(orders)) == orders


async def test_shard_is_given_back_at_the_end() -> None:
    """A collector that stops leaves its shard free at once."""
    store, board = WatchedStore(), ObservationBoard()
    await run_for(0.5, publisher(store, board).run)
    lease = await store.acquire_shard(SHARD, "b")
    assert lease is not None
    assert 2 == lease.fence


async def test_second_collector_waits_for_the_first() -> None:
    """While the shard is owned the other publishes nothing, and takes over when it is free."""
    store, board = WatchedStore(), ObservationBoard()
    first, second = publisher(store, board, "a"), publisher(store, board, "b")

    async def first_life() -> None:
        await run_for(3.0, first.run)

    async def second_life() -> None:
        await asyncio.sleep(0.5)
        await second.run()

    await run_for(6.0, first_life, second_life)
    fences = [(time, snapshot.fence) for time, snapshot in store.snapshots]
    assert all(fence == (1 if time < 3.0 - 1e-9 else 2) for time, fence in fences)
    assert 3.0 <= next(time for time, fence in fences if fence == 2) < 3.3


async def test_stolen_shard_is_not_written_and_is_acquired_again() -> None:
    """A collector whose shard went to another stops, and starts over when it is free."""
    store, board = WatchedStore(), ObservationBoard()
    subject = publisher(store, board)

    async def steal() -> None:
        await asyncio.sleep(1.0)
        store._shards[SHARD].expires_at = 0.0
        assert await store.acquire_shard(SHARD, "thief") is not None

    await run_for(5.0, subject.run, lambda: scrape_every(0.1, board), steal)
    quiet = [time for time in store.times if 1.01 < time < 2.9]
    assert [] == quiet
    assert {1, 3} == {snapshot.fence for _, snapshot in store.snapshots}


async def test_paused_collector_is_fenced_when_it_wakes() -> None:
    """A lease that ran out during a pause is found lost, and nothing is written with it."""
    store, board = WatchedStore(), ObservationBoard()

    async def pause() -> None:
        await asyncio.sleep(1.0)
        store._shards[SHARD].expires_at = 0.0

    await run_for(3.0, publisher(store, board).run, lambda: scrape_every(0.1, board), pause)
    fences = [snapshot.fence for _, snapshot in store.snapshots]
    assert [1, 2] == sorted(set(fences))
    assert sorted(fences) == fences


async def test_store_that_is_away_is_waited_for() -> None:
    """Unknown is not lost: after a short absence the same lease goes on."""
    store, board = WatchedStore(), ObservationBoard()

    async def outage() -> None:
        await asyncio.sleep(1.0)
        store.away = True
        await asyncio.sleep(1.0)
        store.away = False

    await run_for(4.0, publisher(store, board).run, lambda: scrape_every(0.1, board), outage)
    assert [] == [time for time in store.times if 1.01 < time < 2.0]
    assert {1} == {snapshot.fence for _, snapshot in store.snapshots}
    assert store.times[-1] > 3.8


async def test_store_that_was_away_longer_than_the_lease_is_joined_again() -> None:
    """A lease that ended during the absence is acquired anew with a higher fence."""
    store, board = WatchedStore(), ObservationBoard()
    store.away = True

    async def outages() -> None:
        await asyncio.sleep(1.0)
        store.away = False
        await asyncio.sleep(1.0)
        store.away = True
        await asyncio.sleep(3.0)
        store.away = False

    await run_for(7.0, publisher(store, board).run, lambda: scrape_every(0.1, board), outages)
    assert [1, 2] == sorted({snapshot.fence for _, snapshot in store.snapshots})
    assert store.times[-1] > 6.8
