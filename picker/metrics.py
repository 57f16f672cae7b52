"""All series of the picker."""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from picker.extproc.ports import StreamEnd
from picker.requests.usage import Usage

DECISION_BUCKETS = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1)


class PickerMetrics:
    """Series of one replica; label values come from fixed sets of ours, never from clients."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._picks = Counter(
            "murmuration_picks_total", "Requests placed.", ["reason"], registry=registry
        )
        self._decision = Histogram(
            "murmuration_decision_seconds",
            "Time from a parsed gateway message to a booked decision.",
            buckets=DECISION_BUCKETS,
            registry=registry,
        )
        self._refusals = Counter(
            "murmuration_refusals_total",
            "Requests answered by the picker itself.",
            ["status", "code"],
            registry=registry,
        )
        self._responses = Counter(
            "murmuration_responses_total",
            "Responses of model servers by class of status.",
            ["status_class"],
            registry=registry,
        )
        self._streams = Counter(
            "murmuration_streams_total",
            "ext_proc streams that ended.",
            ["end", "complete"],
            registry=registry,
        )
        self._tokens = Counter(
            "murmuration_usage_tokens_total",
            "Tokens that model servers reported, where response bodies pass through us.",
            ["kind"],
            registry=registry,
        )
        self._registry = registry

    def watch(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Export a gauge that is read when it is scraped."""
        Gauge(f"murmuration_{name}", description, registry=self._registry).set_function(read)

    def watch_each(
        self, name: str, description: str, label: str, reads: Mapping[str, Callable[[], float]]
    ) -> None:
        """Export a gauge with one series for each value of a label."""
        gauge = Gauge(f"murmuration_{name}", description, [label], registry=self._registry)
        for value, read in reads.items():
            gauge.labels(value).set_function(read)

    def picked(self, *, reason: str, seconds: float) -> None:
        self._picks.labels(reason).inc()
        self._decision.observe(seconds)

    def first_byte(self, *, status: int) -> None:
        self._responses.labels(f"{status // 100}xx" if 100 <= status < 600 else "unknown").inc()

    def refused(self, *, status: int, code: str) -> None:
        self._refusals.labels(str(status), code).inc()

    def ended(self, *, end: StreamEnd, complete: bool, usage: Usage | None) -> None:
        self._streams.labels(end.value, str(complete).lower()).inc()
        if usage is not None:
            self._count("prompt", usage.prompt_tokens)
            self._count("cached", usage.cached_tokens)
            self._count("output", usage.output_tokens)

    def _count(self, kind: str, tokens: int | None) -> None:
        if tokens:
            self._tokens.labels(kind).inc(tokens)
