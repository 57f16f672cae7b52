"""What to send and when: a seeded, pure generator of planned requests."""

import random
from collections.abc import Iterator
from enum import Enum

import msgspec


class Arrivals(Enum):
    """How requests are spread over time; both are open-loop."""

    POISSON = "poisson"
    CONSTANT = "constant"


class CancelPoint(Enum):
    """When the client walks away, if it does."""

    NEVER = "never"
    AFTER_DELAY = "after_delay"  # soon after sending, most of the time before the first byte
    FIRST_BYTE = "first_byte"


class Mix(msgspec.Struct, frozen=True, kw_only=True):
    """Arrivals and the shapes of requests; shares are probabilities."""

    rate: float = 50.0  # requests per second
    duration_seconds: float | None = None
    requests: int | None = None  # whichever limit comes first
    arrivals: Arrivals = Arrivals.POISSON
    model: str = "tiny"
    max_tokens: int = 16
    stream_share: float = 1.0
    system_prompts: int = 8  # different ones, shared by all users; 0 for none
    system_bytes: int = 1200
    user_bytes_min: int = 200
    user_bytes_max: int = 1200
    long_share: float = 0.0
    long_bytes: int = 100_000
    cancel_share: float = 0.0
    cancel_before_share: float = 0.5  # of the cancelled: before the first byte
    cancel_delay_seconds: float = 0.02  # the longest wait before those cancel
    seed: int = 0


class PlannedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request to send `at_seconds` after the start."""

    index: int
    at_seconds: float
    body: bytes
    stream: bool
    cancel: CancelPoint
    cancel_delay_seconds: float


def plan(mix: Mix) -> Iterator[PlannedRequest]:
    """Yield requests in order of time; the same mix always yields the same ones."""
    systems = [_system_prompt(mix, number) for number in range(mix.system_prompts)]
    times, shapes = random.Random(f"{mix.seed}/times"), random.Random(f"{mix.seed}/shapes")
    for index, at_seconds in enumerate(_arrivals(mix, times)):
        stream = shapes.random() < mix.stream_share
        yield PlannedRequest(
            index=index,
            at_seconds=at_seconds,
            body=_body(mix, shapes, systems, stream=stream),
            stream=stream,
            cancel=_cancel_point(mix, shapes),
            cancel_delay_seconds=shapes.random() * mix.cancel_delay_seconds,
        )


def _arrivals(mix: Mix, rng: random.Random) -> Iterator[float]:
    at, sent = 0.0, 0
    while mix.requests is None or sent < mix.requests:
        if mix.duration_seconds is not None and at >= mix.duration_seconds:
            return
        yield at
        sent += 1
        poisson = mix.arrivals is Arrivals.POISSON
        at += rng.expovariate(mix.rate) if poisson else 1 / mix.rate


def _body(mix: Mix, rng: random.Random, systems: list[str], *, stream: bool) -> bytes:
    messages = [{"role": "system", "content": rng.choice(systems)}] if systems else []
    messages.append({"role": "user", "content": _text(rng, _user_bytes(mix, rng))})
    body = {"model": mix.model, "messages": messages, "max_tokens": mix.max_tokens}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return msgspec.json.encode(body)


def _user_bytes(mix: Mix, rng: random.Random) -> int:
    if rng.random() < mix.long_share:
        return mix.long_bytes
    return rng.randint(mix.user_bytes_min, mix.user_bytes_max)


def _cancel_point(mix: Mix, rng: random.Random) -> CancelPoint:
    if rng.random() >= mix.cancel_share:
        return CancelPoint.NEVER
    before = rng.random() < mix.cancel_before_share
    return CancelPoint.AFTER_DELAY if before else CancelPoint.FIRST_BYTE


def _system_prompt(mix: Mix, number: int) -> str:
    return _text(random.Random(f"{mix.seed}/system/{number}"), mix.system_bytes)


def _text(rng: random.Random, size: int) -> str:
    return rng.randbytes((size + 1) // 2).hex()[:size]
