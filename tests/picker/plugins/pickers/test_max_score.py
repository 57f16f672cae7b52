"""`max-score-picker`."""

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from picker.plugins.pickers.max_score import MaxScoreParameters, MaxScorePicker
from tests.support import builders
from tests.support.plugins import shares
from tests.support.seeds import seeded


def pick(
    scores: list[float], *, candidates: list[bool] | None = None, most: int = 1, seed: int = 1
) -> tuple[int, ...]:
    picker = MaxScorePicker(MaxScoreParameters(max_num_of_endpoints=most), random.Random(seed))
    pool = builders.view(len(scores))
    mask = builders.everybody(pool) if candidates is None else np.array(candidates)
    return picker.pick(builders.request(), pool, mask, np.array(scores)).slots


def test_highest_score_is_picked() -> None:
    """Wherever it is."""
    assert (1,) == pick([0.1, 0.9, 0.5])


def test_only_candidates_are_picked() -> None:
    """However well another one scores."""
    assert (2,) == pick([0.1, 0.9, 0.5], candidates=[True, False, True])


def test_spares_come_in_order_of_score() -> None:
    """As many as there are."""
    assert (1, 2, 0) == pick([0.1, 0.9, 0.5], most=9)
    assert (1, 2) == pick([0.1, 0.9, 0.5], most=2)


def test_ties_are_broken_at_random() -> None:
    """Each of the best gets about its share, the others nothing."""
    picker = MaxScorePicker(MaxScoreParameters(), seeded())
    pool = builders.view(4)
    scores = np.array([1.0, 1.0, 0.5, 1.0])
    everybody = builders.everybody(pool)
    got = shares(lambda: picker.pick(builders.request(), pool, everybody, scores).slots, 4, 3000)
    assert 0.0 == got[2]
    assert all(0.25 < got[slot] < 0.42 for slot in (0, 1, 3))


@given(
    scored=st.lists(st.tuples(st.floats(0, 10), st.booleans()), min_size=1, max_size=20).filter(
        lambda scored: any(candidate for _, candidate in scored)
    ),
    most=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_no_candidate_left_out_is_better(
    scored: list[tuple[float, bool]], most: int, seed: int
) -> None:
    """Distinct candidates, best first."""
    scores, candidates = [score for score, _ in scored], [candidate for _, candidate in scored]
    slots = pick(scores, candidates=candidates, most=most, seed=seed)
    assert min(most, sum(candidates)) == len(slots) == len(set(slots))
    assert all(candidates[slot] for slot in slots)
    expected = sorted((s for s, candidate in scored if candidate), reverse=True)[:most]
    assert expected == [scores[slot] for slot in slots]
