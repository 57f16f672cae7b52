"""The latest gauge of every live replica, as a collector keeps them to cut scrapes."""

from state.model import Cut, Gauge, ReplicaId


class GaugeBoard:
    """Newest gauge per replica. Only newer `(incarnation, seq)` replace what is known."""

    def __init__(self) -> None:
        self._gauges: dict[ReplicaId, Gauge] = {}

    def apply(self, gauge: Gauge) -> None:
        """Take over a gauge if it is newer."""
        known = self._gauges.get(gauge.replica)
        if known is None or gauge.order > known.order:
            self._gauges[gauge.replica] = gauge

    def drop(self, replica: ReplicaId) -> None:
        """Forget a replica that left."""
        self._gauges.pop(replica, None)

    def keep(self, live: frozenset[ReplicaId]) -> None:
        """Forget the replicas that are not live."""
        self._gauges = {r: gauge for r, gauge in self._gauges.items() if r in live}

    def cuts(self) -> tuple[Cut, ...]:
        """Return what each replica has assigned and seen done by now."""
        return tuple(
            Cut(
                replica=gauge.replica,
                incarnation=gauge.incarnation,
                uids=gauge.uids,
                assigned_total=gauge.assigned_total,
                done_total=gauge.done_total,
            )
            for gauge in self._gauges.values()
        )
