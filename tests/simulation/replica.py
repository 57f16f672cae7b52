"""A picker replica in virtual time: the production view, merge, ledger, scheduler and director."""

import random
from collections.abc import Sequence

from picker.flow.director import Director, Placed, RequestParts
from picker.flow.picks import PickLog
from picker.plugins.catalogue import built_in
from picker.requests.model import InferenceRequest, ParseSettings
from picker.scheduling.config import build_scheduler, load_config
from picker.scheduling.delay import DelaySettings, ExpectedDelay
from picker.scheduling.framework import PluginContext
from state.merge import Merge
from state.model import Endpoint, ReplicaId
from state.runtime.clock import Clock
from state.view import PoolView


class ReadParts(RequestParts, frozen=True, kw_only=True):
    """A request that needs no parsing."""

    request: InferenceRequest


class _Director(Director):
    """Skips the parser; everything after it is the production path."""

    def _read(self, parts: RequestParts) -> InferenceRequest:
        assert isinstance(parts, ReadParts)
        return parts.request


class Reasons:
    """Counts why endpoints were chosen."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def picked(self, *, reason: str, seconds: float) -> None:  # noqa: ARG002  the port's shape
        """A request was placed."""
        self.counts[reason] = self.counts.get(reason, 0) + 1


class Replica:
    """One picker. What it knows of the others is put into `merge` by a scheme."""

    def __init__(
        self,
        number: int,
        endpoints: Sequence[Endpoint],
        *,
        clock: Clock,
        config: str,
        delay: DelaySettings,
        seed: int,
    ) -> None:
        self.id = ReplicaId(f"picker-{number:02}")
        self.merge = Merge(self.id)
        self.merge.set_endpoints(endpoints)
        self.merge.joined(1)
        self.reasons = Reasons()
        estimate = ExpectedDelay(delay)
        context = PluginContext(rng=random.Random(f"{seed}/{number}"), delay=estimate)
        self._director = _Director(
            merge=self.merge,
            scheduler=build_scheduler(load_config(config), built_in(), context),
            delay=estimate,
            picks=PickLog(1),
            observer=self.reasons,
            clock=clock,
            parse_settings=ParseSettings(),
        )

    @property
    def view(self) -> PoolView:
        """What its decisions read."""
        return self.merge.view

    def place(self, request: InferenceRequest) -> Placed:
        """Decide and book."""
        return self._director.place(ReadParts(headers={}, request=request))
