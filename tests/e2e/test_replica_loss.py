"""One of two pickers killed under load, in every mode that we ship and over both transports."""

import asyncio

import aiohttp
import msgspec
import pytest

from chaos.cluster.cluster import Cluster, Picker
from chaos.demo.watch import read_picks, read_views
from chaos.gateway.config import GatewayMode
from chaos.load.results import Summary
from chaos.load.runner import LoadSpec, Progress, run_load
from chaos.load.workload import Mix
from tests.e2e.conftest import Build

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

REQUESTS = 160
ARRIVALS_DURING_KILL = 4
"""Requests that may reach a picker between its last report and its death."""
MIX = Mix(
    rate=40,
    requests=REQUESTS,
    max_tokens=48,
    stream_share=0.7,
    system_bytes=2000,
    long_share=0.02,
    cancel_share=0.05,
)


class Loss(msgspec.Struct, kw_only=True):
    """What happened when the first picker was killed."""

    summary: Summary
    cut: int
    """Requests that the killed picker carried just before."""
    placed_by_survivor: int


async def load_and_kill(system: Cluster) -> Loss:
    """Send the load and kill the first picker half-way."""
    kills: list[asyncio.Task[int]] = []

    def on_progress(progress: Progress) -> None:
        if progress.sent >= REQUESTS // 2 and not kills:
            kills.append(tasks.create_task(kill(system.pickers[0]), name="kill"))

    async with asyncio.TaskGroup() as tasks:
        spec = LoadSpec(urls=(f"{system.url}/v1/chat/completions",), mix=MIX)
        summary = await run_load(spec, on_progress=on_progress, progress_seconds=0.05)
    async with aiohttp.ClientSession() as session:
        placed = await read_picks(session, system.pickers)
    return Loss(summary=summary, cut=kills[0].result(), placed_by_survivor=placed)


async def kill(victim: Picker) -> int:
    """Kill a picker with SIGKILL; return the requests that it carried."""
    async with aiohttp.ClientSession() as session:
        (view,) = await read_views(session, [victim])
    await victim.child.kill()
    return sum(load.requests for load in view.endpoints)


async def left_in_flight(system: Cluster) -> int:
    """Return what the surviving pickers still count once the streams have had time to end."""
    async with aiohttp.ClientSession() as session:
        for _ in range(50):
            views = await read_views(session, system.pickers)
            left = sum(load.requests for view in views for load in view.endpoints)
            if not left:
                return 0
            await asyncio.sleep(0.1)
    return left


@pytest.mark.parametrize("transport", ["h2", "grpcio"])
@pytest.mark.parametrize("mode", [GatewayMode.RESILIENT, GatewayMode.LONG_CONTEXT])
async def test_a_killed_picker_is_invisible_to_clients(
    build: Build, mode: GatewayMode, transport: str
) -> None:
    """No client error at all: running answers finish, new requests go to the other replica."""
    async with build(mode=mode, transport=transport) as system:
        loss = await load_and_kill(system)
        assert {} == loss.summary.errors_by_reason
        assert REQUESTS == loss.summary.ok + loss.summary.cancelled
        # Its share of the first half and next to all of the second.
        assert loss.placed_by_survivor >= REQUESTS * 0.6
        assert 0 == await left_in_flight(system)


@pytest.mark.parametrize("transport", ["h2", "grpcio"])
async def test_full_duplex_loses_only_the_streams_that_the_kill_cut(
    build: Build, transport: str
) -> None:
    """What streams through a picker dies with it; later requests are served by the other."""
    async with build(mode=GatewayMode.CONFORMANT, transport=transport) as system:
        loss = await load_and_kill(system)
        # A cut answer is truncated, or a 500 if it had not begun.
        assert set(loss.summary.errors_by_reason) <= {"truncated", "disconnected", "http_500"}
        assert loss.summary.errors <= loss.cut + ARRIVALS_DURING_KILL
        assert loss.placed_by_survivor >= REQUESTS * 0.6
        assert 0 == await left_in_flight(system)
