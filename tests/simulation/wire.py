"""How gauges travel: everything arrives, in order, a given time after it was sent."""

from collections import deque
from collections.abc import Iterator

from state.model import Gauge, ReplicaId


class Wire:
    """Gauges on their way. Readers come when they need their view, and find the newest arrived."""

    def __init__(self, delay_seconds: float) -> None:
        self.delay_seconds = delay_seconds
        self.sent = 0
        """Gauges published since the start."""
        self._sent: dict[ReplicaId, deque[tuple[float, Gauge]]] = {}

    def publish(self, gauge: Gauge, now: float) -> None:
        """Send a gauge; those that a newer arrived one has overtaken go."""
        self.sent += 1
        queue = self._sent.setdefault(gauge.replica, deque())
        while len(queue) > 1 and queue[1][0] <= now:
            queue.popleft()
        queue.append((now + self.delay_seconds, gauge))

    def drop(self, replica: ReplicaId) -> None:
        """A replica's lease is over: nothing of it arrives any more."""
        self._sent.pop(replica, None)

    def arrived(self, now: float) -> Iterator[tuple[float, Gauge]]:
        """Yield each replica's newest gauge that has arrived, and when it did."""
        for queue in self._sent.values():
            newest = None
            for entry in queue:
                if entry[0] > now:
                    break
                newest = entry
            if newest is not None:
                yield newest
