"""Clocks for tests on virtual time; `state.runtime.clock.ManualClock` is for all others."""

import asyncio


class LoopClock:
    """The event loop's time, so that looptime moves every clock."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return self.monotonic()
