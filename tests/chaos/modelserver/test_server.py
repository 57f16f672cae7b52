"""A model server over loopback: inference, knobs, metrics, and clients that leave."""

import asyncio
import json

import aiohttp
import pytest

from chaos.modelserver.page import CONTENT_TYPE
from chaos.modelserver.server import ModelServer

pytestmark = pytest.mark.integration


def url(server: ModelServer, path: str = "/v1/chat/completions") -> str:
    """Address one path of a server."""
    return f"http://{server.served_by}{path}"


def chat(**fields: object) -> dict[str, object]:
    """Build a chat request."""
    messages = [{"role": "user", "content": "hello " * 40}]
    return {"model": "tiny", "messages": messages, "max_tokens": 5, **fields}


async def turn(http: aiohttp.ClientSession, server: ModelServer, **knobs: object) -> None:
    """Change knobs that must be accepted."""
    async with http.post(url(server, "/admin/knobs"), json=knobs) as response:
        assert 200 == response.status


async def state(http: aiohttp.ClientSession, server: ModelServer) -> dict[str, int]:
    """Read a server's numbers."""
    async with http.get(url(server, "/admin/state")) as response:
        found: dict[str, int] = await response.json()
        return found


async def wait_for(http: aiohttp.ClientSession, server: ModelServer, **wanted: int) -> None:
    """Poll the state until it has these numbers; the test's timeout is the limit."""
    while wanted.items() - (await state(http, server)).items():
        pass


async def test_a_stream_has_a_chunk_per_token_usage_and_an_end(
    http: aiohttp.ClientSession, servers: list[ModelServer]
) -> None:
    """Five tokens are the role, five events, the usage and the end mark."""
    body = chat(stream=True, stream_options={"include_usage": True})
    async with http.post(url(servers[0]), json=body) as response:
        events = (await response.text()).strip().split("\n\n")
    assert servers[0].served_by == response.headers["x-served-by"]
    assert "text/event-stream; charset=utf-8" == response.headers["content-type"]
    assert "data: [DONE]" == events.pop()
    usage = json.loads(events.pop().removeprefix("data: "))["usage"]
    assert 5 == usage["completion_tokens"]
    text = "".join(
        json.loads(event.removeprefix("data: "))["choices"][0]["delta"]["content"]
        for event in events
    )
    assert " sim" * 5 == text


async def test_the_second_request_hits_the_prefix_cache(
    http: aiohttp.ClientSession, servers: list[ModelServer]
) -> None:
    """Cached tokens are reported in the usage of a plain answer."""
    cached = []
    for _ in range(2):
        async with http.post(url(servers[0]), json=chat()) as response:
            usage = (await response.json())["usage"]
            cached.append(usage["prompt_tokens_details"]["cached_tokens"])
    assert [0, 48] == cached


async def test_a_completion_is_served(
    http: aiohttp.ClientSession, servers: list[ModelServer]
) -> None:
    """The older API works alike."""
    body = {"prompt": "hello", "max_tokens": 2}
    async with http.post(url(servers[0], "/v1/completions"), json=body) as response:
        assert " sim sim" == (await response.json())["choices"][0]["text"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/ping", 200),
        ("GET", "/version", 200),
        ("GET", "/v1/models", 200),
        ("GET", "/nothing", 404),
        ("GET", "/v1/chat/completions", 405),
    ],
)
async def test_every_answer_says_who_served_it(
    http: aiohttp.ClientSession, servers: list[ModelServer], method: str, path: str, status: int
) -> None:
    """The header is on errors too."""
    async with http.request(method, url(servers[1], path)) as response:
        found = (response.status, response.headers["x-served-by"])
    assert (status, servers[1].served_by) == found


async def test_errors_are_vllms(http: aiohttp.ClientSession, servers: list[ModelServer]) -> None:
    """An unknown model and broken JSON get the recorded statuses."""
    async with http.post(url(servers[0]), json=chat(model="other")) as response:
        assert 404 == response.status
        assert "NotFoundError" == (await response.json())["error"]["type"]
    async with http.post(url(servers[0]), data=b'{"model":') as response:
        assert 400 == response.status


