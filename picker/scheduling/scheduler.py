"""The scheduler: profiles under a handler, one decision per request."""

from collections.abc import Mapping, Sequence

from picker.requests.model import InferenceRequest
from picker.scheduling.framework import Placement, ProfileHandler
from picker.scheduling.profile import Profile
from state.model import BoolArray
from state.view import PoolView


class Scheduler:
    """Decides where a request goes. Synchronous: it reads one state of the view."""

    def __init__(self, handler: ProfileHandler, profiles: Sequence[Profile]) -> None:
        self._handler = handler
        self._profiles = {profile.name: profile for profile in profiles}
        self._names = tuple(self._profiles)

    def schedule(
        self, request: InferenceRequest, view: PoolView, candidates: BoolArray
    ) -> Mapping[str, Placement]:
        """Return placements by profile, the destination's first; empty if nobody may serve."""

        def run(profile: str) -> Placement | None:
            return self._profiles[profile].run(request, view, candidates)

        return self._handler.place(request, self._names, run)
