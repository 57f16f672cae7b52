"""A redis-server of our own: nothing on disk, loopback only."""

import shutil
from contextlib import AsyncExitStack
from pathlib import Path

from chaos.cluster.child import Child
from chaos.errors import ChaosError


async def start_redis(host: str, port: int, folder: Path, stack: AsyncExitStack) -> Child:
    """Start a server and return it ready; it ends with the stack. Raises ChaosError."""
    program = shutil.which("redis-server")
    if program is None:
        raise ChaosError("no redis-server on the PATH: install it, or choose --state memory")
    command = [
        program,
        *("--bind", host, "--port", str(port)),
        *("--save", "", "--appendonly", "no", "--dir", str(folder)),
    ]
    child = await Child.start("redis-server", command, log=folder / "redis.log")
    stack.push_async_callback(child.stop)
    await child.line("Ready to accept connections", anywhere=True)
    return child
