"""Scrapes endpoints, each in a task of its own: one that hangs delays only itself."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from collector.board import ObservationBoard
from collector.engines import Signal
from collector.errors import FailureReason, ScrapeFailed
from collector.metrics import CollectorMetrics
from collector.rates import RateLearner
from collector.reading import PageReader, Problem, Reading
from collector.settings import ScrapeSettings
from state.model import Cut, Endpoint, EndpointUid, Observation, by_uid
from state.runtime.clock import Clock
from state.runtime.tasks import supervise

log = structlog.get_logger(__name__)

JITTER = 0.1
"""Pauses vary by this share, so that scrapes spread instead of moving in step."""

Cuts = Callable[[], tuple[Cut, ...]]
"""What every replica has assigned and seen done by now."""


class Page(Protocol):
    """Where a scrape gets its page."""

    async def fetch(self) -> bytes:
        """Return the page, within a deadline of its own; raises ScrapeFailed."""


OpenPage = Callable[[Endpoint], Page]


class Scraper:
    """Scrapes one endpoint, one request at a time."""

    def __init__(
        self,
        uid: EndpointUid,
        page: Page,
        *,
        name: str,
        reader: PageReader,
        board: ObservationBoard,
        cuts: Cuts,
        clock: Clock,
        rng: random.Random,
        settings: ScrapeSettings,
        metrics: CollectorMetrics,
    ) -> None:
        self._uid = uid
        self._page = page
        self._log = log.bind(endpoint=name)
        self._reader = reader
        self._board = board
        self._cuts = cuts
        self._clock = clock
        self._rng = rng
        self._settings = settings
        self._metrics = metrics
        self._rates = RateLearner()
        self._failures = 0
        self._failed_for: FailureReason | None = None
        self._problems: tuple[Problem, ...] = ()

    async def run(self) -> None:
        """Scrape until cancelled; the first scrape falls anywhere within the interval."""
        await asyncio.sleep(self._rng.uniform(0.0, self._settings.interval_seconds))
        while True:
            began = self._clock.monotonic()
            await self.scrape()
            await asyncio.sleep(self._pause(self._clock.monotonic() - began))

    async def scrape(self) -> None:
        """Fetch and read the page once; a failure leaves the last observation to age."""
        # The cut is taken before the request leaves: work that is booked while it travels may or
        # may not be on the page, and must not be taken for included.
        sent_at, cuts = self._clock.monotonic(), self._cuts()
        try:
            page = await self._page.fetch()
        except ScrapeFailed as error:
            self._fail(error)
            return
        reading = self._reader.read(page)
        now = self._clock.monotonic()
        self._rates.learn(reading, now)
        self._board.record(
            observe(self._uid, reading, self._rates, age_seconds=now - sent_at),
            sent_at=sent_at,
            cuts=cuts,
        )
        self._succeed(reading, now - sent_at)

    def _pause(self, took_seconds: float) -> float:
        """At least as long as the scrape took, so that a slow page is not fetched all the time."""
        interval = self._settings.interval_seconds
        if self._failures:
            pause = interval * 2.0 ** min(self._failures, 16)
            pause = min(pause, max(self._settings.longest_pause_seconds, interval))
        else:
            pause = max(interval - took_seconds, took_seconds)
        return pause * self._rng.uniform(1.0 - JITTER, 1.0 + JITTER)

    def _fail(self, error: ScrapeFailed) -> None:
        self._failures += 1
        self._metrics.failed[error.reason].inc()
        if error.reason is not self._failed_for:
            self._failed_for = error.reason
            self._log.warning(
                "scrapes fail, the observation ages", reason=error.reason.value, detail=error.detail
            )

    def _succeed(self, reading: Reading, took_seconds: float) -> None:
        self._metrics.scraped.inc()
        self._metrics.scrape_seconds.observe(took_seconds)
        if self._failures:
            self._log.info("scrapes succeed again", failures=self._failures)
            self._failures, self._failed_for = 0, None
        for problem in reading.problems:
            self._metrics.problem(problem)
        if reading.problems != self._problems:
            self._problems = reading.problems
            self._log.warning("signals unknown", problems=[str(p) for p in reading.problems])


def observe(
    uid: EndpointUid, reading: Reading, rates: RateLearner, *, age_seconds: float
) -> Observation:
    """Return the observation that a page and the rates learnt so far make."""
    get = reading.values.get
    return Observation(
        uid=uid,
        age_seconds=age_seconds,
        running=get(Signal.RUNNING),
        waiting=get(Signal.WAITING),
        kv_usage=get(Signal.KV_USAGE),
        kv_capacity_tokens=get(Signal.KV_CAPACITY_TOKENS),
        prefill_tokens_per_second=rates.prefill_tokens_per_second,
        decode_seconds_per_token=rates.decode_seconds_per_token,
        prefix_hits=get(Signal.PREFIX_HITS),
        prefix_queries=get(Signal.PREFIX_QUERIES),
    )


class Scrapers:
    """Keeps one running scraper for every desired endpoint, and none for others."""

    def __init__(self, make: Callable[[Endpoint], Scraper], *, board: ObservationBoard) -> None:
        self._make = make
        self._board = board
        self._desired: dict[EndpointUid, Endpoint] = {}
        self._tasks: dict[EndpointUid, tuple[Endpoint, asyncio.Task[None]]] = {}
        self._group: asyncio.TaskGroup | None = None

    def __len__(self) -> int:
        """Return how many endpoints are being scraped."""
        return len(self._tasks)

    def set_endpoints(self, endpoints: Sequence[Endpoint]) -> None:
        """Replace the desired set. What is keyed by an endpoint that left goes at once."""
        self._desired = by_uid(endpoints)
        self._reconcile()

    async def run(self) -> None:
        """Scrape until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._group:
                self._reconcile()
                await asyncio.get_running_loop().create_future()
        finally:
            self._group = None
            self._tasks.clear()

    def _reconcile(self) -> None:
        for uid, (endpoint, task) in list(self._tasks.items()):
            wanted = self._desired.get(uid)
            if wanted is None or wanted.id != endpoint.id:
                task.cancel()
                del self._tasks[uid]
        self._board.retain(self._desired)
        if self._group is not None:
            for uid, endpoint in self._desired.items():
                if uid not in self._tasks:
                    self._tasks[uid] = (endpoint, self._start(self._group, endpoint))

    def _start(self, group: asyncio.TaskGroup, endpoint: Endpoint) -> asyncio.Task[None]:
        name = f"scrape {endpoint.id}"
        return group.create_task(supervise(self._make(endpoint).run, name=name), name=name)
