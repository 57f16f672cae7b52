"""Composition root: one collector, embedded in another process or on its own."""

import asyncio
import random
import uuid

import aiohttp
from prometheus_client import CollectorRegistry
from yarl import URL

from collector.board import ObservationBoard
from collector.engines import ENGINES
from collector.fetch import HttpPage, open_session
from collector.metrics import CollectorMetrics
from collector.peers import PeerGauges
from collector.publish import Publisher
from collector.reading import PageReader
from collector.scrape import Cuts, Scraper, Scrapers
from collector.settings import CollectorSettings
from state.model import Endpoint, ShardId
from state.ports import EndpointSource, Store
from state.runtime.clock import Clock
from state.runtime.tasks import supervise

ONLY_SHARD = ShardId("0")


async def run_collector(
    *,
    store: Store,
    source: EndpointSource,
    settings: CollectorSettings,
    clock: Clock,
    rng: random.Random,
    registry: CollectorRegistry | None = None,
    cuts: Cuts | None = None,
    owner: str | None = None,
) -> None:
    """Scrape the source's endpoints and publish their snapshots until cancelled.

    `cuts` says what the replicas have assigned and seen done by now; without it the collector
    follows their gauges in the store. `owner` names this collector in shard leases. An unusable
    first list of endpoints ends it with an exception group that holds InvalidEndpoints.
    """
    metrics = CollectorMetrics(registry or CollectorRegistry())
    board = ObservationBoard()
    peers = PeerGauges(store)
    publisher = Publisher(
        store=store,
        shard=ONLY_SHARD,
        owner=owner or str(uuid.uuid4()),
        board=board,
        clock=clock,
        settings=settings.publish,
        metrics=metrics,
    )
    reader = PageReader(ENGINES)
    async with open_session(settings.scrape) as session, asyncio.TaskGroup() as tasks:

        def make_scraper(endpoint: Endpoint) -> Scraper:
            return Scraper(
                endpoint.uid,
                open_page(session, endpoint, settings),
                name=endpoint.id,
                reader=reader,
                board=board,
                cuts=cuts or peers.cuts,
                clock=clock,
                rng=rng,
                settings=settings.scrape,
                metrics=metrics,
            )

        scrapers = Scrapers(make_scraper, board=board)
        metrics.endpoints.set_function(lambda: len(scrapers))
        tasks.create_task(source.run(scrapers.set_endpoints), name="collector discovery")
        tasks.create_task(supervise(scrapers.run, name="scrapers"), name="scrapers")
        tasks.create_task(supervise(publisher.run, name="publisher"), name="publisher")
        if cuts is None:
            tasks.create_task(supervise(peers.run, name="peers"), name="peers")


def open_page(
    session: aiohttp.ClientSession, endpoint: Endpoint, settings: CollectorSettings
) -> HttpPage:
    """Return the metrics page of an endpoint."""
    return HttpPage(session, URL(f"http://{endpoint.id}{settings.scrape.path}"), settings.scrape)
