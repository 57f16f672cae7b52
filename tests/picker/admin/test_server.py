"""The admin port's pages."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from picker.admin.report import describe_view
from picker.admin.server import AdminPages, admin_app
from picker.metrics import PickerMetrics
from state.merge import Merge
from state.model import Membership, Observation, ReplicaId
from tests.support import builders


class Known:
    """What the pages show."""

    def __init__(self) -> None:
        self.ready = False
        self.merge = Merge(ReplicaId("me"))
        self.merge.set_endpoints(builders.endpoints(2))
        self.registry = CollectorRegistry()

    def view(self) -> dict[str, Any]:
        membership = Membership(replica=ReplicaId("me"), incarnation=3, epoch="e")
        return describe_view(
            self.merge, pool="chat", mode="normal", membership=membership, now=50.0
        )


@pytest.fixture
def known() -> Known:
    """A replica with two endpoints."""
    return Known()


@pytest.fixture
async def client(known: Known) -> AsyncIterator[TestClient[Any, Any]]:
    """A client of the pages."""
    pages = AdminPages(
        registry=known.registry,
        ready=lambda: known.ready,
        view=known.view,
        picks=lambda count: [{"n": i} for i in range(count)],
    )
    async with TestClient(TestServer(admin_app(pages))) as connected:
        yield connected


async def test_readiness_is_a_status(known: Known, client: TestClient[Any, Any]) -> None:
    """503 until ready; liveness is 200 throughout."""
    assert 503 == (await client.get("/readyz")).status
    known.ready = True
    assert 200 == (await client.get("/readyz")).status
    assert 200 == (await client.get("/healthz")).status


async def test_metrics_are_an_exposition(known: Known, client: TestClient[Any, Any]) -> None:
    """As the reference parser reads it."""
    PickerMetrics(known.registry).picked(reason="least-delay", seconds=0.1)
    response = await client.get("/metrics")
    names = {family.name for family in text_string_to_metric_families(await response.text())}
    assert {"murmuration_picks", "murmuration_decision_seconds"} <= names
    assert response.headers["content-type"].startswith("text/plain")


async def test_the_view_has_totals_and_unknown_is_null(
    known: Known, client: TestClient[Any, Any]
) -> None:
    """An unscraped endpoint is not an idle one."""
    first = known.merge.view.endpoints[0]
    known.merge.ledger.book(first.uid, prefill_tokens=100, decode_tokens=20)
    known.merge.apply_gauge(builders.gauge("peer", 1, {0: (2, 50, 10)}), 49.0)
    known.merge.view.observe(
        Observation(uid=first.uid, age_seconds=0, waiting=4, running=2), observed_at=48.0
    )
    view = msgspec.json.decode(await (await client.get("/debug/view")).read())
    assert ["chat", "normal", "me"] == [view["pool"], view["mode"], view["replica"]]
    own, peer = view["replicas"]
    assert {"id": "me", "incarnation": 3, "age_seconds": 0.0} == own
    assert {"id": "peer", "incarnation": 1, "age_seconds": 1.0} == peer
    scraped, unscraped = view["endpoints"]
    expected = {
        "id": first.id,
        "address": first.address,
        "port": first.port,
        "requests": 3,
        "prefill_tokens": 150,
        "decode_tokens": 30,
        "waiting": 4.0,
        "running": 2.0,
        "kv_usage": None,
        "age_seconds": 2.0,
    }
    assert expected == {name: scraped[name] for name in expected}
    assert [None] * 3 == [unscraped[name] for name in ("waiting", "running", "age_seconds")]


async def test_picks_are_as_many_as_asked_for(client: TestClient[Any, Any]) -> None:
    """Twenty if nothing is said."""
    assert 20 == len((await (await client.get("/debug/picks")).json())["picks"])
    assert 3 == len((await (await client.get("/debug/picks?n=3")).json())["picks"])


@pytest.mark.parametrize("count", ["0", "-1", "x", "257", "9" * 400, "%00"])
async def test_a_bad_count_is_named(client: TestClient[Any, Any], count: str) -> None:
    """With its range."""
    response = await client.get(f"/debug/picks?n={count}")
    assert 400 == response.status
    assert "n: " in (await response.json())["error"]
