"""Stores that misbehave, and a source of endpoints that a test speaks through."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from state.errors import StoreUnavailable
from state.model import Endpoint, Gauge, Membership, ReplicaId, ShardId, Snapshot
from state.ports import Contents, EndpointListener, Lease, Store, StoreEvent


class FlakyStore:
    """One process's way to a store: it may be slow, and it may be cut."""

    def __init__(self, store: Store) -> None:
        self.available = True
        self.seconds = 0.0
        """How long a call takes before it reaches the store, and again for the answer."""
        self.gauges: list[Gauge] = []
        """What was published through here, whether or not it was accepted."""
        self._store = store

    async def join(self, replica: ReplicaId) -> Membership:
        async with self._travel():
            return await self._store.join(replica)

    async def renew(self, membership: Membership) -> frozenset[ReplicaId] | None:
        async with self._travel():
            return await self._store.renew(membership)

    async def publish_gauge(self, gauge: Gauge) -> bool:
        async with self._travel():
            self.gauges.append(gauge)
            return await self._store.publish_gauge(gauge)

    async def leave(self, membership: Membership) -> None:
        async with self._travel():
            await self._store.leave(membership)

    async def read(self) -> Contents:
        async with self._travel():
            return await self._store.read()

    async def acquire_shard(self, shard: ShardId, owner: str) -> Lease | None:
        async with self._travel():
            return await self._store.acquire_shard(shard, owner)

    async def renew_shard(self, lease: Lease) -> bool:
        async with self._travel():
            return await self._store.renew_shard(lease)

    async def release_shard(self, lease: Lease) -> None:
        async with self._travel():
            await self._store.release_shard(lease)

    async def publish_snapshot(self, lease: Lease, snapshot: Snapshot) -> bool:
        async with self._travel():
            return await self._store.publish_snapshot(lease, snapshot)

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[StoreEvent]]:
        async with self._travel():
            pass
        async with self._store.events() as events:
            yield self._while_available(events)

    async def close(self) -> None:
        await self._store.close()

    async def _while_available(
        self, events: AsyncIterator[StoreEvent]
    ) -> AsyncIterator[StoreEvent]:
        async for event in events:
            if not self.available:
                raise StoreUnavailable("cut")
            yield event

    @asynccontextmanager
    async def _travel(self) -> AsyncIterator[None]:
        await self._one_way()
        yield
        await self._one_way()

    async def _one_way(self) -> None:
        if self.seconds:
            await asyncio.sleep(self.seconds)
        if not self.available:
            raise StoreUnavailable("cut")


class ToldSource:
    """An `EndpointSource` that says what a test tells it to."""

    def __init__(self, endpoints: Sequence[Endpoint] | None) -> None:
        self._first = endpoints
        self._listener: EndpointListener | None = None

    async def run(self, listener: EndpointListener) -> None:
        self._listener = listener
        if self._first is not None:
            listener(self._first)
        await asyncio.Event().wait()

    def tell(self, endpoints: Sequence[Endpoint]) -> None:
        """Deliver a new complete set."""
        if self._listener is not None:
            self._listener(endpoints)
