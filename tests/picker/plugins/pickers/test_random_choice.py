"""`random-picker`."""

import random

import numpy as np

from picker.plugins.pickers.random_choice import RandomParameters, RandomPicker
from tests.support import builders
from tests.support.plugins import shares
from tests.support.seeds import seeded


def test_each_candidate_gets_its_share() -> None:
    """Whatever the scores, and nobody else gets any."""
    picker = RandomPicker(RandomParameters(), seeded())
    pool = builders.view(4)
    candidates = np.array([True, False, True, True])
    scores = np.array([0.0, 9.0, 1.0, 5.0])
    got = shares(lambda: picker.pick(builders.request(), pool, candidates, scores).slots, 4, 3000)
    assert 0.0 == got[1]
    assert all(0.25 < got[slot] < 0.42 for slot in (0, 2, 3))


def test_spares_are_distinct_candidates() -> None:
    """As many as there are."""
    picker = RandomPicker(RandomParameters(max_num_of_endpoints=5), random.Random(1))
    pool = builders.view(4)
    candidates = np.array([True, False, True, True])
    slots = picker.pick(builders.request(), pool, candidates, np.zeros(4)).slots
    assert [0, 2, 3] == sorted(slots)
