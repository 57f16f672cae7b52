"""Several worker processes on one ext_proc port, each a replica of its own.

The kernel spreads connections over them, so it takes several gateway connections to keep several
workers busy. A worker that dies is started again; the others serve meanwhile.
"""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import structlog
import yaml

from picker.errors import AddressInUse, PickerError
from picker.settings import ENV_PREFIX, PickerSettings
from state.runtime.address import Address, parse_address
from state.runtime.lifecycle import stop_on_signals

log = structlog.get_logger(__name__)

PORT_STRIDE = 10
"""Between the health and admin ports of two workers."""
RESTART_SECONDS = 0.5


class WorkerFailed(PickerError):  # noqa: N818  reads as what happened
    """A worker ended before it served; it said why itself."""

    def __init__(self, name: str, returncode: int) -> None:
        """Keep which one, and its exit status."""
        super().__init__(f"worker {name} ended with status {returncode} before it served")


async def run_workers(settings: PickerSettings) -> None:
    """Serve with `settings.workers` processes until a signal; print `ready …` once."""
    with stop_on_signals() as stop, tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            address = stack.enter_context(_reserved(parse_address(settings.extproc_address)))
            workers = [
                Worker(worker_settings(settings, index, address), Path(folder))
                for index in range(settings.workers)
            ]
            for worker in workers:
                await stack.enter_async_context(worker.running())
            print(_ready_line(workers), flush=True)  # noqa: T201  scripts wait for it
            async with asyncio.TaskGroup() as tasks:
                watchers = [tasks.create_task(each.keep_running()) for each in workers]
                await stop.wait()
                for watcher in watchers:
                    watcher.cancel()


def worker_settings(settings: PickerSettings, index: int, extproc: Address) -> PickerSettings:
    """Return one worker's settings: a name and ports of its own; the first one scrapes."""
    changes: dict[str, object] = {
        "settings": None,
        "workers": 1,
        "shared_port": True,
        "replica_id": f"{settings.replica_id}-w{index}",
        "extproc_address": str(extproc),
        "scrape": settings.scrape and index == 0,
    }
    for name in ("health_address", "admin_address"):
        address = parse_address(getattr(settings, name))
        port = address.port + PORT_STRIDE * index if address.port else 0
        changes[name] = str(address._replace(port=port))
    return settings.model_copy(update=changes)


class Worker:
    """One process."""

    def __init__(self, settings: PickerSettings, folder: Path) -> None:
        self.name = settings.replica_id
        self.ready: dict[str, str] = {}
        """The parts of its ready line."""
        self._path = folder / f"{self.name.replace('/', '_')}.yaml"
        self._path.write_text(yaml.safe_dump(settings.model_dump(mode="json", exclude_none=True)))
        self._process: asyncio.subprocess.Process | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start it, yield it ready, ask it to end and wait: its own drain is bounded."""
        await self._start()
        try:
            yield
        finally:
            process = self._process
            if process is not None and process.returncode is None:
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
                await process.wait()

    async def keep_running(self) -> None:
        """Start it again whenever it ends."""
        while True:
            if self._process is not None:
                status = await self._process.wait()
                log.error("worker ended, starting it again", worker=self.name, status=status)
            await asyncio.sleep(RESTART_SECONDS)
            try:
                await self._start()
            except WorkerFailed as error:
                log.warning("worker not started", reason=str(error))

    async def _start(self) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(ENV_PREFIX)}
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "picker", "serve", "--settings", str(self._path)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
        )
        assert self._process.stdout is not None  # noqa: S101  asked for
        async for raw in self._process.stdout:
            word, *parts = raw.decode().split()
            if word == "ready":
                self.ready = dict(part.split("=", 1) for part in parts)
                return
        raise WorkerFailed(self.name, await self._process.wait())


def _ready_line(workers: Sequence[Worker]) -> str:
    health, admin = (
        ",".join(worker.ready[name] for worker in workers) for name in ("health", "admin")
    )
    return f"ready extproc={workers[0].ready['extproc']} health={health} admin={admin}"


@contextmanager
def _reserved(address: Address) -> Iterator[Address]:
    """Hold a port that several processes will listen on, so that port 0 is one port for all."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            held.bind((address.host, address.port))
        except OSError as error:
            reason = error.strerror or str(error)
            raise AddressInUse("extproc-address", str(address), reason) from error
        yield address._replace(port=held.getsockname()[1])
