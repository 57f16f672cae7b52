"""Time, injected."""

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds, from two kinds of clock."""

    def monotonic(self) -> float:
        """Seconds that never go back; comparable within one process only."""

    def wall(self) -> float:
        """Seconds since 1970, for people and logs; it may jump."""


class SystemClock:
    """The machine's clocks."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()  # noqa: TID251  the one place that reads the wall clock


class ManualClock:
    """A clock that tests move by hand."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move on; going back is a jump that only the wall clock of a real machine makes."""
        self.now += seconds
