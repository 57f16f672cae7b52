"""`make bench`: what a pick costs, as ratios measured side by side in one run.

Exchanges are played against real picker processes, whose CPU time is read from outside. Nothing is
asserted: budgets stand beside the figures.
"""

import asyncio
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from tests.perf.exchanges import exchange_figures
from tests.perf.figures import Figure, as_json, as_table
from tests.perf.micro import micro_figures

DEFAULT_JSON = Path(tempfile.gettempdir()) / "murmuration-bench.json"
QUICK_SCALE = 0.2
MICRO_SECONDS = 0.6
TABLE_COLUMNS = 132


async def run(folder: Path, scale: float, say: Callable[[str], None]) -> list[Figure]:
    """Measure everything; SIGTERM ends the processes under measurement, too."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    figures = await exchange_figures(folder, scale, say)
    say("parts in this process")
    return [*figures, *micro_figures(MICRO_SECONDS * scale)]


def bench(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="A fifth of the exchanges.")] = False,
    json: Annotated[Path, typer.Option(help="Where to write the figures.")] = DEFAULT_JSON,
) -> None:
    """Measure, print a table and, as the last line, the figures as JSON."""
    progress = Console(stderr=True)

    def say(text: str) -> None:
        progress.print(text, style="dim", highlight=False, soft_wrap=True)

    with tempfile.TemporaryDirectory(prefix="murmuration-bench-") as folder:
        try:
            figures = uvloop.run(run(Path(folder), QUICK_SCALE if quick else 1.0, say))
        except asyncio.CancelledError:
            raise SystemExit(128 + signal.SIGTERM) from None
    text = as_json(figures, quick=quick)
    json.write_bytes(text + b"\n")
    console = Console(width=TABLE_COLUMNS)
    console.print(as_table(figures))
    print(f"figures in {json}")  # noqa: T201  a command line tool prints
    print(text.decode())  # noqa: T201  the last line is for programs


if __name__ == "__main__":
    typer.run(bench)
