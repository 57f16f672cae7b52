"""What peers placed since the view was current: work that a decision has to imagine."""

import math
import random

import numpy as np

from state.model import FloatArray
from state.view import PoolView

FEW = 64

MOST_DRAWN = 50.0
"""Above it the spread of a Poisson number hardly matters, and drawing one takes time."""


def unseen_picks(view: PoolView) -> float:
    """Return how many requests peers may have placed that the view cannot show yet.

    At the rate that their gauges show, or at this replica's own if that is higher.
    """
    if view.replicas <= 1:
        return 0.0
    mirrored = view.own_picks_per_second * (view.replicas - 1)
    return max(view.peer_picks_per_second, mirrored) * view.peers_age_seconds


def water_level(costs: FloatArray, work: float) -> float:
    """Return W with the sum of max(W - cost, 0) equal to `work`: where pouring it in would end."""
    if costs.size > 2 * FEW:  # little work stays among the lowest, which need not all be sorted
        lowest = np.partition(costs, FEW)[: FEW + 1]
        level = _level(lowest, work)
        if level <= lowest[FEW]:
            return level
    return _level(costs, work)


def _level(costs: FloatArray, work: float) -> float:
    ordered = np.sort(costs)
    counts = np.arange(1, ordered.size + 1)
    levels = (work + np.cumsum(ordered)) / counts
    # The level of the k lowest holds if it does not reach the next one.
    above = np.append(ordered[1:], np.inf)
    return float(levels[np.argmax(levels <= above)])


def draw_poisson(mean: float, rng: random.Random) -> int:
    """Return how many of independent events happened; many are as many as expected."""
    if mean > MOST_DRAWN:
        return round(mean)
    drawn, left, end = 0, rng.random(), math.exp(-mean)
    while left > end:
        drawn += 1
        left *= rng.random()
    return drawn
