"""The Redis store when the server hangs, dies, is emptied, or holds what is not ours."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from state.backends.redis.connect import connect
from state.backends.redis.keys import Keys
from state.backends.redis.store import DEADLINE_SECONDS, RedisStore
from state.errors import StoreMisconfigured, StoreUnavailable
from state.model import Gauge, Membership, ReplicaId, ShardId, Snapshot
from state.ports import StoreEvent
from state.runtime.clock import SystemClock
from tests.support import builders
from tests.support.redis_server import RedisServer, free_port

pytestmark = pytest.mark.integration

A, B = ReplicaId("a"), ReplicaId("b")


def open_store(url: str, pool: str = "p", *, lease_seconds: float = 30.0) -> RedisStore:
    return RedisStore(
        connect(url, slot=0), pool=pool, clock=SystemClock(), url=url, lease_seconds=lease_seconds
    )


def gauge(membership: Membership, seq: int) -> Gauge:
    return builders.gauge(
        membership.replica, seq, {0: (1, 1, 1)}, incarnation=membership.incarnation
    )


async def next_event(events: AsyncIterator[StoreEvent]) -> object:
    async with asyncio.timeout(5):
        event = await anext(events)
    return event.order if isinstance(event, Gauge | Snapshot) else event


@asynccontextmanager
async def client(server: RedisServer) -> AsyncIterator[Redis]:
    """Speak to the server beside the store."""
    async with Redis.from_url(server.url, protocol=2) as opened:
        yield opened


async def command(beside: Redis, *arguments: str | int) -> None:
    """Send what the client has no typed method for."""
    await beside.execute_command(*arguments)  # type: ignore[no-untyped-call]


@pytest.fixture
def pool() -> str:
    """Name a pool of the test's own."""
    return f"pool-{secrets.token_hex(4)}"


@pytest.fixture
async def store(redis_server: RedisServer, pool: str) -> AsyncIterator[RedisStore]:
    """Open an empty pool on the shared server."""
    opened = open_store(redis_server.url, pool)
    yield opened
    await opened.close()


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Start a server that the test may harm."""
    server = RedisServer(tmp_path_factory.mktemp("own"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def fragile(own_server: RedisServer) -> AsyncIterator[RedisStore]:
    """Open a store on the server that may be harmed."""
    opened = open_store(own_server.url)
    yield opened
    await opened.close()


async def answered(store: RedisStore) -> None:
    """Wait until the store answers."""
    async with asyncio.timeout(5):
        while True:
            with suppress(StoreUnavailable):
                await store.read()
                return
            await asyncio.sleep(0.02)


# A server that hangs or dies


async def test_hung_server_is_unavailable_within_the_deadline(
    own_server: RedisServer, fragile: RedisStore
) -> None:
    """And afterwards calls are refused at once; it heals when the server goes on."""
    membership = await fragile.join(A)
    loop = asyncio.get_running_loop()
    own_server.pause()
    for _ in range(3):
        before = loop.time()
        with pytest.raises(StoreUnavailable):
            await fragile.renew(membership)
        assert loop.time() - before < DEADLINE_SECONDS + 0.2
    before = loop.time()
    with pytest.raises(StoreUnavailable, match="probe"):
        await fragile.renew(membership)
    assert loop.time() - before < 0.05
    own_server.resume()
    await answered(fragile)
    assert frozenset({A}) == await fragile.renew(membership)


async def test_server_that_is_not_there_is_unavailable() -> None:
    """For every operation and the check."""
    store = open_store(f"redis://127.0.0.1:{free_port()}")
    for call in (store.join(A), store.read(), store.check()):
        with pytest.raises(StoreUnavailable):
            await call
    with pytest.raises(StoreUnavailable):
        async with store.events():
            pass
    await store.close()


async def test_events_heal_over_a_restart(own_server: RedisServer, fragile: RedisStore) -> None:
    """What was written before the subscription came back is told then."""
    async with fragile.events() as events:
        membership = await fragile.join(A)
        await fragile.publish_gauge(gauge(membership, 1))
        assert (membership.incarnation, 1) == await next_event(events)
        own_server.kill()
        own_server.start()
        await answered(fragile)
        again = await fragile.join(A)
        await fragile.publish_gauge(gauge(again, 2))
        assert (again.incarnation, 2) == await next_event(events)
        assert again.incarnation > membership.incarnation


async def test_events_heal_after_the_connection_was_cut(
    redis_server: RedisServer, store: RedisStore
) -> None:
    """The contents are told anew, then what follows."""
    async with store.events() as events, client(redis_server) as beside:
        membership = await store.join(A)
        await store.publish_gauge(gauge(membership, 1))
        assert (membership.incarnation, 1) == await next_event(events)
        await beside.client_kill_filter(_type="pubsub")
        assert (membership.incarnation, 1) == await next_event(events)
        await store.publish_gauge(gauge(membership, 2))
        assert (membership.incarnation, 2) == await next_event(events)


async def test_hung_subscription_is_given_up(own_server: RedisServer, fragile: RedisStore) -> None:
    """A connection that was lost without a word must not stay silent for ever."""
    async with fragile.events() as events, client(own_server) as beside:
        membership = await fragile.join(A)
        await command(beside, "CLIENT", "PAUSE", 2500, "ALL")
        with capture_logs() as lines:
            pending = asyncio.gather(next_event(events))
            await asyncio.sleep(2.6)
            await answered(fragile)
            await fragile.publish_gauge(gauge(membership, 1))
            (heard,) = await pending
        assert (membership.incarnation, 1) == heard
        assert "subscription lost" in [line["event"] for line in lines]


async def test_cancellation_is_never_lost(store: RedisStore) -> None:
    """Whatever a call is at when it comes: writing, waiting, reading."""
    membership = await store.join(A)

    async def work() -> None:
        while True:
            await store.renew(membership)

    async with asyncio.timeout(10):
        for ticks in range(300):
            task = asyncio.get_running_loop().create_task(work())
            for _ in range(ticks % 60):
                await asyncio.sleep(0)
            task.cancel()
            done, _ = await asyncio.wait({task}, timeout=1)
            if not done:
                for _ in range(9):  # it ends at last, so that the test does
                    task.cancel()
                    await asyncio.wait({task}, timeout=0.1)
            assert done, f"lost after {ticks} ticks"


# A server that was emptied


async def test_emptied_store_fences_and_tokens_still_grow(
    own_server: RedisServer, fragile: RedisStore
) -> None:
    """Peers remember the older ones; the epoch says that the content was lost."""
    before = await fragile.join(A)
    lease = await fragile.acquire_shard(ShardId("0"), "x")
    async with client(own_server) as beside:
        await beside.flushall()
    assert None is await fragile.renew(before)
    assert not await fragile.publish_gauge(gauge(before, 9))
    other = open_store(own_server.url)
    after = await other.join(A)
    taken = await other.acquire_shard(ShardId("0"), "x")
    await other.close()
    assert before.incarnation < after.incarnation
    assert before.epoch != after.epoch
    assert lease is not None
    assert taken is not None
    assert lease.fence < taken.fence


async def test_incarnation_never_falls_below_what_this_process_used(
    fragile: RedisStore,
) -> None:
    """Even if the emptied server's clock is behind."""
    fragile._incarnations[A] = ahead = 2**52
    assert ahead + 1 == (await fragile.join(A)).incarnation


