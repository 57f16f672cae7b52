"""A replica's life in the pool: it joins, hears its peers, tells them its gauge, and leaves."""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import structlog

from state.errors import StoreUnavailable
from state.merge import Merge
from state.model import Endpoint, Gauge, Membership, ReplicaId, Snapshot
from state.modes import Mode
from state.ports import EndpointSource, Store, StoreEvent
from state.runtime.clock import Clock
from state.runtime.tasks import supervise
from state.settings import StateSettings

log = structlog.get_logger(__name__)

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0

REPLICAS_PER_GAP = 8
LONGEST_GAP = 4
"""The flush gap is stretched with every further 8 replicas, at most fourfold."""

ECHO_WEIGHT = 1 / 16


class Replica:
    """Keeps one `Merge` in step with a store and a discovery source.

    Nothing here is awaited by a decision: decisions read `merge.view` and book in `merge.ledger`.
    """

    def __init__(
        self,
        *,
        merge: Merge,
        store: Store,
        source: EndpointSource,
        clock: Clock,
        settings: StateSettings,
    ) -> None:
        self.merge = merge
        self.membership: Membership | None = None
        self.discovered = asyncio.Event()
        """Set once discovery has delivered its first complete set."""
        self._store = store
        self._source = source
        self._clock = clock
        self._settings = settings
        self._seq = 0
        self._left = False
        self._reached_at: float | None = None
        self._mode = Mode.ALONE
        self._live = 1
        self._sent_at = (0, 0.0)
        self._echo_seconds = 0.0
        self._news = asyncio.Event()
        self._picks = (clock.monotonic(), 0)
        merge.ledger.on_news = self._news.set

    @property
    def id(self) -> ReplicaId:
        return self.merge.replica

    @property
    def mode(self) -> Mode:
        """What the view rests on now."""
        if self._reached_at is None:
            return Mode.ALONE
        silence = self._clock.monotonic() - self._reached_at
        return Mode.STORE_AWAY if silence > self._settings.away_after_seconds else Mode.NORMAL

    async def run(self) -> None:
        """Stay in the pool until cancelled; an unusable first endpoint list raises its error."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._source.run(self._on_endpoints), name="discovery")
            tasks.create_task(supervise(self._keep_taking_part, name="membership"))
            tasks.create_task(self._watch(), name="watch")

    async def leave(self) -> None:
        """Drop this replica's share at once; afterwards nothing of it is published."""
        self._left = True
        membership, self.membership = self.membership, None
        if membership is not None:
            await self._give_up(membership)

    async def _give_up(self, membership: Membership) -> None:
        try:
            await self._store.leave(membership)
        except StoreUnavailable as error:
            log.warning("could not leave the pool, the lease will end it", error=str(error))

    def _on_endpoints(self, endpoints: Sequence[Endpoint]) -> None:
        if self.merge.set_endpoints(endpoints):
            log.info("endpoints changed", count=len(self.merge.view))
        self.discovered.set()

    async def _keep_taking_part(self) -> None:
        """Take part again and again: a store that is away is no fault of ours."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._take_part()
            except* StoreUnavailable as group:
                log.debug("store does not answer", reason=str(group.exceptions[0]))
            if self.mode is Mode.NORMAL:
                pause = FIRST_PAUSE_SECONDS
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _take_part(self) -> None:
        async with self._store.events() as events, asyncio.TaskGroup() as tasks:
            await self._join()
            tasks.create_task(self._listen(aiter(events)), name="events")
            tasks.create_task(self._flush(), name="flush")
            tasks.create_task(self._heartbeat(), name="heartbeat")

    async def _join(self) -> None:
        await self._become_member()
        contents = await self._store.read()
        now = self._clock.monotonic()
        for gauge in contents.gauges:
            self.merge.apply_gauge(gauge, now)
        for snapshot in contents.snapshots:
            self.merge.apply_snapshot(snapshot, now)
        self._reached()
        await self._publish()

    async def _become_member(self) -> None:
        if self._left:
            return
        membership = await self._store.join(self.id)
        if self._left:  # while the answer travelled
            await self._give_up(membership)
            return
        self.membership = membership
        self.merge.joined(membership.incarnation)

    async def _listen(self, events: AsyncIterator[StoreEvent]) -> None:
        async for event in events:
            self._on_event(event)

    def _on_event(self, event: StoreEvent) -> None:
        now = self._clock.monotonic()
        if isinstance(event, Gauge):
            self._measure_echo(event, now)
            self.merge.apply_gauge(event, now)
        elif isinstance(event, Snapshot):
            self.merge.apply_snapshot(event, now)
        else:
            self.merge.drop_peer(event)

    async def _flush(self) -> None:
        while True:
            await self._until_news()
            self._news.clear()
            await self._publish()
            await asyncio.sleep(self._flush_gap)

    async def _until_news(self) -> None:
        """Wait for a change of the own bookings, settling those whose prefill should be over."""
        while not self._news.is_set():
            due = self.merge.ledger.next_settlement - self._clock.monotonic()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if due == math.inf else max(due, 0)):
                    await self._news.wait()
            self.merge.ledger.settle(self._clock.monotonic())

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(self._settings.heartbeat_seconds)
            await self._renew()
            self._measure_picks()
            await self._publish()

    async def _renew(self) -> None:
        if self.membership is None:
            return
        asked_at = self._clock.monotonic()
        live = await self._store.renew(self.membership)
        if live is None:
            log.warning("fenced, joining again", replica=self.id)
            await self._join()
        else:
            self._live = len(live)
            self._reached()
            self.merge.keep_peers(live, heard_before=asked_at)

    async def _publish(self) -> None:
        before = self.membership
        if await self._offer_gauge():
            return
        if self.membership is before:
            log.warning("gauge refused, joining again", replica=self.id)
            await self._become_member()
        await self._offer_gauge()

    async def _offer_gauge(self) -> bool:
        """Publish the current gauge. False: this incarnation is fenced."""
        if self.membership is None:
            return True
        self._seq += 1
        self._sent_at = (self._seq, self._clock.monotonic())
        return await self._store.publish_gauge(self.merge.ledger.gauge(self.membership, self._seq))

    def _reached(self) -> None:
        self._reached_at = self._clock.monotonic()

    @property
    def _flush_gap(self) -> float:
        """Grows with the replicas, so that what each hears in a second stays bounded."""
        crowd = self.merge.view.replicas / REPLICAS_PER_GAP
        return self._settings.flush_gap_seconds * min(max(crowd, 1.0), LONGEST_GAP)

    def _measure_echo(self, gauge: Gauge, now: float) -> None:
        """How long a gauge takes to its readers: our own comes back to us, on our own clock."""
        seq, sent_at = self._sent_at
        if gauge.replica == self.id and gauge.seq == seq:
            self._echo_seconds += ECHO_WEIGHT * (now - sent_at - self._echo_seconds)

    def _measure_picks(self) -> None:
        now, assigned = self._clock.monotonic(), self.merge.ledger.assigned
        before, count = self._picks
        self._picks = (now, assigned)
        if now > before:
            self.merge.view.own_picks_per_second = (assigned - count) / (now - before)

    async def _watch(self) -> None:
        """Follow the mode and the peers' age, whatever becomes of the store."""
        while True:
            self._note_mode()
            self._age_view()
            await asyncio.sleep(self._settings.heartbeat_seconds)
            self._drop_silent_peers()

    def _note_mode(self) -> None:
        before, self._mode = self._mode, self.mode
        if before is not self._mode:
            log.warning("mode changed", before=before.value, now=self._mode.value)

    def _age_view(self) -> None:
        """Say how old the peers' part of the view is, and how many they are.

        While the store is away, those who were live are taken to go on as before: they place as
        much as this replica does, unseen since the store last answered.
        """
        view = self.merge.view
        if self._mode is Mode.STORE_AWAY and self._reached_at is not None:
            view.replicas = max(self._live, view.replicas)
            silence = self._clock.monotonic() - self._reached_at
            view.peers_age_seconds = min(silence, self._settings.longest_age_seconds)
        else:
            # Of peers that died in an outage no news would come that corrects the estimate.
            view.replicas = 1 + self.merge.peers
            view.peers_age_seconds = self._flush_gap + self._echo_seconds

    def _drop_silent_peers(self) -> None:
        """While the store is away nobody else ends the share of a silent peer."""
        before = self._clock.monotonic() - self._settings.lease_seconds
        for replica in self.merge.silent_peers(before):
            log.warning("peer lost, its share is dropped", peer=replica)
            self.merge.drop_peer(replica)
