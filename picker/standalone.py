"""Replicas, and where asked for a collector, in one process around one store.

The only module of picker that may import collector: what runs here would else be several processes.
"""

import asyncio
import gc
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from prometheus_client import CollectorRegistry

from collector.app import run_collector
from collector.settings import CollectorSettings, ScrapeSettings
from picker.app import Listening, PickerReplica
from picker.errors import InvalidSettings
from picker.settings import PickerSettings
from state.discovery.file import FileSource
from state.errors import StoreUnavailable
from state.factory import check_store, open_store
from state.ports import Store
from state.runtime.address import parse_address
from state.runtime.clock import Clock, SystemClock
from state.runtime.lifecycle import stop_on_signals

log = structlog.get_logger(__name__)

PORT_STRIDE = 10
"""Between the ports of two replicas in one process."""


async def run(settings: PickerSettings, *, replicas: int, scrape: bool) -> None:
    """Serve until a signal, print `ready …` once, then drain within the bound."""
    if settings.endpoints is None:
        raise InvalidSettings(["endpoints: name the file that lists the model servers"])
    clock = SystemClock()
    store = open_store(settings.state, pool=settings.pool, clock=clock, settings=settings.cadence)
    with stop_on_signals() as stop:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(store.close)
            await _check(store)
            pickers = [
                PickerReplica(
                    replica_settings(settings, index, of=replicas),
                    store=store,
                    source=FileSource(settings.endpoints),
                    clock=clock,
                    rng=random.Random(),  # noqa: S311  spreads load, keeps no secret
                )
                for index in range(replicas)
            ]
            listening = [await stack.enter_async_context(each.serve()) for each in pickers]
            if scrape:
                await stack.enter_async_context(_collecting(settings, store, clock))
            # What lives as long as the process need not be searched for cycles: 36 us of a 400 KB
            # prompt.
            gc.collect()
            gc.freeze()
            print(ready_line(listening), flush=True)  # noqa: T201  the line that scripts wait for
            await stop.wait()
            async with asyncio.TaskGroup() as drains:
                for each in pickers:
                    drains.create_task(each.drain(), name="drain")


async def _check(store: Store) -> None:
    """Refuse to start on a store that can never serve; go on without one that is away."""
    try:
        await check_store(store)
    except StoreUnavailable as error:
        log.warning("store does not answer, starting without it", reason=str(error))


def replica_settings(settings: PickerSettings, index: int, *, of: int) -> PickerSettings:
    """Return the settings of one of several replicas: names and ports of its own."""
    if of == 1:
        return settings
    changes = {"replica_id": f"{settings.replica_id}-{index}"}
    for name in ("extproc_address", "health_address", "admin_address"):
        address = parse_address(getattr(settings, name))
        if address.port:
            address = address._replace(port=address.port + PORT_STRIDE * index)
        changes[name] = str(address)
    return settings.model_copy(update=changes)


def ready_line(listening: Sequence[Listening]) -> str:
    """Return `ready extproc=H:P health=H:P admin=H:P`, comma lists for several replicas."""
    parts = (
        ("extproc", [each.extproc for each in listening]),
        ("health", [each.health for each in listening]),
        ("admin", [each.admin for each in listening]),
    )
    return "ready " + " ".join(
        f"{name}={','.join(map(str, addresses))}" for name, addresses in parts
    )


@asynccontextmanager
async def _collecting(settings: PickerSettings, store: Store, clock: Clock) -> AsyncIterator[None]:
    """Run an embedded collector beside the context's body."""
    if settings.endpoints is None:
        return
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(
            run_collector(
                store=store,
                source=FileSource(settings.endpoints),
                settings=CollectorSettings(
                    scrape=ScrapeSettings(interval_seconds=settings.scrape_interval_seconds)
                ),
                clock=clock,
                rng=random.Random(),  # noqa: S311  jitter
                registry=CollectorRegistry(),
            ),
            name="collector",
        )
        try:
            yield
        finally:
            task.cancel()
