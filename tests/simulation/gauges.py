"""Replicas that publish their gauges whole: our scheme, and the slower ones of peers."""

import math
from collections.abc import Callable, Iterable
from functools import partial

from picker.flow.director import Placed
from picker.requests.model import InferenceRequest
from picker.scheduling.delay import DelaySettings
from state.board import GaugeBoard
from state.ledger import Ledger
from state.model import Cut, Gauge, Membership
from state.settings import StateSettings
from tests.simulation.collector import Collector
from tests.simulation.events import Call, Events
from tests.simulation.replica import Replica
from tests.simulation.scheme import Held, World
from tests.simulation.wire import Wire

CADENCE = StateSettings()


class Pool:
    """Replicas and a collector, without any news of each other."""

    def __init__(self, world: World, config: str, *, pickers: int, delay: DelaySettings) -> None:
        cell, self.events = world.cell, world.events
        self.replicas = [
            Replica(
                number,
                world.endpoints,
                clock=world.events.clock,
                config=config,
                delay=delay,
                seed=cell.seed,
            )
            for number in range(pickers)
        ]
        self.lost: set[int] = set()
        self._seqs = [0] * pickers
        self._collector = Collector(
            world.endpoints, world.fleet.engines, self.cuts, delay_seconds=cell.delay_seconds
        )
        self._wakes = [math.inf] * pickers
        world.events.every(
            cell.scrape_seconds, self._collector.scrape, first=cell.scrape_seconds, going=world.busy
        )

    def place(self, replica: int, request: InferenceRequest) -> tuple[int, Held]:
        """Catch up, decide and book."""
        self.catch_up(replica)
        placed = self.decide(replica, request)
        view = self.replicas[replica].view
        return view.slots[placed.booking.uid], placed.booking

    def decide(self, replica: int, request: InferenceRequest) -> Placed:
        """Decide and book."""
        placed = self.replicas[replica].place(request)
        self._settle_later(replica)
        return placed

    def lose(self, replica: int) -> None:
        """Nobody hears of it, so only its own requests are hit."""
        self.lost.add(replica)

    def reasons(self) -> dict[str, int]:
        """Return how often which rule chose."""
        total: dict[str, int] = {}
        for replica in self.replicas:
            for reason, count in replica.reasons.counts.items():
                total[reason] = total.get(reason, 0) + count
        return total

    def catch_up(self, replica: int) -> None:
        """Take over the newest snapshot that has arrived."""
        news = self._collector.arrived(self.events.now)
        if news is not None:
            arrived_at, snapshot = news
            self.replicas[replica].merge.apply_snapshot(snapshot, arrived_at)

    def gauge(self, replica: int) -> Gauge:
        """Return the present gauge of a replica."""
        self._seqs[replica] += 1
        known = self.replicas[replica]
        membership = Membership(replica=known.id, incarnation=1, epoch="simulated")
        return known.merge.ledger.gauge(membership, self._seqs[replica])

    def known_gauges(self, now: float) -> Iterable[Gauge]:  # noqa: ARG002  sharing schemes' shape
        """Yield what the collector knows of: here each replica reads its own."""
        return map(self.gauge, range(len(self.replicas)))

    def cuts(self, now: float) -> tuple[Cut, ...]:
        """Return what each replica had assigned and seen done, as the collector knows it."""
        board = GaugeBoard()
        for gauge in self.known_gauges(now):
            board.apply(gauge)
        return board.cuts()

    def _settle_later(self, replica: int) -> None:
        """Keep one event for the next prompt that should have been processed."""
        due = self.replicas[replica].merge.ledger.next_settlement
        if due < self._wakes[replica]:
            self._wakes[replica] = due
            self.events.at(due, lambda now: self._settle(replica, due, now))

    def _settle(self, replica: int, due: float, now: float) -> None:
        if self._wakes[replica] != due:
            return
        self._wakes[replica] = math.inf
        self.replicas[replica].merge.ledger.settle(now)
        self._settle_later(replica)


