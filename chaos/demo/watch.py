"""What the demo shows while it runs: which endpoint carries what, seen by the pickers."""

import asyncio
from collections.abc import Sequence
from typing import Self

import aiohttp
import msgspec
from rich.console import Console
from rich.live import Live
from rich.table import Table

from chaos.cluster.cluster import Cluster, Picker
from chaos.load.runner import Progress

REFRESH_SECONDS = 0.5
PLAIN_SECONDS = 3.0
READ_SECONDS = 1.0


class EndpointLoad(msgspec.Struct, kw_only=True):
    """One endpoint as all pickers together see it; None is unknown."""

    id: str
    requests: int = 0
    prefill_tokens: int = 0
    running: float | None = None
    waiting: float | None = None
    kv_usage: float | None = None
    prefill_tokens_per_second: float | None = None


class View(msgspec.Struct, frozen=True, kw_only=True):
    """The part of `/debug/view` that is shown."""

    replica: str
    endpoints: list[EndpointLoad]


async def read_views(session: aiohttp.ClientSession, pickers: Sequence[Picker]) -> list[View]:
    """Return the views of the pickers that answer."""
    views = await asyncio.gather(*(_read_view(session, picker) for picker in pickers))
    return [view for view in views if view is not None]


async def _read_view(session: aiohttp.ClientSession, picker: Picker) -> View | None:
    body = await _read(session, picker, "/debug/view")
    return None if body is None else msgspec.json.decode(body, type=View)


async def _read(session: aiohttp.ClientSession, picker: Picker, path: str) -> bytes | None:
    if picker.child.returncode is not None:
        return None
    try:
        timeout = aiohttp.ClientTimeout(total=READ_SECONDS)
        async with session.get(f"{picker.admin_url}{path}", timeout=timeout) as response:
            return await response.read()
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None


async def read_picks(session: aiohttp.ClientSession, pickers: Sequence[Picker]) -> int:
    """Return how many requests the pickers that answer have placed so far."""
    pages = await asyncio.gather(*(_read(session, each, "/metrics") for each in pickers))
    return sum(_picks_on(page) for page in pages if page is not None)


def _picks_on(page: bytes) -> int:
    lines = page.decode().splitlines()
    samples = (line for line in lines if line.startswith("murmuration_picks_total{"))
    return sum(int(float(line.rpartition(" ")[2])) for line in samples)


def merge_views(views: Sequence[View], *, shared: bool) -> list[EndpointLoad]:
    """Return the pool's load: any view where replicas share their state, else the sum of all.

    Scraped values are of the last view.
    """
    if shared:
        return list(views[-1].endpoints) if views else []
    merged: dict[str, EndpointLoad] = {}
    for view in views:
        for load in view.endpoints:
            before = merged.get(load.id)
            if before is not None:
                load.requests += before.requests
                load.prefill_tokens += before.prefill_tokens
            merged[load.id] = load
    return list(merged.values())


class Screen:
    """A live table on a terminal, a plain line now and then elsewhere."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._live = Live(console=console, transient=False) if console.is_terminal else None
        self._printed_at = 0.0
        self.progress = Progress(seconds=0, sent=0, in_flight=0, ok=0, cancelled=0, errors=0)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """Print a line of the story."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def show(self, loads: Sequence[EndpointLoad], replicas: int) -> None:
        """Show the state of now."""
        if self._live is not None:
            self._live.update(self._table(loads, replicas))
        elif self.progress.seconds - self._printed_at >= PLAIN_SECONDS:
            self._printed_at = self.progress.seconds
            self.say(self._line(loads, replicas))

    def _line(self, loads: Sequence[EndpointLoad], replicas: int) -> str:
        per_endpoint = " ".join(f"{each.id.rpartition(':')[2]}:{each.requests}" for each in loads)
        return f"{self._headline(replicas)} | in flight {per_endpoint}"

    def _headline(self, replicas: int) -> str:
        now = self.progress
        return (
            f"{now.seconds:5.1f} s  sent {now.sent}/{self._total}  ok {now.ok}"
            f"  cancelled {now.cancelled}  errors {now.errors}  replicas {replicas}"
        )

    def _table(self, loads: Sequence[EndpointLoad], replicas: int) -> Table:
        table = Table(title=self._headline(replicas), title_justify="left")
        for name in ("endpoint", "in flight", "prefill tokens", "running", "waiting", "KV"):
            table.add_column(name, justify="right")
        table.add_column("learnt tokens/s", justify="right")
        for load in loads:
            table.add_row(
                load.id,
                str(load.requests),
                str(load.prefill_tokens),
                _number(load.running),
                _number(load.waiting),
                "?" if load.kv_usage is None else f"{load.kv_usage:.0%}",
                _number(load.prefill_tokens_per_second),
            )
        return table


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f}"


async def watch(cluster: Cluster, screen: Screen) -> None:
    """Refresh the screen until cancelled."""
    async with aiohttp.ClientSession() as session:
        while True:
            views = await read_views(session, cluster.pickers)
            screen.show(merge_views(views, shared=cluster.spec.redis), len(views))
            await asyncio.sleep(REFRESH_SECONDS)
