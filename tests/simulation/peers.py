"""Emulations of other ways to share load: a delta bus, shared counters, polling, one picker."""

import heapq
import random
from collections import deque
from functools import partial

import msgspec
import numpy as np

from picker.requests.model import InferenceRequest
from state.ledger import Booking, Ledger
from state.model import EndpointUid
from tests.simulation import profiles
from tests.simulation.gauges import Pool
from tests.simulation.scheme import Held, World

DROPPED_SHARE = 0.005
"""Share of the bus's events that a subscriber misses: reconnects, full buffers."""
REAPED_AFTER_SECONDS = 300.0
POLL_SECONDS = 0.05


class SinglePool(Pool):
    """A perfect view: all requests are decided by one picker, whatever the gateway asks."""

    def __init__(self, world: World, config: str) -> None:
        super().__init__(world, config, pickers=1, delay=world.cell.delay)

    def place(self, replica: int, request: InferenceRequest) -> tuple[int, Held]:  # noqa: ARG002
        """Decide in the one picker."""
        return super().place(0, request)

    def lose(self, replica: int) -> None:
        """What is perfect does not fail."""


class Delta(msgspec.Struct, frozen=True):
    """An event on the bus: a request was assigned, or (without tokens) is done."""

    arrives_at: float
    number: int
    uid: EndpointUid
    tokens: int | None


class Announced:
    """A booking whose end goes over the bus."""

    def __init__(self, pool: "DeltaPool", replica: int, number: int, booking: Booking) -> None:
        self._pool = pool
        self._replica = replica
        self._number = number
        self._booking = booking

    def prefilled(self) -> None:
        """The others find out by themselves."""
        self._booking.prefilled()

    def release(self) -> None:
        """Release here and tell the others."""
        self._booking.release()
        self._pool.announce(self._replica, self._number, self._booking.uid, None)


class DeltaPool(Pool):
    """Replicas that tell each other what they assign and what is done. Events may be lost."""

    def __init__(self, world: World, *, dropped_share: float = DROPPED_SHARE) -> None:
        cell = world.cell
        super().__init__(world, profiles.argmin(cell), pickers=cell.replicas, delay=cell.delay)
        self._dropped = dropped_share
        self._delay = cell.delay_seconds
        self._rng = random.Random(f"{cell.seed}/bus")
        self._number = 0
        self._inboxes: list[deque[Delta]] = [deque() for _ in self.replicas]
        self._others = [Ledger(replica.view) for replica in self.replicas]
        self._entries: list[dict[int, Booking]] = [{} for _ in self.replicas]
        self._reapers: list[list[tuple[float, int]]] = [[] for _ in self.replicas]

    def place(self, replica: int, request: InferenceRequest) -> tuple[int, Held]:
        """Decide and tell the others."""
        slot, booking = super().place(replica, request)
        assert isinstance(booking, Booking)
        self._number += 1
        self.announce(replica, self._number, booking.uid, request.prompt_tokens)
        return slot, Announced(self, replica, self._number, booking)

    def announce(self, sender: int, number: int, uid: EndpointUid, tokens: int | None) -> None:
        """Send an event to everybody else; each may miss it."""
        if sender in self.lost:
            return
        event = Delta(self.events.now + self._delay, number, uid, tokens)
        for reader, inbox in enumerate(self._inboxes):
            if reader != sender and self._rng.random() >= self._dropped:
                inbox.append(event)

    def catch_up(self, replica: int) -> None:
        """Apply the events that have arrived."""
        super().catch_up(replica)
        now, inbox = self.events.now, self._inboxes[replica]
        while inbox and inbox[0].arrives_at <= now:
            self._apply(replica, inbox.popleft())
        self._reap(replica, now)
        self._others[replica].settle(now)

    def leaked(self, replica: int) -> int:
        """Return how many requests of others this replica holds to be open."""
        return self._others[replica].open_requests

    def _apply(self, replica: int, event: Delta) -> None:
        entries = self._entries[replica]
        if event.tokens is None:
            booking = entries.pop(event.number, None)
            if booking is not None:
                booking.release()
            return
        rate = self.replicas[replica].view.prefill_tokens_per_second
        known = float(np.nanmean(rate)) if not np.isnan(rate).all() else 8000.0
        entries[event.number] = self._others[replica].book(
            event.uid,
            prefill_tokens=event.tokens,
            decode_tokens=0,
            prefilled_at=event.arrives_at + event.tokens / known,
        )
        reaped_at = event.arrives_at + REAPED_AFTER_SECONDS
        heapq.heappush(self._reapers[replica], (reaped_at, event.number))

    def _reap(self, replica: int, now: float) -> None:
        """Drop what is older than any request should be."""
        queue = self._reapers[replica]
        while queue and queue[0][0] <= now:
            booking = self._entries[replica].pop(heapq.heappop(queue)[1], None)
            if booking is not None:
                booking.release()


