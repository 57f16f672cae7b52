"""Reservations in Redis when the server has no time for a pick."""

import asyncio
from collections.abc import Iterator

import pytest

from state.backends.redis.connect import connect
from state.backends.redis.keys import Keys
from state.backends.redis.reserve import RESERVE_SECONDS
from state.backends.redis.store import RedisStore
from state.errors import StoreUnavailable
from state.model import EndpointUid, ReplicaId
from state.ports import Candidate
from state.runtime.clock import SystemClock
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.integration

A = ReplicaId("a")
THERE = [Candidate(uid=EndpointUid(1), cost=0.0)]


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Start a server that the test may harm."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


def open_store(server: RedisServer) -> RedisStore:
    client = connect(server.url, slot=Keys("p").slot)
    return RedisStore(client, pool="p", clock=SystemClock(), lease_seconds=60.0)


async def test_hung_server_costs_a_pick_its_limit_only(server: RedisServer) -> None:
    """And after some picks nothing, while the store's other calls still have their chance."""
    store = open_store(server)
    reserver = store.reserver()
    member = await store.join(A)
    loop = asyncio.get_running_loop()
    server.pause()
    for number in range(3):
        before = loop.time()
        with pytest.raises(StoreUnavailable):
            await reserver.reserve(member, f"r{number}", THERE, tokens=1)
        assert loop.time() - before < RESERVE_SECONDS + 0.1
    with pytest.raises(StoreUnavailable, match="probe"):
        await reserver.reserve(member, "r", THERE, tokens=1)
    server.resume()
    assert frozenset({A}) == await store.renew(member)
    await store.close()


async def test_unknown_outcome_is_released(server: RedisServer) -> None:
    """What a hung server does when it wakes leaves nothing behind."""
    store = open_store(server)
    reserver = store.reserver()
    member = await store.join(A)
    server.pause()
    with pytest.raises(StoreUnavailable):
        await reserver.reserve(member, "r", THERE, tokens=1)
    server.resume()
    await reserver.release(member, ["r"])
    await asyncio.sleep(0.05)
    assert {} == await reserver.load()
    await store.close()


async def test_garbage_in_a_ledger_is_reaped(server: RedisServer) -> None:
    """Entries that others wrote free nothing and stay nowhere."""
    store = open_store(server)
    reserver = store.reserver(deadline_seconds=1.0)
    member = await store.join(A)
    await reserver.reserve(member, "r", THERE, tokens=1)
    name = f"{member.incarnation}:{A}"
    server.command("HSET", Keys("p").ledger(name), "x", "garbage")
    server.command("SADD", Keys("p").ledgers, "garbage")
    await store.leave(member)
    assert 2 == await reserver.reap()
    assert 0 == await reserver.reap()
    assert {} == await reserver.load()
    assert ":0" == server.command("EXISTS", Keys("p").ledgers).strip()
    await store.close()
