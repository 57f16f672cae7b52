"""Unseen work: how much there is, where it would settle, and drawing it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from picker.scheduling.unseen import draw_poisson, unseen_picks, water_level
from tests.support import builders
from tests.support.seeds import seeded

COSTS = st.lists(st.floats(0, 1000), min_size=1, max_size=30)


@given(costs=COSTS, work=st.floats(0, 1e6))
def test_poured_water_is_the_work(costs: list[float], work: float) -> None:
    """The sum of max(W - cost, 0) is what was poured in."""
    level = water_level(np.array(costs), work)
    poured = sum(max(level - cost, 0.0) for cost in costs)
    assert math.isclose(work, poured, rel_tol=1e-9, abs_tol=1e-8)


@given(costs=COSTS, works=st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)))
def test_more_work_never_lowers_the_level(costs: list[float], works: tuple[float, float]) -> None:
    """And the level is never below the least cost."""
    low, high = (water_level(np.array(costs), work) for work in sorted(works))
    assert min(costs) <= low * (1 + 1e-12)
    assert low <= high * (1 + 1e-12)


@pytest.mark.parametrize(
    ("costs", "work", "level"),
    [
        ([1.0, 2.0, 4.0], 0.0, 1.0),
        ([1.0, 2.0, 4.0], 0.5, 1.5),
        ([1.0, 2.0, 4.0], 1.0, 2.0),
        ([4.0, 1.0, 2.0], 5.0, 4.0),
        ([4.0, 1.0, 2.0], 8.0, 5.0),
        ([3.0, 3.0], 4.0, 5.0),
    ],
)
def test_level_is_where_pouring_ends(costs: list[float], work: float, level: float) -> None:
    """By hand."""
    assert pytest.approx(level) == water_level(np.array(costs), work)


@pytest.mark.parametrize("work", [0.0, 0.1, 3.0, 50.0, 1000.0, 1e5])
def test_level_of_a_large_pool_is_found_among_its_lowest(work: float) -> None:
    """However far the water rises."""
    costs = np.random.default_rng(8).uniform(0, 10, 1000)
    level = water_level(costs, work)
    assert work == pytest.approx(np.maximum(level - costs, 0.0).sum(), abs=1e-9)
    assert level >= costs.min()


@pytest.mark.parametrize(
    ("replicas", "peers", "own", "unseen"),
    [
        (4, 100.0, 10.0, 2.0),  # peers say so themselves
        (4, 20.0, 10.0, 0.6),  # as busy as we are, whatever was heard
        (1, 100.0, 10.0, 0.0),  # nobody is there
    ],
)
def test_unseen_picks_are_the_peers_rate_times_the_age(
    replicas: int, peers: float, own: float, unseen: float
) -> None:
    """At the rate they show or at our own, whichever is higher."""
    view = builders.view(2)
    view.replicas, view.peers_age_seconds = replicas, 0.02
    view.peer_picks_per_second, view.own_picks_per_second = peers, own
    assert pytest.approx(unseen) == unseen_picks(view)


@pytest.mark.parametrize("mean", [0.01, 0.7, 5.0, 40.0])
def test_drawn_numbers_have_mean_and_variance_of_poisson(mean: float) -> None:
    """Within four standard errors."""
    rng, count = seeded(5), 4000
    drawn = [draw_poisson(mean, rng) for _ in range(count)]
    assert mean == pytest.approx(np.mean(drawn), abs=4 * math.sqrt(mean / count))
    assert mean == pytest.approx(np.var(drawn), rel=0.15, abs=0.01)


def test_nothing_expected_is_never_drawn() -> None:
    """A view without peers draws zeros."""
    rng = seeded(6)
    assert {0} == {draw_poisson(0.0, rng) for _ in range(100)}


def test_very_many_are_as_many_as_expected() -> None:
    """Drawing a thousand one by one would cost more than it is worth."""
    assert 1000 == draw_poisson(1000.0, seeded(7))
