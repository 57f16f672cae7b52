"""From a `--state` value to a store."""

import pytest

from state.backends.redis.store import RedisStore
from state.errors import InvalidStateUrl
from state.factory import check_store, open_reserver, open_store
from state.model import ReplicaId
from state.runtime.clock import ManualClock
from state.settings import StateSettings


async def test_memory_store_runs_on_the_given_clock_and_lease() -> None:
    """The settings' lease is the store's."""
    clock = ManualClock()
    store = open_store("memory", pool="p", clock=clock, settings=StateSettings(lease_seconds=4.0))
    membership = await store.join(ReplicaId("a"))
    clock.advance(3.9)
    assert frozenset({"a"}) == await store.renew(membership)
    clock.advance(4.1)
    assert None is await store.renew(membership)


@pytest.mark.parametrize("url", ["memory", "redis://127.0.0.1:1"])
async def test_a_store_takes_reservations(url: str) -> None:
    """Those of one store see each other."""
    settings = StateSettings()
    store = open_store(url, pool="p", clock=ManualClock(), settings=settings)
    assert open_reserver(store, settings=settings) is not None
    await store.close()


def test_replicas_of_one_process_reserve_together() -> None:
    """Their store is one object."""
    settings = StateSettings()
    store = open_store("memory", pool="p", clock=ManualClock(), settings=settings)
    assert open_reserver(store, settings=settings) is open_reserver(store, settings=settings)


async def test_memory_store_is_always_sound() -> None:
    """There is nothing to configure."""
    store = open_store("memory", pool="p", clock=ManualClock(), settings=StateSettings())
    await check_store(store)


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379",
        "redis://user:secret@[::1]:6379/2",
        "redis+sentinel://user:secret@a:26379,b/mm?db=1&sentinel_password=other",
        "redis+cluster://user:secret@a:7000,[::1]:7001",
        "rediss://cache:6380?ssl_ca_certs=/ca.pem&ssl_certfile=/a.pem&ssl_keyfile=/a.key",
    ],
)
async def test_redis_store_opens_without_connecting(url: str) -> None:
    """It may come up later."""
    store = open_store(url, pool="p", clock=ManualClock(), settings=StateSettings())
    assert isinstance(store, RedisStore)
    await store.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "expected 'memory'"),
        ("Memory", "expected 'memory'"),
        ("memory ", "expected 'memory'"),
        ("http://localhost", "redis://host:port"),
        ("redis://localhost:port", "invalid literal|Port"),
        ("redis://localhost?colour=blue", "colour"),
        ("redis://localhost:99999", "(?i)port"),
    ],
)
def test_unusable_url_is_named(url: str, said: str) -> None:
    """The message says what was asked for and what there is."""
    with pytest.raises(InvalidStateUrl, match=said) as caught:
        open_store(url, pool="p", clock=ManualClock(), settings=StateSettings())
    assert url == caught.value.url


@pytest.mark.parametrize("url", ["http://me:secret@host", "redis://me:secret@host?colour=blue"])
def test_password_is_not_repeated(url: str) -> None:
    """Messages end up in logs."""
    with pytest.raises(InvalidStateUrl) as caught:
        open_store(url, pool="p", clock=ManualClock(), settings=StateSettings())
    assert "secret" not in str(caught.value)
    assert "me:***@host" in str(caught.value)
