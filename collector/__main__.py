"""The collector's command line."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer
from yarl import URL

from collector.engines import ENGINES, Signal
from collector.errors import ScrapeFailed
from collector.exposition import check_page
from collector.fetch import HttpPage, open_session
from collector.reading import PageReader, Reading
from collector.settings import ScrapeSettings

SHOWN = (
    Signal.WAITING,
    Signal.RUNNING,
    Signal.KV_USAGE,
    Signal.KV_CAPACITY_TOKENS,
    Signal.BLOCK_SIZE,
    Signal.NUM_BLOCKS,
    Signal.PREFIX_HITS,
    Signal.PREFIX_QUERIES,
)


def main() -> None:
    """Run the command line."""
    app = typer.Typer(add_completion=False, no_args_is_help=True)
    app.callback()(about)
    app.command()(inspect)
    app()


def about() -> None:
    """Scrape model servers and publish what is true about them."""


def inspect(
    page: Annotated[str, typer.Argument(metavar="FILE|URL", help="A metrics page.")],
) -> None:
    """Print the signals of a metrics page as JSON; unknown is null."""
    try:
        content = asyncio.run(_fetch(URL(page))) if "://" in page else _read(Path(page))
    except (ScrapeFailed, OSError, ValueError) as error:
        typer.echo(f"{page}: {error}", err=True)
        raise typer.Exit(1) from None
    print(json.dumps(describe(PageReader(ENGINES).read(content)), indent=2))


def describe(reading: Reading) -> dict[str, object]:
    """Return a reading in the form of the `inspect` command."""
    return {
        "engine": reading.engine,
        "models": list(reading.models),
        **{signal.value: _short(reading.values.get(signal)) for signal in SHOWN},
        "problems": [str(problem) for problem in reading.problems],
    }


def _short(value: float | None) -> float | int | None:
    return int(value) if value is not None and value.is_integer() else value


def _read(path: Path) -> bytes:
    page = path.read_bytes()
    check_page(None, page)
    return page


async def _fetch(url: URL) -> bytes:
    settings = ScrapeSettings(timeout_seconds=5.0)
    async with open_session(settings) as session:
        return await HttpPage(session, url, settings).fetch()


if __name__ == "__main__":
    main()
