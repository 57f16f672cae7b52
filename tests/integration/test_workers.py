"""`--workers`: several processes on one port, over a real redis-server."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import yaml

from chaos.cluster.child import Child
from chaos.cluster.ports import free_block
from chaos.cluster.redis import start_redis
from picker.extproc.modes import BodyMode
from tests.support import ext_proc as gw
from tests.support.serving import Gateway

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

HOST = "127.0.0.1"
FREE = f"{HOST}:0"


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """What ends with the test."""
    async with AsyncExitStack() as started:
        yield started


async def start(folder: Path, stack: AsyncExitStack) -> tuple[Child, dict[str, str]]:
    """Start three workers on a Redis of their own; return the parts of the ready line."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    port = free_block(HOST, 1, first=28_500 + 200 * worker)
    await start_redis(HOST, port, folder, stack)
    endpoints = folder / "endpoints.yaml"
    listed = [{"name": "m", "address": "127.0.1.1", "port": 8000}]
    endpoints.write_text(yaml.safe_dump({"endpoints": listed}))
    command = Child.python(
        *("picker", "serve", "--workers", "3", "--state", f"redis://{HOST}:{port}"),
        *("--extproc-address", FREE, "--health-address", FREE, "--admin-address", FREE),
        *("--endpoints", str(endpoints), "--linger-seconds", "0", "--replica-id", "host"),
    )
    child = await Child.start("workers", command, log=folder / "workers.log")
    stack.push_async_callback(child.stop)
    ready = await child.line("ready ")
    return child, dict(part.split("=", 1) for part in ready.split()[1:])


async def view(admin: str) -> dict[str, Any]:
    """Return a worker's `/debug/view`."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{admin}/debug/view") as response,
    ):
        answer: dict[str, Any] = await response.json()
        return answer


async def until(condition: Callable[[dict[str, Any]], bool], admin: str) -> dict[str, Any]:
    """Wait for a worker's view that fulfils a condition; the test's time limit ends it."""
    while True:
        shown = await view(admin)
        if condition(shown):
            return shown
        await asyncio.sleep(0.02)


def incarnations(shown: dict[str, Any]) -> dict[str, int]:
    """Return the replicas of a view."""
    return {each["id"]: each["incarnation"] for each in shown["replicas"]}


async def replicas(admin: str, expected: set[str]) -> dict[str, int]:
    """Wait until a worker sees these replicas; return their incarnations."""
    return incarnations(await until(lambda shown: set(incarnations(shown)) == expected, admin))


async def test_workers_are_replicas_on_one_port(tmp_path: Path, stack: AsyncExitStack) -> None:
    """All see what any of them booked; SIGTERM ends them all, exit 0."""
    child, where = await start(tmp_path, stack)
    admins = where["admin"].split(",")
    assert 3 == len(set(admins)) == len(set(where["health"].split(",")))
    await replicas(admins[2], {"host-w0", "host-w1", "host-w2"})
    channel = await stack.enter_async_context(grpc.aio.insecure_channel(where["extproc"]))
    call = Gateway(channel).open()
    await call.write(gw.request_headers(mode=BodyMode.BUFFERED))
    await call.read()
    await call.write(gw.request_body())
    await call.read()
    for admin in admins:
        await until(lambda shown: shown["endpoints"][0]["requests"] == 1, admin)
    call.cancel()
    assert 0 == await child.stop()


async def test_a_lost_worker_is_started_again(tmp_path: Path, stack: AsyncExitStack) -> None:
    """Under the same name and a new incarnation; the others serve meanwhile."""
    _, where = await start(tmp_path, stack)
    first = where["admin"].split(",")[0]
    everybody = {"host-w0", "host-w1", "host-w2"}
    before = await replicas(first, everybody)
    os.kill(pid_of_worker(tmp_path), 9)
    await until(lambda shown: before["host-w1"] < incarnations(shown).get("host-w1", 0), first)


def pid_of_worker(folder: Path) -> int:
    """Return the process id of the second worker of this test's picker."""
    endpoints = str(folder / "endpoints.yaml").encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"--settings" in words:
                settings = Path(words[words.index(b"--settings") + 1].decode())
                if "host-w1" in settings.name and endpoints in settings.read_bytes():
                    return int(process.name)
        except OSError:
            continue
    raise AssertionError("no such worker")
