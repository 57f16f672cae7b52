"""A whole collector, from a file of endpoints to snapshots in a store."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from collector.app import run_collector
from collector.settings import CollectorSettings, ScrapeSettings
from state.backends.memory.store import MemoryStore
from state.discovery.file import FileSource
from state.errors import InvalidEndpoints
from state.model import Membership, Observation, ReplicaId, Snapshot
from state.runtime.clock import SystemClock
from tests.collector.fakes import CAPTURES, FixedSource
from tests.support.builders import gauge

pytestmark = pytest.mark.integration

PAGE = CAPTURES / "metrics_busy_default_flags.prom"


@asynccontextmanager
async def model_server(page: bytes | None) -> AsyncIterator[int]:
    """Serve a page on loopback; None hangs."""

    async def metrics(_: web.Request) -> web.Response:
        if page is None:
            await asyncio.Event().wait()
        return web.Response(body=page, content_type="text/plain")

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def listing(*ports: int) -> str:
    entries = [{"name": f"s{port}", "address": "127.0.0.1", "port": port} for port in ports]
    return json.dumps({"endpoints": entries})


@asynccontextmanager
async def collecting(store: MemoryStore, path: Path) -> AsyncIterator[None]:
    settings = CollectorSettings(scrape=ScrapeSettings(interval_seconds=0.05, timeout_seconds=0.5))
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(
            run_collector(
                store=store,
                source=FileSource(path, poll_seconds=0.02),
                settings=settings,
                clock=SystemClock(),
                rng=random.Random(1),
                registry=CollectorRegistry(),
            )
        )
        try:
            yield
        finally:
            task.cancel()


async def snapshot_with(store: MemoryStore, count: int) -> Snapshot:
    async with asyncio.timeout(5), store.events() as events:
        async for event in events:
            if isinstance(event, Snapshot) and len(event.observations) == count:
                return event
    raise AssertionError


def uids(snapshot: Snapshot) -> set[int]:
    return {observation.uid for observation in snapshot.observations}


async def test_file_of_endpoints_becomes_snapshots(tmp_path: Path) -> None:
    """Endpoints of a file are scraped and published, also beside one that hangs."""
    path = tmp_path / "endpoints.yaml"
    store = MemoryStore(SystemClock())
    page = PAGE.read_bytes()
    async with model_server(page) as one, model_server(page) as two, model_server(None) as hung:
        path.write_text(listing(one, two, hung))
        async with collecting(store, path):
            snapshot = await snapshot_with(store, 2)
    observed: Observation = snapshot.observations[0]
    assert (72.0, 128.0) == (observed.waiting, observed.running)
    assert 524288.0 == observed.kv_capacity_tokens
    assert 0.0 <= observed.age_seconds < 2.0


async def test_endpoint_that_leaves_the_file_leaves_the_snapshot(tmp_path: Path) -> None:
    """A reload takes endpoints out of what is published, and puts new ones in."""
    path = tmp_path / "endpoints.yaml"
    store = MemoryStore(SystemClock())
    page = PAGE.read_bytes()
    async with model_server(page) as one, model_server(page) as two, model_server(page) as three:
        path.write_text(listing(one, two))
        async with collecting(store, path):
            before = uids(await snapshot_with(store, 2))
            path.with_suffix(".new").write_text(listing(two))
            path.with_suffix(".new").replace(path)
            left = uids(await snapshot_with(store, 1))
            path.with_suffix(".new").write_text(listing(two, three))
            path.with_suffix(".new").replace(path)
            after = uids(await snapshot_with(store, 2))
    assert left < before
    assert left == before & after


async def test_snapshot_carries_the_cut_of_the_replicas_gauges(tmp_path: Path) -> None:
    """What a replica had assigned when the scrape was sent is in the snapshot."""
    path = tmp_path / "endpoints.yaml"
    store = MemoryStore(SystemClock())
    async with model_server(PAGE.read_bytes()) as port:
        path.write_text(listing(port))
        async with collecting(store, path):
            snapshot = await snapshot_with(store, 1)
            (uid,) = uids(snapshot)
            membership: Membership = await store.join(ReplicaId("r"))
            told = gauge("r", 1, {1: (4, 100, 10)}, incarnation=membership.incarnation)
            told.uids[0] = uid
            await store.publish_gauge(told)
            while not snapshot.cuts:
                snapshot = await snapshot_with(store, 1)
    (cut,) = snapshot.cuts
    assert (("r", 1), [4]) == ((cut.replica, cut.incarnation), cut.assigned_total.tolist())


async def test_unusable_first_list_ends_the_collector(tmp_path: Path) -> None:
    """A collector does not start on a list with a bad entry."""
    path = tmp_path / "endpoints.yaml"
    path.write_text('{"endpoints": [{"name": "a"}]}')
    with pytest.raises(ExceptionGroup) as caught:
        async with collecting(MemoryStore(SystemClock()), path):
            await asyncio.sleep(1)
    assert caught.group_contains(InvalidEndpoints)


async def test_cancelled_collector_leaves_nothing_running() -> None:
    """Cancelling ends every task and frees the shard."""
    store = MemoryStore(SystemClock())
    before = asyncio.all_tasks()
    task = asyncio.get_running_loop().create_task(
        run_collector(
            store=store,
            source=FixedSource(1, 2),
            settings=CollectorSettings(),
            clock=SystemClock(),
            rng=random.Random(1),
        )
    )
    await snapshot_with(store, 0)
    task.cancel()
    await asyncio.wait([task])
    assert before == asyncio.all_tasks()
    assert await store.acquire_shard(next(iter(store._shards)), "next") is not None
