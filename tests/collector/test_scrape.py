"""When endpoints are scraped, and what each scrape leaves on the board."""

import asyncio

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from collector.board import ObservationBoard
from collector.errors import FailureReason
from collector.metrics import CollectorMetrics
from collector.scrape import Scraper, Scrapers
from state.model import Cut, Endpoint, ReplicaId
from tests.collector.fakes import UID, FakePage, gaps, run_for, scraper, vllm
from tests.support.builders import endpoint, endpoints

PAGE = vllm(num_requests_waiting=3, num_requests_running=2, kv_cache_usage_perc=0.5)

pytestmark = pytest.mark.looptime


async def test_page_becomes_an_observation() -> None:
    """What the page says is on the board, and what it does not say is unknown."""
    board = ObservationBoard()
    await scraper(FakePage(PAGE), board).scrape()
    (observed,) = board.observations(0.0)
    assert (3.0, 2.0, 0.5) == (observed.waiting, observed.running, observed.kv_usage)
    assert observed.kv_capacity_tokens is None
    assert observed.prefill_tokens_per_second is None
    assert observed.prefix_hits is None


async def test_rates_are_learnt_between_two_scrapes() -> None:
    """The second page makes rates known."""
    pages = [
        vllm(
            request_prefill_kv_computed_tokens_sum=1000 * n,
            request_prefill_time_seconds_sum=n,
            inter_token_latency_seconds_sum=n,
            inter_token_latency_seconds_count=50 * n,
        )
        for n in (1, 2)
    ]
    board = ObservationBoard()
    subject = scraper(FakePage(*pages), board)
    await subject.scrape()
    await subject.scrape()
    (observed,) = board.observations(0.0)
    assert 1000.0 == observed.prefill_tokens_per_second
    assert 0.02 == observed.decode_seconds_per_token


async def test_age_and_cut_are_those_of_the_moment_of_sending() -> None:
    """Work that is assigned while a scrape travels is not in its cut."""
    assigned = 5

    def cuts() -> tuple[Cut, ...]:
        numbers = np.array([assigned])
        uids = np.array([UID], np.uint64)
        return (
            Cut(
                replica=ReplicaId("r"),
                incarnation=1,
                uids=uids,
                assigned_total=numbers,
                done_total=numbers * 0,
            ),
        )

    board = ObservationBoard()
    subject = scraper(FakePage(PAGE, seconds=0.3), board, cuts=cuts)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(subject.scrape())
        await asyncio.sleep(0.1)
        assigned = 9
    (cut,) = board.cuts()
    assert [5] == cut.assigned_total.tolist()
    (observed,) = board.observations(asyncio.get_running_loop().time())
    assert pytest.approx(0.3) == observed.age_seconds


async def test_failure_leaves_the_last_observation_to_age() -> None:
    """A failed scrape changes nothing: the endpoint's numbers grow old."""
    board = ObservationBoard()
    subject = scraper(FakePage(PAGE, FailureReason.STATUS), board)
    await subject.scrape()
    await asyncio.sleep(7.0)
    await subject.scrape()
    (observed,) = board.observations(asyncio.get_running_loop().time())
    assert 3.0 == observed.waiting
    assert pytest.approx(7.0) == observed.age_seconds


async def test_endpoint_that_never_answered_is_not_observed() -> None:
    """Without one good page there is no observation at all."""
    board = ObservationBoard()
    await scraper(FakePage(FailureReason.CONNECT), board).scrape()
    assert () == board.observations(0.0)


async def test_scrapes_keep_the_interval_with_jitter() -> None:
    """Scrapes follow each other by the interval, give or take a tenth."""
    page = FakePage(PAGE, seconds=0.02)
    await run_for(20.0, scraper(page, ObservationBoard(), interval_seconds=0.2).run)
    assert 0.0 < page.fetched_at[0] <= 0.2
    assert all(0.17 <= gap <= 0.23 for gap in gaps(page.fetched_at))
    assert 100 == pytest.approx(len(page.fetched_at), rel=0.05)


async def test_phases_differ_between_endpoints() -> None:
    """Endpoints that start together are not scraped together."""
    pages = [FakePage(PAGE) for _ in range(20)]
    board = ObservationBoard()
    await run_for(0.5, *(scraper(page, board, seed=n).run for n, page in enumerate(pages)))
    starts = sorted(page.fetched_at[0] for page in pages)
    assert 20 == len(set(starts))
    assert starts[-1] - starts[0] > 0.1


async def test_slow_page_is_left_alone_for_as_long_as_it_took() -> None:
    """A server that renders for half a second is busy with us at most half of its time."""
    page = FakePage(PAGE, seconds=0.5)
    await run_for(30.0, scraper(page, ObservationBoard(), interval_seconds=0.2).run)
    assert 1 == page.most_open
    assert all(0.95 <= gap <= 1.05 for gap in gaps(page.fetched_at))


