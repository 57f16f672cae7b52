"""`expected-delay-picker`: the endpoint where the first token is expected soonest.

Knows how old its view is. While the others' picks since the view could have filled the best
endpoint, it spreads over those that they would fill (water-filling, small pools) or takes the best
of a few sampled ones (large pools), so that replicas do not herd.
"""

import math
import random

import numpy as np

from picker.requests.model import InferenceRequest
from picker.scheduling.delay import ExpectedDelay
from picker.scheduling.framework import Pick, Picker, PluginContext
from picker.scheduling.registry import Parameters, PluginType
from picker.scheduling.unseen import unseen_picks, water_level
from state.model import BoolArray, FloatArray, IntArray
from state.view import PoolView


class ExpectedDelayParameters(Parameters, frozen=True):
    """Parameters of `expected-delay-picker`."""

    samples: int = 4
    """Endpoints compared in a large pool."""
    small_pool: int = 16
    """Up to this many candidates all are compared."""
    stale_seconds: float = 0.05
    """Peers' gauges older than this call for water-filling in large pools too."""
    score_seconds: float = 1.0
    """What the profile's scorers are worth: a score of 0 counts as this much more delay than 1."""
    max_num_of_endpoints: int = 1
    """Endpoints named, best first, for gateways that retry on the next."""

    def __post_init__(self) -> None:
        """Refuse numbers that choose nobody."""
        if min(self.samples, self.max_num_of_endpoints) < 1:
            raise ValueError("samples and maxNumOfEndpoints must be at least 1")
        for number in (self.small_pool, self.stale_seconds, self.score_seconds):
            if not 0 <= number < math.inf:
                raise ValueError("smallPool, staleSeconds and scoreSeconds must be numbers from 0")


class ExpectedDelayPicker:
    """Chooses by delay plus the request's own prefill time, aware of the view's age."""

    def __init__(
        self, parameters: ExpectedDelayParameters, delay: ExpectedDelay, rng: random.Random
    ) -> None:
        self._parameters = parameters
        self._delay = delay
        self._rng = rng

    def pick(
        self,
        request: InferenceRequest,
        view: PoolView,
        candidates: BoolArray,
        scores: FloatArray,
    ) -> Pick:
        slots = candidates.nonzero()[0]
        if slots.size == 1:
            return Pick(slots=(int(slots[0]),), reason="only-candidate")
        costs = self._costs(request, view, scores)[slots]
        age = view.peers_age_seconds if view.replicas > 1 else 0.0
        if slots.size > self._parameters.small_pool and age <= self._parameters.stale_seconds:
            chosen = self._best_of_samples(costs)
            reason = "best-of-samples"
        else:
            chosen, reason = self._fill(costs, self._unseen_seconds(request, view))
        return Pick(slots=self._with_spares(slots, costs, chosen), reason=reason)

    def _costs(self, request: InferenceRequest, view: PoolView, scores: FloatArray) -> FloatArray:
        own = request.prompt_tokens / self._delay.rates(view)
        best = scores.max()
        worse = (best - scores) / best if best > 0 else scores
        return self._delay.seconds(view) + own + self._parameters.score_seconds * worse

    def _best_of_samples(self, costs: FloatArray) -> int:
        sampled = self._rng.sample(range(costs.size), min(self._parameters.samples, costs.size))
        return min(sampled, key=costs.__getitem__)

    def _unseen_seconds(self, request: InferenceRequest, view: PoolView) -> float:
        """Seconds of work that peers may have placed and that the view cannot show yet."""
        tokens = view.mean_prefill_tokens or request.prompt_tokens
        return unseen_picks(view) * tokens / float(self._delay.rates(view).mean())

    def _fill(self, costs: FloatArray, work: float) -> tuple[int, str]:
        if work > 0:
            reached = np.cumsum(np.maximum(water_level(costs, work) - costs, 0.0))
            # Rates decay for ever: there may be less work than the costs' last digit.
            if reached[-1] > 0:
                drawn = np.searchsorted(reached, self._rng.random() * reached[-1], side="right")
                return int(min(drawn, costs.size - 1)), "water-filling"
        ties = np.flatnonzero(costs <= costs.min() * (1 + 1e-9))
        return int(ties[self._rng.randrange(ties.size)]), "least-delay"

    def _with_spares(self, slots: IntArray, costs: FloatArray, chosen: int) -> tuple[int, ...]:
        most = self._parameters.max_num_of_endpoints
        if most == 1:
            return (int(slots[chosen]),)
        others = [i for i in np.argsort(costs, kind="stable").tolist() if i != chosen]
        return tuple(int(slots[i]) for i in [chosen, *others[: most - 1]])


def _build(parameters: ExpectedDelayParameters, context: PluginContext) -> ExpectedDelayPicker:
    return ExpectedDelayPicker(parameters, context.delay, context.rng)


TYPE = PluginType(
    name="expected-delay-picker", role=Picker, parameters=ExpectedDelayParameters, build=_build
)
