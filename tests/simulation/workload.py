"""Arrivals: a seeded generator of requests, the same for every scheme and number of pickers."""

import heapq
import random
from bisect import bisect
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice

import msgspec

from chaos.engine import sequence
from chaos.engine.core import EngineSpec
from picker.requests.model import InferenceRequest
from tests.simulation.prompts import Piece, engine_request, read_request


class Mix(msgspec.Struct, frozen=True, kw_only=True):
    """Shapes of requests, in tokens."""

    name: str
    system_prompts: int = 64
    system_tokens: int = 512
    zipf: float = 1.0
    """Popularity of the n-th system prompt is n to the minus this; 0: all alike."""
    user_tokens: tuple[int, int] = (200, 1800)
    """Fresh tokens of a turn, uniform between these."""
    output_tokens: tuple[int, int] = (8, 56)
    long_share: float = 0.0
    """Share of requests with a long prompt of its own and no system prompt."""
    long_tokens: int = 25_000
    turns: int = 1
    """Turns of a session; each sends all that was said before."""
    think_seconds: float = 5.0
    """Mean time between two turns of a session."""
    burst: int = 1
    """Requests that arrive at the same moment."""
    reach: float = 0.9
    """Share of repeated prompt tokens that caches hold under a good placement: only used to say
    what a load is."""

    @property
    def uncached_tokens(self) -> float:
        """Mean prompt tokens that have to be computed under a good placement."""
        said = _mean(self.user_tokens) + _mean(self.output_tokens)
        fresh = _mean(self.user_tokens) + _mean(self.output_tokens) * (1 - 1 / self.turns)
        system = self.system_tokens if self.system_prompts else 0
        repeated = system + said * (self.turns - 1) / 2 - (fresh - _mean(self.user_tokens))
        short = fresh + (1 - self.reach) * repeated
        return self.long_share * self.long_tokens + (1 - self.long_share) * short

    def work_seconds(self, spec: EngineSpec) -> float:
        """Work of one request on an engine of speed 1, under a good placement."""
        prefill = self.uncached_tokens / spec.prefill_tokens_per_second
        return prefill + _mean(self.output_tokens) * spec.step_seconds_per_sequence


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """One request as the gateway gets it."""

    at: float
    lot: float
    """Where it falls in [0, 1): which picker the gateway asks."""
    request: InferenceRequest
    served: sequence.Request


def arrivals(mix: Mix, *, rate: float, count: int, seed: int) -> Iterator[Arrival]:
    """Yield that many requests in order of time, at a mean rate per second."""
    rng = random.Random(f"{seed}/{mix.name}")
    turns = _sessions(mix, rate, rng) if mix.turns > 1 else _single(mix, rate, rng)
    for at, pieces, output in islice(turns, count):
        yield Arrival(
            at=at,
            lot=rng.random(),
            request=read_request(pieces),
            served=engine_request(pieces, output),
        )


Turn = tuple[float, Sequence[Piece], int]


def _single(mix: Mix, rate: float, rng: random.Random) -> Iterator[Turn]:
    at, systems = 0.0, SystemPrompts(mix, rng)
    while True:
        at += rng.expovariate(rate / mix.burst)
        for _ in range(mix.burst):
            if rng.random() < mix.long_share:
                pieces = [Piece(rng.getrandbits(64), mix.long_tokens)]
            else:
                pieces = [*systems.draw(), _fresh(mix.user_tokens, rng)]
            yield at, pieces, rng.randint(*mix.output_tokens)


def _sessions(mix: Mix, rate: float, rng: random.Random) -> Iterator[Turn]:
    """Yield the turns of sessions, some of which began before time 0."""
    systems = SystemPrompts(mix, rng)
    begin = -3 * mix.turns * mix.think_seconds
    waiting: list[tuple[float, int, list[Turn]]] = []
    number = 0
    while True:
        begin += rng.expovariate(rate / mix.turns)
        while waiting and waiting[0][0] <= begin:
            at, key, rest = heapq.heappop(waiting)
            if at >= 0:
                yield rest[0]
            if rest[1:]:
                heapq.heappush(waiting, (rest[1][0], key, rest[1:]))
        turns = list(_turns(mix, begin, systems.draw(), rng))
        number += 1
        heapq.heappush(waiting, (begin, number, turns))


def _turns(mix: Mix, begin: float, said: list[Piece], rng: random.Random) -> Iterator[Turn]:
    at = begin
    for _ in range(mix.turns):
        said = [*said, _fresh(mix.user_tokens, rng)]
        output = rng.randint(*mix.output_tokens)
        yield at, said, output
        said = [*said, Piece(rng.getrandbits(64), output)]
        at += rng.expovariate(1 / mix.think_seconds)


def _fresh(sizes: tuple[int, int], rng: random.Random) -> Piece:
    return Piece(rng.getrandbits(64), rng.randint(*sizes))


class SystemPrompts:
    """Draws a system prompt by popularity; an empty list if the mix has none."""

    def __init__(self, mix: Mix, rng: random.Random) -> None:
        shares = [rank**-mix.zipf for rank in range(1, mix.system_prompts + 1)]
        self._bounds = list(accumulate(shares))
        self._pieces = [[Piece(rng.getrandbits(64), mix.system_tokens)] for _ in shares]
        self._rng = rng

    def draw(self) -> list[Piece]:
        if not self._pieces:
            return []
        drawn = bisect(self._bounds, self._rng.random() * self._bounds[-1])
        return self._pieces[min(drawn, len(self._pieces) - 1)]


def _mean(bounds: tuple[int, int]) -> float:
    return sum(bounds) / 2
