"""Pages are fetched from real servers that behave and misbehave."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from yarl import URL

from collector.errors import FailureReason, ScrapeFailed
from collector.fetch import HttpPage, open_session
from collector.settings import ScrapeSettings

pytestmark = pytest.mark.integration

PAGE = b"vllm:num_requests_waiting 1\n" * 100

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def page_of(port: int, **settings: float) -> AsyncIterator[HttpPage]:
    chosen = ScrapeSettings.model_validate(settings)
    async with open_session(chosen) as session:
        yield HttpPage(session, URL(f"http://127.0.0.1:{port}/metrics"), chosen)


@asynccontextmanager
async def serving(handler: Handler, path: str = "/metrics") -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_get(path, handler)
    async with listening(app) as port:
        yield port


@asynccontextmanager
async def listening(app: web.Application) -> AsyncIterator[int]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def talking(talk: Talk) -> AsyncIterator[int]:
    """Serve raw bytes: what no web framework would send."""

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def answer(**fields: object) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(**({"body": PAGE, "content_type": "text/plain"} | fields))  # type: ignore[arg-type]

    return handler


async def failure(page: HttpPage) -> FailureReason:
    with pytest.raises(ScrapeFailed) as caught:
        await page.fetch()
    return caught.value.reason


async def test_page_is_returned_whole() -> None:
    """A good page arrives as it was sent, over one connection that is kept."""
    peers = set()

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        assert "text/plain;version=0.0.4" == request.headers["Accept"]
        return web.Response(body=PAGE, content_type="text/plain")

    async with serving(handler) as port, page_of(port) as page:
        assert [PAGE] * 3 == [await page.fetch() for _ in range(3)]
    assert 1 == len(peers)


async def test_chunked_page_is_returned_whole() -> None:
    """A page without a length, as ASGI servers send it, arrives whole."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        for start in range(0, len(PAGE), 1000):
            await response.write(PAGE[start : start + 1000])
        return response

    async with serving(handler) as port, page_of(port) as page:
        assert PAGE == await page.fetch()


async def test_gzip_is_inflated_though_not_asked_for() -> None:
    """A proxy may compress whatever was asked."""
    body = gzip.compress(PAGE)
    handler = answer(body=body, headers={"Content-Encoding": "gzip"})
    async with serving(handler) as port, page_of(port) as page:
        assert PAGE == await page.fetch()


@pytest.mark.parametrize(
    ("body", "encoding", "reason"),
    [
        (gzip.compress(bytes(100_000_000), 1, mtime=0), "gzip", FailureReason.TOO_LARGE),
        (gzip.compress(PAGE, mtime=0)[:-9], "gzip", FailureReason.ENCODING),
        (PAGE, "gzip", FailureReason.ENCODING),
        (PAGE, "br", FailureReason.ENCODING),
    ],
)
async def test_bad_encoding_is_refused(body: bytes, encoding: str, reason: FailureReason) -> None:
    """A page that inflates without bound, or not at all, is refused."""
    handler = answer(body=body, headers={"Content-Encoding": encoding})
    async with serving(handler) as port, page_of(port) as page:
        assert reason is await failure(page)


@pytest.mark.parametrize("status", [404, 401, 500, 503, 204])
async def test_other_status_is_a_failure(status: int) -> None:
    """Only 200 carries a page."""
    async with serving(answer(status=status)) as port, page_of(port) as page:
        assert FailureReason.STATUS is await failure(page)


async def test_json_and_html_are_refused() -> None:
    """A wrong path that answers 200 is a failure, whatever type it claims."""
    for fields, reason in (
        ({"body": b"[]", "content_type": "application/json"}, FailureReason.CONTENT_TYPE),
        ({"body": b"<html>"}, FailureReason.NOT_EXPOSITION),
        ({"body": b""}, FailureReason.EMPTY),
    ):
        async with serving(answer(**fields)) as port, page_of(port) as page:
            assert reason is await failure(page)


