"""Runs a cell: requests arrive, pickers place them, engines answer, and all of it is recorded."""

from bisect import bisect
from collections.abc import Callable
from itertools import accumulate

import numpy as np
import xxhash

from state.model import make_endpoint
from state.replica import LONGEST_GAP, REPLICAS_PER_GAP
from tests.simulation import peers, profiles
from tests.simulation.cell import WARM_UP, Cell, Outcome, Record, percentile
from tests.simulation.events import Events
from tests.simulation.fleet import Fleet
from tests.simulation.gauges import CADENCE, GaugePool, Pool
from tests.simulation.scheme import Scheme, World
from tests.simulation.workload import Arrival, arrivals

SAMPLE_SECONDS = 0.25


def ours(world: World) -> Scheme:
    """Return replicas as in production: pushed gauges, and a picker that knows their age."""
    gap = flush_gap(world.cell.replicas)
    return pushed(world, gap=gap, pick_gap=gap)


def picks_first(world: World) -> Scheme:
    """Return the same, but news of picks never waits longer than with few replicas."""
    gap = flush_gap(world.cell.replicas)
    return pushed(world, gap=gap, pick_gap=CADENCE.flush_gap_seconds)


def pushed(world: World, *, gap: float, pick_gap: float) -> Scheme:
    """Return pushed gauges; their age is what a replica measures: the gap and the way."""
    return GaugePool(
        world,
        profiles.ours(world.cell),
        gap_seconds=gap,
        pick_gap_seconds=pick_gap,
        age_seconds=pick_gap + world.cell.delay_seconds,
    )


def flush_gap(replicas: int) -> float:
    """Return the gap as state.replica stretches it."""
    crowd = max(replicas / REPLICAS_PER_GAP, 1.0)
    return CADENCE.flush_gap_seconds * min(crowd, LONGEST_GAP)


def local(world: World) -> Scheme:
    """Return replicas that know their own bookings and what scrapes show."""
    cell = world.cell
    return Pool(world, profiles.ours(cell), pickers=cell.replicas, delay=cell.delay)


def periodic(seconds: float) -> Callable[[World], Scheme]:
    """Return gauges once in a period and the least delay in what they say."""
    return lambda world: GaugePool(world, profiles.argmin(world.cell), period_seconds=seconds)


SCHEMES: dict[str, Callable[[World], Scheme]] = {
    "perfect": lambda world: peers.SinglePool(world, profiles.argmin(world.cell)),
    "ours": ours,
    "picks-first": picks_first,
    "local": local,
    "gauges-100ms": periodic(0.1),
    "gauges-200ms": periodic(0.2),
    "delta-bus": peers.DeltaPool,
    "incr-decr": peers.CounterPool,
    "polling-50ms": peers.PollingPool,
    "random": lambda world: peers.SinglePool(world, profiles.random(world.cell)),
}


class Simulation:
    """One run of one cell."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.events = Events()
        self.fleet = Fleet(self.events, cell.engine, cell.engine_speeds)
        self.records: list[Record] = []
        self._alive = list(range(cell.replicas))
        self._bounds = list(accumulate(rank**-cell.skew for rank in range(1, cell.replicas + 1)))
        self._arrivals = arrivals(cell.mix, rate=cell.rate, count=cell.requests, seed=cell.seed)
        self._coming = next(self._arrivals, None)
        self._imbalance: list[float] = []
        self.scheme: Scheme = SCHEMES[cell.scheme](
            World(
                cell=cell,
                events=self.events,
                endpoints=[
                    make_endpoint(name=f"s{n}", address=f"10.0.{n // 250}.{n % 250 + 1}", port=8000)
                    for n in range(cell.endpoints)
                ],
                fleet=self.fleet,
                busy=self._busy,
            )
        )

    def run(self) -> Outcome:
        """Let everything arrive and end."""
        if self._coming is not None:
            self.events.at(self._coming.at, self._arrive)
        self.events.every(
            SAMPLE_SECONDS, self._sample, first=SAMPLE_SECONDS, going=self._still_arriving
        )
        self.events.run()
        return self._outcome()

    def _busy(self) -> bool:
        return self._coming is not None or self.fleet.open_requests > 0

    def _still_arriving(self) -> bool:
        return self._coming is not None

    def _arrive(self, now: float) -> None:
        arrival = self._coming
        assert arrival is not None
        if self.cell.lost_at is not None and len(self.records) == self._index(self.cell.lost_at):
            self.scheme.lose(self._alive.pop())
            self._bounds.pop()
        self._place(arrival, now)
        self._coming = next(self._arrivals, None)
        if self._coming is not None:
            self.events.at(self._coming.at, self._arrive)

    def _place(self, arrival: Arrival, now: float) -> None:
        drawn = bisect(self._bounds, arrival.lot * self._bounds[-1])
        replica = self._alive[min(drawn, len(self._alive) - 1)]
        slot, held = self.scheme.place(replica, arrival.request)
        tokens = arrival.request.prompt_tokens
        record = Record(slot=slot, arrived_at=now, prompt_tokens=tokens)
        self.records.append(record)

        def on_first_token(at: float) -> None:
            record.first_token_at = at
            record.cached_tokens = queued.cached_tokens

        def on_end(at: float) -> None:  # noqa: ARG001  both tell the time
            held.release()

        queued = self.fleet.submit(
            slot, arrival.served, on_first_token=on_first_token, on_end=on_end
        )

    def _index(self, share: float) -> int:
        return int(share * self.cell.requests)

    def _sample(self, now: float) -> None:
        if len(self.records) < self._index(WARM_UP):
            return
        loads = []
        for engine in self.fleet.engines:
            engine.advance(now)
            loads.append((engine.running + engine.waiting) / engine.speed)
        mean = sum(loads) / len(loads)
        if mean:
            self._imbalance.append(max(loads) / mean)

    def _outcome(self) -> Outcome:
        measured = self.records[self._index(WARM_UP) :]
        waits = [r.first_token_at - r.arrived_at for r in measured]
        prompts = sum(r.prompt_tokens for r in measured)
        work = sum(engine.meter.generation_tokens for engine in self.fleet.engines)
        work_seconds = work * self.cell.engine.step_seconds_per_sequence
        computed = sum(engine.meter.computed_tokens.sum for engine in self.fleet.engines)
        work_seconds += computed / self.cell.engine.prefill_tokens_per_second
        seconds = self.records[-1].arrived_at
        return Outcome(
            ttft_p50=percentile(waits, 0.5),
            ttft_p99=percentile(waits, 0.99),
            ttft_mean=sum(waits) / len(waits),
            longest_queue=self.fleet.longest_queue,
            imbalance=float(np.mean(self._imbalance)) if self._imbalance else 0.0,
            hit_rate=sum(r.cached_tokens for r in measured) / prompts,
            utilisation=work_seconds / seconds / sum(self.cell.engine_speeds),
            seconds=seconds,
            fingerprint=self._fingerprint(),
            reasons=self.scheme.reasons(),
        )

    def _fingerprint(self) -> str:
        digest = xxhash.xxh3_64()
        for record in self.records:
            digest.update(f"{record.slot} {record.first_token_at!r}\n".encode())
        return digest.hexdigest()


def simulate(cell: Cell) -> Outcome:
    """Return what comes of a cell; equal cells have equal outcomes."""
    return Simulation(cell).run()
