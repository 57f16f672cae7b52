"""The admin port: metrics, health over HTTP, and what the picker knows."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

MOST_PICKS = 256


class AdminPages(msgspec.Struct, frozen=True, kw_only=True):
    """What the pages show."""

    registry: CollectorRegistry
    ready: Callable[[], bool]
    view: Callable[[], dict[str, Any]]
    picks: Callable[[int], list[dict[str, Any]]]


def admin_app(pages: AdminPages) -> web.Application:
    """Return the application that serves the pages."""
    app = web.Application()
    app.add_routes(
        [
            web.get("/metrics", _metrics(pages)),
            web.get("/healthz", _healthz),
            web.get("/readyz", _readyz(pages)),
            web.get("/debug/view", _view(pages)),
            web.get("/debug/picks", _picks(pages)),
        ]
    )
    return app


Page = Callable[[web.Request], Awaitable[web.Response]]


def _metrics(pages: AdminPages) -> Page:
    async def page(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return web.Response(body=encode(pages.registry), headers={"content-type": content_type})

    return page


async def _healthz(request: web.Request) -> web.Response:  # noqa: ARG001  aiohttp's shape
    return web.Response(text="ok\n")


def _readyz(pages: AdminPages) -> Page:
    async def page(request: web.Request) -> web.Response:  # noqa: ARG001
        if pages.ready():
            return web.Response(text="ready\n")
        return web.Response(text="not ready\n", status=503)

    return page


def _view(pages: AdminPages) -> Page:
    async def page(request: web.Request) -> web.Response:  # noqa: ARG001
        return _json(pages.view())

    return page


def _picks(pages: AdminPages) -> Page:
    async def page(request: web.Request) -> web.Response:
        count = request.query.get("n", "20")
        digits = count.isascii() and count.isdigit() and len(count) <= len(str(MOST_PICKS))
        if not digits or not 0 < int(count) <= MOST_PICKS:
            reason = f"n: {count[:32]!r} is no number from 1 to {MOST_PICKS}"
            return _json({"error": reason}, status=400)
        return _json({"picks": pages.picks(int(count))})

    return page


def _json(body: dict[str, Any], *, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body), content_type="application/json", status=status
    )
