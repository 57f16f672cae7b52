"""The series of the collector package."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from collector.errors import FailureReason
from collector.reading import Fault, Problem

OK = "ok"

SCRAPE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class CollectorMetrics:
    """Counts what the collector does; label children are looked up once."""

    def __init__(self, registry: CollectorRegistry) -> None:
        scrapes = Counter(
            "murmuration_collector_scrapes",
            "Scrapes by outcome: ok, or the reason of the failure.",
            ["outcome"],
            registry=registry,
        )
        self._problems = Counter(
            "murmuration_collector_signal_problems",
            "Signals that a page did not give, or gave in a form that cannot be believed.",
            ["signal", "problem"],
            registry=registry,
        )
        snapshots = Counter(
            "murmuration_collector_snapshots",
            "Snapshots by outcome: published, refused by the store, or unknown.",
            ["outcome"],
            registry=registry,
        )
        self.scraped = scrapes.labels(OK)
        self.failed = {reason: scrapes.labels(reason.value) for reason in FailureReason}
        self.scrape_seconds = Histogram(
            "murmuration_collector_scrape_seconds",
            "Time from sending a scrape to having read its page.",
            buckets=SCRAPE_SECONDS,
            registry=registry,
        )
        self.published = snapshots.labels("published")
        self.refused = snapshots.labels("refused")
        self.unknown = snapshots.labels("unknown")
        self.endpoints = Gauge(
            "murmuration_collector_endpoints", "Endpoints being scraped.", registry=registry
        )
        self.owned_shards = Gauge(
            "murmuration_collector_owned_shards", "Shard leases held.", registry=registry
        )
        self._problem_children: dict[Problem, Counter] = {}

    def problem(self, problem: Problem) -> None:
        """Count a problem of a page."""
        child = self._problem_children.get(problem)
        if child is None:
            child = self._problems.labels(problem.subject, _label(problem.fault))
            self._problem_children[problem] = child
        child.inc()


def _label(fault: Fault) -> str:
    return fault.value.replace(" ", "_")
