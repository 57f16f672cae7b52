"""The model servers: engines in virtual time, and who waits for their first and last tokens."""

from collections.abc import Callable, Sequence
from math import inf

import msgspec

from chaos.engine import sequence
from chaos.engine.core import Engine, EngineSpec
from tests.simulation.events import Events


class Served(msgspec.Struct, kw_only=True):
    """A request on an engine, and who wants to know of its progress."""

    sequence: sequence.Sequence
    on_first_token: Callable[[float], None]
    on_end: Callable[[float], None]
    started: bool = False


class Fleet:
    """Engines of given speeds; each has one event at the next change of its batch."""

    def __init__(self, events: Events, spec: EngineSpec, speeds: Sequence[float]) -> None:
        self.engines = [Engine(spec, speed=speed) for speed in speeds]
        self.longest_queue = 0
        self._events = events
        self._due = [inf] * len(self.engines)
        self._served: list[list[Served]] = [[] for _ in self.engines]

    @property
    def open_requests(self) -> int:
        """Requests that have not ended."""
        return sum(map(len, self._served))

    def submit(
        self,
        slot: int,
        request: sequence.Request,
        *,
        on_first_token: Callable[[float], None],
        on_end: Callable[[float], None],
    ) -> sequence.Sequence:
        """Send a request to an engine now."""
        now, engine = self._events.clock.now, self.engines[slot]
        queued = engine.submit(now, request)
        self._served[slot].append(
            Served(sequence=queued, on_first_token=on_first_token, on_end=on_end)
        )
        self.longest_queue = max(self.longest_queue, engine.waiting)
        self._tell(slot, now)
        return queued

    def _tell(self, slot: int, now: float) -> None:
        """Pass on what happened up to now, and come back at the next change."""
        left = []
        for served in self._served[slot]:
            if not served.started and served.sequence.first_token_at:
                served.started = True
                served.on_first_token(now)
            if served.sequence.finished_at:
                served.on_end(now)
            else:
                left.append(served)
        self._served[slot] = left
        due = self.engines[slot].next_change_at()
        if due != self._due[slot]:
            self._due[slot] = due
            if due < inf:
                self._events.at(due, lambda at: self._advance(slot, due, at))

    def _advance(self, slot: int, due: float, now: float) -> None:
        if self._due[slot] == due:  # else the plan has changed since
            self._due[slot] = inf
            self.engines[slot].advance(now)
            self._tell(slot, now)
