"""Replicas over a real server: what one books all see, whatever happens to the server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from redis.asyncio import Redis

from state.factory import open_store
from state.ledger import Booking
from state.merge import Merge
from state.model import ReplicaId
from state.modes import Mode
from state.replica import Replica
from state.runtime.clock import SystemClock
from state.settings import StateSettings
from tests.support import builders
from tests.support.redis_server import RedisServer
from tests.support.store import ToldSource

pytestmark = pytest.mark.integration

SETTINGS = StateSettings()


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Give a server that is not started yet and that the test may harm."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@asynccontextmanager
async def replicas(server: RedisServer, *names: str) -> AsyncIterator[list[Replica]]:
    """Run replicas, each with connections of its own."""
    async with AsyncExitStack() as stores:
        running = []
        for name in names:
            clock = SystemClock()
            store = open_store(server.url, pool="p", clock=clock, settings=SETTINGS)
            stores.push_async_callback(store.close)
            replica = Replica(
                merge=Merge(ReplicaId(name)),
                store=store,
                source=ToldSource(builders.endpoints(2)),
                clock=clock,
                settings=SETTINGS,
            )
            running.append(replica)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each.run()) for each in running]
            yield running
            for task in tasks:
                task.cancel()


def book(replica: Replica, number: int = 0) -> Booking:
    return replica.merge.ledger.book(
        builders.endpoint(number).uid, prefill_tokens=100, decode_tokens=10
    )


def requests(replica: Replica) -> list[int]:
    found: list[int] = replica.merge.view.requests.tolist()
    return found


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> float:
    """Wait for a condition and return how long it took."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  a view has no event
            await asyncio.sleep(0.001)
    return loop.time() - start


async def together(first: Replica, second: Replica) -> None:
    await until(lambda: first.merge.view.replicas == second.merge.view.replicas == 2)


async def test_bookings_are_seen_by_the_others(server: RedisServer) -> None:
    """And their end."""
    server.start()
    async with replicas(server, "a", "b") as (first, second):
        await together(first, second)
        bookings = [book(first) for _ in range(5)]
        assert await until(lambda: requests(second) == [5, 0]) < 0.25
        for each in bookings:
            each.release()
        await until(lambda: requests(second) == [0, 0])


async def test_leaving_ends_the_share_at_once(server: RedisServer) -> None:
    """Long before the lease would."""
    server.start()
    async with replicas(server, "a", "b") as (first, second):
        await together(first, second)
        book(first)
        await until(lambda: requests(second) == [1, 0])
        await first.leave()
        assert await until(lambda: requests(second) == [0, 0]) < SETTINGS.lease_seconds / 2


async def test_emptied_store_is_filled_again(server: RedisServer) -> None:
    """Both join again with what they have; nothing counts twice."""
    server.start()
    async with replicas(server, "a", "b") as (first, second):
        await together(first, second)
        book(first)
        book(second, 1)
        await until(lambda: requests(first) == requests(second) == [1, 1])
        before = first.membership
        async with Redis.from_url(server.url, protocol=2) as beside:
            await beside.flushall()
        await until(lambda: first.membership != before)
        await until(lambda: requests(first) == requests(second) == [1, 1])
        book(first)
        await until(lambda: requests(first) == requests(second) == [2, 1])


async def test_hung_server_is_left_and_found_again(server: RedisServer) -> None:
    """The mode says so; own bookings go on."""
    server.start()
    async with replicas(server, "a", "b") as (first, second):
        await together(first, second)
        server.pause()
        await until(lambda: first.mode is Mode.STORE_AWAY)
        book(first)
        assert 1 == requests(first)[0]
        server.resume()
        await until(lambda: first.mode is second.mode is Mode.NORMAL)
        await until(lambda: requests(first) == requests(second) == [1, 0])


async def test_restarted_server_is_found_again(server: RedisServer) -> None:
    """With nothing in it."""
    server.start()
    async with replicas(server, "a", "b") as (first, second):
        await together(first, second)
        book(first)
        await until(lambda: requests(second) == [1, 0])
        server.kill()
        await until(lambda: first.mode is Mode.STORE_AWAY)
        server.start()
        await until(lambda: first.mode is second.mode is Mode.NORMAL)
        await until(lambda: requests(first) == requests(second) == [1, 0])


async def test_replicas_may_start_before_the_server(server: RedisServer) -> None:
    """They are alone until it is there."""
    async with replicas(server, "a", "b") as (first, second):
        await until(first.discovered.is_set)
        book(first)
        assert Mode.ALONE is first.mode
        await asyncio.to_thread(server.start)
        await until(lambda: requests(second) == [1, 0])
        await until(lambda: first.mode is Mode.NORMAL)
