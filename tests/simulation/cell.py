"""A cell: everything that a simulation is determined by, and what came of it."""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from chaos.engine.core import EngineSpec
from picker.scheduling.delay import DelaySettings
from tests.simulation.workload import Mix

CHAT = Mix(name="chat")

WARM_UP = 0.25
"""Share of the requests that come before the measurement."""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """What is simulated. Equal cells have equal outcomes."""

    scheme: str = "ours"
    replicas: int = 4
    endpoints: int = 64
    load: float = 0.85
    """Arriving work as a share of what the engines can do with ideal caches."""
    mix: Mix = CHAT
    speeds: tuple[float, ...] = (1.0,)
    """Speeds of the engines, in turn."""
    requests: int = 10_000
    seed: int = 1
    delay_seconds: float = 0.0005
    """Time from a replica's gauge to its reader."""
    scrape_seconds: float = 0.5
    skew: float = 0.0
    """The n-th picker gets a share of n to the minus this; 0: all alike."""
    lost_at: float | None = None
    """One picker dies after this share of the requests."""
    affinity: Mapping[str, float] | None = msgspec.field(default_factory=dict)
    """Parameters of the prefix-affinity-filter that differ from the defaults; None: no filter."""
    picker: Mapping[str, float] = {}
    """Parameters of the expected-delay-picker that differ from the defaults."""
    delay: DelaySettings = DelaySettings()
    engine: EngineSpec = EngineSpec()

    @property
    def engine_speeds(self) -> list[float]:
        """Speed of each engine."""
        return [self.speeds[slot % len(self.speeds)] for slot in range(self.endpoints)]

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.load * sum(self.engine_speeds) / self.mix.work_seconds(self.engine)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a cell, after its warm-up."""

    ttft_p50: float
    ttft_p99: float
    ttft_mean: float
    longest_queue: int
    """Most requests waiting on one engine at any moment."""
    imbalance: float
    """Busiest engine's requests over the mean, both per speed; mean over time."""
    hit_rate: float
    """Share of prompt tokens found in a prefix cache."""
    utilisation: float
    """Work done over work possible: what the load came to, with the caches as they were."""
    seconds: float
    """Virtual time from the first arrival to the last."""
    fingerprint: str
    """Hash of every placement and its time to first token."""
    reasons: Mapping[str, int]


class Record(msgspec.Struct, kw_only=True):
    """One request's fate."""

    slot: int
    arrived_at: float
    prompt_tokens: int
    first_token_at: float = 0.0
    cached_tokens: int = 0


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which that share lies."""
    return float(np.quantile(np.asarray(values), share)) if values else 0.0
