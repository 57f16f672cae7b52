"""`max-score-picker`: the highest weighted score; ties are broken at random."""

import random

import numpy as np

from picker.requests.model import InferenceRequest
from picker.scheduling.framework import Pick, Picker, PluginContext
from picker.scheduling.registry import Parameters, PluginType
from state.model import BoolArray, FloatArray
from state.view import PoolView


class MaxScoreParameters(Parameters, frozen=True):
    """Parameters of `max-score-picker`."""

    max_num_of_endpoints: int = 1
    """Endpoints named, best first."""

    def __post_init__(self) -> None:
        """Refuse to choose nobody."""
        if self.max_num_of_endpoints < 1:
            raise ValueError("maxNumOfEndpoints must be at least 1")


class MaxScorePicker:
    """Shuffles, then sorts stably by score."""

    def __init__(self, parameters: MaxScoreParameters, rng: random.Random) -> None:
        self._most = parameters.max_num_of_endpoints
        self._rng = rng

    def pick(
        self,
        request: InferenceRequest,  # noqa: ARG002  the port's shape
        view: PoolView,  # noqa: ARG002
        candidates: BoolArray,
        scores: FloatArray,
    ) -> Pick:
        slots = np.flatnonzero(candidates).tolist()
        self._rng.shuffle(slots)
        slots.sort(key=scores.__getitem__, reverse=True)
        return Pick(slots=tuple(slots[: self._most]), reason="max-score")


def _build(parameters: MaxScoreParameters, context: PluginContext) -> MaxScorePicker:
    return MaxScorePicker(parameters, context.rng)


TYPE = PluginType(name="max-score-picker", role=Picker, parameters=MaxScoreParameters, build=_build)
