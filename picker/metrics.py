"""All series of the picker."""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from picker.extproc.ports import StreamEnd
from picker.requests.usage import Usage

DECISION_BUCKETS = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1)


class Children(dict[tuple[str, ...], Counter]):
    """A counter's children by label values: looking one up here costs a fifth of `labels()`."""

    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self._counter = counter

    def __missing__(self, values: tuple[str, ...]) -> Counter:
        child = self[values] = self._counter.labels(*values)
        return child


class PickerMetrics:
    """Series of one replica; label values come from fixed sets of ours, never from clients."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._picks = self._counter("picks_total", "Requests placed.", "reason")
        self._decision = Histogram(
            "murmuration_decision_seconds",
            "Time from a parsed gateway message to a booked decision.",
            buckets=DECISION_BUCKETS,
            registry=registry,
        )
        self._refusals = self._counter(
            "refusals_total", "Requests answered by the picker itself.", "status", "code"
        )
        self._responses = self._counter(
            "responses_total", "Responses of model servers by class of status.", "status_class"
        )
        self._streams = self._counter(
            "streams_total", "ext_proc streams that ended.", "end", "complete"
        )
        self._tokens = self._counter(
            "usage_tokens_total",
            "Tokens that model servers reported, where response bodies pass through us.",
            "kind",
        )

    def _counter(self, name: str, description: str, *labels: str) -> Children:
        return Children(
            Counter(f"murmuration_{name}", description, labels, registry=self._registry)
        )

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
        self._picks[(reason,)].inc()
        self._decision.observe(seconds)

    def first_byte(self, *, status: int) -> None:
        self._responses[(f"{status // 100}xx" if 100 <= status < 600 else "unknown",)].inc()

    def refused(self, *, status: int, code: str) -> None:
        self._refusals[str(status), code].inc()

    def ended(self, *, end: StreamEnd, complete: bool, usage: Usage | None) -> None:
        self._streams[end.value, "true" if complete else "false"].inc()
        if usage is not None:
            self._count("prompt", usage.prompt_tokens)
            self._count("cached", usage.cached_tokens)
            self._count("output", usage.output_tokens)

    def _count(self, kind: str, tokens: int | None) -> None:
        if tokens:
            self._tokens[(kind,)].inc(tokens)
