"""Supervised tasks: each has a name, and an unexpected end is logged and answered."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger(__name__)

LONGEST_PAUSE_SECONDS = 5.0


async def supervise(
    run: Callable[[], Awaitable[None]], *, name: str, first_pause_seconds: float = 0.1
) -> None:
    """Run until it returns or is cancelled; restart it with back-off when it raises.

    For background work whose faults must not take serving along. What must end the process belongs
    in a plain TaskGroup.
    """
    pause = first_pause_seconds
    while True:
        started = asyncio.get_running_loop().time()
        try:
            await run()
        except Exception:
            log.exception("task failed", task=name, retry_in_seconds=pause)
        else:
            return
        if asyncio.get_running_loop().time() - started > LONGEST_PAUSE_SECONDS:
            pause = first_pause_seconds
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
