"""`kv-cache-utilization-scorer`."""

import math

import numpy as np

from picker.plugins.scorers.kv_usage import KvUsageScorer
from tests.support import builders


def test_free_share_of_the_cache_is_the_score() -> None:
    """Empty is one, full is zero, unknown is unknown."""
    view = builders.view(kv_usage=[0.0, 0.25, 1.0, math.nan])
    scores = KvUsageScorer().score(builders.request(), view)
    np.testing.assert_array_equal([1.0, 0.75, 0.0, math.nan], scores)
