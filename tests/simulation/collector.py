"""The collector in virtual time: scrapes all engines at once, cuts, learns rates, publishes."""

from collections.abc import Callable, Iterable, Sequence

from chaos.engine.core import Engine
from collector.engines import Signal
from collector.rates import RateLearner
from collector.reading import Reading
from collector.scrape import observe
from state.model import Cut, Endpoint, ShardId, Snapshot

SHARD = ShardId("0")


def read(engine: Engine) -> Reading:
    """Return what the collector would read from the engine's page."""
    meter = engine.meter
    values = {
        Signal.RUNNING: engine.running,
        Signal.WAITING: engine.waiting,
        Signal.KV_USAGE: engine.pool.used / engine.pool.capacity,
        Signal.KV_CAPACITY_TOKENS: engine.spec.kv_tokens,
        Signal.PREFIX_HITS: meter.prefix_hits,
        Signal.PREFIX_QUERIES: meter.prefix_queries,
        Signal.PREFILL_TOKENS: meter.computed_tokens.sum,
        Signal.PREFILL_SECONDS: meter.prefill_time.sum,
        Signal.INTER_TOKEN_SECONDS: meter.inter_token_latency.sum,
        Signal.INTER_TOKEN_COUNT: meter.inter_token_latency.count,
    }
    return Reading(
        engine="vllm",
        models=("tiny",),
        values={signal: float(value) for signal, value in values.items()},
        problems=(),
    )


class Collector:
    """Makes a snapshot of the fleet whenever it is told to; the newest is there to be read."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        engines: Sequence[Engine],
        cuts: Callable[[float], Iterable[Cut]],
        *,
        delay_seconds: float,
    ) -> None:
        self._engines = list(zip(endpoints, engines, strict=True))
        self._learners = [RateLearner() for _ in engines]
        self._cuts = cuts
        self._delay_seconds = delay_seconds
        self._version = 0
        self._published: list[tuple[float, Snapshot]] = []

    def scrape(self, now: float) -> None:
        """Scrape every engine and publish."""
        self._version += 1
        observations = []
        for (endpoint, engine), learner in zip(self._engines, self._learners, strict=True):
            engine.advance(now)
            reading = read(engine)
            learner.learn(reading, now)
            observations.append(observe(endpoint.uid, reading, learner, age_seconds=0.0))
        snapshot = Snapshot(
            shard=SHARD,
            fence=1,
            version=self._version,
            observations=tuple(observations),
            cuts=tuple(self._cuts(now)),
        )
        self._published = [*self._published[-1:], (now + self._delay_seconds, snapshot)]

    def arrived(self, now: float) -> tuple[float, Snapshot] | None:
        """Return the newest snapshot that has arrived, and when it did."""
        for arrived_at, snapshot in reversed(self._published):
            if arrived_at <= now:
                return arrived_at, snapshot
        return None