async def test_scripts_survive_a_flush_of_the_script_cache(
    redis_server: RedisServer, store: RedisStore
) -> None:
    """NOSCRIPT is answered with the text."""
    await store.join(A)
    async with client(redis_server) as beside:
        await beside.script_flush()
    assert A == (await store.join(A)).replica


# A server that is full


async def test_full_server_refuses_writes_and_still_forgets(
    own_server: RedisServer, fragile: RedisStore
) -> None:
    """It answers: no deadline passes, nothing is half written, and it heals."""
    member, leaving = await fragile.join(A), await fragile.join(B)
    assert await fragile.publish_gauge(gauge(member, 1))
    own_server.command("CONFIG", "SET", "maxmemory", 1)
    for call in (fragile.join(B), fragile.publish_gauge(gauge(member, 2)), fragile.renew(member)):
        with pytest.raises(StoreUnavailable, match=r"OOM|memory"):
            await call
    await fragile.leave(leaving)
    assert [(member.incarnation, 1)] == [each.order for each in (await fragile.read()).gauges]
    own_server.command("CONFIG", "SET", "maxmemory", 0)
    assert frozenset({A}) == await fragile.renew(member)
    assert await fragile.publish_gauge(gauge(member, 2))


# Departures


async def test_replicas_that_ended_leave_nothing(
    redis_server: RedisServer, store: RedisStore, pool: str
) -> None:
    """Names come and go with every roll-out; the next token is higher than all of theirs."""
    keys = Keys(pool)
    for number in range(5):
        await store.leave(await store.join(ReplicaId(f"r{number}")))
    last = await store.join(ReplicaId("r5"))
    async with client(redis_server) as beside:
        await beside.zadd(keys.live, {"r5": 0})
        assert () == (await store.read()).gauges
        assert {b"": str(last.incarnation).encode()} == await beside.hgetall(keys.incarnations)
        assert 0 == await beside.exists(keys.gauge_orders, keys.live)
        await beside.hset(keys.incarnations, "", str(2**52))
    assert 2**52 < (await store.join(A)).incarnation


async def test_expired_replica_is_told_once(redis_server: RedisServer, pool: str) -> None:
    """By whoever renews next."""
    store = open_store(redis_server.url, pool, lease_seconds=0.3)
    async with store.events() as events:
        quiet, alive = await store.join(A), await store.join(B)
        await store.publish_gauge(gauge(quiet, 1))
        assert (quiet.incarnation, 1) == await next_event(events)
        await asyncio.sleep(0.2)
        await store.renew(alive)
        await asyncio.sleep(0.2)
        assert frozenset({B}) == await store.renew(alive)
        assert A == await next_event(events)
        await store.publish_gauge(gauge(alive, 1))
        assert (alive.incarnation, 1) == await next_event(events)
    await store.close()