async def test_redirect_within_the_origin_is_followed_and_remembered() -> None:
    """The first scrape asks twice, the next ones go straight to the page."""
    asked = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        if request.path == "/metrics":
            return web.Response(status=307, headers={"Location": "/metrics/"})
        return web.Response(body=PAGE, content_type="text/plain")

    async with serving(handler, "/{any:.*}") as port, page_of(port) as page:
        assert PAGE == await page.fetch()
        assert PAGE == await page.fetch()
    assert ["/metrics", "/metrics/", "/metrics/"] == asked


async def test_remembered_redirect_is_forgotten_when_it_fails() -> None:
    """After a failure the configured path is asked again."""
    moved = True

    async def handler(request: web.Request) -> web.StreamResponse:
        if (request.path == "/metrics") is moved:
            return web.Response(status=307 if moved else 404, headers={"Location": "/metrics/"})
        return web.Response(body=PAGE, content_type="text/plain")

    async with serving(handler, "/{any:.*}") as port, page_of(port) as page:
        assert PAGE == await page.fetch()
        moved = False
        assert FailureReason.STATUS is await failure(page)
        assert PAGE == await page.fetch()


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.2/metrics/", "https://{host}/metrics/", "/metrics", "", "/again", "http://["],
)
async def test_other_redirects_are_refused(location: str) -> None:
    """To another origin, to itself, twice, or to nowhere: not followed."""

    async def handler(request: web.Request) -> web.StreamResponse:
        target = location.replace("{host}", request.host)
        if request.path == "/again":
            target = "/more"
        return web.Response(status=302, headers={"Location": target})

    async with serving(handler, "/{any:.*}") as port, page_of(port) as page:
        assert FailureReason.REDIRECT is await failure(page)


async def test_server_that_never_answers_is_a_timeout() -> None:
    """A server that accepts and hangs costs the timeout and no more."""

    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with talking(talk) as port, page_of(port, timeout_seconds=0.1) as page:
        assert FailureReason.TIMEOUT is await failure(page)


async def test_server_that_dribbles_is_a_timeout() -> None:
    """A byte now and then does not extend the timeout."""

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"#")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with talking(talk) as port, page_of(port, timeout_seconds=0.2) as page:
        assert FailureReason.TIMEOUT is await failure(page)


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nx", b"\0"])
async def test_connection_that_ends_early_is_broken(sent: bytes) -> None:
    """A cut page is no page, even where every line of it would be valid."""

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        writer.transport.abort() if not sent else await writer.drain()

    async with talking(talk) as port, page_of(port) as page:
        assert FailureReason.BROKEN is await failure(page)


@pytest.mark.parametrize("announced", [True, False])
async def test_page_of_a_gigabyte_is_cut_at_the_limit(announced: bool) -> None:  # noqa: FBT001
    """A page over the limit is refused while it arrives, or before."""
    sent = 0

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        length = b"Content-Length: 1000000000\r\n" if announced else b""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" + length + b"\r\n")
        while sent < 10**9:
            writer.write(b"#" * 65536)
            await writer.drain()
            sent += 65536

    async with talking(talk) as port, page_of(port, most_page_bytes=1 << 20) as page:
        assert FailureReason.TOO_LARGE is await failure(page)
    assert sent < 32 << 20


async def test_closed_port_is_a_failure_to_connect() -> None:
    """Nobody listening is told apart from a server that breaks off."""
    async with serving(answer()) as port:
        pass
    async with page_of(port) as page:
        assert FailureReason.CONNECT is await failure(page)


async def test_page_works_again_after_every_failure() -> None:
    """A failed scrape leaves nothing behind that the next one would trip over."""
    answers = [answer(status=500), answer(body=b"<"), answer(body=b"x" * 5000), answer()]

    async def handler(request: web.Request) -> web.StreamResponse:
        return await answers.pop(0)(request)

    async with serving(handler) as port, page_of(port, most_page_bytes=4000) as page:
        for reason in FailureReason.STATUS, FailureReason.NOT_EXPOSITION, FailureReason.TOO_LARGE:
            assert reason is await failure(page)
        assert PAGE == await page.fetch()
