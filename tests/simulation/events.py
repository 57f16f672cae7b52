"""Virtual time: a heap of calls and the clock that they move."""

import heapq
from collections.abc import Callable

from state.runtime.clock import ManualClock

Call = Callable[[float], None]
"""Gets the time."""


class Events:
    """Calls in order of time; those of one moment in the order in which they were asked for."""

    def __init__(self) -> None:
        self.clock = ManualClock(0.0)
        self._heap: list[tuple[float, int, Call]] = []
        self._count = 0

    @property
    def now(self) -> float:
        """Virtual seconds since the start."""
        return self.clock.now

    def at(self, when: float, call: Call) -> None:
        """Call once it is `when`; a time that is over means: next."""
        self._count += 1
        heapq.heappush(self._heap, (max(when, self.clock.now), self._count, call))

    def every(
        self, interval: float, call: Call, *, first: float, going: Callable[[], bool]
    ) -> None:
        """Call again and again from `first`, for as long as `going` says so."""

        def again(now: float) -> None:
            if going():
                call(now)
                self.at(now + interval, again)

        self.at(first, again)

    def run(self) -> None:
        """Move time until nothing is left to do."""
        heap, clock = self._heap, self.clock
        while heap:
            when, _, call = heapq.heappop(heap)
            clock.now = when
            call(when)
