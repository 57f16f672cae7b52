"""Open-loop load: `run_load(LoadSpec(urls=(...,), mix=Mix(...)))` sends, records and sums up."""

from chaos.load.results import Outcome, Percentiles, Record, Summary
from chaos.load.runner import LoadSpec, Progress, run_load
from chaos.load.workload import Arrivals, CancelPoint, Mix, PlannedRequest, plan

__all__ = [
    "Arrivals",
    "CancelPoint",
    "LoadSpec",
    "Mix",
    "Outcome",
    "Percentiles",
    "PlannedRequest",
    "Progress",
    "Record",
    "Summary",
    "plan",
    "run_load",
]