class Counted:
    """A booking behind a shared counter; nobody decrements for a picker that died."""

    def __init__(self, pool: "CounterPool", replica: int, slot: int, booking: Booking) -> None:
        self._pool = pool
        self._replica = replica
        self._slot = slot
        self._booking = booking

    def prefilled(self) -> None:
        """A counter of requests does not know."""

    def release(self) -> None:
        """DECR."""
        self._booking.release()
        self._pool.decrement(self._replica, self._slot)


class CounterPool(Pool):
    """INCR and DECR of requests per endpoint in a store that answers at once."""

    def __init__(self, world: World) -> None:
        cell = world.cell
        # A count of requests stands for their mean work.
        weight = cell.delay.model_copy(update={"decode_weight_tokens": cell.mix.uncached_tokens})
        super().__init__(world, profiles.argmin(cell), pickers=cell.replicas, delay=weight)
        self.counts = np.zeros(cell.endpoints, np.int64)

    def place(self, replica: int, request: InferenceRequest) -> tuple[int, Held]:
        """Read the counters, decide, INCR."""
        slot, booking = super().place(replica, request)
        assert isinstance(booking, Booking)
        self.counts[slot] += 1
        return slot, Counted(self, replica, slot, booking)

    def decrement(self, replica: int, slot: int) -> None:
        """Count one less, if the picker that should say so is alive."""
        if replica not in self.lost:
            self.counts[slot] -= 1

    def catch_up(self, replica: int) -> None:
        """Take the counters for what is in flight."""
        super().catch_up(replica)
        view = self.replicas[replica].view
        view.requests[:] = self.counts
        view.open_at_cut[:] = 1 << 30  # nothing but the counters counts
        view.prefill_tokens[:] = 0
        view.revision += 1
        view.observations += 1


class PollingPool(Pool):
    """Each picker polls the engines itself and goes by their queues alone."""

    def __init__(self, world: World) -> None:
        cell = world.cell
        config = profiles.shortest_queue(cell)
        super().__init__(world, config, pickers=cell.replicas, delay=cell.delay)
        self._engines = world.fleet.engines
        for number in range(cell.replicas):
            world.events.every(
                POLL_SECONDS,
                partial(self._poll, number),
                first=number / cell.replicas * POLL_SECONDS,
                going=world.busy,
            )

    def place(self, replica: int, request: InferenceRequest) -> tuple[int, Held]:
        """Decide without knowing of what was placed since the poll."""
        view = self.replicas[replica].view
        view.requests[:] = 0
        view.prefill_tokens[:] = 0
        view.revision += 1
        placed = self.decide(replica, request)
        return view.slots[placed.booking.uid], placed.booking

    def _poll(self, replica: int, now: float) -> None:
        view = self.replicas[replica].view
        for engine in self._engines:
            engine.advance(now)
        view.waiting[:] = [engine.waiting for engine in self._engines]
        view.running[:] = [engine.running for engine in self._engines]
        view.observed_at[:] = now
        view.observations += 1
        view.revision += 1
