"""`make bench-placement`: how well requests are placed, as ratios to a perfect view."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from tests.simulation.grid import ALONE, Done, by_table, jobs, run_all
from tests.simulation.run import SCHEMES
from tests.simulation.verdicts import METRICS, Verdict, ratio, reference, verdicts

TITLES = {
    "ttft_p50": "p50 TTFT",
    "ttft_p99": "p99 TTFT",
    "longest_queue": "longest queue",
    "imbalance": "imbalance",
    "hit_rate": "hit rate",
}


def show_grid(name: str, done: Sequence[Done], console: Console) -> None:
    """Print one table: schemes by pickers, each figure over that of the perfect view."""
    perfect = reference(done, "perfect")
    assert perfect is not None
    replicas = sorted({each.cell.replicas for each in done if each.cell.scheme not in ALONE})
    table = Table(
        title=f"{name}: over the perfect view's p50 {perfect.ttft_p50 * 1e3:.0f} ms,"
        f" p99 {perfect.ttft_p99 * 1e3:.0f} ms, queue {perfect.longest_queue},"
        f" imbalance {perfect.imbalance:.2f}, hit rate {perfect.hit_rate:.3f}",
        title_justify="left",
    )
    table.add_column("scheme")
    for metric in METRICS:
        for count in replicas:
            table.add_column(f"{TITLES[metric]}\nR={count}", justify="right")
    for scheme in SCHEMES:
        if scheme != "perfect":
            table.add_row(scheme, *_figures(done, scheme, replicas))
    console.print(table)


def _figures(done: Sequence[Done], scheme: str, replicas: Sequence[int]) -> list[str]:
    perfect = reference(done, "perfect")
    found = []
    for metric in METRICS:
        for count in replicas:
            outcome = reference(done, scheme, count)
            known = outcome is not None and perfect is not None
            found.append(f"{ratio(outcome, perfect, metric):.2f}" if known else "")  # type: ignore[arg-type]
    return found


def show_delays(name: str, done: Sequence[Done], console: Console) -> None:
    """Print ours over local-only for each age of the gauges."""
    replicas = sorted({each.cell.replicas for each in done})
    delays = sorted({each.cell.delay_seconds for each in done if each.cell.scheme == "ours"})
    table = Table(title=f"{name}: ours over local-only", title_justify="left")
    table.add_column("gauges take")
    for title in ("p50 TTFT", "p99 TTFT"):
        for count in replicas:
            table.add_column(f"{title}\nR={count}", justify="right")
    for delay in delays:
        slow = [each for each in done if each.cell.delay_seconds == delay]
        row = [f"{delay * 1e3:g} ms"]
        for metric in METRICS[:2]:
            for count in replicas:
                outcome, local = reference(slow, "ours", count), reference(done, "local", count)
                assert outcome is not None
                assert local is not None
                row.append(f"{ratio(outcome, local, metric):.2f}")
        table.add_row(*row)
    console.print(table)


def show_verdicts(found: Sequence[Verdict], console: Console) -> None:
    """Print the budgets."""
    table = Table(title="budgets", title_justify="left")
    for title in ("what", "budget", "worst", "where", "cells", "missed in"):
        table.add_column(title)
    for each in found:
        table.add_row(
            each.what,
            f"{each.budget:.2f}",
            f"{each.worst:.2f}",
            each.where,
            str(each.cells),
            str(each.missed),
        )
    console.print(table)


def bench(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Few cells, short runs.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of workload and choices.")] = 1,
    processes: Annotated[int, typer.Option(min=1, help="Cells simulated at once.")] = 2,
    json: Annotated[Path | None, typer.Option(help="Write all figures here, too.")] = None,
) -> None:
    """Simulate all schemes and print tables of ratios to the perfect view."""
    console, progress = Console(width=200), Console(stderr=True)
    with progress.status("simulating") as status:
        done = run_all(jobs(quick=quick, seed=seed), processes, status.update)
    for name, table in by_table(done).items():
        (show_delays if name.startswith("delays") else show_grid)(name, table, console)
    found = verdicts(done)
    show_verdicts(found, console)
    console.print(f"seed {seed}")
    if json is not None:
        json.write_bytes(msgspec.json.encode({"seed": seed, "verdicts": found, "cells": done}))


if __name__ == "__main__":
    typer.run(bench)
