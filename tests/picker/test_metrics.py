"""The picker's series."""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from picker.extproc.ports import StreamEnd
from picker.metrics import PickerMetrics
from picker.requests.usage import Usage


def samples(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    """Return what a scrape shows, by name and label values."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def test_what_happens_to_requests_is_counted() -> None:
    """Picks by reason, refusals by status and code, responses by class, streams by their end."""
    registry = CollectorRegistry()
    metrics = PickerMetrics(registry)
    metrics.picked(reason="least-delay", seconds=0.0001)
    metrics.picked(reason="least-delay", seconds=0.0001)
    metrics.refused(status=503, code="no_endpoints")
    metrics.first_byte(status=204)
    metrics.first_byte(status=0)
    usage = Usage(prompt_tokens=7, output_tokens=3)
    metrics.ended(end=StreamEnd.RESET, complete=False, usage=usage)
    shown = samples(registry)
    assert 2 == shown["murmuration_picks_total", "least-delay"]
    assert 2 == shown["murmuration_decision_seconds_count",]
    assert 1 == shown["murmuration_refusals_total", "503", "no_endpoints"]
    assert 1 == shown["murmuration_responses_total", "2xx"]
    assert 1 == shown["murmuration_responses_total", "unknown"]
    assert 1 == shown["murmuration_streams_total", "false", "reset"]
    assert 7 == shown["murmuration_usage_tokens_total", "prompt"]
    assert 3 == shown["murmuration_usage_tokens_total", "output"]


def test_gauges_are_read_when_scraped() -> None:
    """Also those with one series for each value of a label."""
    registry = CollectorRegistry()
    metrics = PickerMetrics(registry)
    values = [1.0]
    metrics.watch("thing", "A thing.", lambda: values[0])
    metrics.watch_each("mode", "Modes.", "mode", {"a": lambda: 0, "b": lambda: 1})
    values[0] = 5.0
    shown = samples(registry)
    assert 5 == shown["murmuration_thing",]
    assert (0, 1) == (shown["murmuration_mode", "a"], shown["murmuration_mode", "b"])
