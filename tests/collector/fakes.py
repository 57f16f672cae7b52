"""What the collector's tests put in the place of time, pages and stores."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from itertools import pairwise
from pathlib import Path

from prometheus_client import CollectorRegistry

from collector.board import ObservationBoard
from collector.engines import ENGINES
from collector.errors import FailureReason, ScrapeFailed
from collector.metrics import CollectorMetrics
from collector.reading import PageReader
from collector.scrape import Cuts, Page, Scraper
from collector.settings import ScrapeSettings
from state.model import Cut, EndpointUid, Observation
from state.ports import EndpointListener
from tests.support.builders import endpoint

CAPTURES = Path(__file__).parent / "captures"

UID = endpoint(0).uid


class LoopClock:
    """The event loop's time, so that virtual time moves every clock."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return self.monotonic()


class FakePage:
    """A page that takes a while, then answers or fails."""

    def __init__(self, *answers: bytes | FailureReason, seconds: float = 0.0) -> None:
        self.fetched_at: list[float] = []
        self.open = 0
        self.most_open = 0
        self._answers = list(answers)
        self._seconds = seconds

    async def fetch(self) -> bytes:
        """Return the next answer; the last one repeats."""
        self.fetched_at.append(asyncio.get_running_loop().time())
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await asyncio.sleep(self._seconds)
        finally:
            self.open -= 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, FailureReason):
            raise ScrapeFailed(answer, "as told")
        return answer


class FixedSource:
    """A source whose endpoints never change."""

    def __init__(self, *numbers: int) -> None:
        self._endpoints = [endpoint(number) for number in numbers]

    async def run(self, listener: EndpointListener) -> None:
        """Tell the endpoints and wait."""
        listener(self._endpoints)
        await asyncio.get_running_loop().create_future()


def metrics() -> CollectorMetrics:
    """Return metrics of a registry of their own."""
    return CollectorMetrics(CollectorRegistry())


def no_cuts() -> tuple[Cut, ...]:
    """Return the cuts of a pool without replicas."""
    return ()


def scraper(
    page: Page,
    board: ObservationBoard,
    *,
    uid: EndpointUid = UID,
    cuts: Cuts = no_cuts,
    seed: int = 1,
    counted: CollectorMetrics | None = None,
    **settings: float,
) -> Scraper:
    """Return a scraper of the page on loop time."""
    return Scraper(
        uid,
        page,
        name=str(uid),
        reader=PageReader(ENGINES),
        board=board,
        cuts=cuts,
        clock=LoopClock(),
        rng=random.Random(seed),
        settings=ScrapeSettings(**settings),
        metrics=counted or metrics(),
    )


def observation(number: int = 0, **fields: float) -> Observation:
    """Return an observation of an endpoint, made just now."""
    return Observation(uid=endpoint(number).uid, age_seconds=0.0, **fields)


def vllm(**series: float | str) -> bytes:
    """Return a page with one sample per series, named without prefix."""
    lines = [f'vllm:{name}{{engine="0",model_name="tiny"}} {v}' for name, v in series.items()]
    return "\n".join(lines).encode()


async def run_for(seconds: float, *runs: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run coroutine functions side by side for a time of the loop, then cancel them."""
    async with asyncio.TaskGroup() as tasks:
        started = [tasks.create_task(run()) for run in runs]
        await asyncio.sleep(seconds)
        for task in started:
            task.cancel()


def gaps(times: Sequence[float]) -> list[float]:
    """Return the differences between neighbours."""
    return [later - earlier for earlier, later in pairwise(times)]
