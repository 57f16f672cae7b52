"""The admin pages over HTTP."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from picker.admin.server import MOST_PICKS, AdminPages, admin_app

Client = TestClient[Any, Any]


class Inside:
    """What the pages show, and what they asked for."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.is_ready = False
        self.asked: list[int] = []

    def pages(self) -> AdminPages:
        return AdminPages(
            registry=self.registry,
            ready=lambda: self.is_ready,
            view=lambda: {"pool": "p", "unknown": None},
            picks=self.picks,
        )

    def picks(self, count: int) -> list[dict[str, Any]]:
        self.asked.append(count)
        return [{"request_id": "r"}]


@pytest.fixture
def inside() -> Inside:
    """Return what a test looks at from behind."""
    return Inside()


@pytest.fixture
async def client(inside: Inside) -> AsyncIterator[Client]:
    """Serve the pages on loopback."""
    async with TestClient(TestServer(admin_app(inside.pages()))) as opened:
        yield opened


async def get(client: Client, path: str, **headers: str) -> tuple[int, str, str]:
    """Return status, content type and text."""
    async with client.get(path, headers=headers) as response:
        return response.status, response.headers["content-type"], await response.text()


async def test_healthz_is_ok_whatever_readiness_says(client: Client) -> None:
    """Alive is not ready."""
    assert 200 == (await get(client, "/healthz"))[0]


async def test_readyz_follows_readiness(client: Client, inside: Inside) -> None:
    """503 before, 200 after."""
    assert (503, "not ready\n") == (await get(client, "/readyz"))[::2]
    inside.is_ready = True
    assert (200, "ready\n") == (await get(client, "/readyz"))[::2]


async def test_metrics_are_in_the_exposition_format(client: Client, inside: Inside) -> None:
    """With its content type, so that Prometheus 3 takes them."""
    Counter("things_total", "Things.", registry=inside.registry).inc(3)
    status, content_type, text = await get(client, "/metrics")
    assert 200 == status
    assert content_type.startswith("text/plain; version=")
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert 3.0 == samples["things_total"]


async def test_openmetrics_is_served_where_asked_for(client: Client, inside: Inside) -> None:
    """The scraper chooses."""
    Counter("things_total", "Things.", registry=inside.registry).inc()
    _, content_type, text = await get(client, "/metrics", accept="application/openmetrics-text")
    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")


async def test_view_is_json_with_null_for_unknown(client: Client) -> None:
    """As the report says it."""
    async with client.get("/debug/view") as response:
        assert {"pool": "p", "unknown": None} == await response.json()


@pytest.mark.parametrize(
    ("query", "count"), [("", 20), ("?n=1", 1), ("?n=007", 7), (f"?n={MOST_PICKS}", MOST_PICKS)]
)
async def test_picks_are_as_many_as_asked_for(
    client: Client, inside: Inside, query: str, count: int
) -> None:
    """Twenty without a number."""
    async with client.get(f"/debug/picks{query}") as response:
        assert {"picks": [{"request_id": "r"}]} == await response.json()
    assert [count] == inside.asked


@pytest.mark.parametrize(
    "number",
    [
        "0",
        "-1",
        "257",
        "x",
        "",
        "1.5",
        "1e2",
        "\u0661",
        "9" * 400,
        "\x00",
        "000001" + "0" * 5000,
        "1000000",
    ],
)
async def test_bad_number_of_picks_is_named(client: Client, inside: Inside, number: str) -> None:
    """400 with the range, and without echoing kilobytes."""
    async with client.get("/debug/picks", params={"n": number}) as response:
        assert 400 == response.status
        said = await response.json()
    assert f"is no number from 1 to {MOST_PICKS}" in said["error"]
    assert len(said["error"]) < 100
    assert [] == inside.asked


@pytest.mark.parametrize("path", ["/", "/debug", "/debug/view/x", "/metrics/../etc/passwd"])
async def test_other_paths_are_not_found(client: Client, path: str) -> None:
    """Nothing else is served."""
    assert 404 == (await get(client, path))[0]


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/debug/view"])
async def test_pages_are_read_only(client: Client, path: str) -> None:
    """No method changes anything."""
    async with client.post(path) as response:
        assert 405 == response.status
