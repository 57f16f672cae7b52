"""The scheduler: a handler runs profiles by name."""

from collections.abc import Mapping, Sequence

import numpy as np

from picker.plugins.profiles.single import SingleProfileHandler
from picker.requests.model import InferenceRequest
from picker.scheduling.framework import Placement, ProfileRunner
from picker.scheduling.profile import Profile
from picker.scheduling.scheduler import Scheduler
from tests.support import builders
from tests.support.plugins import Best, Only

REQUEST = builders.request()


class Both:
    """A handler that runs all profiles, the last one first."""

    def place(
        self,
        request: InferenceRequest,  # noqa: ARG002  the port's shape
        profiles: Sequence[str],
        run: ProfileRunner,
    ) -> Mapping[str, Placement]:
        placements = {name: run(name) for name in reversed(profiles)}
        return {name: placement for name, placement in placements.items() if placement is not None}


def profile(name: str, *slots: int) -> Profile:
    return Profile(name, filters=[("only", Only(*slots))], scorers=[], picker=Best())


def test_handler_decides_which_profiles_run_and_their_order() -> None:
    """The first placement names the destination."""
    pool = builders.view(3)
    scheduler = Scheduler(Both(), [profile("decode", 0), profile("prefill", 2)])
    placements = scheduler.schedule(REQUEST, pool, builders.everybody(pool))
    assert [("prefill", (2,)), ("decode", (0,))] == [
        (name, placement.pick.slots) for name, placement in placements.items()
    ]


def test_profile_without_a_placement_is_left_out() -> None:
    """Its filters left nobody."""
    pool = builders.view(3)
    scheduler = Scheduler(Both(), [profile("decode", 0), profile("prefill")])
    assert ["decode"] == list(scheduler.schedule(REQUEST, pool, builders.everybody(pool)))


def test_nobody_may_serve_is_an_empty_answer() -> None:
    """No exception: the caller says it to the client."""
    pool = builders.view(3)
    scheduler = Scheduler(SingleProfileHandler(), [profile("default", 1)])
    assert {} == scheduler.schedule(REQUEST, pool, np.array([True, False, True]))
