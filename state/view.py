"""The view: what one decision reads from start to end, as arrays by endpoint slot."""

from collections.abc import Mapping, Sequence

import numpy as np

from state.model import (
    Endpoint,
    EndpointUid,
    FloatArray,
    IntArray,
    Observation,
    ShardId,
    UidArray,
    known,
)

SIGNALS = (
    "running",
    "waiting",
    "kv_usage",
    "kv_capacity_tokens",
    "prefill_tokens_per_second",
    "decode_seconds_per_token",
    "prefix_hits",
    "prefix_queries",
)
"""Names shared by `Observation` fields and the view's arrays: one array per scraped signal."""


HIGHEST_HIT_RATIO = 0.95
"""Above it the mean of cached tokens would follow noise in the few uncached ones."""


class PoolView:
    """Endpoints and what is known of each, one array per signal; NaN is unknown.

    Shapes are `[endpoints]` throughout, in slot order. Load columns are totals over this replica
    and its live peers. Whoever merges news in does so without an `await`, so that a decision, which
    has none either, reads one state.
    """

    def __init__(self, endpoints: Sequence[Endpoint] = ()) -> None:
        self.endpoints: tuple[Endpoint, ...] = tuple(endpoints)
        self.slots: Mapping[EndpointUid, int] = {e.uid: i for i, e in enumerate(self.endpoints)}
        size = len(self.endpoints)
        self.uids: UidArray = np.fromiter((e.uid for e in self.endpoints), np.uint64, size)
        self._order = np.argsort(self.uids)
        self._sorted = self.uids[self._order]
        self.requests: IntArray = np.zeros(size, np.int64)
        """In-flight requests."""
        self.prefill_tokens: IntArray = np.zeros(size, np.int64)
        """Uncached prompt tokens whose first response byte has not been seen."""
        self.decode_tokens: IntArray = np.zeros(size, np.int64)
        """Output tokens expected of the requests in flight."""
        self.observed_at: FloatArray = _unknown(size)
        """Monotonic seconds of this process at the scrape's cut."""
        self.running: FloatArray = _unknown(size)
        self.waiting: FloatArray = _unknown(size)
        self.kv_usage: FloatArray = _unknown(size)
        self.kv_capacity_tokens: FloatArray = _unknown(size)
        self.prefill_tokens_per_second: FloatArray = _unknown(size)
        self.decode_seconds_per_token: FloatArray = _unknown(size)
        self.prefix_hits: FloatArray = _unknown(size)
        self.prefix_queries: FloatArray = _unknown(size)
        self.prefix_hit_ratio = 0.0
        """Share of prompt tokens that the pool's prefix caches held, over all that was scraped."""
        self.open_at_cut: IntArray = np.zeros(size, np.int64)
        """Requests of live replicas that were open when the endpoint was scraped."""
        self.versions: dict[ShardId, tuple[int, int]] = {}
        """Newest `(fence, version)` merged per shard: recorded with each decision."""
        self.now = 0.0
        """Monotonic seconds of this process at the start of the decision."""
        self.revision = 0
        """Grows whenever a number changes, so that what is derived from them can be kept."""
        self.observations = 0
        """Grows with what is scraped: observations and cuts, but not bookings."""
        self.mean_prefill_tokens = 0.0
        """Running mean of the uncached prompt tokens of this replica's requests."""
        self.replicas = 1
        """Live replicas, this one included."""
        self.peers_age_seconds = 0.0
        """How old peers' gauges may be on arrival: their flush gap plus the transport."""
        self.peer_picks_per_second = 0.0
        """Rate at which the live peers assign requests."""
        self.own_picks_per_second = 0.0
        """Rate at which this replica assigns requests."""

    def __len__(self) -> int:
        return len(self.endpoints)

    def locate(self, uids: UidArray) -> IntArray:
        """Return the slot of each UID, -1 where it is not in the table."""
        if not self.uids.size:
            return np.full(uids.size, -1, np.int64)
        nearest = np.minimum(np.searchsorted(self._sorted, uids), self.uids.size - 1)
        found = self._sorted[nearest] == uids
        return np.where(found, self._order[nearest], -1)

    def observe(self, observation: Observation, *, observed_at: float) -> None:
        """Take over what a scrape said of one endpoint; endpoints not in the table are ignored."""
        slot = self.slots.get(observation.uid)
        if slot is None:
            return
        self.revision += 1
        self.observations += 1
        self.observed_at[slot] = observed_at
        for name in SIGNALS:
            getattr(self, name)[slot] = known(getattr(observation, name))

    def forget(self, uid: EndpointUid) -> None:
        """Make the signals of an endpoint unknown; endpoints not in the table are ignored."""
        slot = self.slots.get(uid)
        if slot is None:
            return
        self.revision += 1
        self.observations += 1
        for name in ("observed_at", *SIGNALS):
            getattr(self, name)[slot] = np.nan

    def summarise(self) -> None:
        """Derive the pool's figures after observations."""
        queries = float(np.nansum(self.prefix_queries))
        self.prefix_hit_ratio = float(np.nansum(self.prefix_hits)) / queries if queries else 0.0

    @property
    def mean_cached_tokens(self) -> float:
        """Tokens that caches hold of an average prompt: its uncached rest is known."""
        ratio = min(self.prefix_hit_ratio, HIGHEST_HIT_RATIO)
        return self.mean_prefill_tokens * ratio / (1 - ratio)

    def add(self, uid: EndpointUid, requests: int, prefill: int, decode: int) -> None:
        """Move one endpoint's load by the given amounts; an endpoint that left is ignored."""
        slot = self.slots.get(uid)
        if slot is None:
            return
        self.revision += 1
        self.requests[slot] += requests
        self.prefill_tokens[slot] += prefill
        self.decode_tokens[slot] += decode

    def unbooked(self) -> FloatArray:
        """Requests that an endpoint's scrape shows and no live replica had open at its cut.

        Orphans of dead replicas and other clients. NaN where nothing was scraped.
        """
        return np.maximum(self.running + self.waiting - self.open_at_cut, 0.0)

    def outstanding(self) -> FloatArray:
        """Requests on each endpoint now: the scraped truth at its cut, corrected since.

        estimate = scraped + (open now - open at the cut), and never less than what the replicas
        have open themselves. Unscraped endpoints count their open requests alone.
        """
        unbooked = self.unbooked()
        known: FloatArray = np.where(np.isnan(unbooked), 0.0, unbooked)
        return known + self.requests

    def ages(self) -> FloatArray:
        """Seconds since each endpoint's cut; NaN where it was never scraped."""
        return self.now - self.observed_at


def _unknown(size: int) -> FloatArray:
    return np.full(size, np.nan)
