"""A store behind Sentinels: the master is found, and found again after a failover."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest
from redis.asyncio import Redis

from state.backends.redis.connect import connect
from state.backends.redis.store import RedisStore
from state.errors import InvalidStateUrl, StoreUnavailable
from state.model import Membership, ReplicaId
from state.runtime.clock import SystemClock
from tests.support.redis_server import RedisServer, free_port

A = ReplicaId("a")

CONFIGURATION = """
sentinel monitor mm 127.0.0.1 {port} 1
sentinel down-after-milliseconds mm 300
sentinel failover-timeout mm 2000
"""


@pytest.fixture
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Start a master."""
    server = RedisServer(tmp_path_factory.mktemp("master"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def replica(master: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Start a copy of the master."""
    copies = ("--replicaof", "127.0.0.1", str(master.port), "--repl-diskless-sync-delay", "0")
    server = RedisServer(tmp_path_factory.mktemp("replica"), *copies)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def sentinel(
    master: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    """Start a Sentinel that watches the master."""
    folder = tmp_path_factory.mktemp("sentinel")
    configuration = folder / "sentinel.conf"
    configuration.write_text(CONFIGURATION.format(port=master.port))
    server = RedisServer(folder, "--sentinel", configuration=configuration)
    server.start()
    yield server
    server.kill()


def open_store(url: str) -> RedisStore:
    return RedisStore(connect(url), pool="p", clock=SystemClock(), url=url)


async def replica_is_known(sentinel: RedisServer) -> None:
    """Wait until the Sentinel could fail over."""
    async with Redis.from_url(sentinel.url, protocol=2) as client, asyncio.timeout(15):
        while True:
            known = await client.sentinel_slaves("mm")
            if any(each.get("master-link-status") == "ok" for each in known):
                return
            await asyncio.sleep(0.05)


async def join(store: RedisStore) -> Membership:
    """Join as soon as the store answers."""
    async with asyncio.timeout(10):
        while True:
            with suppress(StoreUnavailable):
                return await store.join(A)
            await asyncio.sleep(0.05)


@pytest.mark.integration
@pytest.mark.timeout(40)
async def test_failover_is_followed(
    master: RedisServer, replica: RedisServer, sentinel: RedisServer
) -> None:
    """By calls and by the subscription; a Sentinel that is down is passed over."""
    assert replica.port != master.port
    await replica_is_known(sentinel)
    sentinels = f"127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}"
    store = open_store(f"redis+sentinel://{sentinels}/mm?db=0")
    await store.check()
    before = await join(store)
    async with store.events() as events:
        event = asyncio.gather(anext(events))
        master.kill()
        after = await join(store)
        assert before.incarnation < after.incarnation
        async with asyncio.timeout(10):
            while not event.done():
                await store.leave(await join(store))
                await asyncio.wait({event}, timeout=0.1)
        assert A == event.result()[0]
    await store.close()


async def test_silent_sentinels_are_unavailable() -> None:
    """They may come up later."""
    store = open_store(f"redis+sentinel://127.0.0.1:{free_port()}/mm")
    with pytest.raises(StoreUnavailable, match="no Sentinel knows"):
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
        connect(url)
