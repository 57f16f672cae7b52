"""One simulated model server: routes, the inference paths and what the knobs do to them."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from chaos.engine.core import Engine, EngineSpec
from chaos.engine.sequence import Request
from chaos.modelserver.answers import Answer
from chaos.modelserver.driver import EngineDriver, Stream
from chaos.modelserver.knobs import InvalidKnobs, Knobs, change
from chaos.modelserver.openai import ApiError, Body, parse, to_request
from chaos.modelserver.page import CONTENT_TYPE, MetricsPage

JSON = "application/json"
EVENTS = "text/event-stream; charset=utf-8"
MAX_BODY_BYTES = 64 * 1024 * 1024
CLIENT_GONE = 499  # sent to nobody
VERSION = b'{"version":"0.32.0"}'

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class ServerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What all model servers of a fleet have in common."""

    models: tuple[str, ...] = ("tiny",)  # the first one labels the metrics
    engine: EngineSpec = EngineSpec()
    max_model_len: int = 65536
    tokens_per_event: int = 1
    metrics_padding_bytes: int = 0
    time_scale: float = 1.0


class ModelServer:
    """Answers HTTP requests to one address from one engine."""

    def __init__(
        self,
        spec: ServerSpec,
        *,
        served_by: str,
        speed: float,
        rng: random.Random,
        wall: Callable[[], float],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.spec = spec
        self.served_by = served_by
        self.knobs = Knobs(speed=speed)
        self._rng = rng
        self._wall = wall
        self._started_at = wall()
        engine = Engine(spec.engine, now=loop.time(), speed=speed * spec.time_scale)
        self.driver = EngineDriver(engine, loop)
        self._page = MetricsPage(
            engine,
            model=spec.models[0],
            created_at=self._started_at,
            padding_bytes=spec.metrics_padding_bytes,
        )
        self._frozen_page = b""
        self._answers = 0
        self._routes = self._table()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Route a request; a request that fails gets vLLM's error document."""
        route = self._routes.get(request.path)
        if route is None:
            return self._reply(404, b'{"detail":"Not Found"}', JSON)
        handler = route.get(request.method)
        if handler is None:
            reply = self._reply(405, b'{"detail":"Method Not Allowed"}', JSON)
            reply.headers["allow"] = ", ".join(sorted(route))
            return reply
        try:
            return await handler(request)
        except ApiError as error:
            return self._reply(error.status, error.body(), JSON)
        except ConnectionError:
            return self._reply(CLIENT_GONE)

    def _table(self) -> dict[str, dict[str, Handler]]:
        return {
            "/v1/chat/completions": {"POST": self._infer},
            "/v1/completions": {"POST": self._infer},
            "/v1/models": {"GET": self._models},
            "/metrics": {"GET": self._metrics},
            "/health": {"GET": self._health},
            "/ping": {"GET": self._health, "POST": self._health},
            "/version": {"GET": self._version},
            "/admin/knobs": {"GET": self._show_knobs, "POST": self._change_knobs},
            "/admin/state": {"GET": self._state},
        }

    def _reply(
        self, status: int, body: bytes = b"", content_type: str | None = None
    ) -> web.Response:
        headers = {"x-served-by": self.served_by}
        if content_type is not None:
            headers["content-type"] = content_type
        return web.Response(status=status, body=body, headers=headers)

    async def _infer(self, http: web.BaseRequest) -> web.StreamResponse:
        chat = http.path == "/v1/chat/completions"
        body = parse(await http.clone(client_max_size=MAX_BODY_BYTES).read(), chat=chat)
        request = to_request(
            body,
            models=self.spec.models,
            max_model_len=self.spec.max_model_len,
            block_tokens=self.spec.engine.block_tokens,
        )
        if self._rng.random() < self.knobs.error_rate:
            raise ApiError(self.knobs.error_status, "InjectedError", "Injected by a knob.")
        cut_after = self._cut_after(request)
        stream = self.driver.open(request, self._interval(body, cut_after))
        try:
            return await self._answer(http, body, stream, cut_after)
        finally:
            self.driver.close(stream)

    def _cut_after(self, request: Request) -> int | None:
        """Draw whether to reset this request's connection, and after how many tokens."""
        cut = self._rng.random() < self.knobs.reset_rate
        return max(1, request.output_tokens // 2) if cut else None

    def _interval(self, body: Body, cut_after: int | None) -> int | None:
        return self.spec.tokens_per_event if body.stream else cut_after

    async def _answer(
        self, http: web.BaseRequest, body: Body, stream: Stream, cut_after: int | None
    ) -> web.StreamResponse:
        self._answers += 1
        answer = Answer(
            number=self._answers,
            model=self.spec.models[0],
            created=int(self._wall()),
            chat=http.path == "/v1/chat/completions",
        )
        if body.stream:
            usage = bool(body.stream_options and body.stream_options.include_usage)
            return await self._stream(http, stream, answer, usage=usage, cut_after=cut_after)
        await stream.take()
        if cut_after is not None:
            _cut(http)
        return self._reply(200, answer.document(stream.sequence), JSON)

    async def _stream(
        self,
        http: web.BaseRequest,
        stream: Stream,
        answer: Answer,
        *,
        usage: bool,
        cut_after: int | None,
    ) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"content-type": EVENTS, "x-served-by": self.served_by}
        )
        if not (self.knobs.hang or self.knobs.headers_with_first_token):
            await response.prepare(http)
        tokens, opening = await stream.take(), answer.opening()
        await response.prepare(http)
        while cut_after is None or stream.taken < cut_after:
            if stream.over:
                await response.write_eof(
                    opening + answer.closing(tokens, stream.sequence, usage=usage)
                )
                return response
            await response.write(opening + answer.tokens(tokens))
            tokens, opening = await stream.take(), b""
        _cut(http)
        return response

    async def _models(self, _: web.BaseRequest) -> web.Response:
        cards = [self._card(name) for name in self.spec.models]
        return self._reply(200, msgspec.json.encode({"object": "list", "data": cards}), JSON)

    def _card(self, name: str) -> dict[str, object]:
        return {
            "id": name,
            "object": "model",
            "created": int(self._started_at),
            "owned_by": "vllm",
            "root": self.spec.models[0],
            "parent": None,
            "max_model_len": self.spec.max_model_len,
        }

    async def _metrics(self, _: web.BaseRequest) -> web.Response:
        knobs = self.knobs
        if knobs.metrics_delay_seconds:
            await asyncio.sleep(knobs.metrics_delay_seconds)
        if knobs.metrics_status != 200:
            return self._reply(knobs.metrics_status)
        return self._reply(200, self._current_page(), CONTENT_TYPE)

    def _current_page(self) -> bytes:
        if self.knobs.metrics_frozen:
            return self._frozen_page
        self.driver.settle()
        return self._page.render()

    async def _health(self, _: web.BaseRequest) -> web.Response:
        return self._reply(self.knobs.health_status)

    async def _version(self, _: web.BaseRequest) -> web.Response:
        return self._reply(200, VERSION, JSON)

    async def _show_knobs(self, _: web.BaseRequest) -> web.Response:
        return self._reply(200, msgspec.json.encode(self.knobs), JSON)

    async def _change_knobs(self, http: web.BaseRequest) -> web.Response:
        try:
            knobs = change(self.knobs, await http.read())
        except InvalidKnobs as error:
            return self._reply(400, msgspec.json.encode({"error": str(error)}), JSON)
        if knobs.metrics_frozen and not self.knobs.metrics_frozen:
            self._frozen_page = self._current_page()
        self.knobs = knobs
        self.driver.set_speed(0.0 if knobs.hang else knobs.speed * self.spec.time_scale)
        return self._reply(200, msgspec.json.encode(knobs), JSON)

    async def _state(self, _: web.BaseRequest) -> web.Response:
        self.driver.settle()
        engine, block = self.driver.engine, self.spec.engine.block_tokens
        state = {
            "running": engine.running,
            "waiting": engine.waiting,
            "open_streams": self.driver.streams,
            "finished": engine.meter.finished_total,
            "cancelled": engine.meter.cancelled,
            "kv_tokens_used": engine.pool.used * block,
            "kv_tokens_cached": engine.pool.cached * block,
            "kv_tokens": engine.pool.capacity * block,
        }
        return self._reply(200, msgspec.json.encode(state), JSON)


def _cut(http: web.BaseRequest) -> None:
    """Drop the connection with the answer unfinished."""
    if http.transport is not None:
        http.transport.abort()
    raise ConnectionResetError("cut by the reset_rate knob")
