"""Calls to the server: each within its deadline and through a breaker, its failures one error."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from state.backends.redis.breaker import Breaker
from state.backends.redis.faults import FAULTS, SILENCE, reason
from state.backends.redis.scripts import Argument, evaluate
from state.errors import StoreUnavailable


class Calls:
    """One kind of calls, with a deadline and a breaker of their own."""

    def __init__(self, client: Any, breaker: Breaker, *, deadline_seconds: float) -> None:
        """Share a redis.asyncio client; the deadline spans connecting and logging in as well."""
        self._client = client
        self._breaker = breaker
        self._deadline_seconds = deadline_seconds

    async def run(self, name: str, keys: list[str], *arguments: Argument) -> Any:
        """Run a script. Raises StoreUnavailable."""
        with self.answered(*keys):
            async with asyncio.timeout(self._deadline_seconds):
                return await evaluate(self._client, name, keys, *arguments)

    async def get(self, names: list[str]) -> list[bytes | None]:
        """Return the values of several keys, read at once. Raises StoreUnavailable."""
        if not names:
            return []
        with self.answered(*names):
            async with asyncio.timeout(self._deadline_seconds):
                values: list[bytes | None] = await self._client.mget(names)
                return values

    @contextmanager
    def answered(self, *keys: str) -> Iterator[None]:
        """Turn whatever goes wrong around a call into StoreUnavailable."""
        try:
            with self._breaker.call(*SILENCE):
                yield
        except FAULTS as error:
            told = reason(error)
            if "WRONGTYPE" in told:
                told += f" (one of {', '.join(keys)} is of a foreign type)"
            raise StoreUnavailable(told) from error
