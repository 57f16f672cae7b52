"""Load runs against a fleet over loopback."""

import asyncio

import pytest

from chaos.load import LoadSpec, Mix, Outcome, Progress, Record, run_load
from chaos.modelserver.server import ModelServer

pytestmark = pytest.mark.integration


def spec(servers: list[ModelServer], *, max_in_flight: int = 100, **mix: object) -> LoadSpec:
    """Build a load that is sent as fast as possible."""
    urls = tuple(f"http://{server.served_by}/v1/chat/completions" for server in servers)
    fields = {"rate": 2000.0, "requests": 40, **mix}
    return LoadSpec(urls=urls, mix=Mix(**fields), max_in_flight=max_in_flight)  # type: ignore[arg-type]


async def test_every_request_is_answered_recorded_and_summed_up(servers: list[ModelServer]) -> None:
    """Records, progress and summary agree, and the URLs take turns."""
    records: list[Record] = []
    progress: list[Progress] = []
    summary = await run_load(
        spec(servers, stream_share=0.5), on_record=records.append, on_progress=progress.append
    )
    assert list(range(40)) == sorted(record.index for record in records)
    assert (40, 40, 0) == (summary.requests, summary.ok, summary.errors)
    assert (40, 40, 0) == (progress[-1].sent, progress[-1].ok, progress[-1].in_flight)
    assert {server.served_by: 20 for server in servers} == summary.endpoints
    assert 0 < summary.prefix_hit_ratio < 1


async def test_cancelled_requests_leave_nothing_behind(servers: list[ModelServer]) -> None:
    """All cancel at the first byte: none is an error and the engines are empty."""
    summary = await run_load(
        spec(servers, cancel_share=1.0, cancel_before_share=0.0, max_tokens=10_000)
    )
    assert (40, 0) == (summary.cancelled, summary.errors)
    async with asyncio.timeout(5):
        while any(server.driver.streams for server in servers):  # noqa: ASYNC110  a moment, not a wait
            await asyncio.sleep(0)
    assert [0, 0] == [server.driver.engine.running for server in servers]


async def test_requests_beyond_the_bound_wait(servers: list[ModelServer]) -> None:
    """One at a time still answers all; the wait shows as lag."""
    summary = await run_load(spec(servers, max_in_flight=1))
    assert 40 == summary.ok
    assert summary.lag_ms.max > 0


async def test_stopping_ends_the_sending_and_awaits_what_is_open(
    servers: list[ModelServer],
) -> None:
    """A stop in the middle of a long run leaves no request unrecorded."""
    stop = asyncio.Event()

    def stop_after_five(record: Record) -> None:
        assert Outcome.OK is record.outcome
        if record.index >= 5:
            stop.set()

    summary = await run_load(
        spec(servers, rate=50.0, requests=100_000), on_record=stop_after_five, stop=stop
    )
    assert summary.requests == summary.ok < 100
