"""`single-profile-handler`: the one profile decides."""

from collections.abc import Mapping, Sequence

from picker.requests.model import InferenceRequest
from picker.scheduling.framework import Placement, PluginContext, ProfileHandler, ProfileRunner
from picker.scheduling.registry import Parameters, PluginType


class SingleProfileParameters(Parameters, frozen=True):
    """`single-profile-handler` takes no parameters."""


class SingleProfileHandler:
    """Runs the only profile."""

    def place(
        self,
        request: InferenceRequest,  # noqa: ARG002  the port's shape
        profiles: Sequence[str],
        run: ProfileRunner,
    ) -> Mapping[str, Placement]:
        (name,) = profiles
        placement = run(name)
        return {} if placement is None else {name: placement}


def _build(
    parameters: SingleProfileParameters,  # noqa: ARG001  it has none
    context: PluginContext,  # noqa: ARG001
) -> SingleProfileHandler:
    return SingleProfileHandler()


TYPE = PluginType(
    name="single-profile-handler",
    role=ProfileHandler,
    parameters=SingleProfileParameters,
    build=_build,
)
