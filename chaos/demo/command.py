"""`python -m chaos demo`: the whole thing on this machine, with one picker killed on the way."""

import asyncio
import tempfile
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated

import aiohttp
import msgspec
import typer
from rich.console import Console

from chaos.cluster.cluster import Cluster, ClusterSpec, Picker, cluster
from chaos.demo.watch import Screen, read_picks, read_views, watch
from chaos.errors import ChaosError
from chaos.gateway.config import GatewayMode
from chaos.load.results import Summary
from chaos.load.runner import LoadSpec, Progress, run_load
from chaos.load.workload import Mix
from chaos.process import run, stop_on_signals

SETTLE_SECONDS = 5.0
POLL_SECONDS = 0.1
KILL_AT = 0.5
"""Share of the requests after which a picker is killed."""
PLACED_SHARE = 0.9
"""Envoy fails open: without this check a demo of pickers that answer nothing would pass."""

FLEET_FLAGS = ("--speeds", "1.0,0.5", "--prefill-rate", "12000", "--tokens-per-event", "2")


class Transport(Enum):
    """The pickers' ext_proc server."""

    H2 = "h2"
    GRPCIO = "grpcio"


class State(Enum):
    """What the replicas share."""

    REDIS = "redis"
    MEMORY = "memory"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The demo's last line."""

    requests: int
    ok: int
    cancelled: int
    errors: int
    replicas: int
    endpoints: int
    ttft_p50_ms: float
    ttft_p99_ms: float
    prefix_hit_rate: float
    inflight_after: int
    mode: str
    transport: str
    state: str
    placed: int
    """Requests for which a picker named the destination; at a kill Envoy places a few itself."""
    killed_replicas: int
    errors_by_reason: dict[str, int]
    seconds: float


def demo(
    *,
    mode: Annotated[
        GatewayMode, typer.Option(help="How Envoy shows requests to the pickers.")
    ] = GatewayMode.RESILIENT,
    transport: Annotated[
        Transport, typer.Option(help="The pickers' ext_proc server.")
    ] = Transport.H2,
    state: Annotated[
        State, typer.Option(help="What the replicas share; memory: nothing between processes.")
    ] = State.REDIS,
    requests: Annotated[int, typer.Option(min=1, max=100_000, help="Requests to send.")] = 600,
    rate: Annotated[float, typer.Option(min=0.1, max=2000, help="Requests per second.")] = 25.0,
    base_port: Annotated[
        int, typer.Option(min=1024, max=65_000, help="First of the ports in a row.")
    ] = 18080,
    kill: Annotated[bool, typer.Option(help="Kill a picker half-way.")] = True,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running at the end.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the load.")] = 1,
) -> None:
    """Serve chat requests through a real Envoy and two pickers, and lose one of them."""
    mix = Mix(
        rate=rate,
        requests=requests,
        max_tokens=32,
        stream_share=0.7,
        system_prompts=8,
        system_bytes=4000,
        user_bytes_min=100,
        user_bytes_max=800,
        long_share=0.02,
        cancel_share=0.05,
        seed=seed,
    )
    run(_demo(mix, mode, transport, state, base_port, kill=kill, keep=keep))


async def _demo(
    mix: Mix,
    mode: GatewayMode,
    transport: Transport,
    state: State,
    base_port: int,
    *,
    kill: bool,
    keep: bool,
) -> None:
    console = Console()
    with tempfile.TemporaryDirectory(prefix="murmuration-demo-") as folder:
        spec = ClusterSpec(
            folder=Path(folder),
            base_port=base_port,
            mode=mode,
            transport=transport.value,
            redis=state is State.REDIS,
            fleet_flags=FLEET_FLAGS,
        )
        async with cluster(spec) as system:
            result = await _drive(system, mix, console, kill=kill)
            if keep:
                await _keep(system, console)
    print(msgspec.json.encode(result).decode(), flush=True)
    _judge(result, mode)


