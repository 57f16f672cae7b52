"""`queue-scorer`: fewest waiting requests; (max - q) / (max - min), all equal is 1."""

import numpy as np

from picker.requests.model import InferenceRequest
from picker.scheduling.framework import PluginContext, Scorer
from picker.scheduling.registry import Parameters, PluginType
from state.model import FloatArray
from state.view import PoolView


class QueueParameters(Parameters, frozen=True):
    """`queue-scorer` takes no parameters."""


class QueueDepthScorer:
    """Min-max over the known queues; an unknown one is NaN, which scores neutral."""

    def score(
        self,
        request: InferenceRequest,  # noqa: ARG002  the port's shape
        view: PoolView,
    ) -> FloatArray:
        waiting = view.waiting
        known = ~np.isnan(waiting)
        if not known.any():
            return waiting
        longest, shortest = waiting[known].max(), waiting[known].min()
        if longest == shortest:
            return np.where(known, 1.0, np.nan)
        scores: FloatArray = (longest - waiting) / (longest - shortest)
        return scores


def _build(parameters: QueueParameters, context: PluginContext) -> QueueDepthScorer:  # noqa: ARG001
    return QueueDepthScorer()


TYPE = PluginType(name="queue-scorer", role=Scorer, parameters=QueueParameters, build=_build)