async def test_failures_back_off_to_the_longest_pause_and_end_with_success() -> None:
    """The pause doubles with each failure up to the limit; one good page restores the interval."""
    page = FakePage(*[FailureReason.CONNECT] * 9, PAGE)
    subject = scraper(page, ObservationBoard(), interval_seconds=0.2, longest_pause_seconds=5.0)
    await run_for(60.0, subject.run)
    expected = [0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0, 5.0, 5.0, 0.2, 0.2]
    assert expected == pytest.approx(gaps(page.fetched_at)[:11], rel=0.11)


async def test_long_interval_is_never_shortened_by_failures() -> None:
    """Where the interval exceeds the longest pause, a failing endpoint is not asked more often."""
    page = FakePage(FailureReason.CONNECT)
    subject = scraper(page, ObservationBoard(), interval_seconds=20.0, longest_pause_seconds=5.0)
    await run_for(100.0, subject.run)
    assert all(gap >= 18.0 for gap in gaps(page.fetched_at))


async def test_outcomes_and_problems_are_counted() -> None:
    """Good pages, reasons of failures and unbelievable signals all have a counter."""
    registry = CollectorRegistry()
    page = FakePage(FailureReason.TIMEOUT, vllm(num_requests_waiting="NaN"), PAGE)
    subject = scraper(page, ObservationBoard(), counted=CollectorMetrics(registry))
    for _ in range(3):
        await subject.scrape()

    def count(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"murmuration_collector_{name}_total", labels)

    assert 2.0 == count("scrapes", outcome="ok")
    assert 1.0 == count("scrapes", outcome="timeout")
    assert 1.0 == count("signal_problems", signal="waiting", problem="not_finite")
    assert 1.0 == count("signal_problems", signal="kv_usage", problem="missing")


class Pool:
    """Scrapers over fake pages, one per endpoint, that outlive nothing."""

    def __init__(self, *hanging: Endpoint) -> None:
        self.board = ObservationBoard()
        self.pages: dict[str, FakePage] = {}
        self._hanging = {endpoint.id for endpoint in hanging}
        self.scrapers = Scrapers(self._make, board=self.board)

    def _make(self, endpoint: Endpoint) -> Scraper:
        seconds = 1e6 if endpoint.id in self._hanging else 0.01
        page = self.pages[endpoint.id] = FakePage(PAGE, seconds=seconds)
        return scraper(page, self.board, uid=endpoint.uid, seed=endpoint.uid)

    def observed(self) -> set[int]:
        return {observation.uid for observation in self.board.observations(0.0)}


async def test_hung_endpoint_delays_no_other() -> None:
    """While one endpoint never answers, the others are scraped at their interval."""
    listed = endpoints(10)
    pool = Pool(listed[4])
    pool.scrapers.set_endpoints(listed)
    await run_for(10.0, pool.scrapers.run)
    hung = pool.pages.pop(listed[4].id)
    assert 1 == len(hung.fetched_at)
    assert all(50 == pytest.approx(len(p.fetched_at), rel=0.1) for p in pool.pages.values())
    assert {e.uid for e in listed} - {listed[4].uid} == pool.observed()


async def test_endpoints_come_and_go_while_running() -> None:
    """A new endpoint is scraped within an interval, and one that left is gone from every map."""
    first, second, third = endpoints(3)
    pool = Pool()

    async def change() -> None:
        pool.scrapers.set_endpoints([first, second])
        await asyncio.sleep(1.0)
        assert {first.uid, second.uid} == pool.observed()
        pool.scrapers.set_endpoints([second, third])
        assert {second.uid} == pool.observed()
        await asyncio.sleep(1.0)
        assert {second.uid, third.uid} == pool.observed()
        assert 2 == len(pool.scrapers) == len(pool.board._cuts._slots)

    await run_for(3.0, pool.scrapers.run, change)
    assert pool.pages[first.id].fetched_at[-1] <= 1.0
    assert 0 == pool.pages[first.id].open
    # The one that stayed kept its scraper.
    assert len(pool.pages[second.id].fetched_at) > 12


async def test_endpoint_that_moved_is_scraped_at_its_new_address() -> None:
    """The same identity at another address gets a new scraper."""
    pool = Pool()
    before = endpoint(1)
    after = Endpoint(
        uid=before.uid, id=endpoint(2).id, name="x", namespace="d", address="10.0.0.3", port=1
    )

    async def move() -> None:
        pool.scrapers.set_endpoints([before])
        await asyncio.sleep(1.0)
        pool.scrapers.set_endpoints([after])

    await run_for(2.0, pool.scrapers.run, move)
    assert pool.pages[before.id].fetched_at[-1] <= 1.0 < pool.pages[after.id].fetched_at[-1]


async def test_churn_leaves_nothing_behind() -> None:
    """After thousands of endpoints came and went only the last set is held."""
    pool = Pool()

    async def churn() -> None:
        for number in range(1000):
            pool.scrapers.set_endpoints([endpoint(number), endpoint(number + 1)])
            await asyncio.sleep(0.25)

    await run_for(300.0, pool.scrapers.run, churn)
    assert 2 >= len(pool.board._latest)
    assert 2 >= len(pool.board._cuts._slots)
    assert 64 == pool.board._cuts._uids.size
