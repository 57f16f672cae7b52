"""A subscription that heals: after a lost connection it comes back and tells what it missed."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import structlog
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MovedError

from state.backends.redis.faults import FAULTS, reason
from state.backends.redis.wire import decode_event
from state.errors import StoreUnavailable, WireError
from state.ports import Contents, StoreEvent

log = structlog.get_logger(__name__)

SUBSCRIBE_SECONDS = 0.5
SILENCE_SECONDS = 1.0
"""A silent connection is asked for a sign of life after this, and given up after twice that."""
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0


class Feed:
    """One subscriber's events, in order of writing; the backlog is the connection's own."""

    def __init__(
        self,
        client: Any,
        bus: str,
        read: Callable[[], Awaitable[Contents]],
        skip: Callable[[WireError], None],
    ) -> None:
        """Share a redis.asyncio client; `read` returns what is caught up with after a loss."""
        self._client = client
        self._bus = bus
        self._read = read
        self._skip = skip
        self._pubsub: Any = None
        self._caught_up: deque[StoreEvent] = deque()
        self._asked = False

    async def open(self) -> None:
        """Subscribe, confirmed by the server. Raises one of FAULTS."""
        async with asyncio.timeout(SUBSCRIBE_SECONDS):
            try:
                await self._subscribe()
            except MovedError:
                await self.close()
                await self._client.connection_pool.disconnect(inuse_connections=False)
                await self._subscribe()

    async def close(self) -> None:
        """Let go of the connection."""
        pubsub, self._pubsub = self._pubsub, None
        if pubsub is not None:
            await pubsub.aclose()

    def __aiter__(self) -> AsyncIterator[StoreEvent]:
        return self

    async def __anext__(self) -> StoreEvent:
        while True:
            if self._caught_up:
                return self._caught_up.popleft()
            try:
                event = await self._next()
            except FAULTS as error:
                log.warning("subscription lost", reason=reason(error))
                await self._heal()
                continue
            if event is not None:
                return event

    async def _subscribe(self) -> None:
        self._pubsub = self._client.pubsub()
        self._asked = False
        await self._pubsub.ssubscribe(self._bus)
        while True:
            message = await self._pubsub.get_message(timeout=SUBSCRIBE_SECONDS)
            if message is not None and message["type"] == "ssubscribe":
                return

    async def _next(self) -> StoreEvent | None:
        message = await self._pubsub.get_message(timeout=SILENCE_SECONDS)
        if message is None:
            await self._on_silence()
            return None
        self._asked = False
        if message["type"] == "sunsubscribe":
            raise RedisConnectionError("the channel moved to another node")
        if message["type"] != "smessage":
            return None
        try:
            return decode_event(message["data"])
        except WireError as error:
            self._skip(error)
            return None

    async def _on_silence(self) -> None:
        if self._asked:
            raise TimeoutError("no sign of life")
        if self._is_elsewhere():
            raise RedisConnectionError("the others speak to another server")
        self._asked = True
        async with asyncio.timeout(SILENCE_SECONDS):
            await self._pubsub.ping()

    def _is_elsewhere(self) -> bool:
        """Whether calls go to another server by now; a former master may live on cut off."""
        address = getattr(self._client.connection_pool, "master_address", None)
        connection = self._pubsub.connection
        return address is not None and address != (connection.host, connection.port)

    async def _heal(self) -> None:
        """Subscribe again, then read, so that nothing falls between."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                await self.close()
                await self.open()
                contents = await self._read()
            except (*FAULTS, StoreUnavailable) as error:
                log.debug("cannot subscribe yet", reason=reason(error))
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            else:
                self._caught_up.extend((*contents.gauges, *contents.snapshots))
                log.warning("subscribed again")
                return
