"""Stores of each kind, with a hand on their clocks."""

import asyncio
import secrets
from typing import Protocol

import pytest
from redis.asyncio import Redis

from state.backends.memory.store import MemoryStore
from state.backends.redis.connect import connect
from state.backends.redis.keys import Keys
from state.backends.redis.store import RedisStore
from state.model import ReplicaId, ShardId
from state.ports import Reserver, Store
from state.runtime.clock import ManualClock, SystemClock
from tests.support.redis_groups import ClusterOfThree, Watched
from tests.support.redis_server import RedisServer


class Backend(Protocol):
    """A fresh, empty store of one kind, and a hand on its clock."""

    lease_seconds: float
    shard_lease_seconds: float

    def connect(self) -> Store:
        """Return a store as one more process opens it."""

    def reserver(self, store: Store) -> Reserver:
        """Return what books through that store."""

    async def pass_time(self, seconds: float) -> None:
        """Let time go by on the store's clock."""

    async def end_lease(self, replica: ReplicaId) -> None:
        """Let one replica's lease be over."""

    async def end_shard_lease(self, shard: ShardId) -> None:
        """Let one shard's lease be over."""


class MemoryBackend:
    """The store of one process: all share the object."""

    lease_seconds = 1.5
    shard_lease_seconds = 2.0

    def __init__(self) -> None:
        self._clock = ManualClock()
        self._store = MemoryStore(
            self._clock,
            lease_seconds=self.lease_seconds,
            shard_lease_seconds=self.shard_lease_seconds,
        )

    def connect(self) -> Store:
        return self._store

    def reserver(self, _store: Store) -> Reserver:
        return self._store.reserver

    async def pass_time(self, seconds: float) -> None:
        self._clock.advance(seconds)

    async def end_lease(self, replica: ReplicaId) -> None:
        member = self._store._members.get(replica)
        if member is not None:
            member.expires_at = self._clock.monotonic()

    async def end_shard_lease(self, shard: ShardId) -> None:
        row = self._store._shards.get(shard)
        if row is not None:
            row.expires_at = self._clock.monotonic()


class RedisBackend:
    """A pool of its own on real servers: every connection is one more process."""

    def __init__(
        self, url: str, *, lease_seconds: float = 0.4, shard_lease_seconds: float = 0.5
    ) -> None:
        self.lease_seconds = lease_seconds
        self.shard_lease_seconds = shard_lease_seconds
        self._url = url
        self._pool = f"pool {secrets.token_hex(4)}"
        self._keys = Keys(self._pool)

    def connect(self) -> Store:
        return RedisStore(
            self._client(),
            pool=self._pool,
            clock=SystemClock(),
            lease_seconds=self.lease_seconds,
            shard_lease_seconds=self.shard_lease_seconds,
        )

    def reserver(self, store: Store) -> Reserver:
        assert isinstance(store, RedisStore)
        # On a machine that is busy with other tests 3 ms are short.
        return store.reserver(deadline_seconds=1.0)

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def end_lease(self, replica: ReplicaId) -> None:
        async with self._client() as client:
            await client.zadd(self._keys.live, {replica: 0}, xx=True)

    async def end_shard_lease(self, shard: ShardId) -> None:
        async with self._client() as client:
            await client.delete(self._keys.owner(shard))

    def _client(self) -> Redis:
        return connect(self._url, slot=self._keys.slot)


SERVERS = ("redis_server", "redis_sentinel", "redis_cluster")


@pytest.fixture(
    params=["memory", *(pytest.param(each, marks=pytest.mark.integration) for each in SERVERS)]
)
def backend(request: pytest.FixtureRequest) -> Backend:
    """Return an empty backend of each kind."""
    if request.param == "memory":
        return MemoryBackend()
    server: RedisServer | Watched | ClusterOfThree = request.getfixturevalue(request.param)
    return RedisBackend(server.url)
