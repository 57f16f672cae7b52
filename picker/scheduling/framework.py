"""What a routing idea is made of: filters, scorers, pickers and profile handlers.

Arrays have the shape `[endpoints]`, in the view's slot order. A plugin's answer depends on its
arguments, its parameters and the random numbers it was given: it does no I/O and reads no clock.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from picker.requests.model import InferenceRequest
from picker.scheduling.delay import ExpectedDelay
from state.model import BoolArray, FloatArray
from state.view import PoolView


class Pick(msgspec.Struct, frozen=True, kw_only=True):
    """A picker's answer."""

    slots: tuple[int, ...]
    """Chosen endpoints, best first; further ones are for the gateway's retries."""
    reason: str
    """Why, in a word or two of a fixed set: it becomes a metric label."""


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """What one profile decided, with what it was decided on."""

    profile: str
    pick: Pick
    candidates: BoolArray
    """Endpoints that the filters left."""
    scores: FloatArray
    """Weighted sum of the scorers; zeros if the profile has none."""
    narrowed_by: str | None = None
    """Reference of the filter that left one candidate of several, and so chose."""

    @property
    def reason(self) -> str:
        """Who chose: that filter, or the picker for its own reason."""
        return self.narrowed_by or self.pick.reason


@runtime_checkable
class Filter(Protocol):
    """Drops candidates."""

    def filter(self, request: InferenceRequest, view: PoolView, candidates: BoolArray) -> BoolArray:
        """Return the candidates that stay. None left means that no endpoint may serve this."""


@runtime_checkable
class Scorer(Protocol):
    """Rates endpoints."""

    def score(self, request: InferenceRequest, view: PoolView) -> FloatArray:
        """Return a score in [0, 1] for every endpoint, higher is better. NaN counts as 0.5."""


@runtime_checkable
class Picker(Protocol):
    """Chooses from scored candidates."""

    def pick(
        self,
        request: InferenceRequest,
        view: PoolView,
        candidates: BoolArray,
        scores: FloatArray,
    ) -> Pick:
        """Return at least one of the candidates, of which there is at least one."""


class ProfileRunner(Protocol):
    """Runs a profile by name, once."""

    def __call__(self, profile: str) -> Placement | None:
        """Return the placement, or None if the profile's filters left nobody."""


@runtime_checkable
class ProfileHandler(Protocol):
    """Chooses which profiles run for a request, and which of them names the destination."""

    def place(
        self, request: InferenceRequest, profiles: Sequence[str], run: ProfileRunner
    ) -> Mapping[str, Placement]:
        """Return placements by profile, the destination's first; empty if nobody may serve."""


class PluginContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a factory may hand to its plugin."""

    rng: random.Random
    delay: ExpectedDelay
    """The pool-wide estimate of waiting time, shared so that it is computed once per decision."""


Plugin = Filter | Scorer | Picker | ProfileHandler
