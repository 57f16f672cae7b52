"""Composition root: where the concrete classes of a picker replica meet."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry

from picker.admin.report import describe_view
from picker.admin.server import AdminPages, admin_app
from picker.errors import AddressInUse, InvalidSettings
from picker.extproc import aio, h2
from picker.extproc.exchange import ExtProcExchange
from picker.extproc.ports import Outlet
from picker.extproc.server import Server, TransportLimits
from picker.extproc.tls import TlsFiles
from picker.flow.director import Director
from picker.flow.picks import PickLog
from picker.metrics import PickerMetrics
from picker.plugins.catalogue import built_in
from picker.readiness import CHECK_PATH, Readiness, start_health_server
from picker.scheduling.config import DEFAULT_CONFIG, build_scheduler, load_config
from picker.scheduling.delay import ExpectedDelay
from picker.scheduling.framework import PluginContext
from picker.scheduling.scheduler import Scheduler
from picker.settings import PickerSettings, Transport
from state.merge import Merge
from state.model import ReplicaId
from state.modes import Mode
from state.ports import EndpointSource, Store
from state.replica import Replica
from state.runtime.address import Address, parse_address
from state.runtime.clock import Clock

log = structlog.get_logger(__name__)

MESSAGE_OVERHEAD_BYTES = 1 << 20
"""Room for headers and metadata around a body of the largest size."""


class Listening(msgspec.Struct, frozen=True, kw_only=True):
    """Where a replica can be reached."""

    extproc: Address
    health: Address
    admin: Address


class PickerReplica:
    """One replica: it serves while its context is open."""

    def __init__(
        self,
        settings: PickerSettings,
        *,
        store: Store,
        source: EndpointSource,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._merge = Merge(ReplicaId(settings.replica_id))
        self._picks = PickLog()
        self._registry = CollectorRegistry()
        self._metrics = PickerMetrics(self._registry)
        self._delay = ExpectedDelay(settings.delay)
        self._director = Director(
            merge=self._merge,
            scheduler=make_scheduler(settings.config, self._delay, rng),
            delay=self._delay,
            picks=self._picks,
            observer=self._metrics,
            clock=clock,
            parse_settings=settings.prefix.parse_settings(),
        )
        self._replica = Replica(
            merge=self._merge, store=store, source=source, clock=clock, settings=settings.cadence
        )
        self._readiness = Readiness(self._replica.discovered.is_set)
        self._server: Server | None = None

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Listening]:
        """Join the pool and listen. Leaving the context leaves the pool; `drain` comes before."""
        async with AsyncExitStack() as stack:
            health = await self._listen_health(stack)
            admin = await self._listen_admin(stack)
            await stack.enter_async_context(_background(self._replica.run))
            stack.push_async_callback(self._replica.leave)
            # Before the first list of endpoints is there, every answer would be a 503.
            await self._replica.discovered.wait()
            server = self._server = await self._listen_extproc()
            stack.push_async_callback(server.close)
            self._watch(server)
            yield Listening(extproc=server.address, health=health, admin=admin)

    async def drain(self) -> None:
        """Turn not ready, go on serving for a while, then let streams finish within the bound."""
        self._readiness.draining = True
        server = self._server
        if server is None:
            return
        log.info("draining", streams=server.streams)
        await asyncio.sleep(self._settings.linger_seconds)
        await server.drain(self._settings.drain_seconds)
        log.info("drained", streams=server.streams, open_requests=self._merge.ledger.open_requests)

    async def _listen_extproc(self) -> Server:
        settings = self._settings
        address = parse_address(settings.extproc_address)
        start = h2.start if settings.transport is Transport.H2 else aio.start
        body = settings.exchange.max_request_body_bytes
        tls = None
        if settings.secure_serving:
            tls = TlsFiles(certificate=settings.cert_file, key=settings.key_file)
        try:
            return await start(
                address,
                self._new_exchange,
                unary={CHECK_PATH: self._readiness.check},
                tls=tls,
                limits=TransportLimits(
                    max_message_bytes=body + MESSAGE_OVERHEAD_BYTES,
                    max_streams=settings.max_streams_per_connection,
                ),
                shared_port=settings.shared_port,
            )
        except OSError as error:
            raise _in_use("extproc-address", address, error) from error

    async def _listen_health(self, stack: AsyncExitStack) -> Address:
        address = parse_address(self._settings.health_address)
        try:
            server, port = await start_health_server(self._readiness, str(address))
        except OSError as error:
            raise _in_use("health-address", address, error) from error
        stack.push_async_callback(server.stop, None)
        return Address(address.host, port)

    async def _listen_admin(self, stack: AsyncExitStack) -> Address:
        address = parse_address(self._settings.admin_address)
        runner = web.AppRunner(admin_app(self._pages()), access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        try:
            await web.TCPSite(runner, address.host, address.port).start()
        except OSError as error:
            raise _in_use("admin-address", address, error) from error
        return Address(address.host, runner.addresses[0][1])

    def _new_exchange(self, outlet: Outlet) -> ExtProcExchange:  # noqa: ARG002  the port's shape
        return ExtProcExchange(
            director=self._director,
            observer=self._metrics,
            settings=self._settings.exchange,
            new_request_id=lambda: str(uuid.uuid4()),
        )

    def _pages(self) -> AdminPages:
        return AdminPages(
            registry=self._registry,
            ready=lambda: self._readiness.ready,
            view=lambda: describe_view(
                self._merge,
                pool=self._settings.pool,
                mode=self._replica.mode.value,
                membership=self._replica.membership,
                now=self._clock.monotonic(),
            ),
            picks=self._picks.last,
        )

    def _watch(self, server: Server) -> None:
        watch = self._metrics.watch
        merge = self._merge
        watch("streams_open", "ext_proc streams open now.", lambda: server.streams)
        watch(
            "bookings_open", "Requests booked by this replica.", lambda: merge.ledger.open_requests
        )
        watch("endpoints", "Endpoints in the pool.", lambda: len(merge.view))
        watch("replicas_live", "Live replicas, this one included.", lambda: merge.view.replicas)
        self._metrics.watch_each(
            "mode",
            "1 for the mode that this replica is in.",
            "mode",
            {mode.value: partial(self._is_mode, mode) for mode in Mode},
        )
        watch(
            "view_peers_age_seconds",
            "Age of the peers' part of the view.",
            lambda: merge.view.peers_age_seconds,
        )
        watch("ready", "1 when this replica should get traffic.", lambda: self._readiness.ready)

    def _is_mode(self, mode: Mode) -> bool:
        return self._replica.mode is mode


def make_scheduler(config: Path | None, delay: ExpectedDelay, rng: random.Random) -> Scheduler:
    """Build the scheduler of a config file, or the default one; raises InvalidConfig."""
    text = DEFAULT_CONFIG if config is None else read_config(config)
    return build_scheduler(load_config(text), built_in(), PluginContext(rng=rng, delay=delay))


def read_config(path: Path) -> str:
    """Return the text of a config file; raises InvalidSettings."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings([f"config: cannot read {path}: {error}"]) from error


def _in_use(flag: str, address: Address, error: OSError) -> AddressInUse:
    return AddressInUse(flag, str(address), error.strerror or str(error))


@asynccontextmanager
async def _background(run: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run beside the context's body; its failure ends the body, the body's end cancels it."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run(), name="replica")
        try:
            yield
        finally:
            task.cancel()
