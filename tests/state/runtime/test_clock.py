"""Clocks."""

from state.runtime.clock import Clock, ManualClock, SystemClock


def test_manual_clock_moves_by_hand() -> None:
    """And only then."""
    clock: Clock = (manual := ManualClock(5.0))
    assert 5.0 == clock.monotonic() == clock.wall()
    manual.advance(1.5)
    assert 6.5 == clock.monotonic() == clock.wall()


def test_system_clock_never_goes_back() -> None:
    """And its wall time is after this was written."""
    clock: Clock = SystemClock()
    assert clock.monotonic() <= clock.monotonic()
    assert clock.wall() > 1_700_000_000
