"""Sends a workload at its own pace, whatever the answers: open loop."""

import asyncio
from collections.abc import Callable, Mapping

import aiohttp
import msgspec

from chaos.load.client import Client
from chaos.load.results import Outcome, Record, Recorder, Summary
from chaos.load.workload import Mix, PlannedRequest, plan


class LoadSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Where to send which workload."""

    urls: tuple[str, ...]  # of chat completions endpoints, used in turn
    mix: Mix
    headers: Mapping[str, str] = {}
    timeout_seconds: float = 60.0
    max_in_flight: int = 1024
    """Requests open at once. One that is due when all are taken waits, and its latency counts
    from its scheduled time."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """A run so far."""

    seconds: float
    sent: int
    in_flight: int
    ok: int
    cancelled: int
    errors: int


async def run_load(
    spec: LoadSpec,
    *,
    on_record: Callable[[Record], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    progress_seconds: float = 1.0,
    stop: asyncio.Event | None = None,
) -> Summary:
    """Send the whole workload, wait for every answer and sum up.

    `on_record` sees each finished request, `on_progress` the totals every `progress_seconds`.
    Setting `stop` ends the sending; what is in flight is still awaited.
    """
    # The client has one deadline of its own for each request.
    timeout = aiohttp.ClientTimeout(total=None)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        run = _Run(spec, session, on_record, stop or asyncio.Event())
        async with asyncio.TaskGroup() as watchers:
            watcher = watchers.create_task(_report(run, on_progress, progress_seconds))
            await run.send_all()
            watcher.cancel()
        if on_progress is not None:
            on_progress(run.progress())
        return run.recorder.summary(run.seconds)


async def _report(
    run: "_Run", on_progress: Callable[[Progress], None] | None, every_seconds: float
) -> None:
    while on_progress is not None:
        await asyncio.sleep(every_seconds)
        on_progress(run.progress())


class _Run:
    def __init__(
        self,
        spec: LoadSpec,
        session: aiohttp.ClientSession,
        on_record: Callable[[Record], None] | None,
        stop: asyncio.Event,
    ) -> None:
        self.recorder = Recorder()
        self._spec = spec
        self._on_record = on_record
        self._stop = stop
        self._started = asyncio.get_running_loop().time()
        self._slots = asyncio.Semaphore(spec.max_in_flight)
        self._sent = 0
        self._in_flight = 0
        self._client = Client(
            session,
            spec.urls,
            headers=spec.headers,
            timeout_seconds=spec.timeout_seconds,
            started=self._started,
        )

    @property
    def seconds(self) -> float:
        return asyncio.get_running_loop().time() - self._started

    def progress(self) -> Progress:
        return Progress(
            seconds=self.seconds,
            sent=self._sent,
            in_flight=self._in_flight,
            ok=self.recorder.count(Outcome.OK),
            cancelled=self.recorder.count(Outcome.CANCELLED),
            errors=self.recorder.count(Outcome.ERROR),
        )

    async def send_all(self) -> None:
        async with asyncio.TaskGroup() as requests:
            for planned in plan(self._spec.mix):
                await self._until(planned.at_seconds)
                await self._slots.acquire()
                if self._stop.is_set():
                    return
                requests.create_task(self._send(planned), name=f"request {planned.index}")

    async def _until(self, at_seconds: float) -> None:
        """Sleep until a request is due or the run is stopped."""
        delay = at_seconds - self.seconds
        if delay <= 0:
            return
        try:
            async with asyncio.timeout(delay):
                await self._stop.wait()
        except TimeoutError:
            pass

    async def _send(self, planned: PlannedRequest) -> None:
        self._sent += 1
        self._in_flight += 1
        try:
            record = await self._client.send(planned)
        finally:
            self._in_flight -= 1
            self._slots.release()
        self.recorder.add(record)
        if self._on_record is not None:
            self._on_record(record)
