"""`python -m tests.simulation`: one cell, its seed and its outcome."""

from enum import Enum
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from tests.simulation.cell import Cell
from tests.simulation.mixes import MIXES
from tests.simulation.run import SCHEMES, simulate

Scheme = Enum("Scheme", {name: name for name in SCHEMES})  # type: ignore[misc]
MixName = Enum("MixName", {name: name for name in MIXES})  # type: ignore[misc]
DEFAULT = Cell()


def one(
    *,
    scheme: Annotated[Scheme, typer.Option(help="How load is shared.")] = Scheme["ours"],
    mix: Annotated[MixName, typer.Option(help="Shapes of the requests.")] = MixName["chat"],
    replicas: Annotated[int, typer.Option(min=1, max=64, help="Pickers.")] = DEFAULT.replicas,
    endpoints: Annotated[
        int, typer.Option(min=1, max=4096, help="Model servers.")
    ] = DEFAULT.endpoints,
    load: Annotated[
        float, typer.Option(min=0.01, max=2.0, help="Share of what the model servers can do.")
    ] = DEFAULT.load,
    speeds: Annotated[
        str, typer.Option(help="Speeds of the model servers, in turn, with commas.")
    ] = "1",
    requests: Annotated[
        int, typer.Option(min=10, max=10_000_000, help="Requests.")
    ] = DEFAULT.requests,
    delay_ms: Annotated[
        float, typer.Option(min=0.0, max=10_000, help="Time from a gauge to its readers.")
    ] = DEFAULT.delay_seconds * 1e3,
    scrape_ms: Annotated[
        float, typer.Option(min=1.0, max=60_000, help="Time between scrapes.")
    ] = DEFAULT.scrape_seconds * 1e3,
    lost_at: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Lose a picker after this share.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same outcome.")] = DEFAULT.seed,
) -> None:
    """Simulate pickers and model servers in virtual time."""
    try:
        factors = tuple(float(speed) for speed in speeds.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"{speeds!r} is no list of numbers") from error
    if not all(0 < factor < 1e6 for factor in factors):
        raise typer.BadParameter("speeds must be above 0", param_hint="--speeds")
    if lost_at is not None and replicas == 1:
        raise typer.BadParameter("the only picker cannot be lost", param_hint="--lost-at")
    cell = Cell(
        scheme=scheme.value,
        mix=MIXES[mix.value],
        replicas=replicas,
        endpoints=endpoints,
        load=load,
        speeds=factors,
        requests=requests,
        delay_seconds=delay_ms / 1e3,
        scrape_seconds=scrape_ms / 1e3,
        lost_at=lost_at,
        seed=seed,
    )
    outcome = simulate(cell)
    console = Console()
    console.print(f"seed {seed}", highlight=False)
    console.print_json(msgspec.json.encode(outcome).decode())


if __name__ == "__main__":
    typer.run(one)
