"""A breaker: a store that hangs costs one probe per interval, not a deadline per call."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

import structlog

from state.errors import StoreUnavailable
from state.runtime.clock import Clock

log = structlog.get_logger(__name__)

FAILURES = 3
PROBE_SECONDS = 0.2


class BreakerState(Enum):
    """Whether calls go through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Closed until some calls in a row went unanswered; then lets one probe at a time through."""

    def __init__(
        self,
        clock: Clock,
        *,
        name: str = "state",
        failures: int = FAILURES,
        probe_seconds: float = PROBE_SECONDS,
    ) -> None:
        """Start closed; `name` is what log lines call the kind of calls."""
        self._name = name
        self.state = BreakerState.CLOSED
        self._clock = clock
        self._allowed = failures
        self._probe_seconds = probe_seconds
        self._failures = 0
        self._probe_at = 0.0

    @contextmanager
    def call(self, *silence: type[BaseException]) -> Iterator[None]:
        """Around one call; the given errors mean that no answer came, others say nothing.

        Raises StoreUnavailable, without a call, while open.
        """
        probe = self._admit()
        try:
            yield
        except silence:
            self._failed(probe=probe)
            raise
        except BaseException:
            if probe:  # cut off or refused: the next caller probes
                self._turn(BreakerState.OPEN)
            raise
        self._failures = 0
        self._turn(BreakerState.CLOSED)

    def _admit(self) -> bool:
        """Let a call through; True: it is the probe."""
        if self.state is BreakerState.CLOSED:
            return False
        if self.state is BreakerState.HALF_OPEN or self._clock.monotonic() < self._probe_at:
            raise StoreUnavailable("the store did not answer lately, the next probe will tell")
        self._turn(BreakerState.HALF_OPEN)
        return True

    def _failed(self, *, probe: bool) -> None:
        self._failures += 1
        if probe or (self.state is BreakerState.CLOSED and self._failures >= self._allowed):
            self._probe_at = self._clock.monotonic() + self._probe_seconds
            self._turn(BreakerState.OPEN)

    def _turn(self, state: BreakerState) -> None:
        """Change; half-open is part of being open and not worth a line."""
        before, self.state = self.state, state
        if before is BreakerState.CLOSED and state is BreakerState.OPEN:
            log.warning(
                "store does not answer, calls are refused",
                calls=self._name,
                failures=self._failures,
            )
        elif before is not BreakerState.CLOSED and state is BreakerState.CLOSED:
            log.warning("store answers again", calls=self._name)
