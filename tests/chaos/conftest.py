"""What several tests of chaos share: a small fleet on ephemeral ports, and a client."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from chaos.engine.core import EngineSpec
from chaos.modelserver.fleet import listen, serve_fleet
from chaos.modelserver.server import ModelServer, ServerSpec

# Fast enough that no test waits for the engine.
FAST = ServerSpec(
    engine=EngineSpec(
        prefill_tokens_per_second=1e6, step_seconds=0.0005, step_seconds_per_sequence=0.0
    )
)


@pytest.fixture(scope="session", autouse=True)
def _no_loop_outside_of_tests() -> None:
    """Keep looptime 0.9 from creating, and leaking, a loop around synchronous tests."""
    asyncio.set_event_loop(None)


@pytest.fixture
async def servers() -> AsyncIterator[list[ModelServer]]:
    """Serve two model servers, the second one at half the speed."""
    sockets = listen("127.0.0.1", [0, 0])
    async with serve_fleet(
        FAST, sockets, speeds=(1.0, 0.5), seed=1, wall=lambda: 1795580546.0
    ) as fleet:
        yield fleet


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """Open a client session with a deadline for every request."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield session
