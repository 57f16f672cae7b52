"""Plugins that do what a test says."""

from collections.abc import Callable, Sequence

import numpy as np

from picker.requests.model import InferenceRequest
from picker.scheduling.framework import Pick
from state.model import BoolArray, FloatArray
from state.view import PoolView


class Only:
    """A filter that leaves the given slots of those that are left."""

    def __init__(self, *slots: int) -> None:
        self._slots = slots
        self.calls = 0

    def filter(
        self,
        request: InferenceRequest,  # noqa: ARG002  the port's shape
        view: PoolView,  # noqa: ARG002
        candidates: BoolArray,
    ) -> BoolArray:
        self.calls += 1
        kept = np.zeros_like(candidates)
        kept[list(self._slots)] = True
        return kept & candidates


class Scores:
    """A scorer that says the given numbers."""

    def __init__(self, *scores: float) -> None:
        self._scores = scores

    def score(
        self,
        request: InferenceRequest,  # noqa: ARG002  the port's shape
        view: PoolView,  # noqa: ARG002
    ) -> FloatArray:
        return np.array(self._scores, np.float64)


class Best:
    """A picker that takes the first of the best and remembers what it was shown."""

    def __init__(self) -> None:
        self.candidates: list[bool] = []
        self.scores: list[float] = []

    def pick(
        self,
        request: InferenceRequest,  # noqa: ARG002  the port's shape
        view: PoolView,  # noqa: ARG002
        candidates: BoolArray,
        scores: FloatArray,
    ) -> Pick:
        self.candidates, self.scores = candidates.tolist(), scores.tolist()
        slots = np.flatnonzero(candidates)
        return Pick(slots=(int(slots[np.argmax(scores[slots])]),), reason="best")


def shares(draw: Callable[[], Sequence[int]], size: int, count: int) -> list[float]:
    """Return how often each slot comes first in so many picks, as shares."""
    counts = np.zeros(size)
    for _ in range(count):
        counts[draw()[0]] += 1
    result: list[float] = (counts / count).tolist()
    return result
