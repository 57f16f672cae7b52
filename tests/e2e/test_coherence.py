"""Picker processes that share a real redis-server: one picker, whatever becomes of its parts."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import msgspec
import pytest
import yaml

from chaos.cluster.child import Child
from chaos.cluster.ports import free_block
from chaos.cluster.redis import start_redis
from picker.extproc.modes import BodyMode
from tests.support import ext_proc as gw
from tests.support.serving import Gateway

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]

HOST = "127.0.0.1"
FREE = f"{HOST}:0"
LEASE_SECONDS = 1.5
PICKS_PER_SECOND = 800
SERVERS = 6

Call = Any


class Picker:
    """A picker process and a gateway connected to it."""

    def __init__(self, child: Child, where: dict[str, str], channel: grpc.aio.Channel) -> None:
        self.child = child
        self._admin = f"http://{where['admin']}"
        self._gateway = Gateway(channel)

    async def open(self, count: int) -> list[Call]:
        """Open streams that have been placed and stay open."""
        return [await self._open() for _ in range(count)]

    async def _open(self) -> Call:
        call = self._gateway.open(seconds=60)
        await call.write(gw.request_headers(mode=BodyMode.BUFFERED))
        await call.read()
        await call.write(gw.request_body())
        reply = await call.read()
        assert isinstance(reply, bytes)
        assert gw.destination_in_metadata(gw.read(reply))
        return call

    async def view(self) -> dict[str, Any]:
        """Return `/debug/view`."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self._admin}/debug/view") as response,
        ):
            view: dict[str, Any] = msgspec.json.decode(await response.read())
            return view

    async def requests(self) -> int:
        """Return the pool's requests in flight as this picker sees them."""
        return sum(endpoint["requests"] for endpoint in (await self.view())["endpoints"])

    async def until(self, condition: Callable[[dict[str, Any]], bool], seconds: float) -> float:
        """Wait for a view that fulfils a condition; return how long it took."""
        started = time.monotonic()
        while not condition(await self.view()):
            assert time.monotonic() - started < seconds, "the view did not come to it in time"
            await asyncio.sleep(0.005)
        return time.monotonic() - started


