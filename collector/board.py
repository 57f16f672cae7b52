"""The latest observation of every endpoint, with the cut it belongs to."""

import asyncio
from collections.abc import Collection, Sequence

import msgspec

from collector.cuts import CutTable
from state.model import Cut, EndpointUid, Observation


class ObservationBoard:
    """Written by the scrapers, read by the publisher. Endpoints that left are gone from it."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        """Set by every news; whoever publishes clears it."""
        self._latest: dict[EndpointUid, tuple[Observation, float]] = {}
        self._cuts = CutTable()

    def record(self, observation: Observation, *, sent_at: float, cuts: Sequence[Cut]) -> None:
        """Take in a scrape that was sent at a monotonic time, when the replicas stood at `cuts`."""
        self._latest[observation.uid] = (observation, sent_at)
        self._cuts.record(observation.uid, cuts)
        self.changed.set()

    def retain(self, uids: Collection[EndpointUid]) -> None:
        """Forget all other endpoints."""
        gone = [uid for uid in self._latest if uid not in uids]
        for uid in gone:
            del self._latest[uid]
        if gone:
            self._cuts.retain(uids)
            self.changed.set()

    def observations(self, now: float) -> tuple[Observation, ...]:
        """Return the latest observations, aged to a monotonic time."""
        return tuple(
            msgspec.structs.replace(observation, age_seconds=max(now - sent_at, 0.0))
            for observation, sent_at in self._latest.values()
        )

    def cuts(self) -> tuple[Cut, ...]:
        """Return the cuts that the latest observations belong to."""
        return self._cuts.cuts()
