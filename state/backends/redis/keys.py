"""Names of a pool's keys. All share one hash tag, so that scripts and MGET are legal in Cluster."""

from collections.abc import Iterable
from urllib.parse import quote

from redis.crc import key_slot

from state.model import ReplicaId, ShardId


class Keys:
    """Keys of one pool, whose percent-encoded name may hold braces, spaces, anything."""

    def __init__(self, pool: str) -> None:
        """Keep the common part of the names."""
        prefix = f"mm:{{{quote(pool, safe='')}}}:"
        self.prefix = prefix
        self.epoch = f"{prefix}epoch"
        self.incarnations = f"{prefix}inc"
        self.live = f"{prefix}live"
        self.gauge_orders = f"{prefix}gv"
        self.fences = f"{prefix}fence"
        self.snapshot_orders = f"{prefix}sv"
        self.reserved = f"{prefix}load"
        self.ledgers = f"{prefix}led"
        self.bus = f"{prefix}bus"

    @property
    def slot(self) -> int:
        """Where a Cluster keeps them."""
        return int(key_slot(self.prefix.encode()))

    @property
    def types(self) -> dict[str, str]:
        """What the keys of fixed names hold, unless another application took them."""
        hashes = (
            self.incarnations,
            self.gauge_orders,
            self.fences,
            self.snapshot_orders,
            self.reserved,
        )
        fixed = {self.epoch: "string", self.live: "zset", self.ledgers: "set"}
        return fixed | dict.fromkeys(hashes, "hash")

    def gauge(self, replica: ReplicaId) -> str:
        """Return the key of a replica's gauge."""
        return f"{self.prefix}g:{replica}"

    def ledger(self, name: str) -> str:
        """Return the key of what an incarnation has reserved."""
        return f"{self.prefix}led:{name}"

    def released(self, name: str) -> str:
        """Return the key of what an incarnation released before it was reserved."""
        return f"{self.prefix}rel:{name}"

    def snapshot(self, shard: ShardId) -> str:
        """Return the key of a shard's snapshot."""
        return f"{self.prefix}snap:{shard}"

    def owner(self, shard: ShardId) -> str:
        """Return the key of a shard's lease."""
        return f"{self.prefix}own:{shard}"

    def gauges(self, replicas: Iterable[ReplicaId]) -> list[str]:
        """Return the keys of several gauges, in that order."""
        return [self.gauge(each) for each in replicas]

    def snapshots(self, shards: Iterable[ShardId]) -> list[str]:
        """Return the keys of several snapshots, in that order."""
        return [self.snapshot(each) for each in shards]
