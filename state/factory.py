"""From a `--state` value to a store: where mypy checks that backends fit the port."""

from state.backends.memory.store import MemoryStore
from state.backends.redis.connect import (
    CLUSTER_SCHEMES,
    FORMS,
    SENTINEL_SCHEMES,
    SERVER_SCHEMES,
    connect,
)
from state.backends.redis.faults import redacted
from state.backends.redis.keys import Keys
from state.backends.redis.store import RedisStore
from state.errors import InvalidStateUrl
from state.ports import Reserver, Store
from state.runtime.clock import Clock
from state.settings import StateSettings

MEMORY = "memory"
REDIS_SCHEMES = SERVER_SCHEMES + SENTINEL_SCHEMES + CLUSTER_SCHEMES


def open_store(url: str, *, pool: str, clock: Clock, settings: StateSettings) -> Store:
    """Return the store that the URL names, without any I/O; raises InvalidStateUrl."""
    if url == MEMORY:
        return MemoryStore(clock, lease_seconds=settings.lease_seconds)
    if url.startswith(tuple(f"{scheme}://" for scheme in REDIS_SCHEMES)):
        return RedisStore(
            connect(url, slot=Keys(pool).slot),
            pool=pool,
            clock=clock,
            url=redacted(url),
            lease_seconds=settings.lease_seconds,
            deadline_seconds=settings.call_seconds,
        )
    raise InvalidStateUrl(redacted(url), f"expected {MEMORY!r}, {', '.join(FORMS)}")


def open_reserver(store: Store, *, settings: StateSettings) -> Reserver:
    """Return what books in that store, on its connections; raises TypeError for a foreign one."""
    if isinstance(store, MemoryStore):
        return store.reserver
    if isinstance(store, RedisStore):
        return store.reserver(deadline_seconds=settings.reserve_seconds)
    raise TypeError(f"{type(store).__name__} takes no reservations")


async def check_store(store: Store) -> None:
    """Try the store once, for a clear error at start.

    Raises StoreMisconfigured if it can never serve, and StoreUnavailable if it is silent: then it
    may come later.
    """
    if isinstance(store, RedisStore):
        await store.check()
