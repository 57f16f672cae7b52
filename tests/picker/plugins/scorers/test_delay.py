"""`expected-delay-scorer`."""

import pytest

from picker.plugins.scorers.delay import DelayParameters, ExpectedDelayScorer
from state.view import PoolView
from tests.support import builders

RATE = 8000


def score(prompt: int, *pending_seconds: float, floor: float = 0.01) -> list[float]:
    """Return the scores of endpoints with so much prefill pending, all at one rate."""
    view = builders.view(
        prefill_tokens=[seconds * RATE for seconds in pending_seconds],
        prefill_tokens_per_second=[RATE] * len(pending_seconds),
    )
    scorer = ExpectedDelayScorer(DelayParameters(floor_seconds=floor), builders.delay())
    scores: list[float] = scorer.score(builders.request(prompt_tokens=prompt), view).tolist()
    return scores


def test_twice_the_delay_scores_a_half() -> None:
    """The least scores one."""
    assert [1.0, 0.5, 0.25] == score(0, 1, 2, 4)


def test_own_prompt_counts() -> None:
    """A long one makes differences of waiting small."""
    assert [1.0, 0.9] == pytest.approx(score(8 * RATE, 1, 2))


def test_delays_below_the_floor_are_alike() -> None:
    """No endpoint wins by microseconds."""
    assert [1.0, 1.0, 0.5] == score(0, 0.0, 0.05, 0.2, floor=0.1)


def test_all_long_delays_still_have_a_best() -> None:
    """Above a second too."""
    assert [1.0, 0.75] == score(0, 300, 400)


def test_slow_endpoint_scores_less_for_the_same_tokens() -> None:
    """Seconds count, not tokens."""
    view = builders.view(prefill_tokens_per_second=[4000, 8000])
    scorer = ExpectedDelayScorer(DelayParameters(), builders.delay())
    assert [0.5, 1.0] == scorer.score(builders.request(prompt_tokens=8000), view).tolist()


def test_empty_pool_has_no_scores() -> None:
    """Shapes hold."""
    scorer = ExpectedDelayScorer(DelayParameters(), builders.delay())
    assert [] == scorer.score(builders.request(), PoolView()).tolist()
