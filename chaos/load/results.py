"""What happened to each request, and the summary of a run. Pure."""

from collections import Counter
from enum import Enum

import msgspec
from hdrh.histogram import HdrHistogram

LONGEST_MICROSECONDS = 3_600_000_000
DIGITS = 3
UNKNOWN_ENDPOINT = "unknown"


class Outcome(Enum):
    """How a request ended for its client."""

    OK = "ok"
    CANCELLED = "cancelled"  # by us, as planned
    ERROR = "error"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One finished request; durations count from its scheduled time, so that lag is seen."""

    index: int
    scheduled_seconds: float  # since the start of the run
    lag_seconds: float  # from the scheduled time until it was sent
    total_seconds: float
    outcome: Outcome
    reason: str | None = None  # of an error: http_503, connect, disconnected, truncated, ...
    ttft_seconds: float | None = None  # to the first byte of the body
    status: int | None = None
    served_by: str | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0


class Percentiles(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution in milliseconds; zeros when nothing was recorded."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    max: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A run in numbers. Latencies are those of `ok` requests."""

    requests: int
    ok: int
    cancelled: int
    errors: int
    errors_by_reason: dict[str, int]
    seconds: float
    throughput: float  # ok requests per second
    ttft_ms: Percentiles
    latency_ms: Percentiles
    lag_ms: Percentiles  # of all requests: how late this client was
    prompt_tokens: int
    cached_tokens: int
    prefix_hit_ratio: float  # cached / prompt tokens as the servers reported them
    endpoints: dict[str, int]  # answers by x-served-by


class Recorder:
    """Adds up records in bounded memory."""

    def __init__(self) -> None:
        self._outcomes: Counter[Outcome] = Counter()
        self._reasons: Counter[str] = Counter()
        self._endpoints: Counter[str] = Counter()
        self._ttft = _Distribution()
        self._latency = _Distribution()
        self._lag = _Distribution()
        self._prompt_tokens = 0
        self._cached_tokens = 0

    def add(self, record: Record) -> None:
        """Count a finished request."""
        self._outcomes[record.outcome] += 1
        self._lag.add(record.lag_seconds)
        if record.outcome is Outcome.ERROR:
            self._reasons[record.reason or "unknown"] += 1
        if record.status is not None:
            self._endpoints[record.served_by or UNKNOWN_ENDPOINT] += 1
        if record.outcome is Outcome.OK:
            self._latency.add(record.total_seconds)
            self._prompt_tokens += record.prompt_tokens
            self._cached_tokens += record.cached_tokens
            if record.ttft_seconds is not None:
                self._ttft.add(record.ttft_seconds)

    def count(self, outcome: Outcome) -> int:
        """Return the number of requests that ended so."""
        return self._outcomes[outcome]

    def summary(self, seconds: float) -> Summary:
        """Sum up what was added in a run of so many seconds."""
        ok = self._outcomes[Outcome.OK]
        return Summary(
            requests=self._outcomes.total(),
            ok=ok,
            cancelled=self._outcomes[Outcome.CANCELLED],
            errors=self._outcomes[Outcome.ERROR],
            errors_by_reason=dict(self._reasons.most_common()),
            seconds=round(seconds, 3),
            throughput=round(ok / seconds, 3) if seconds > 0 else 0.0,
            ttft_ms=self._ttft.percentiles(),
            latency_ms=self._latency.percentiles(),
            lag_ms=self._lag.percentiles(),
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            prefix_hit_ratio=round(self._cached_tokens / max(1, self._prompt_tokens), 4),
            endpoints=dict(sorted(self._endpoints.items())),
        )


class _Distribution:
    """Durations with three significant digits."""

    def __init__(self) -> None:
        self._histogram = HdrHistogram(1, LONGEST_MICROSECONDS, DIGITS)
        self._count = 0
        self._sum = 0.0
        self._max = 0.0

    def add(self, seconds: float) -> None:
        self._histogram.record_value(min(max(1, round(seconds * 1e6)), LONGEST_MICROSECONDS))
        self._count += 1
        self._sum += seconds
        self._max = max(self._max, seconds)

    def percentiles(self) -> Percentiles:
        mean = self._sum / self._count if self._count else 0.0
        return Percentiles(
            count=self._count,
            mean=_milliseconds(mean),
            p50=self._at(50),
            p90=self._at(90),
            p99=self._at(99),
            max=_milliseconds(self._max),
        )

    def _at(self, percentile: float) -> float:
        if not self._count:
            return 0.0
        return _milliseconds(self._histogram.get_value_at_percentile(percentile) / 1e6)


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1e3, 3)
