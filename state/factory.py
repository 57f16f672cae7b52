"""From a `--state` value to a store: where mypy checks that backends fit the port."""

from state.backends.memory.store import MemoryStore
from state.backends.redis.connect import SENTINEL_SCHEMES, connect
from state.backends.redis.faults import redacted
from state.backends.redis.store import RedisStore
from state.errors import InvalidStateUrl
from state.ports import Store
from state.runtime.clock import Clock
from state.settings import StateSettings

MEMORY = "memory"
REDIS_SCHEMES = ("redis://", "rediss://")


def open_store(url: str, *, pool: str, clock: Clock, settings: StateSettings) -> Store:
    """Return the store that the URL names, without any I/O; raises InvalidStateUrl."""
    if url == MEMORY:
        return MemoryStore(clock, lease_seconds=settings.lease_seconds)
    if url.startswith(REDIS_SCHEMES + SENTINEL_SCHEMES):
        return RedisStore(
            connect(url),
            pool=pool,
            clock=clock,
            url=redacted(url),
            lease_seconds=settings.lease_seconds,
        )
    forms = [f"{scheme}host:port" for scheme in REDIS_SCHEMES]
    forms += [f"{scheme}host:port,host:port/service" for scheme in SENTINEL_SCHEMES]
    raise InvalidStateUrl(redacted(url), f"expected {MEMORY!r}, {', '.join(forms)}")


async def check_store(store: Store) -> None:
    """Try the store once, for a clear error at start.

    Raises StoreMisconfigured if it can never serve, and StoreUnavailable if it is silent: then it
    may come later.
    """
    if isinstance(store, RedisStore):
        await store.check()
