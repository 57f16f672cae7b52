"""A profile: filters, weighted scorers and one picker, run in that order."""

from collections.abc import Sequence

import numpy as np

from picker.requests.model import InferenceRequest
from picker.scheduling.framework import Filter, Picker, Placement, Scorer
from state.model import BoolArray, FloatArray
from state.view import PoolView

NEUTRAL_SCORE = 0.5
"""Counts for an endpoint of which a scorer knows nothing."""


class Profile:
    """A named set of plugins."""

    def __init__(
        self,
        name: str,
        *,
        filters: Sequence[tuple[str, Filter]],
        scorers: Sequence[tuple[Scorer, float]],
        picker: Picker,
    ) -> None:
        self.name = name
        self._filters = tuple(filters)
        self._scorers = tuple(scorers)
        self._picker = picker

    def run(
        self, request: InferenceRequest, view: PoolView, candidates: BoolArray
    ) -> Placement | None:
        """Return the placement, or None if the filters left nobody."""
        narrowed_by = None
        left = np.count_nonzero(candidates)
        if not left:
            return None
        for reference, plugin in self._filters:
            candidates = plugin.filter(request, view, candidates)
            before, left = left, np.count_nonzero(candidates)
            if not left:
                return None
            if left == 1 < before:
                narrowed_by = reference
        scores = self._score(request, view)
        pick = self._picker.pick(request, view, candidates, scores)
        return Placement(
            profile=self.name,
            pick=pick,
            candidates=candidates,
            scores=scores,
            narrowed_by=narrowed_by,
        )

    def _score(self, request: InferenceRequest, view: PoolView) -> FloatArray:
        total = np.zeros(len(view))
        for scorer, weight in self._scorers:
            scores = np.nan_to_num(scorer.score(request, view), nan=NEUTRAL_SCORE)
            total += weight * scores.clip(0.0, 1.0)
        return total
