"""A profile: filters, then weighted scores, then the picker."""

import math

import numpy as np
import pytest

from picker.scheduling.framework import Filter, Scorer
from picker.scheduling.profile import NEUTRAL_SCORE, Profile
from tests.support import builders
from tests.support.plugins import Best, Only, Scores

REQUEST = builders.request()


def profile(
    *filters: Filter, scorers: list[tuple[Scorer, float]] | None = None, picker: Best | None = None
) -> Profile:
    named = [(f"filter-{i}", each) for i, each in enumerate(filters)]
    return Profile("p", filters=named, scorers=scorers or [], picker=picker or Best())


def test_filters_narrow_one_after_the_other() -> None:
    """The picker sees who is left."""
    pool, best = builders.view(4), Best()
    placement = profile(Only(0, 1, 2), Only(1, 2, 3), picker=best).run(
        REQUEST, pool, builders.everybody(pool)
    )
    assert placement is not None
    assert [False, True, True, False] == best.candidates == placement.candidates.tolist()


def test_nobody_left_is_no_placement() -> None:
    """Later filters and the picker are not asked."""
    pool, later, best = builders.view(2), Only(0), Best()
    assert None is profile(Only(), later, picker=best).run(REQUEST, pool, builders.everybody(pool))
    assert 0 == later.calls
    assert [] == best.candidates


def test_filter_may_leave_nobody_at_the_end() -> None:
    """The last one too."""
    pool = builders.view(2)
    assert None is profile(Only()).run(REQUEST, pool, builders.everybody(pool))


def test_no_candidates_is_no_placement() -> None:
    """Also without filters."""
    pool = builders.view(2)
    assert None is profile().run(REQUEST, pool, np.zeros(2, np.bool_))


def test_callers_candidates_are_left_alone() -> None:
    """Another profile may run on them."""
    pool = builders.view(3)
    candidates = builders.everybody(pool)
    profile(Only(1)).run(REQUEST, pool, candidates)
    assert [True, True, True] == candidates.tolist()


def test_scores_are_weighted_and_summed() -> None:
    """No normalisation across scorers."""
    pool, best = builders.view(2), Best()
    scorers: list[tuple[Scorer, float]] = [(Scores(1.0, 0.5), 2.0), (Scores(0.0, 1.0), 3.0)]
    placement = profile(scorers=scorers, picker=best).run(REQUEST, pool, builders.everybody(pool))
    assert [2.0, 4.0] == best.scores
    assert placement is not None
    assert ("p", (1,), [2.0, 4.0]) == (
        placement.profile,
        placement.pick.slots,
        placement.scores.tolist(),
    )


def test_unknown_score_is_neutral() -> None:
    """NaN is neither good nor bad."""
    pool, best = builders.view(3), Best()
    profile(scorers=[(Scores(0.0, math.nan, 1.0), 2.0)], picker=best).run(
        REQUEST, pool, builders.everybody(pool)
    )
    assert [0.0, 2.0 * NEUTRAL_SCORE, 2.0] == best.scores


def test_scores_are_clamped() -> None:
    """A scorer out of range does not outvote the others."""
    pool, best = builders.view(4), Best()
    profile(scorers=[(Scores(-5.0, 7.0, math.inf, -math.inf), 1.0)], picker=best).run(
        REQUEST, pool, builders.everybody(pool)
    )
    assert [0.0, 1.0, 1.0, 0.0] == best.scores


def test_without_scorers_all_score_zero() -> None:
    """One per endpoint, candidates or not."""
    pool, best = builders.view(3), Best()
    profile(Only(1), picker=best).run(REQUEST, pool, builders.everybody(pool))
    assert [0.0, 0.0, 0.0] == best.scores


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([(0, 1), (1, 2)], "filter-1"),
        ([(2,), (2,)], "filter-0"),
        ([(0, 1, 2)], "best"),
        ([], "best"),
    ],
)
def test_reason_names_the_filter_that_left_one(
    filters: list[tuple[int, ...]], expected: str
) -> None:
    """Or the picker's own, if it had a choice."""
    pool = builders.view(3)
    placement = profile(*(Only(*slots) for slots in filters)).run(
        REQUEST, pool, builders.everybody(pool)
    )
    assert placement is not None
    assert expected == placement.reason


def test_filter_that_keeps_the_only_candidate_chose_nothing() -> None:
    """There was one before."""
    pool = builders.view(3)
    placement = profile(Only(1)).run(REQUEST, pool, np.array([False, True, False]))
    assert placement is not None
    assert "best" == placement.reason
