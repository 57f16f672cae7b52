"""Processes under measurement: pickers, and the bare transports that are their floor."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import yaml

from chaos.cluster.child import Child

FREE = "127.0.0.1:0"
PAGE_BYTES = 4096


class Served(NamedTuple):
    """A process that serves ext_proc, and where."""

    pid: int
    host: str
    port: int
    resident_at_start_mb: float


@asynccontextmanager
async def picker(folder: Path, *, transport: str, endpoints: int) -> AsyncIterator[Served]:
    """Run a picker with the default profile."""
    listed = write_endpoints(folder / f"endpoints-{endpoints}.yaml", endpoints)
    command = Child.python(
        *("picker", "serve", "--endpoints", str(listed), "--state", "memory"),
        *("--extproc-address", FREE, "--health-address", FREE, "--admin-address", FREE),
        *("--transport", transport, "--linger-seconds", "0", "--drain-seconds", "0"),
    )
    async with _serving(f"picker-{transport}-{endpoints}", command, folder) as served:
        yield served


@asynccontextmanager
async def floor(folder: Path, *, transport: str) -> AsyncIterator[Served]:
    """Run a transport with an exchange that decides nothing."""
    command = Child.python("tests.perf.floor", transport)
    async with _serving(f"floor-{transport}", command, folder) as served:
        yield served


def write_endpoints(path: Path, count: int) -> Path:
    """Write a discovery file of endpoints that need not exist."""
    listed = [
        {"name": f"m{i}", "address": f"10.1.{i // 250}.{i % 250 + 1}", "port": 8000}
        for i in range(count)
    ]
    path.write_text(yaml.safe_dump({"endpoints": listed}))
    return path


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process from the scheduler's clock, ended threads included.

    The clock id is that of clock_getcpuclockid(3), which Python does not offer for other processes.
    """
    scheduler_clock = 2
    return time.clock_gettime((~pid << 3) | scheduler_clock)


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * PAGE_BYTES / 1e6


@asynccontextmanager
async def _serving(name: str, command: Sequence[str], folder: Path) -> AsyncIterator[Served]:
    child = await Child.start(name, command, log=folder / f"{name}.log")
    try:
        ready = await child.line("ready ")
        host, _, port = ready.split()[1].removeprefix("extproc=").rpartition(":")
        yield Served(child.pid, host, int(port), resident_mb(child.pid))
    finally:
        await child.stop()
