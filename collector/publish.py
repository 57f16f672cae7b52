"""Owns a shard and publishes its snapshots for as long as the store agrees."""

import asyncio

import structlog

from collector.board import ObservationBoard
from collector.metrics import CollectorMetrics
from collector.settings import PublishSettings
from state.errors import StoreUnavailable
from state.model import ShardId, Snapshot
from state.ports import Lease, Store
from state.runtime.clock import Clock

log = structlog.get_logger(__name__)

RELEASE_SECONDS = 1.0
"""Giving a shard back at the end may take this long; otherwise the lease runs out."""


class Publisher:
    """Acquires the shard, publishes while it is owned, and starts over when it is lost.

    A snapshot is published when there is news, at most once per gap, and at every heartbeat.
    """

    def __init__(
        self,
        *,
        store: Store,
        shard: ShardId,
        owner: str,
        board: ObservationBoard,
        clock: Clock,
        settings: PublishSettings,
        metrics: CollectorMetrics,
    ) -> None:
        self._store = store
        self._shard = shard
        self._owner = owner
        self._board = board
        self._clock = clock
        self._settings = settings
        self._metrics = metrics
        self._version = 0
        self._available = True

    async def run(self) -> None:
        """Publish until cancelled, then give the shard back."""
        while True:
            lease = await self._acquire()
            log.info("shard acquired", shard=lease.shard, fence=lease.fence)
            self._metrics.owned_shards.inc()
            try:
                await self._publish_while_owner(lease)
                log.warning("shard lost", shard=lease.shard, fence=lease.fence)
            finally:
                self._metrics.owned_shards.dec()
                await self._release(lease)

    async def _acquire(self) -> Lease:
        while True:
            try:
                lease = await self._store.acquire_shard(self._shard, self._owner)
            except StoreUnavailable as error:
                self._note(error)
            else:
                self._note(None)
                if lease is not None:
                    return lease
            await asyncio.sleep(self._settings.retry_seconds)

    async def _release(self, lease: Lease) -> None:
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._store.release_shard(lease)
        except (StoreUnavailable, TimeoutError) as error:
            log.warning("shard not released, its lease will end", error=str(error))

    async def _publish_while_owner(self, lease: Lease) -> None:
        """Renew and publish; returns when the shard belongs to somebody else."""
        renew_at = self._clock.monotonic() + self._settings.renew_seconds
        publish_at = self._clock.monotonic()
        while True:
            await self._wait_for_news(min(renew_at, publish_at))
            now = self._clock.monotonic()
            try:
                if now >= renew_at:
                    if not await self._store.renew_shard(lease):
                        return
                    renew_at = now + self._settings.renew_seconds
                if now >= publish_at or self._board.changed.is_set():
                    if not await self._publish(lease):
                        return
                    publish_at = now + self._settings.heartbeat_seconds
            except StoreUnavailable as error:
                self._note(error)
                await asyncio.sleep(self._settings.retry_seconds)
            else:
                self._note(None)
                await asyncio.sleep(self._settings.gap_seconds)

    async def _wait_for_news(self, until: float) -> None:
        try:
            async with asyncio.timeout(max(until - self._clock.monotonic(), 0.0)):
                await self._board.changed.wait()
        except TimeoutError:
            return

    async def _publish(self, lease: Lease) -> bool:
        self._board.changed.clear()
        self._version += 1
        snapshot = Snapshot(
            shard=lease.shard,
            fence=lease.fence,
            version=self._version,
            observations=self._board.observations(self._clock.monotonic()),
            cuts=self._board.cuts(),
        )
        try:
            published = await self._store.publish_snapshot(lease, snapshot)
        except StoreUnavailable:
            self._metrics.unknown.inc()
            self._board.changed.set()
            raise
        (self._metrics.published if published else self._metrics.refused).inc()
        return published

    def _note(self, error: StoreUnavailable | None) -> None:
        """Log the first of a row of failures, and its end."""
        if error is not None and self._available:
            log.warning("store unavailable, snapshots wait", error=str(error))
        elif error is None and not self._available:
            log.info("store available again")
        self._available = error is None