class Pushing:
    """A replica's publisher: with news, but at most once per gap; news of a pick may have less."""

    def __init__(
        self,
        events: Events,
        ledger: Ledger,
        send: Call,
        *,
        gap_seconds: float,
        pick_gap_seconds: float,
    ) -> None:
        self._events = events
        self._send = send
        self._gap_seconds = gap_seconds
        self._pick_gap_seconds = pick_gap_seconds
        self._last = -math.inf
        self._due = math.inf
        ledger.on_news = self._on_news

    def on_pick(self) -> None:
        """A request was booked."""
        self._plan(self._pick_gap_seconds)

    def _on_news(self) -> None:
        self._plan(self._gap_seconds)

    def _plan(self, gap: float) -> None:
        # After what else happens at this moment: in production the flusher is another task.
        due = max(self._last + gap, self._events.now)
        if due < self._due:
            self._due = due
            self._events.at(due, lambda now: self._publish(due, now))

    def _publish(self, due: float, now: float) -> None:
        if self._due == due:
            self._last, self._due = now, math.inf
            self._send(now)


class GaugePool(Pool):
    """Replicas that exchange gauges: pushed on news with a gap, or once in a period."""

    def __init__(
        self,
        world: World,
        config: str,
        *,
        gap_seconds: float | None = None,
        pick_gap_seconds: float | None = None,
        period_seconds: float | None = None,
        age_seconds: float = 0.0,
    ) -> None:
        cell = world.cell
        super().__init__(world, config, pickers=cell.replicas, delay=cell.delay)
        self._wire = Wire(cell.delay_seconds)
        self._picks = [(0.0, 0)] * cell.replicas
        self._pushing: list[Pushing] = []
        for number, replica in enumerate(self.replicas):
            replica.view.peers_age_seconds = age_seconds
            phase = number / cell.replicas
            self._every(world, CADENCE.heartbeat_seconds, self._heartbeat, phase, number)
            if gap_seconds is not None:
                pushing = Pushing(
                    world.events,
                    replica.merge.ledger,
                    partial(self._publish, number),
                    gap_seconds=gap_seconds,
                    pick_gap_seconds=gap_seconds if pick_gap_seconds is None else pick_gap_seconds,
                )
                self._pushing.append(pushing)
            if period_seconds is not None:
                self._every(world, period_seconds, self._publish, phase, number)
            self._publish(number, 0.0)  # as a replica does when it joins

    def decide(self, replica: int, request: InferenceRequest) -> Placed:
        """Decide, book, and have it told."""
        placed = super().decide(replica, request)
        if self._pushing:
            self._pushing[replica].on_pick()
        return placed

    @property
    def published(self) -> int:
        """Gauges sent since the start."""
        return self._wire.sent

    def lose(self, replica: int) -> None:
        """Its gauge counts until its lease is over."""
        super().lose(replica)
        self.events.at(self.events.now + CADENCE.lease_seconds, lambda _: self._drop(replica))

    def catch_up(self, replica: int) -> None:
        """Take over what has arrived."""
        merge = self.replicas[replica].merge
        for arrived_at, gauge in self._wire.arrived(self.events.now):
            merge.apply_gauge(gauge, arrived_at)
        super().catch_up(replica)

    def known_gauges(self, now: float) -> Iterable[Gauge]:
        """Yield the gauges that have arrived."""
        return [gauge for _, gauge in self._wire.arrived(now)]

    def _every(
        self,
        world: World,
        interval: float,
        call: Callable[[int, float], None],
        phase: float,
        number: int,
    ) -> None:
        """Call at an interval, each replica at its own phase."""
        world.events.every(
            interval, lambda now: call(number, now), first=phase * interval, going=world.busy
        )

    def _publish(self, replica: int, now: float) -> None:
        if replica not in self.lost:
            self.replicas[replica].merge.ledger.settle(now)
            self._wire.publish(self.gauge(replica), now)

    def _heartbeat(self, replica: int, now: float) -> None:
        """Measure the own rate of picks, as a replica does with every heartbeat."""
        merge = self.replicas[replica].merge
        before, count = self._picks[replica]
        self._picks[replica] = (now, merge.ledger.assigned)
        if now > before:
            merge.view.own_picks_per_second = (merge.ledger.assigned - count) / (now - before)
        if self._pushing:
            self._publish(replica, now)

    def _drop(self, replica: int) -> None:
        gone = self.replicas[replica].id
        self._wire.drop(gone)
        for each in self.replicas:
            each.merge.drop_peer(gone)