async def _drive(system: Cluster, mix: Mix, console: Console, *, kill: bool) -> Result:
    total = mix.requests or 0
    kills: list[asyncio.Task[int]] = []
    with Screen(console, total) as screen:
        screen.say(_introduction(system))

        def on_progress(progress: Progress) -> None:
            screen.progress = progress
            if kill and not kills and progress.sent >= total * KILL_AT:
                kills.append(tasks.create_task(_kill(system, screen), name="kill"))

        async with asyncio.TaskGroup() as tasks:
            watcher = tasks.create_task(watch(system, screen), name="watch")
            spec = LoadSpec(urls=(f"{system.url}/v1/chat/completions",), mix=mix)
            summary = await run_load(spec, on_progress=on_progress, progress_seconds=0.2)
            left = await _settle(system)
            watcher.cancel()
        placed = sum(each.result() for each in kills) + await _picks(system.pickers)
        return _result(system, summary, left, placed, len(kills))


async def _kill(system: Cluster, screen: Screen) -> int:
    """Kill a picker; return how many requests it had placed."""
    victim = system.pickers[0]
    placed = await _picks([victim])
    await victim.child.kill()
    screen.say(f"killed {victim.child.name} (kill -9) after {placed} picks of its own")
    return placed


async def _picks(pickers: Sequence[Picker]) -> int:
    async with aiohttp.ClientSession() as session:
        return await read_picks(session, pickers)


async def _settle(system: Cluster) -> int:
    """Wait for the survivors' bookings to reach zero; return what is left."""
    left = 0
    async with aiohttp.ClientSession() as session:
        for _ in range(int(SETTLE_SECONDS / POLL_SECONDS)):
            views = await read_views(session, system.pickers)
            left = sum(load.requests for view in views for load in view.endpoints)
            if not left:
                break
            await asyncio.sleep(POLL_SECONDS)
    return left


def _result(system: Cluster, summary: Summary, left: int, placed: int, killed: int) -> Result:
    return Result(
        requests=summary.requests,
        ok=summary.ok,
        cancelled=summary.cancelled,
        errors=summary.errors,
        replicas=len(system.pickers),
        endpoints=system.spec.servers,
        ttft_p50_ms=summary.ttft_ms.p50,
        ttft_p99_ms=summary.ttft_ms.p99,
        prefix_hit_rate=round(summary.prefix_hit_ratio, 4),
        inflight_after=left,
        mode=system.spec.mode.value,
        transport=system.spec.transport,
        state="redis" if system.spec.redis else "memory",
        placed=placed,
        killed_replicas=killed,
        errors_by_reason=summary.errors_by_reason,
        seconds=round(summary.seconds, 1),
    )


def _introduction(system: Cluster) -> str:
    pickers = ", ".join(f"{each.extproc.host}:{each.extproc.port}" for each in system.pickers)
    return (
        f"Envoy on {system.url} ({system.spec.mode.value}), {len(system.pickers)} pickers"
        f" ({system.spec.transport}) on {pickers}, state {system.spec.state},"
        f" {system.spec.servers} simulated model servers"
    )


async def _keep(system: Cluster, console: Console) -> None:
    survivor = next(each for each in system.pickers if each.child.returncode is None)
    body = '{"model":"tiny","messages":[{"role":"user","content":"Hello"}],"stream":true}'
    console.print("Still running; end with Ctrl-C. Try:", highlight=False)
    for line in (
        f"curl -si {system.url}/v1/chat/completions -H content-type:application/json -d '{body}'",
        f"curl -s {system.url}/v1/models",
        f"curl -s {survivor.admin_url}/debug/view",
        f"curl -s '{survivor.admin_url}/debug/picks?n=3'",
        f"curl -s {survivor.admin_url}/metrics",
    ):
        console.print(f"  {line}", highlight=False, soft_wrap=True, markup=False)
    with stop_on_signals() as stop:
        await stop.wait()


def _judge(result: Result, mode: GatewayMode) -> None:
    """In conformant mode a killed picker cuts streams: that is what the mode is like."""
    if result.inflight_after:
        raise ChaosError(f"{result.inflight_after} bookings were left after the last request")
    if result.placed < PLACED_SHARE * result.requests:
        raise ChaosError(f"the pickers placed only {result.placed} of {result.requests} requests")
    if result.errors and mode is not GatewayMode.CONFORMANT:
        raise ChaosError(f"{result.errors} requests failed: {result.errors_by_reason}")
