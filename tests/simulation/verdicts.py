"""What the results say about the budgets of the design."""

from collections.abc import Sequence

import msgspec

from tests.simulation.cell import Outcome
from tests.simulation.grid import ALONE, Done, by_table

P99_BUDGETS = {0.85: 1.15, 0.92: 1.20}
HIT_BUDGET = 0.97
METRICS = ("ttft_p50", "ttft_p99", "longest_queue", "imbalance", "hit_rate")


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A budget, the worst that was found, and where."""

    what: str
    budget: float
    worst: float
    where: str
    cells: int
    missed: int

    @property
    def kept(self) -> bool:
        """True if every cell keeps the budget."""
        return not self.missed


def verdicts(done: Sequence[Done]) -> list[Verdict]:
    """Return how the budgets fare."""
    found = [
        _judge(f"p99 TTFT against the perfect view, {load:.0%} load", _ratios(done, load), budget)
        for load, budget in P99_BUDGETS.items()
    ]
    found.append(_judge("prefix hit rate against one picker (at least)", _hits(done), HIT_BUDGET))
    found.append(_judge("p99 TTFT against local-only, same table (at most)", _locals(done), 1.0))
    return [verdict for verdict in found if verdict.cells]


def ratio(outcome: Outcome, reference: Outcome, metric: str) -> float:
    """Return one figure as a share of the reference's."""
    below = getattr(reference, metric)
    return float(getattr(outcome, metric) / below) if below else 1.0


def reference(table: Sequence[Done], scheme: str, replicas: int | None = None) -> Outcome | None:
    """Return the outcome of a scheme in a table."""
    for each in table:
        if each.cell.scheme == scheme and (
            scheme in ALONE or replicas is None or each.cell.replicas == replicas
        ):
            return each.outcome
    return None


Figures = list[tuple[float, str]]


def _ratios(done: Sequence[Done], load: float) -> Figures:
    return [
        (ratio(each.outcome, perfect, "ttft_p99"), _name(each))
        for table in by_table(done).values()
        if (perfect := reference(table, "perfect")) is not None
        for each in table
        if each.cell.scheme == "ours" and each.cell.load == load and each.cell.mix.burst == 1
    ]


def _hits(done: Sequence[Done]) -> Figures:
    """Shares are inverted, so that in every figure more is worse."""
    return [
        (ratio(one, each.outcome, "hit_rate"), _name(each))
        for table in by_table(done).values()
        if (one := reference(table, "ours", 1)) is not None
        for each in table
        if each.cell.scheme == "ours"
    ]


def _locals(done: Sequence[Done]) -> Figures:
    return [
        (ratio(each.outcome, local, "ttft_p99"), _name(each))
        for table in by_table(done).values()
        for each in table
        if each.cell.scheme == "ours"
        and each.cell.replicas > 1
        and (local := reference(table, "local", each.cell.replicas)) is not None
    ]


def _judge(what: str, figures: Figures, budget: float) -> Verdict:
    least = budget < 1
    bound = 1 / budget if least else budget
    worst, where = max(figures, default=(0.0, ""))
    return Verdict(
        what=what,
        budget=budget,
        worst=(1 / worst if worst else 0.0) if least else worst,
        where=where,
        cells=len(figures),
        missed=sum(figure > bound for figure, _ in figures),
    )


def _name(done: Done) -> str:
    delay = f", gauges {done.cell.delay_seconds * 1e3:g} ms" if "delays" in done.table else ""
    return f"{done.table}, {done.cell.replicas} pickers{delay}"
