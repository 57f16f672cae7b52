"""A pool on a Cluster: its node is found, and found again after its slot moved."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress

import pytest

from state.backends.redis.connect import connect
from state.backends.redis.keys import Keys
from state.backends.redis.store import RedisStore
from state.errors import InvalidStateUrl, StoreMisconfigured, StoreUnavailable
from state.model import Membership, ReplicaId
from state.ports import StoreEvent
from state.runtime.clock import SystemClock
from tests.support import builders
from tests.support.redis_groups import ClusterOfThree, cluster_node, running
from tests.support.redis_server import RedisServer, free_port

A = ReplicaId("a")


def open_store(url: str, pool: str = "p") -> RedisStore:
    client = connect(url, slot=Keys(pool).slot)
    return RedisStore(client, pool=pool, clock=SystemClock(), url=url)


async def rejoin(store: RedisStore) -> Membership:
    """Join as soon as the store answers."""
    async with asyncio.timeout(10):
        while True:
            with suppress(StoreUnavailable):
                return await store.join(A)
            await asyncio.sleep(0.02)


@pytest.fixture(params=range(3))
def pool(request: pytest.FixtureRequest, redis_cluster: ClusterOfThree) -> Iterator[str]:
    """Name a pool on each node in turn."""
    node = redis_cluster.servers[request.param]
    while True:
        name = f"pool-{secrets.token_hex(4)}"
        if redis_cluster.owner(Keys(name).slot) is node:
            break
    yield name
    redis_cluster.move(Keys(name).slot, node)


@pytest.fixture
async def store(redis_cluster: ClusterOfThree, pool: str) -> AsyncIterator[RedisStore]:
    """Open the pool through the nodes in their order."""
    opened = open_store(redis_cluster.url, pool)
    yield opened
    await opened.close()


@pytest.mark.integration
async def test_slot_that_moved_is_followed(
    redis_cluster: ClusterOfThree, store: RedisStore, pool: str
) -> None:
    """By calls and by the subscription; what the old node held is lost, and filled again."""
    slot = Keys(pool).slot
    owner = redis_cluster.owner(slot)
    target = next(each for each in redis_cluster.servers if each is not owner)
    before = await store.join(A)
    async with store.events() as events:
        await asyncio.to_thread(redis_cluster.move, slot, target)
        after = await rejoin(store)
        assert before.epoch != after.epoch
        assert after.incarnation > before.incarnation
        assert await heard(store, after, events)


async def heard(
    store: RedisStore, membership: Membership, events: AsyncIterator[StoreEvent]
) -> bool:
    """Publish until an event comes."""
    event = asyncio.gather(anext(events))
    for seq in range(1, 200):
        gauge = builders.gauge(A, seq, {0: (1, 1, 1)}, incarnation=membership.incarnation)
        with suppress(StoreUnavailable):
            await store.publish_gauge(gauge)
        await asyncio.wait({event}, timeout=0.05)
        if event.done():
            return True
    return False


@pytest.mark.integration
@pytest.mark.timeout(60)
async def test_failover_is_followed(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A copy takes the slots of a master that died."""
    group = ClusterOfThree(tmp_path_factory.mktemp("cluster"))
    copy = cluster_node(tmp_path_factory.mktemp("copy"))
    with ExitStack() as stack, running(group):
        stack.callback(copy.kill)
        master = group.owner(Keys("p").slot)
        await asyncio.to_thread(group.add_copy, copy, master)
        store = open_store(group.url)
        before = await store.join(A)
        async with store.events() as events:
            master.kill()
            await asyncio.to_thread(copy.command, "CLUSTER", "FAILOVER", "TAKEOVER")
            after = await rejoin(store)
            assert before.incarnation < after.incarnation
            assert await heard(store, after, events)
        await store.close()


@pytest.mark.integration
async def test_single_server_is_named(redis_server: RedisServer) -> None:
    """It would never know of slots."""
    store = open_store(f"redis+cluster://127.0.0.1:{redis_server.port}")
    with pytest.raises(StoreMisconfigured, match="this server is no Cluster"):
        await store.check()
    await store.close()


@pytest.mark.integration
async def test_cluster_behind_a_plain_url_is_named(redis_cluster: ClusterOfThree) -> None:
    """Two of three pools would be somewhere else."""
    said = []
    for node in redis_cluster.servers:
        store = open_store(node.url)
        try:
            await store.check()
        except StoreMisconfigured as error:
            said.append(str(error))
        await store.close()
    assert 2 == len(said)
    assert all("redis+cluster://" in each for each in said)


async def test_silent_nodes_are_unavailable() -> None:
    """They may come up later."""
    store = open_store(f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}")
    with pytest.raises(StoreUnavailable, match="no host knows the master of slot"):
        await store.check()
    await store.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis+cluster://", "no host"),
        ("redis+cluster://host:1,:2", "no host"),
        ("redis+cluster://host:x", "(?i)port"),
        ("redis+cluster://host/1", "no databases"),
        ("redis+cluster://host?db=1", "no databases"),
        ("redis+cluster://host?colour=blue", "colour"),
    ],
)
def test_unusable_url_is_named(url: str, said: str) -> None:
    """With the form that is expected."""
    with pytest.raises(InvalidStateUrl, match=said):
        connect(url, slot=0)
