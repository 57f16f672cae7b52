"""From a `--state` value to a store: where mypy checks that backends fit the port."""

from state.backends.memory.store import MemoryStore
from state.errors import InvalidStateUrl
from state.ports import Store
from state.runtime.clock import Clock
from state.settings import StateSettings

MEMORY = "memory"


def open_store(url: str, *, clock: Clock, settings: StateSettings) -> Store:
    """Return the store that the URL names; raises InvalidStateUrl."""
    if url != MEMORY:
        raise InvalidStateUrl(url, f"expected {MEMORY!r}")
    return MemoryStore(clock, lease_seconds=settings.lease_seconds)
