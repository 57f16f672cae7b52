"""From a `--state` value to a store."""

import pytest

from state.errors import InvalidStateUrl
from state.factory import open_store
from state.model import ReplicaId
from state.runtime.clock import ManualClock
from state.settings import StateSettings


async def test_memory_store_runs_on_the_given_clock_and_lease() -> None:
    """The settings' lease is the store's."""
    clock = ManualClock()
    store = open_store("memory", clock=clock, settings=StateSettings(lease_seconds=4.0))
    membership = await store.join(ReplicaId("a"))
    clock.advance(3.9)
    assert frozenset({"a"}) == await store.renew(membership)
    clock.advance(4.1)
    assert None is await store.renew(membership)


@pytest.mark.parametrize("url", ["", "redis://localhost", "Memory", "memory "])
def test_unknown_store_is_named(url: str) -> None:
    """The message says what was asked for and what there is."""
    with pytest.raises(InvalidStateUrl, match="expected 'memory'") as caught:
        open_store(url, clock=ManualClock(), settings=StateSettings())
    assert url == caught.value.url