class Site:
    """Where pickers and their Redis run."""

    def __init__(self, folder: Path, port: int, stack: AsyncExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.port = port
        self._endpoints = folder / "endpoints.yaml"
        listed = [
            {"name": f"m{n}", "address": f"127.0.1.{n}", "port": 8000}
            for n in range(1, SERVERS + 1)
        ]
        self._endpoints.write_text(yaml.safe_dump({"endpoints": listed}))

    async def redis(self) -> Child:
        """Start the redis-server."""
        return await start_redis(HOST, self.port, self._folder, self._stack)

    async def picker(self, name: str, *flags: str) -> Picker:
        """Start a picker."""
        command = Child.python(
            *("picker", "serve", "--replica-id", name, "--endpoints", str(self._endpoints)),
            *("--state", f"redis://{HOST}:{self.port}"),
            *("--extproc-address", FREE, "--health-address", FREE, "--admin-address", FREE),
            *("--linger-seconds", "0", "--drain-seconds", "0.1"),
            *flags,
        )
        child = await Child.start(name, command, log=self._folder / f"{name}.log")
        self._stack.push_async_callback(child.kill)
        ready = await child.line("ready ")
        where = dict(part.split("=", 1) for part in ready.split()[1:])
        channel = await self._stack.enter_async_context(grpc.aio.insecure_channel(where["extproc"]))
        return Picker(child, where, channel)


@pytest.fixture
async def site(tmp_path: Path, worker_id: str) -> AsyncIterator[Site]:
    """A folder, a port and an end for all that is started."""
    first = (
        26_000 + 500 * int(worker_id.removeprefix("gw") or 0) if worker_id != "master" else 26_000
    )
    async with AsyncExitStack() as stack:
        yield Site(tmp_path, free_block(HOST, 1, first=first), stack)


def sees(requests: int, replicas: int | None = None) -> Callable[[dict[str, Any]], bool]:
    """Return the condition that a view counts so many requests and replicas."""

    def condition(view: dict[str, Any]) -> bool:
        total = sum(endpoint["requests"] for endpoint in view["endpoints"])
        return total == requests and replicas in {None, len(view["replicas"])}

    return condition


def in_mode(mode: str) -> Callable[[dict[str, Any]], bool]:
    """Return the condition that a picker is in a mode."""
    return lambda view: view["mode"] == mode


async def test_what_one_books_all_see_and_a_killed_share_goes(site: Site) -> None:
    """200 open streams appear at the other; after kill -9 they are gone within the lease."""
    await site.redis()
    a, b = await site.picker("a"), await site.picker("b")
    own = await b.open(3)
    await a.open(200)
    await b.until(sees(203), seconds=1.0)
    await a.until(sees(203), seconds=1.0)
    await a.child.kill()
    await b.until(sees(3, replicas=1), seconds=LEASE_SECONDS + 0.5)
    for call in own:
        call.cancel()
    await b.until(sees(0), seconds=1.0)


async def test_a_newcomer_starts_with_the_others_view(site: Site) -> None:
    """Its first view holds what the peers have open."""
    await site.redis()
    a = await site.picker("a")
    await a.open(20)
    b = await site.picker("b")
    await b.until(sees(20, replicas=2), seconds=0.5)


async def test_sigterm_drops_the_share_at_once(site: Site) -> None:
    """A clean leave needs no lease to end."""
    await site.redis()
    a, b = await site.picker("a"), await site.picker("b")
    await a.open(20)
    await b.until(sees(20), seconds=1.0)
    assert 0 == await a.child.stop()
    await b.until(sees(0, replicas=1), seconds=0.5)


async def test_a_paused_picker_is_fenced_and_joins_again(site: Site) -> None:
    """SIGSTOP past the lease: its share goes; SIGCONT: it comes back under a new incarnation."""
    await site.redis()
    a, b = await site.picker("a"), await site.picker("b")
    await a.open(10)
    await b.until(sees(10), seconds=1.0)
    before = await incarnation(b, "a")
    a.child.signal(signal.SIGSTOP)
    await b.until(sees(0, replicas=1), seconds=3.0)
    a.child.signal(signal.SIGCONT)
    await b.until(sees(10, replicas=2), seconds=2.0)
    assert before < await incarnation(b, "a")


async def incarnation(picker: Picker, replica: str) -> int:
    """Return a replica's incarnation as a picker sees it."""
    known = {each["id"]: each["incarnation"] for each in (await picker.view())["replicas"]}
    return int(known[replica])


async def test_a_hung_store_changes_no_pick(site: Site) -> None:
    """Picks go on; the mode is visible within a second and left when the store is back."""
    redis = await site.redis()
    a, b = await site.picker("a"), await site.picker("b")
    await a.open(5)
    before = await seconds_for_picks(a)
    redis.signal(signal.SIGSTOP)
    await a.until(in_mode("store-away"), seconds=1.5)
    during = await seconds_for_picks(a)
    await asyncio.sleep(3)
    redis.signal(signal.SIGCONT)
    await a.until(in_mode("normal"), seconds=2.0)
    await b.until(in_mode("normal"), seconds=2.0)
    held = await a.requests()
    await b.until(sees(held, replicas=2), seconds=2.0)
    # A pick that waited for the store would take its time limit, a hundred times as long.
    assert during < 20 * before + 0.5


async def seconds_for_picks(picker: Picker) -> float:
    """Return how long 50 picks take, one after another."""
    started = time.monotonic()
    for call in await picker.open(50):
        call.cancel()
    return time.monotonic() - started


async def test_an_emptied_store_is_rebuilt(site: Site) -> None:
    """FLUSHALL: everybody joins again and publishes; nothing is negative, nothing double."""
    await site.redis()
    a, b = await site.picker("a"), await site.picker("b")
    await a.open(7)
    await b.open(4)
    await b.until(sees(11, replicas=2), seconds=1.0)
    await command(site.port, b"FLUSHALL")
    for picker in (a, b):
        await picker.until(sees(11, replicas=2), seconds=1.0)
    c = await site.picker("c")
    await c.until(sees(11, replicas=3), seconds=1.0)


async def command(port: int, *words: bytes) -> bytes:
    """Send one command to Redis and return the raw reply."""
    reader, writer = await asyncio.open_connection(HOST, port)
    parts = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
    writer.write(b"*%d\r\n" % len(words) + parts)
    await writer.drain()
    reply = await reader.read(1 << 20)
    writer.close()
    return reply


async def test_pickers_serve_before_the_store_is_there(site: Site) -> None:
    """They serve at once and upgrade by themselves."""
    a, b = await site.picker("a"), await site.picker("b")
    await a.open(3)
    assert "alone" == (await a.view())["mode"]
    await site.redis()
    await a.until(in_mode("normal"), seconds=3.0)
    await b.until(sees(3, replicas=2), seconds=3.0)


async def test_redis_calls_per_pick(site: Site) -> None:
    """At most 0.3 a pick at 800 picks a second, by Redis' own count."""
    await site.redis()
    a = await site.picker("a")
    await command(site.port, b"CONFIG", b"RESETSTAT")
    seconds = 2.0
    picks = await pick_for(a, seconds)
    stats = await command(site.port, b"INFO", b"commandstats")
    calls = sum(
        int(line.split(b"calls=")[1].split(b",")[0])
        for line in stats.splitlines()
        if line.startswith((b"cmdstat_evalsha", b"cmdstat_eval:", b"cmdstat_mget"))
    )
    assert calls <= 0.3 * max(picks, PICKS_PER_SECOND * seconds)


async def pick_for(picker: Picker, seconds: float) -> int:
    """Pick in 16 parallel streams for some time; return how many were placed."""
    ends = time.monotonic() + seconds

    async def pick() -> int:
        picks = 0
        while time.monotonic() < ends:
            for call in await picker.open(1):
                call.cancel()
            picks += 1
        return picks

    async with asyncio.TaskGroup() as tasks:
        workers: Sequence[asyncio.Task[int]] = [tasks.create_task(pick()) for _ in range(16)]
    return sum(worker.result() for worker in workers)
