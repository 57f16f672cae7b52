"""`random-picker`: any candidate, with equal chance."""

import random

import numpy as np

from picker.requests.model import InferenceRequest
from picker.scheduling.framework import Pick, Picker, PluginContext
from picker.scheduling.registry import Parameters, PluginType
from state.model import BoolArray, FloatArray
from state.view import PoolView


class RandomParameters(Parameters, frozen=True):
    """Parameters of `random-picker`."""

    max_num_of_endpoints: int = 1
    """Endpoints named, in random order."""

    def __post_init__(self) -> None:
        """Refuse to choose nobody."""
        if self.max_num_of_endpoints < 1:
            raise ValueError("maxNumOfEndpoints must be at least 1")


class RandomPicker:
    """Samples without replacement."""

    def __init__(self, parameters: RandomParameters, rng: random.Random) -> None:
        self._most = parameters.max_num_of_endpoints
        self._rng = rng

    def pick(
        self,
        request: InferenceRequest,  # noqa: ARG002  the port's shape
        view: PoolView,  # noqa: ARG002
        candidates: BoolArray,
        scores: FloatArray,  # noqa: ARG002
    ) -> Pick:
        slots = np.flatnonzero(candidates).tolist()
        chosen = self._rng.sample(slots, min(self._most, len(slots)))
        return Pick(slots=tuple(chosen), reason="random")


def _build(parameters: RandomParameters, context: PluginContext) -> RandomPicker:
    return RandomPicker(parameters, context.rng)


TYPE = PluginType(name="random-picker", role=Picker, parameters=RandomParameters, build=_build)
