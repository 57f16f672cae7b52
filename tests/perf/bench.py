"""`make bench`: what a pick costs, as ratios measured side by side in one run.

Figures are CPU time of the picker process, from the scheduler's clock. Nothing here is asserted.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
import uvloop
from rich.console import Console
from rich.table import Table

from tests.perf import micro, scripts
from tests.perf.client import Step, play
from tests.perf.process import cpu_seconds, picker, resident_mb

TRANSPORTS = ("h2", "grpcio")
CHUNKS = 500


class Figure(msgspec.Struct, kw_only=True):
    """One line of the result."""

    what: str
    value: float
    unit: str
    ratio: float | None = None
    against: str = ""
    budget: str = ""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """A script and how often it is played."""

    name: str
    script: Sequence[Step]
    exchanges: int
    endpoints: Sequence[int] = (100,)
    parts: int = 1
    """What one exchange is divided by: chunks, for the cost of one."""
    budget: str = ""


def loads(scale: float) -> list[Load]:
    """Return what is measured with both transports."""
    small, large = scripts.chat(1200), scripts.chat(400_000)

    def times(count: int) -> int:
        return max(int(count * scale), 5)

    return [
        Load(
            name="1.2 KB body, resilient",
            script=scripts.resilient(small),
            exchanges=times(4000),
            endpoints=(10, 100, 1000),
            budget="h2: 120 us at 100 endpoints, 1/3 of grpcio",
        ),
        Load(
            name="400 KB body, resilient",
            script=scripts.resilient(large),
            exchanges=times(200),
            budget="1500 us",
        ),
        Load(
            name="400 KB body, long-context (64 KB head)",
            script=scripts.long_context(large),
            exchanges=times(400),
        ),
        Load(
            name="400 KB body, full duplex",
            script=scripts.full_duplex(large, 1),
            exchanges=times(150),
            budget="1500 us",
        ),
        Load(
            name=f"per response chunk, full duplex ({CHUNKS} chunks)",
            script=scripts.full_duplex(small, CHUNKS),
            exchanges=times(40),
            parts=CHUNKS,
            budget="h2: 8 us",
        ),
    ]


async def measure(folder: Path, scale: float, say: Callable[[str], None]) -> list[Figure]:
    """Measure everything, one picker process after another."""
    figures: list[Figure] = []
    for load in loads(scale):
        for endpoints in load.endpoints:
            costs = {
                transport: await exchange_cost(folder, transport, endpoints, load)
                for transport in TRANSPORTS
            }
            for transport, cost in costs.items():
                figures.append(_of_exchange(load, transport, endpoints, cost, costs))
                say(f"{figures[-1].what}: {figures[-1].value:.1f} us")
    figures += _growth(figures)
    figures += micro_figures(say)
    figures.append(await memory(folder))
    return figures


async def exchange_cost(folder: Path, transport: str, endpoints: int, load: Load) -> float:
    """Return the picker's CPU microseconds for one exchange, or for one part of it."""
    async with picker(folder, transport=transport, endpoints=endpoints) as (child, host, port):
        await play(host, port, load.script, exchanges=max(load.exchanges // 10, 2))
        before = cpu_seconds(child.pid)
        await play(host, port, load.script, exchanges=load.exchanges)
        used = cpu_seconds(child.pid) - before
    return used / load.exchanges / load.parts * 1e6


async def memory(folder: Path) -> Figure:
    """Return the memory of a picker after long prompts on 100 endpoints."""
    script = scripts.resilient(scripts.chat(400_000))
    async with picker(folder, transport="h2", endpoints=100) as (child, host, port):
        await play(host, port, script, exchanges=50)
        used = resident_mb(child.pid)
    return Figure(
        what="resident memory after 400 KB prompts, 16 at once, 100 endpoints",
        value=used,
        unit="MB",
        budget="300 MB",
    )


def micro_figures(say: Callable[[str], None]) -> list[Figure]:
    """Return the parts that run in this process."""
    schedule = {endpoints: micro.scheduling(endpoints) for endpoints in (10, 100, 1000)}
    figures = [
        Figure(
            what=f"schedule, default profile, {endpoints} endpoints",
            value=cost,
            unit="us",
            ratio=cost / schedule[10],
            against="10 endpoints",
            budget="100 us, 2 x",
        )
        for endpoints, cost in schedule.items()
    ]
    for size in (1200, 100_000, 400_000):
        cost = micro.parsing(size)
        figures.append(Figure(what=f"parse and hash {size // 1000} KB", value=cost, unit="us"))
    ours, library = micro.reading_page()
    figures.append(
        Figure(
            what="read a 60 KB vLLM page",
            value=ours,
            unit="us",
            ratio=ours / library,
            against="prometheus_client",
            budget="150 us with fetching",
        )
    )
    for figure in figures:
        say(f"{figure.what}: {figure.value:.1f} us")
    return figures


def _of_exchange(
    load: Load, transport: str, endpoints: int, cost: float, costs: dict[str, float]
) -> Figure:
    return Figure(
        what=f"{load.name}, {endpoints} endpoints, {transport}",
        value=cost,
        unit="us",
        ratio=cost / costs["grpcio"],
        against="grpcio",
        budget=load.budget,
    )


def _growth(figures: Sequence[Figure]) -> list[Figure]:
    by_name = {figure.what: figure.value for figure in figures}
    name = "1.2 KB body, resilient, {} endpoints, h2"
    few, many = by_name[name.format(10)], by_name[name.format(1000)]
    long = by_name["400 KB body, resilient, 100 endpoints, h2"]
    return [
        Figure(
            what="exchange, 10 to 1,000 endpoints, h2",
            value=many,
            unit="us",
            ratio=many / few,
            against="10 endpoints",
        ),
        Figure(
            what="100 prompts of 400 KB a second, 100 endpoints, h2",
            value=long * 100 / 1e6,
            unit="cores",
            budget="0.3 cores",
        ),
    ]


def show(figures: Sequence[Figure], console: Console) -> None:
    """Print the table."""
    table = Table(title="CPU of the picker; ratios are of this run")
    for name in ("what", "figure", "ratio", "against", "budget"):
        table.add_column(name, justify="right" if name in {"figure", "ratio"} else "left")
    for figure in figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        value = f"{figure.value:.2f}" if figure.value < 10 else f"{figure.value:.0f}"
        table.add_row(figure.what, f"{value} {figure.unit}", ratio, figure.against, figure.budget)
    console.print(table)


def bench(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the exchanges.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the figures here, too.")] = None,
) -> None:
    """Measure, print a table and, as the last line, the figures as JSON."""
    console = Console(width=150)
    progress = Console(stderr=True)

    def say(text: str) -> None:
        progress.print(text, style="dim", highlight=False, soft_wrap=True)

    with tempfile.TemporaryDirectory(prefix="murmuration-bench-") as folder:
        figures = uvloop.run(measure(Path(folder), 0.1 if quick else 1.0, say))
    show(figures, console)
    text = msgspec.json.encode({"figures": figures}).decode()
    if json is not None:
        json.write_text(text + "\n")
    print(text)  # noqa: T201  the last line is for programs


if __name__ == "__main__":
    typer.run(bench)
