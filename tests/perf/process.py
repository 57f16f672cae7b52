"""A picker process under measurement."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import yaml

from chaos.cluster.child import Child

FREE = "127.0.0.1:0"


def write_endpoints(path: Path, count: int) -> Path:
    """Write a discovery file of endpoints that need not exist."""
    listed = [
        {"name": f"m{i}", "address": f"10.1.{i // 250}.{i % 250 + 1}", "port": 8000}
        for i in range(count)
    ]
    path.write_text(yaml.safe_dump({"endpoints": listed}))
    return path


@asynccontextmanager
async def picker(
    folder: Path, *, transport: str, endpoints: int
) -> AsyncIterator[tuple[Child, str, int]]:
    """Run a picker; yield it with the address of its ext_proc port."""
    path = write_endpoints(folder / f"endpoints-{endpoints}.yaml", endpoints)
    command = Child.python(
        *("picker", "serve", "--endpoints", str(path), "--transport", transport),
        *("--extproc-address", FREE, "--health-address", FREE, "--admin-address", FREE),
        *("--linger-seconds", "0", "--drain-seconds", "0"),
    )
    child = await Child.start("picker", command, log=folder / "picker.log")
    try:
        ready = await child.line("ready ")
        host, _, port = ready.split()[1].removeprefix("extproc=").rpartition(":")
        yield child, host, int(port)
    finally:
        await child.stop()


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of all threads of a process, from the scheduler's own clock."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 1e6
