"""`kv-cache-utilization-scorer`: 1 - usage of the KV cache."""

from picker.requests.model import InferenceRequest
from picker.scheduling.framework import PluginContext, Scorer
from picker.scheduling.registry import Parameters, PluginType
from state.model import FloatArray
from state.view import PoolView


class KvUsageParameters(Parameters, frozen=True):
    """`kv-cache-utilization-scorer` takes no parameters."""


class KvUsageScorer:
    """More free KV cache is better; an unknown usage is NaN, which scores neutral."""

    def score(
        self,
        request: InferenceRequest,  # noqa: ARG002  the port's shape
        view: PoolView,
    ) -> FloatArray:
        return 1.0 - view.kv_usage


def _build(parameters: KvUsageParameters, context: PluginContext) -> KvUsageScorer:  # noqa: ARG001
    return KvUsageScorer()


TYPE = PluginType(
    name="kv-cache-utilization-scorer", role=Scorer, parameters=KvUsageParameters, build=_build
)
