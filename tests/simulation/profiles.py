"""Scheduling configurations of the schemes, as documents that the production loader reads."""

from collections.abc import Mapping

import msgspec

from picker.scheduling.config import DEFAULT_CONFIG
from tests.simulation.cell import Cell

EVERYBODY = {"smallPool": 1 << 30}
"""Compare all endpoints; with an age of 0 that is plain least delay."""


def ours(cell: Cell) -> str:
    """Return the default profile, with what the cell changes."""
    if cell.affinity == {} and not cell.picker:
        return DEFAULT_CONFIG
    return _profile(cell.affinity, "expected-delay-picker", cell.picker)


def argmin(cell: Cell) -> str:
    """Return least delay over all endpoints, after the same filter."""
    return _profile(cell.affinity, "expected-delay-picker", EVERYBODY)


def shortest_queue(cell: Cell) -> str:
    """Return least waiting requests, after the same filter."""
    return _profile(cell.affinity, "max-score-picker", {}, scorer="queue-scorer")


def random(cell: Cell) -> str:  # noqa: ARG001  the shape of the others
    """Return chance."""
    return _profile(None, "random-picker", {})


def _profile(
    affinity: Mapping[str, float] | None,
    picker: str,
    parameters: Mapping[str, float],
    scorer: str | None = None,
) -> str:
    plugins = [{"type": picker, "parameters": parameters}]
    if scorer is not None:
        plugins.insert(0, {"type": scorer, "parameters": {}})
    if affinity is not None:
        plugins.insert(0, {"type": "prefix-affinity-filter", "parameters": affinity})
    document = {
        "apiVersion": "llm-d.ai/v1alpha1",
        "kind": "EndpointPickerConfig",
        "plugins": plugins,
    }
    return msgspec.json.encode(document).decode()
