"""The breaker's states."""

import pytest
from structlog.testing import capture_logs

from state.backends.redis.breaker import Breaker, BreakerState
from state.errors import StoreUnavailable
from state.runtime.clock import ManualClock


class SilentError(Exception):
    """No answer came."""


class RefusedError(Exception):
    """The store answered, with an error."""


def state(breaker: Breaker) -> BreakerState:
    """Return the state as of now; a type checker would remember the last one."""
    return breaker.state


def fail(breaker: Breaker, kind: type[Exception] = SilentError) -> None:
    with pytest.raises(kind), breaker.call(SilentError):
        raise kind


def succeed(breaker: Breaker) -> None:
    with breaker.call(SilentError):
        pass


def opened(clock: ManualClock) -> Breaker:
    breaker = Breaker(clock, failures=2, probe_seconds=1.0)
    fail(breaker)
    fail(breaker)
    return breaker


def test_opens_after_failures_in_a_row() -> None:
    """An answer between them starts the count anew."""
    breaker = Breaker(ManualClock(), failures=2)
    fail(breaker)
    succeed(breaker)
    fail(breaker)
    assert BreakerState.CLOSED is state(breaker)
    fail(breaker)
    assert BreakerState.OPEN is state(breaker)


def test_refused_calls_are_answers() -> None:
    """A server that says no is there."""
    breaker = Breaker(ManualClock(), failures=1)
    fail(breaker, RefusedError)
    assert BreakerState.CLOSED is state(breaker)


def test_open_one_refuses_without_calling() -> None:
    """Until the interval is over."""
    clock = ManualClock()
    breaker = opened(clock)
    clock.advance(0.9)
    with pytest.raises(StoreUnavailable):
        succeed(breaker)


def test_one_probe_at_a_time() -> None:
    """Others are refused while it is on its way."""
    clock = ManualClock()
    breaker = opened(clock)
    clock.advance(1.0)
    with breaker.call(SilentError):
        assert BreakerState.HALF_OPEN is state(breaker)
        with pytest.raises(StoreUnavailable):
            succeed(breaker)
    assert BreakerState.CLOSED is state(breaker)


def test_silent_probe_costs_another_interval() -> None:
    """One failure is enough."""
    clock = ManualClock()
    breaker = opened(clock)
    clock.advance(1.0)
    fail(breaker)
    assert BreakerState.OPEN is state(breaker)
    with pytest.raises(StoreUnavailable):
        succeed(breaker)
    clock.advance(1.0)
    succeed(breaker)
    assert BreakerState.CLOSED is state(breaker)


@pytest.mark.parametrize("kind", [RefusedError, KeyboardInterrupt])
def test_probe_that_was_cut_off_leaves_the_next_to_probe(kind: type[Exception]) -> None:
    """A cancelled call must not keep it half-open for ever."""
    clock = ManualClock()
    breaker = opened(clock)
    clock.advance(1.0)
    fail(breaker, kind)
    succeed(breaker)
    assert BreakerState.CLOSED is state(breaker)


def test_one_line_per_transition() -> None:
    """Probes write none."""
    clock = ManualClock()
    with capture_logs() as lines:
        breaker = opened(clock)
        for _ in range(3):
            clock.advance(1.0)
            fail(breaker)
        clock.advance(1.0)
        succeed(breaker)
        succeed(breaker)
    assert ["store does not answer, calls are refused", "store answers again"] == [
        line["event"] for line in lines
    ]
