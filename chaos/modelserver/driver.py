"""Runs an engine on an event loop: one timer, and a wake-up for each stream that has news."""

import asyncio
from math import inf

from chaos.engine.core import Engine
from chaos.engine.sequence import Request

# uvloop's timers count whole milliseconds and may fire half of one early.
TIMER_SLACK_SECONDS = 0.0006


class Stream:
    """The tokens of one request as they become ready."""

    def __init__(self, engine: Engine, request: Request, *, now: float, interval: int) -> None:
        self._engine = engine
        self.sequence = engine.submit(now, request)
        self.taken = 0
        self.interval = interval
        """Tokens to wait for before a wake-up; the end of the request wakes in any case."""
        self._waiter: asyncio.Future[None] | None = None

    @property
    def ready(self) -> int:
        """Tokens generated and not yet taken."""
        return self._engine.generated(self.sequence) - self.taken

    @property
    def over(self) -> bool:
        """True when no more tokens will come."""
        return self.sequence.over

    async def take(self) -> int:
        """Wait for new tokens and return how many came."""
        while not self._has_news():
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        tokens = self.ready
        self.taken += tokens
        return tokens

    def wake(self) -> None:
        """Resume the reader if there is something for it."""
        waiter = self._waiter
        if waiter is not None and self._has_news():
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _has_news(self) -> bool:
        return self.sequence.over or self.ready >= self.interval


class EngineDriver:
    """Owns an engine's timer. Without streams that read token by token it sleeps until an end."""

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        self.engine = engine
        self._loop = loop
        self._streams: dict[Stream, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def streams(self) -> int:
        """Requests that are being answered."""
        return len(self._streams)

    def open(self, request: Request, interval: int | None) -> Stream:
        """Submit a request; without an interval its stream wakes at the end only."""
        tokens = interval or request.output_tokens
        stream = Stream(self.engine, request, now=self._loop.time(), interval=tokens)
        self._streams[stream] = None
        self._refresh()
        return stream

    def close(self, stream: Stream) -> None:
        """Forget a stream and free its sequence at once, whatever its state."""
        self._streams.pop(stream, None)
        self.engine.cancel(self._loop.time(), stream.sequence)
        self._refresh()

    def settle(self) -> None:
        """Bring the engine's numbers up to the present."""
        self.engine.advance(self._loop.time())

    def set_speed(self, speed: float) -> None:
        """Change the engine's speed; 0 stops it with everything in place."""
        self.engine.set_speed(self._loop.time(), speed)
        self._refresh()

    def stop(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refresh(self) -> None:
        """Wake whoever has news and set the timer; whatever advances the engine ends here."""
        self.stop()
        for stream in self._streams:
            stream.wake()
        by_token = any(s.interval < s.sequence.request.output_tokens for s in self._streams)
        at = self.engine.next_token_at() if by_token else self.engine.next_change_at()
        if at < inf:
            self._timer = self._loop.call_at(at + TIMER_SLACK_SECONDS, self._tick)

    def _tick(self) -> None:
        self.settle()
        self._refresh()
