"""`queue-scorer`."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from picker.plugins.scorers.queue_depth import QueueDepthScorer
from state.view import PoolView
from tests.support import builders

UNKNOWN = math.nan


def score(*waiting: float) -> list[float]:
    view = builders.view(waiting=waiting)
    scores: list[float] = QueueDepthScorer().score(builders.request(), view).tolist()
    return scores


def test_shortest_queue_scores_one_and_longest_zero() -> None:
    """The others in between, by distance."""
    assert [1.0, 0.75, 0.0] == score(0, 5, 20)


def test_equal_queues_all_score_one() -> None:
    """Nothing speaks against any of them."""
    assert [1.0, 1.0] == score(7, 7)


def test_unknown_queue_is_unknown_and_moves_nobody() -> None:
    """Not zero, which would be the best."""
    np.testing.assert_array_equal([1.0, UNKNOWN, 0.0], score(2, UNKNOWN, 4))


def test_unknown_beside_equal_queues_stays_unknown() -> None:
    """It does not profit from their equality."""
    np.testing.assert_array_equal([UNKNOWN, 1.0, 1.0], score(UNKNOWN, 3, 3))


def test_no_queue_known_is_all_unknown() -> None:
    """Also in an empty pool."""
    np.testing.assert_array_equal([UNKNOWN, UNKNOWN], score(UNKNOWN, UNKNOWN))
    assert [] == QueueDepthScorer().score(builders.request(), PoolView()).tolist()


@given(st.lists(st.one_of(st.just(UNKNOWN), st.integers(0, 10**6).map(float)), min_size=1))
def test_scores_are_in_range_and_fall_with_the_queue(waiting: list[float]) -> None:
    """Against the definition, one by one."""
    known = [queue for queue in waiting if not math.isnan(queue)]
    for queue, scored in zip(waiting, score(*waiting), strict=True):
        if math.isnan(queue):
            assert math.isnan(scored)
            continue
        span = max(known) - min(known)
        assert math.isclose((max(known) - queue) / span if span else 1.0, scored)
