"""The cells of the benchmark, and running many of them on a few processes."""

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from tests.simulation.cell import CHAT, Cell, Outcome
from tests.simulation.run import SCHEMES, simulate

REPLICAS = (1, 2, 4, 8, 16, 32)
LOADS = (0.85, 0.92)
REQUESTS = {8: 3000, 64: 5000, 512: 10_000}
"""By number of endpoints: long enough for the queues of one load to be told from the other's."""
DELAYS = (0.005, 0.02, 0.05, 0.1, 0.2)
ALONE = ("perfect", "random")
"""Schemes whose outcome does not depend on the number of pickers."""
BURST = msgspec.structs.replace(CHAT, name="bursts of 32", burst=32)
MIXED_SPEEDS = (1.0, 0.5, 1.0, 1.5)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A cell and the table that it stands in."""

    table: str
    cell: Cell


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A job and what came of it."""

    table: str
    cell: Cell
    outcome: Outcome


def jobs(*, quick: bool, seed: int) -> list[Job]:
    """Return everything that the benchmark runs."""
    sizes = (8, 64) if quick else tuple(REQUESTS)
    loads = LOADS[:1] if quick else LOADS
    some = (2, 32) if quick else (2, 8, 32)
    grid = [
        job
        for endpoints in sizes
        for load in loads
        for job in _table(
            f"{endpoints} endpoints, {load:.0%} load",
            _base(endpoints, seed, quick=quick, load=load),
            (1, 8, 32) if quick else REPLICAS,
        )
    ]
    return grid + _special(seed, some, quick=quick) + _delays(seed, some, quick=quick)


def _base(endpoints: int, seed: int, *, quick: bool, **fields: float) -> Cell:
    requests = REQUESTS[endpoints] // (4 if quick else 1)
    return msgspec.structs.replace(
        Cell(endpoints=endpoints, requests=requests, seed=seed), **fields
    )


def _table(
    table: str, base: Cell, replicas: Sequence[int], schemes: Sequence[str] = tuple(SCHEMES)
) -> Iterator[Job]:
    for scheme in schemes:
        for count in replicas[:1] if scheme in ALONE else replicas:
            cell = msgspec.structs.replace(base, scheme=scheme, replicas=count)
            yield Job(table=table, cell=cell)


def _special(seed: int, replicas: Sequence[int], *, quick: bool) -> list[Job]:
    base = _base(64, seed, quick=quick)
    changed = {
        "mixed speeds": msgspec.structs.replace(base, speeds=MIXED_SPEEDS),
        "bursts of 32": msgspec.structs.replace(base, mix=BURST),
        "one picker lost": msgspec.structs.replace(base, lost_at=0.5),
        "skewed over pickers": msgspec.structs.replace(base, skew=1.0),
    }
    return [
        job
        for name, cell in changed.items()
        for job in _table(f"64 endpoints, 85% load, {name}", cell, replicas)
    ]


def _delays(seed: int, replicas: Sequence[int], *, quick: bool) -> list[Job]:
    """Gauges that take up to 200 ms, against replicas that do not talk."""
    found: list[Job] = []
    for endpoints in (8, 64):
        for load in LOADS[:1] if quick else LOADS:
            base = _base(endpoints, seed, quick=quick, load=load)
            name = f"delays, {endpoints} endpoints, {load:.0%} load"
            found += _table(name, base, replicas, ("local",))
            for delay in DELAYS[1::3] if quick else DELAYS:
                slow = msgspec.structs.replace(base, delay_seconds=delay)
                found += _table(name, slow, replicas, ("ours",))
    return found


def run_all(todo: Sequence[Job], processes: int, say: Callable[[str], None]) -> list[Done]:
    """Run every job; the order of the result is that of the jobs."""
    order = sorted(range(len(todo)), key=lambda i: -_cost(todo[i].cell))
    found: dict[int, Outcome] = {}
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        numbered = [(i, todo[i].cell) for i in order]
        for i, outcome in pool.imap_unordered(_run, numbered):
            found[i] = outcome
            say(f"{len(found)}/{len(todo)}")
    return [Done(table=job.table, cell=job.cell, outcome=found[i]) for i, job in enumerate(todo)]


def _cost(cell: Cell) -> float:
    """Long ones first, so that no process ends up alone with one."""
    return cell.requests * (8 + cell.replicas * (cell.scheme not in ALONE))


def _run(numbered: tuple[int, Cell]) -> tuple[int, Outcome]:
    number, cell = numbered
    return number, simulate(cell)


def by_table(done: Sequence[Done]) -> Mapping[str, list[Done]]:
    """Return the results of each table."""
    tables: dict[str, list[Done]] = {}
    for each in done:
        tables.setdefault(each.table, []).append(each)
    return tables
