"""A summary adds up."""

import msgspec
import pytest

from chaos.load.results import Outcome, Record, Recorder


def record(outcome: Outcome = Outcome.OK, **fields: object) -> Record:
    """Build a record of a request that took a second."""
    values = {"index": 0, "scheduled_seconds": 0.0, "lag_seconds": 0.0, "total_seconds": 1.0}
    return Record(outcome=outcome, **{**values, **fields})  # type: ignore[arg-type]


def test_outcomes_reasons_and_endpoints_are_counted() -> None:
    """Every request is in exactly one outcome; a request without an answer has no endpoint."""
    recorder = Recorder()
    recorder.add(record(status=200, served_by="a"))
    recorder.add(record(status=200, served_by="b"))
    recorder.add(record(Outcome.CANCELLED, status=200, served_by="a"))
    recorder.add(record(Outcome.ERROR, reason="http_503", status=503))
    recorder.add(record(Outcome.ERROR, reason="connect"))
    summary = recorder.summary(2.0)
    assert (5, 2, 1, 2) == (summary.requests, summary.ok, summary.cancelled, summary.errors)
    assert {"http_503": 1, "connect": 1} == summary.errors_by_reason
    assert {"a": 2, "b": 1, "unknown": 1} == summary.endpoints
    assert 1.0 == summary.throughput


def test_percentiles_are_those_of_ok_requests() -> None:
    """A failure that came fast does not make the latencies look better."""
    recorder = Recorder()
    for number in range(1, 101):
        recorder.add(record(total_seconds=number / 100, ttft_seconds=number / 1000))
    recorder.add(record(Outcome.ERROR, reason="reset", total_seconds=0.0, ttft_seconds=0.0))
    summary = recorder.summary(1.0)
    latency, ttft = summary.latency_ms, summary.ttft_ms
    found = [latency.p50, latency.p90, latency.p99]
    assert pytest.approx([500, 900, 990], rel=0.002) == found
    assert pytest.approx([50.5, 100], rel=0.002) == [ttft.mean, ttft.max]
    assert (100, 100) == (latency.count, ttft.count)


def test_the_hit_ratio_is_by_tokens() -> None:
    """Long prompts weigh more than short ones."""
    recorder = Recorder()
    recorder.add(record(prompt_tokens=100, cached_tokens=80))
    recorder.add(record(prompt_tokens=300, cached_tokens=0))
    assert 0.2 == recorder.summary(1.0).prefix_hit_ratio


def test_an_empty_run_is_all_zeros() -> None:
    """Nothing divides by zero, and the document can be written."""
    summary = Recorder().summary(0.0)
    assert (0, 0.0, 0.0) == (summary.requests, summary.throughput, summary.latency_ms.p99)
    assert b'"errors":0' in msgspec.json.encode(summary)
