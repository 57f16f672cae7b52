"""What placing requests looks like to the simulation, whoever does it."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from picker.requests.model import InferenceRequest
from state.model import Endpoint
from tests.simulation.cell import Cell
from tests.simulation.events import Events
from tests.simulation.fleet import Fleet


class World(msgspec.Struct, frozen=True, kw_only=True):
    """What a scheme lives in."""

    cell: Cell
    events: Events
    endpoints: Sequence[Endpoint]
    fleet: Fleet
    busy: Callable[[], bool]
    """False once everything has arrived and ended."""


class Held(Protocol):
    """A placed request, owned by its stream."""

    def prefilled(self) -> None:
        """Its first byte was seen."""

    def release(self) -> None:
        """It is over."""


class Scheme(Protocol):
    """R pickers with their way of knowing each other's load."""

    def place(self, replica: int, request: InferenceRequest) -> tuple[int, Held]:
        """Return the slot that one picker chooses now, and the booking."""

    def lose(self, replica: int) -> None:
        """Kill a picker: nothing is heard of it again; its requests run on, unreleased."""

    def reasons(self) -> dict[str, int]:
        """Return how often which rule chose."""
