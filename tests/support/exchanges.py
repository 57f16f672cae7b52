"""Exchanges that do as their messages say, and remember how they ended."""

import asyncio

from picker.extproc.ports import Outlet, StreamEnd, StreamFailed

QUOTED = b"do not log this"


class Script:
    """An exchange that echoes; some messages make it do something else. Fits `Exchange`."""

    def __init__(self, outlet: Outlet) -> None:
        self.finished = False
        self.outlet = outlet
        self.received: list[bytes] = []
        self.ends: list[StreamEnd] = []
        self.heard = asyncio.Event()
        self.closed = asyncio.Event()

    def receive(self, message: bytes) -> list[bytes]:
        self.received.append(message)
        self.heard.set()
        match message:
            case b"silence":
                return []
            case b"twice":
                return [b"one", b"two"]
            case b"finish":
                self.finished = True
                return [b"bye"]
            case b"fail":
                raise StreamFailed(3, "50 % naïve\n")
            case b"crash":
                raise ValueError(QUOTED)
            case b"fail outside":
                self.outlet.fail(StreamFailed(8, "outside"))
                return [b"too late"]
            case b"send outside":
                self.outlet.send([b"outside"])
                return [b"inside"]
        return [message]

    def close(self, end: StreamEnd) -> None:
        self.ends.append(end)
        self.closed.set()


class Scripts:
    """A factory that remembers its exchanges. Fits `ExchangeFactory`."""

    def __init__(self) -> None:
        self.made: list[Script] = []
        self.error: Exception | None = None
        """Raised in place of the next exchange."""
        self.greeting: list[bytes] = []
        """Sent through the outlet before the exchange is there."""
        self.farewell: StreamFailed | None = None
        """Fails the stream before the exchange is there."""
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    def __call__(self, outlet: Outlet) -> Script:
        error, self.error = self.error, None
        if error is not None:
            raise error
        if self.greeting:
            outlet.send(self.greeting)
        if self.farewell is not None:
            outlet.fail(self.farewell)
        script = Script(outlet)
        self.made.append(script)
        for count, waiter in self._waiters:
            if len(self.made) >= count and not waiter.done():
                waiter.set_result(None)
        return script

    async def opened(self, count: int = 1) -> Script:
        """Wait until that many exchanges were made; return the last."""
        if len(self.made) < count:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append((count, waiter))
            await waiter
        return self.made[-1]

    async def closed(self) -> list[StreamEnd]:
        """Wait until all exchanges are closed; return how each one ended, in order."""
        for script in self.made:
            await script.closed.wait()
        assert [1] * len(self.made) == [len(script.ends) for script in self.made]
        return [script.ends[0] for script in self.made]
