"""The store of many processes: a Redis server, every operation one atomic script."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import structlog
from redis.exceptions import ResponseError

from state.backends.redis import wire
from state.backends.redis.breaker import Breaker
from state.backends.redis.calls import Calls
from state.backends.redis.faults import FAULTS, misconfiguration, suspicion
from state.backends.redis.feed import Feed
from state.backends.redis.keys import Keys
from state.backends.redis.reserve import RESERVE_SECONDS, RedisReserver
from state.backends.redis.scripts import evaluate
from state.errors import StoreMisconfigured, StoreUnavailable, WireError
from state.model import Gauge, Membership, ReplicaId, ShardId, Snapshot
from state.ports import Contents, Lease, StoreEvent
from state.runtime.clock import Clock

log = structlog.get_logger(__name__)

DEADLINE_SECONDS = 0.4
"""Of one call with everything in it: connecting, logging in, sending a script's text."""
SNAPSHOT_SECONDS = 10.0
"""Life of a snapshot whose collector is gone."""

_Read = TypeVar("_Read")


class RedisStore:
    """One process's connection to the pool's keys. Fits `Store`."""

    def __init__(
        self,
        client: Any,
        *,
        pool: str,
        clock: Clock,
        url: str = "redis",
        lease_seconds: float = 1.5,
        shard_lease_seconds: float = 2.0,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        """Take over a redis.asyncio client; `url` is what messages call it, without a password."""
        self.skipped = 0
        """Blobs that were no messages of ours."""
        self._client = client
        self._keys = Keys(pool)
        self._clock = clock
        self._deadline_seconds = deadline_seconds
        self._calls = Calls(client, Breaker(clock), deadline_seconds=deadline_seconds)
        self._run = self._calls.run
        self._url = url
        self._lease_ms = round(lease_seconds * 1000)
        self._shard_lease_ms = round(shard_lease_seconds * 1000)
        self._incarnations: dict[ReplicaId, int] = {}

    async def check(self) -> None:
        """Try what will be needed. Raises StoreMisconfigured, or StoreUnavailable on silence."""
        try:
            async with asyncio.timeout(self._deadline_seconds):
                await self._client.ping()
                await self._check_types()
                await evaluate(self._client, "list", self._list_keys, self._keys.bus)
            feed = self._feed()
            try:
                await feed.open()
            finally:
                await feed.close()
        except FAULTS as error:
            found = misconfiguration(error)
            if found is not None:
                raise StoreMisconfigured(self._url, *found) from error
            raise StoreUnavailable(suspicion(error)) from error

    async def _check_types(self) -> None:
        for key, expected in self._keys.types.items():
            found = (await self._client.type(key)).decode()
            if found not in {expected, "none"}:
                raise ResponseError(f"WRONGTYPE {key} is a {found}, expected a {expected}")

    async def join(self, replica: ReplicaId) -> Membership:
        keys = self._keys
        names = [
            keys.epoch,
            keys.incarnations,
            keys.live,
            keys.gauge(replica),
            keys.gauge_orders,
        ]
        floor = self._incarnations.get(replica, 0)
        reply = await self._run("join", names, replica, floor, self._lease_ms, secrets.token_hex(8))
        incarnation, epoch = int(reply[0]), reply[1].decode()
        self._incarnations[replica] = incarnation
        return Membership(replica=replica, incarnation=incarnation, epoch=epoch)

    async def renew(self, membership: Membership) -> frozenset[ReplicaId] | None:
        live = await self._run(
            "renew",
            [self._keys.incarnations, self._keys.live, self._keys.gauge_orders],
            membership.replica,
            membership.incarnation,
            self._lease_ms,
            self._keys.bus,
        )
        return None if live is None else frozenset(_replicas(live))

    async def publish_gauge(self, gauge: Gauge) -> bool:
        written = await self._run(
            "publish_gauge",
            self._member_keys(gauge.replica),
            gauge.replica,
            gauge.incarnation,
            gauge.seq,
            self._lease_ms,
            wire.encode_gauge(gauge),
            self._keys.bus,
        )
        return bool(written)

    async def leave(self, membership: Membership) -> None:
        replica = membership.replica
        await self._run(
            "leave",
            self._member_keys(replica),
            replica,
            membership.incarnation,
            wire.encode_departure(replica),
            self._keys.bus,
        )

    async def read(self) -> Contents:
        live, shards = await self._run("list", self._list_keys, self._keys.bus)
        replicas = _replicas(live)
        snapshots = [ShardId(each) for each in _names(shards)]
        blobs = await self._calls.get(
            [*self._keys.gauges(replicas), *self._keys.snapshots(snapshots)],
        )
        return Contents(
            gauges=self._decoded(blobs[: len(replicas)], wire.decode_gauge),
            snapshots=self._decoded(blobs[len(replicas) :], wire.decode_snapshot),
        )

    async def acquire_shard(self, shard: ShardId, owner: str) -> Lease | None:
        names = [self._keys.owner(shard), self._keys.fences]
        fence = await self._run("acquire_shard", names, shard, owner, self._shard_lease_ms)
        return None if fence is None else Lease(shard=shard, owner=owner, fence=int(fence))

    async def renew_shard(self, lease: Lease) -> bool:
        names = [self._keys.owner(lease.shard)]
        return bool(await self._run("renew_shard", names, _claim(lease), self._shard_lease_ms))

    async def release_shard(self, lease: Lease) -> None:
        await self._run("release_shard", [self._keys.owner(lease.shard)], _claim(lease))

    async def publish_snapshot(self, lease: Lease, snapshot: Snapshot) -> bool:
        if snapshot.shard != lease.shard or snapshot.fence != lease.fence:
            return False
        keys = self._keys
        written = await self._run(
            "publish_snapshot",
            [keys.owner(lease.shard), keys.snapshot(lease.shard), keys.snapshot_orders],
            _claim(lease),
            lease.shard,
            snapshot.fence,
            snapshot.version,
            round(SNAPSHOT_SECONDS * 1000),
            wire.encode_snapshot(snapshot),
            keys.bus,
        )
        return bool(written)

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[StoreEvent]]:
        feed = self._feed()
        try:
            with self._calls.answered(self._keys.bus):
                await feed.open()
            yield feed
        finally:
            await feed.close()

    def reserver(self, *, deadline_seconds: float = RESERVE_SECONDS) -> RedisReserver:
        """Return the reserver of the pool.

        It shares the connections: one that its short deadline cut is opened again by a call that
        has the time. Its breaker is its own, since what is slow for a pick is not for a gauge.
        """
        breaker = Breaker(self._clock, name="reservations")
        swift = Calls(self._client, breaker, deadline_seconds=deadline_seconds)
        return RedisReserver(self._keys, swift=swift, patient=self._calls)

    async def close(self) -> None:
        await self._client.aclose()

    def _feed(self) -> Feed:
        return Feed(self._client, self._keys.bus, self.read, self._skip)

    def _member_keys(self, replica: ReplicaId) -> list[str]:
        keys = self._keys
        return [keys.incarnations, keys.live, keys.gauge(replica), keys.gauge_orders]

    @property
    def _list_keys(self) -> list[str]:
        keys = self._keys
        return [keys.incarnations, keys.live, keys.gauge_orders, keys.snapshot_orders]

    def _decoded(
        self, blobs: Sequence[bytes | None], decode: Callable[[bytes], _Read]
    ) -> tuple[_Read, ...]:
        found = []
        for blob in blobs:
            if blob is None:
                continue
            try:
                found.append(decode(blob))
            except WireError as error:
                self._skip(error)
        return tuple(found)

    def _skip(self, error: WireError) -> None:
        self.skipped += 1
        log.debug("skipped what is no message of ours", reason=str(error))


def _claim(lease: Lease) -> str:
    """Return the value of a shard's lease."""
    return f"{lease.fence}:{lease.owner}"


def _replicas(names: Sequence[bytes]) -> list[ReplicaId]:
    return [ReplicaId(each) for each in _names(names)]


def _names(names: Sequence[bytes]) -> list[str]:
    """Return names as text; what others wrote into our keys may be anything."""
    return [each.decode(errors="replace") for each in names]
