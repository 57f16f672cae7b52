"""`single-profile-handler`."""

from collections.abc import Mapping

from picker.plugins.profiles.single import SingleProfileHandler
from picker.scheduling.framework import Pick, Placement
from tests.support import builders

PLACEMENT = Placement(
    profile="default",
    pick=Pick(slots=(0,), reason="best"),
    candidates=builders.everybody(builders.view(1)),
    scores=builders.view(1).running,
)


def place(placement: Placement | None) -> tuple[Mapping[str, Placement], list[str]]:
    """Return what the handler answers, and which profiles it ran."""
    ran = []

    def run(profile: str) -> Placement | None:
        ran.append(profile)
        return placement

    return SingleProfileHandler().place(builders.request(), ("default",), run), ran


def test_the_one_profile_decides() -> None:
    """It runs once."""
    assert ({"default": PLACEMENT}, ["default"]) == place(PLACEMENT)


def test_no_placement_is_an_empty_answer() -> None:
    """Nobody may serve."""
    assert ({}, ["default"]) == place(None)
