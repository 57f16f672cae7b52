"""What a run found: figures beside their references and the budgets of design.md, section 8."""

import os
import platform
from collections.abc import Sequence

import msgspec
from rich.table import Table

NOTE = (
    "CPU time unless a unit says otherwise. Ratios are of this run; times belong to this machine."
)


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the result."""

    section: str
    what: str
    value: float
    unit: str = "us"
    ratio: float | None = None
    """Value divided by that of the reference, measured in the same run."""
    against: str = ""
    """The reference."""
    budget: float | None = None
    """Most that the value should be."""
    ratio_budget: float | None = None
    """Most that the ratio should be."""

    @property
    def within(self) -> bool | None:
        """Whether the budgets are kept; None if there are none."""
        kept = [
            measured <= most
            for measured, most in ((self.value, self.budget), (self.ratio, self.ratio_budget))
            if measured is not None and most is not None
        ]
        return all(kept) if kept else None


def as_table(figures: Sequence[Figure]) -> Table:
    """Return the figures for people."""
    table = Table(title="make bench", caption=NOTE)
    for name in ("what", "figure", "ratio", "to", "budget", "within"):
        table.add_column(name, justify="right" if name in {"figure", "ratio"} else "left")
    section = ""
    for figure in figures:
        if figure.section != section:
            section = figure.section
            table.add_section()
            table.add_row(f"[bold]{section}[/bold]")
        table.add_row(*_cells(figure))
    return table


def as_json(figures: Sequence[Figure], *, quick: bool) -> bytes:
    """Return the figures for programs, on one line."""
    rows = [msgspec.structs.asdict(figure) | {"within": figure.within} for figure in figures]
    machine = {"python": platform.python_version(), "cores": os.cpu_count()}
    return msgspec.json.encode({"quick": quick, **machine, "figures": rows})


def _cells(figure: Figure) -> tuple[str, ...]:
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    within = {None: "", True: "yes", False: "[red]NO[/red]"}[figure.within]
    value = f"{_short(figure.value)} {figure.unit}"
    return figure.what, value, ratio, figure.against, _budget(figure), within


def _budget(figure: Figure) -> str:
    value = "" if figure.budget is None else f"{_short(figure.budget)} {figure.unit}"
    ratio = "" if figure.ratio_budget is None else f"{figure.ratio_budget:.2f} x"
    return ", ".join(text for text in (value, ratio) if text)


def _short(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"
