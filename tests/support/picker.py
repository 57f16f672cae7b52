"""A picker's inside without sockets: a real director over real state."""

import random
from collections.abc import Sequence

from picker.extproc.exchange import ExchangeSettings, ExtProcExchange
from picker.extproc.ports import StreamEnd
from picker.flow.director import Director
from picker.flow.picks import PickLog
from picker.plugins.catalogue import built_in
from picker.requests.model import ParseSettings
from picker.requests.usage import Usage
from picker.scheduling.config import DEFAULT_CONFIG, build_scheduler, load_config
from picker.scheduling.delay import DelaySettings, ExpectedDelay
from picker.scheduling.framework import PluginContext
from state.merge import Merge
from state.model import Endpoint, ReplicaId
from state.runtime.clock import ManualClock
from tests.support import builders


class RecordingObserver:
    """Fits the observers of director and exchange."""

    def __init__(self) -> None:
        self.picks: list[str] = []
        self.statuses: list[int] = []
        self.refusals: list[tuple[int, str]] = []
        self.ends: list[tuple[StreamEnd, bool]] = []
        self.usages: list[Usage | None] = []

    def picked(self, *, reason: str, seconds: float) -> None:  # noqa: ARG002  the port's shape
        self.picks.append(reason)

    def first_byte(self, *, status: int) -> None:
        self.statuses.append(status)

    def refused(self, *, status: int, code: str) -> None:
        self.refusals.append((status, code))

    def ended(self, *, end: StreamEnd, complete: bool, usage: Usage | None) -> None:
        self.ends.append((end, complete))
        self.usages.append(usage)


class Bench:
    """One replica over an endpoint table, and exchanges on it."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint] | None = None,
        *,
        config: str = DEFAULT_CONFIG,
        settings: ExchangeSettings | None = None,
    ) -> None:
        self.clock = ManualClock()
        self.merge = Merge(ReplicaId("replica-1"))
        self.merge.set_endpoints(builders.endpoints(4) if endpoints is None else endpoints)
        self.observer = RecordingObserver()
        self.picks = PickLog()
        self.settings = settings or ExchangeSettings()
        delay = ExpectedDelay(DelaySettings())
        context = PluginContext(rng=random.Random(1), delay=delay)
        self.director = Director(
            merge=self.merge,
            scheduler=build_scheduler(load_config(config), built_in(), context),
            delay=delay,
            picks=self.picks,
            observer=self.observer,
            clock=self.clock,
            parse_settings=ParseSettings(),
        )

    def exchange(self) -> ExtProcExchange:
        """Return a new exchange."""
        return ExtProcExchange(
            director=self.director,
            observer=self.observer,
            settings=self.settings,
            new_request_id=lambda: "made-up-id",
        )

    @property
    def open_requests(self) -> int:
        """Bookings not yet released."""
        return self.merge.ledger.open_requests
