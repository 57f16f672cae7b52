"""A store behind Sentinels: the master is found, and found again after a failover."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest

from state.backends.redis.connect import connect
from state.backends.redis.store import RedisStore
from state.errors import InvalidStateUrl, StoreMisconfigured, StoreUnavailable
from state.model import Membership, ReplicaId
from state.runtime.clock import SystemClock
from tests.support.redis_groups import Watched, running
from tests.support.redis_server import RedisServer, free_port

A = ReplicaId("a")


def open_store(url: str) -> RedisStore:
    return RedisStore(connect(url, slot=0), pool="p", clock=SystemClock(), url=url)


async def join(store: RedisStore) -> Membership:
    """Join as soon as the store answers."""
    async with asyncio.timeout(10):
        while True:
            with suppress(StoreUnavailable):
                return await store.join(A)
            await asyncio.sleep(0.05)


@pytest.fixture
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Start servers that the test may harm."""
    group = Watched(tmp_path_factory.mktemp("watched"))
    with running(group):
        yield group


@pytest.mark.integration
@pytest.mark.timeout(40)
async def test_failover_is_followed(watched: Watched) -> None:
    """By calls and by the subscription; a Sentinel that is down is passed over."""
    await asyncio.to_thread(watched.wait_for_copy)
    store = open_store(watched.url)
    await store.check()
    before = await join(store)
    async with store.events() as events:
        event = asyncio.gather(anext(events))
        watched.master.kill()
        after = await join(store)
        assert before.incarnation < after.incarnation
        async with asyncio.timeout(10):
            while not event.done():
                await store.leave(await join(store))
                await asyncio.wait({event}, timeout=0.1)
        assert A == event.result()[0]
    await store.close()


@pytest.mark.integration
@pytest.mark.timeout(40)
async def test_failover_to_an_empty_copy_fences(watched: Watched) -> None:
    """What was never copied is lost: the epoch differs, tokens still grow."""
    await asyncio.to_thread(watched.wait_for_copy)
    store = open_store(watched.url)
    before = await join(store)
    watched.master.kill()
    await asyncio.to_thread(watched.copy.command, "REPLICAOF", "NO", "ONE")
    await asyncio.to_thread(watched.copy.command, "FLUSHALL")
    async with asyncio.timeout(15):
        while True:
            with suppress(StoreUnavailable):
                assert None is await store.renew(before)
                break
            await asyncio.sleep(0.05)
    after = await join(store)
    assert before.epoch != after.epoch
    assert before.incarnation < after.incarnation
    await store.close()


async def test_silent_sentinels_are_unavailable() -> None:
    """They may come up later."""
    store = open_store(f"redis+sentinel://127.0.0.1:{free_port()}/mm")
    with pytest.raises(StoreUnavailable, match="no host knows a master of 'mm'"):
        await store.check()
    await store.close()


@pytest.mark.integration
async def test_unknown_service_is_named(watched: Watched) -> None:
    """The Sentinels answer, and would for ever."""
    store = open_store(watched.url + "x")
    with pytest.raises(StoreMisconfigured, match="watches no service 'mmx'"):
        await store.check()
    await store.close()


@pytest.mark.integration
async def test_server_that_is_no_sentinel_is_named(redis_server: RedisServer) -> None:
    """Ports are easily mistaken."""
    store = open_store(f"redis+sentinel://127.0.0.1:{redis_server.port}/mm")
    with pytest.raises(StoreMisconfigured, match="unknown command"):
        await store.check()
    await store.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis+sentinel://host:1", "host:port/service"),
        ("redis+sentinel:///mm", "host:port/service"),
        ("redis+sentinel://host:1,:2/mm", "no host"),
        ("redis+sentinel://host:x/mm", "(?i)port"),
        ("redis+sentinel://host:1/mm?db=x", "invalid literal"),
        ("redis+sentinel://host:1/mm?colour=blue", "colour"),
    ],
)
def test_unusable_url_is_named(url: str, said: str) -> None:
    """With the form that is expected."""
    with pytest.raises(InvalidStateUrl, match=said):
        connect(url, slot=0)