# What is not ours


async def test_garbage_is_skipped_and_counted(
    redis_server: RedisServer, store: RedisStore, pool: str
) -> None:
    """In keys and on the bus."""
    keys = Keys(pool)
    membership, other = await store.join(A), await store.join(B)
    async with store.events() as events, client(redis_server) as beside:
        await store.publish_gauge(gauge(other, 1))
        assert (other.incarnation, 1) == await next_event(events)
        await beside.set(keys.gauge(A), b"\xc1garbage")
        assert [B] == [each.replica for each in (await store.read()).gauges]
        assert 1 == store.skipped
        await command(beside, "SPUBLISH", keys.bus, "garbage")
        await store.publish_gauge(gauge(membership, 1))
        assert (membership.incarnation, 1) == await next_event(events)
        assert 2 == store.skipped


@pytest.mark.parametrize("attribute", ["live", "incarnations", "gauge_orders", "fences", "epoch"])
async def test_foreign_key_types_are_named_at_start(
    redis_server: RedisServer, store: RedisStore, pool: str, attribute: str
) -> None:
    """At run time they count as unavailable."""
    foreign = getattr(Keys(pool), attribute)
    async with client(redis_server) as beside:
        await beside.rpush(foreign, "not ours")
        with pytest.raises(StoreMisconfigured, match="another --pool") as caught:
            await store.check()
        assert foreign in str(caught.value)
        if attribute == "live":
            with pytest.raises(StoreUnavailable, match=re.escape(foreign)):
                await store.join(A)
        await beside.delete(foreign)
    await store.check()


# Configurations that can never work


async def test_password_is_checked(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Wrong and missing ones are named without being shown; the right one serves."""
    server = RedisServer(tmp_path_factory.mktemp("secret"), "--requirepass", "right")
    server.start()
    try:
        wrong = server.url.replace("//", "//:wrong@")
        for url in (wrong, server.url):
            store = open_store(url)
            with pytest.raises(StoreMisconfigured, match="password"):
                await store.check()
            with pytest.raises(StoreUnavailable):
                await store.join(A)
            await store.close()
        store = open_store(server.url.replace("//", "//:right@"))
        await store.check()
        await store.close()
    finally:
        server.kill()


async def test_user_without_scripts_is_named(redis_server: RedisServer, pool: str) -> None:
    """The fix lists what the user needs."""
    async with client(redis_server) as beside:
        rules = ["on", ">secret", "~*", "&*", "+@all", "-@scripting"]
        await command(beside, "ACL", "SETUSER", "limited", *rules)
        store = open_store(redis_server.url.replace("//", "//limited:secret@"), pool)
        with pytest.raises(StoreMisconfigured, match=r"\+@scripting"):
            await store.check()
        await store.close()
        await command(beside, "ACL", "DELUSER", "limited")


async def test_user_with_the_named_rights_suffices(redis_server: RedisServer, pool: str) -> None:
    """What the message asks for is enough, for all operations."""
    rights = ["+@connection", "+@scripting", "+@pubsub", "+@read", "+@write", "+time"]
    rights += ["+cluster|slots", "~mm:*", "&mm:*"]
    async with client(redis_server) as beside:
        await command(beside, "ACL", "SETUSER", "named", "on", ">secret", *rights)
        store = open_store(redis_server.url.replace("//", "//named:secret@"), pool)
        await store.check()
        async with store.events() as events:
            membership = await store.join(A)
            await store.publish_gauge(gauge(membership, 1))
            assert (membership.incarnation, 1) == await next_event(events)
            await store.leave(membership)
            assert A == await next_event(events)
        assert await store.acquire_shard(ShardId("0"), "x")
        await store.close()
        await command(beside, "ACL", "DELUSER", "named")


async def test_port_of_another_protocol_is_named() -> None:
    """An HTTP server, say."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        store = open_store(f"redis://127.0.0.1:{port}")
        with pytest.raises(StoreMisconfigured, match="does not speak Redis"):
            await store.check()
        with pytest.raises(StoreUnavailable):
            await store.join(A)
        await store.close()


async def test_port_that_says_nothing_is_unavailable() -> None:
    """It may be a server that hangs."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        store = open_store(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(StoreUnavailable):
            await store.check()
        await store.close()


async def test_foreign_names_are_survived(
    redis_server: RedisServer, store: RedisStore, pool: str
) -> None:
    """What others wrote into our keys is no text, maybe."""
    member = await store.join(A)
    async with client(redis_server) as beside:
        await beside.zadd(Keys(pool).live, {b"\xff": 2**52})
    live = await store.renew(member)
    assert live is not None
    assert A in live
    assert () == (await store.read()).gauges
