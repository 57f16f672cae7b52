"""Follows the replicas' gauges, so that a scrape knows what had been assigned when it was sent."""

import asyncio
from collections.abc import AsyncIterator

from state.board import GaugeBoard
from state.model import Cut, Gauge, ReplicaId
from state.ports import Store, StoreEvent

REFRESH_SECONDS = 1.0
"""How long a replica may be remembered after it died without leaving."""


class PeerGauges:
    """The live replicas' newest gauges, from the store's events and its contents."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._board = GaugeBoard()
        self._heard: set[ReplicaId] = set()

    def cuts(self) -> tuple[Cut, ...]:
        """Return what each replica has assigned and seen done by now."""
        return self._board.cuts()

    async def run(self) -> None:
        """Follow until cancelled; raises StoreUnavailable."""
        async with self._store.events() as events, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(aiter(events)), name="gauges")
            tasks.create_task(self._refresh(), name="gauge refresh")

    async def _listen(self, events: AsyncIterator[StoreEvent]) -> None:
        async for event in events:
            if isinstance(event, Gauge):
                self._heard.add(event.replica)
                self._board.apply(event)
            elif isinstance(event, str):
                self._heard.discard(event)
                self._board.drop(event)

    async def _refresh(self) -> None:
        while True:
            self._heard.clear()
            contents = await self._store.read()
            for gauge in contents.gauges:
                self._board.apply(gauge)
            # A replica that was heard while the answer travelled is live, and not yet in it.
            live = {gauge.replica for gauge in contents.gauges} | self._heard
            self._board.keep(frozenset(live))
            await asyncio.sleep(REFRESH_SECONDS)
