"""What the processes tell each other: endpoints, observations, gauges, snapshots. Data only."""

import math
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import NewType

import msgspec
import numpy as np
import numpy.typing as npt
import xxhash

EndpointId = NewType("EndpointId", str)
"""Address of an endpoint as it goes on the wire: `10.0.0.1:8000` or `[fd00::1]:8000`."""

EndpointUid = NewType("EndpointUid", int)
"""64-bit identity of an endpoint, stable over restarts of the processes that know it."""

ReplicaId = NewType("ReplicaId", str)
ShardId = NewType("ShardId", str)

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
UidArray = npt.NDArray[np.uint64]
BoolArray = npt.NDArray[np.bool_]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One model-server address (one data-parallel rank). Build it with `make_endpoint`."""

    uid: EndpointUid
    id: EndpointId
    name: str
    namespace: str
    address: str  # canonical IP literal without brackets
    port: int
    labels: Mapping[str, str] = {}


def make_endpoint(
    *,
    name: str,
    address: str,
    port: int,
    namespace: str = "default",
    labels: Mapping[str, str] | None = None,
    uid_source: str | None = None,
) -> Endpoint:
    """Return a valid endpoint; raises ValueError that says which part is wrong.

    `uid_source` is what identifies the endpoint beyond its address (a pod's UID); without it the
    identity is a hash of namespace, name, address and port.
    """
    host = canonical_address(address)
    if not 1 <= port <= 65535:
        raise ValueError(f"port: {port} is not between 1 and 65535")
    identity = f"{uid_source}/{port}" if uid_source else f"{namespace}/{name}/{host}/{port}"
    return Endpoint(
        uid=EndpointUid(xxhash.xxh3_64_intdigest(identity.encode())),
        id=format_endpoint_id(host, port),
        name=name,
        namespace=namespace,
        address=host,
        port=port,
        labels=dict(labels or {}),
    )


def canonical_address(address: str) -> str:
    """Return the canonical form of an IPv4 or IPv6 literal, with or without brackets."""
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    try:
        return str(ip_address(bare))
    except ValueError:
        raise ValueError(f"address: {address!r} is not an IPv4 or IPv6 literal") from None


def format_endpoint_id(address: str, port: int) -> EndpointId:
    """Join a canonical address and a port, IPv6 in brackets."""
    return EndpointId(f"[{address}]:{port}" if ":" in address else f"{address}:{port}")


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """Result of one scrape of one endpoint. `None` is unknown, which is not zero."""

    uid: EndpointUid
    age_seconds: float
    """Time since the scrape's cut at the moment the snapshot was published."""
    running: float | None = None
    waiting: float | None = None
    kv_usage: float | None = None
    """Share of the KV cache in use, 0..1, mean over the endpoint's engines."""
    kv_capacity_tokens: float | None = None
    prefill_tokens_per_second: float | None = None
    """Learnt from scraped counters; None until enough has been seen."""
    decode_seconds_per_token: float | None = None
    """Mean inter-token latency of the last interval with traffic."""
    prefix_hits: float | None = None
    """Cumulative prompt tokens found in the prefix cache."""
    prefix_queries: float | None = None
    """Cumulative prompt tokens looked up in the prefix cache."""


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """What one replica had assigned and seen done, per endpoint, when a scrape was taken."""

    replica: ReplicaId
    incarnation: int
    uids: UidArray
    assigned_total: IntArray
    done_total: IntArray


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a collector publishes for one shard, atomically."""

    shard: ShardId
    fence: int
    version: int
    observations: tuple[Observation, ...]
    cuts: tuple[Cut, ...] = ()

    @property
    def order(self) -> tuple[int, int]:
        """Position among the snapshots of a shard: a later owner's fence, then its version."""
        return (self.fence, self.version)


class Gauge(msgspec.Struct, frozen=True, kw_only=True):
    """A replica's own bookings, published whole. Column arrays share the order of `uids`."""

    replica: ReplicaId
    incarnation: int
    seq: int
    epoch: str
    uids: UidArray
    requests: IntArray
    prefill_tokens: IntArray
    decode_tokens: IntArray
    assigned_total: IntArray
    done_total: IntArray

    @property
    def order(self) -> tuple[int, int]:
        """Position among the gauges of a replica: `(incarnation, seq)`."""
        return (self.incarnation, self.seq)


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """A replica's place in the pool: its incarnation is the fencing token of all it writes."""

    replica: ReplicaId
    incarnation: int
    epoch: str


def known(value: float | None) -> float:
    """Return the value, or NaN for unknown: the form that arrays use."""
    return math.nan if value is None else value


def unknown_to_none(value: float) -> float | None:
    """Return None for NaN: the form that JSON uses."""
    return None if math.isnan(value) else float(value)


def by_uid(endpoints: Iterable[Endpoint]) -> dict[EndpointUid, Endpoint]:
    """Index endpoints by identity; the last of two with one identity wins."""
    return {endpoint.uid: endpoint for endpoint in endpoints}
