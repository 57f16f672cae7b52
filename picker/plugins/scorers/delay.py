"""`expected-delay-scorer`: least delay / delay: twice the least delay scores a half."""

import math

from picker.requests.model import InferenceRequest
from picker.scheduling.delay import ExpectedDelay
from picker.scheduling.framework import PluginContext, Scorer
from picker.scheduling.registry import Parameters, PluginType
from state.model import FloatArray
from state.view import PoolView


class DelayParameters(Parameters, frozen=True):
    """Parameters of `expected-delay-scorer`."""

    floor_seconds: float = 0.01
    """Delays below this are alike."""

    def __post_init__(self) -> None:
        """A floor of zero would divide by it."""
        if not 0 < self.floor_seconds < math.inf:
            raise ValueError("floorSeconds must be a number above 0")


class ExpectedDelayScorer:
    """For profiles that weigh delay against other scorers."""

    def __init__(self, parameters: DelayParameters, delay: ExpectedDelay) -> None:
        self._floor = parameters.floor_seconds
        self._delay = delay

    def score(self, request: InferenceRequest, view: PoolView) -> FloatArray:
        own = request.prompt_tokens / self._delay.rates(view)
        delays = (self._delay.seconds(view) + own).clip(self._floor)
        scores: FloatArray = delays.min(initial=delays.max(initial=1.0)) / delays
        return scores


def _build(parameters: DelayParameters, context: PluginContext) -> ExpectedDelayScorer:
    return ExpectedDelayScorer(parameters, context.delay)


TYPE = PluginType(
    name="expected-delay-scorer", role=Scorer, parameters=DelayParameters, build=_build
)