async def test_metrics_have_the_recorded_content_type(
    http: aiohttp.ClientSession, servers: list[ModelServer]
) -> None:
    """The page names its format as vLLM does."""
    async with http.get(url(servers[0], "/metrics")) as response:
        assert CONTENT_TYPE == response.headers["content-type"]


async def test_a_client_that_leaves_frees_its_sequence(
    http: aiohttp.ClientSession, servers: list[ModelServer]
) -> None:
    """Closing the connection in the middle of a stream cancels at once."""
    server = servers[0]
    response = await http.post(url(server), json=chat(stream=True, max_tokens=50_000))
    await response.content.readany()
    assert 1 == (await state(http, server))["open_streams"]
    response.close()
    await wait_for(http, server, open_streams=0, running=0, cancelled=1, kv_tokens_used=0)


async def test_a_hung_server_accepts_and_never_answers(
    http: aiohttp.ClientSession, servers: list[ModelServer]
) -> None:
    """Requests pile up while it hangs and are answered when it goes on."""
    server = servers[0]
    await turn(http, server, hang=True)
    async with asyncio.TaskGroup() as tasks:
        request = tasks.create_task(http.post(url(server), json=chat(stream=True)))
        await wait_for(http, server, open_streams=1)
        assert not request.done()
        await turn(http, server, hang=False)
        async with await request as response:
            assert "[DONE]" in await response.text()


async def test_injected_errors_have_the_chosen_status(
    http: aiohttp.ClientSession, servers: list[ModelServer]
) -> None:
    """With rate 1 every request fails."""
    await turn(http, servers[0], error_rate=1, error_status=429)
    async with http.post(url(servers[0]), json=chat()) as response:
        assert 429 == response.status


@pytest.mark.parametrize("stream", [True, False])
async def test_a_reset_cuts_the_answer(
    http: aiohttp.ClientSession, servers: list[ModelServer], *, stream: bool
) -> None:
    """The client sees a broken connection and the engine keeps nothing."""
    await turn(http, servers[0], reset_rate=1)
    with pytest.raises(aiohttp.ClientError):
        async with http.post(url(servers[0]), json=chat(stream=stream)) as response:
            await response.read()
    await wait_for(http, servers[0], open_streams=0, kv_tokens_used=0)


async def test_a_frozen_page_tells_the_past(
    http: aiohttp.ClientSession, servers: list[ModelServer]
) -> None:
    """Work done after the freeze shows only when the page thaws."""
    pages = []
    await turn(http, servers[0], metrics_frozen=True)
    for frozen in (True, False):
        await turn(http, servers[0], metrics_frozen=frozen)
        async with http.post(url(servers[0]), json=chat()) as response:
            await response.read()
        async with http.get(url(servers[0], "/metrics")) as response:
            pages.append(await response.text())
    count = 'vllm:request_success_total{engine="0",finished_reason="length",model_name="tiny"} '
    assert [f"{count}0.0" in pages[0], f"{count}2.0" in pages[1]] == [True, True]


async def test_scrapes_and_health_can_fail(
    http: aiohttp.ClientSession, servers: list[ModelServer]
) -> None:
    """Statuses of the page and of the health check are set apart from inference."""
    await turn(http, servers[0], metrics_status=500, health_status=503)
    statuses = []
    for path in ("/metrics", "/health"):
        async with http.get(url(servers[0], path)) as response:
            statuses.append(response.status)
    async with http.post(url(servers[0]), json=chat()) as response:
        statuses.append(response.status)
    assert [500, 503, 200] == statuses


async def test_a_bad_knob_is_refused_by_name(
    http: aiohttp.ClientSession, servers: list[ModelServer]
) -> None:
    """Nothing changes when one field is wrong."""
    body = {"hang": True, "spead": 2}
    async with http.post(url(servers[0], "/admin/knobs"), json=body) as response:
        assert 400 == response.status
        assert "spead" in (await response.json())["error"]
    async with http.get(url(servers[0], "/admin/knobs")) as response:
        assert not (await response.json())["hang"]
