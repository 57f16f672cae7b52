"""`prefix-affinity-filter`: requests that share the head of their prompt meet on one endpoint.

Rendezvous hashing orders the endpoints for the head of the prefix chain, in every replica alike and
with nothing to synchronise. The first where waiting for the cached prefix pays takes the request,
so that a popular prefix spreads over as many endpoints as its load needs.

While peers' picks are not in the view yet, all replicas would take the same endpoint for free. Each
therefore imagines what the others did: their work raises the level that a holder is compared with,
and their requests of the same prefix took the first holders in the order. A rare prefix stays where
it is, and with a view that shows everything nothing is left to chance.
"""

import math
import random
from collections import Counter, deque

import numpy as np

from picker.requests.model import InferenceRequest
from picker.scheduling.delay import ExpectedDelay
from picker.scheduling.framework import Filter, PluginContext
from picker.scheduling.registry import Parameters, PluginType
from picker.scheduling.unseen import draw_poisson, unseen_picks, water_level
from state.model import BoolArray, UidArray
from state.view import PoolView

_SHIFT_1, _SHIFT_2, _SHIFT_3 = np.uint64(30), np.uint64(27), np.uint64(31)
_FACTOR_1, _FACTOR_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)

HEADS_REMEMBERED = 512
"""Requests over which the popularity of a prefix is measured."""

SPREAD = 0.2
SPREAD_PER_SECOND = 10.0
MOST_SPREAD = 2.0
"""Share of the endpoints that a popular prefix needs over which replicas spread it, so that they do
not move from one to the next together: it grows with the view's age. Simulated: tests/simulation,
512 endpoints, 8 replicas, gauges of 5 ms: p99 TTFT 979 ms with 0, 828 ms with 0.2; gauges of 200 ms
on 64 endpoints: 2031 ms with 0, 1430 ms with 2."""


class PrefixAffinityParameters(Parameters, frozen=True):
    """Parameters of `prefix-affinity-filter`."""

    head_blocks: int = 4
    """Blocks of the prefix chain that requests must share to meet; shorter prompts use what they
    have. Four blocks are 256 tokens: longer than a greeting, shorter than a system prompt."""
    bound: float = 1.25
    """A holder keeps a prefix while its first token is expected within this many times what the
    best endpoint without the prefix would take."""

    def __post_init__(self) -> None:
        """Refuse what would switch the filter off silently."""
        if self.head_blocks < 1:
            raise ValueError(f"headBlocks: {self.head_blocks} is below 1")
        if not 1 <= self.bound < math.inf:
            raise ValueError(f"bound: {self.bound} is not a number from 1")


class RecentHeads:
    """How often each prefix came up among the last requests of this replica."""

    def __init__(self, most: int = HEADS_REMEMBERED) -> None:
        self._most = most
        self._heads: deque[int] = deque()
        self._counts: Counter[int] = Counter()

    def share(self, head: int) -> float:
        """Return the share of a prefix among the requests before this one, and count this one."""
        count, total = self._counts[head], len(self._heads)
        self._heads.append(head)
        self._counts[head] += 1
        if total == self._most:
            oldest = self._heads.popleft()
            self._counts[oldest] -= 1
            if not self._counts[oldest]:
                del self._counts[oldest]
        return count / total if total else 0.0


class PrefixAffinityFilter:
    """Keeps the holder of the request's prefix, or everybody if there is none with room."""

    def __init__(
        self, parameters: PrefixAffinityParameters, delay: ExpectedDelay, rng: random.Random
    ) -> None:
        self._head_blocks = parameters.head_blocks
        self._bound = parameters.bound
        self._delay = delay
        self._rng = rng
        self._recent = RecentHeads()

    def filter(self, request: InferenceRequest, view: PoolView, candidates: BoolArray) -> BoolArray:
        head = request.prefix[: self._head_blocks]
        if not head:
            return candidates
        share = self._recent.share(head[-1])
        unseen = unseen_picks(view)
        tokens = request.tokens_in(len(head))
        roomy = candidates & self._has_room(request, tokens, view, candidates, unseen)
        count = int(np.count_nonzero(roomy))
        if not count:
            return candidates
        weights = rendezvous_weights(view.uids, head[-1]) * roomy
        needed = share * np.count_nonzero(candidates)
        taken = self._taken_meanwhile(unseen * share, needed, view) if unseen else 0
        kept = np.zeros(candidates.size, np.bool_)
        kept[_nth_heaviest(weights, taken % count)] = True
        return kept

    def _taken_meanwhile(self, unseen: float, needed: float, view: PoolView) -> int:
        """Imagine how many holders peers have filled with this prefix, which needs that many."""
        spread = min(SPREAD + SPREAD_PER_SECOND * view.peers_age_seconds, MOST_SPREAD)
        return draw_poisson(unseen, self._rng) + self._rng.randrange(1 + int(spread * needed))

    def _has_room(
        self,
        request: InferenceRequest,
        head_tokens: int,
        view: PoolView,
        candidates: BoolArray,
        unseen: float,
    ) -> BoolArray:
        """The first token comes about as soon as from the best endpoint without the prefix.

        What a holder has cached is the head, or what the caches hold of an average request: figures
        that are about the same in all replicas, so that they agree on the holder.
        """
        delays, rates = self._delay.seconds(view), self._delay.rates(view)
        if unseen:
            # While peers placed what cannot be seen, endpoints worked on what can.
            worked = view.peers_age_seconds * (1 - 1 / view.replicas)
            delays = np.maximum(delays - worked, 0.0)
        shared = min(view.mean_cached_tokens, request.tokens_in(len(request.prefix)))
        cached = max(shared, head_tokens)
        uncached = max(request.prompt_tokens - cached, 0)
        elsewhere = (delays + request.prompt_tokens / rates)[candidates]
        tokens = view.mean_prefill_tokens or request.prompt_tokens
        work = unseen * tokens / float(rates.mean())
        level = water_level(elsewhere, work) if work else np.minimum.reduce(elsewhere)
        roomy: BoolArray = delays + uncached / rates <= self._bound * level
        return roomy


def _nth_heaviest(weights: UidArray, rank: int) -> int:
    if not rank:
        return int(np.argmax(weights))
    return int(np.argpartition(weights, -1 - rank)[-1 - rank])


def rendezvous_weights(uids: UidArray, key: int) -> UidArray:
    """Return a hash of (endpoint, key) per endpoint; the highest weight is the first holder.

    The finaliser of splitmix64 (Steele, Lea, Flood 2014): every input bit moves every output bit.
    """
    mixed = uids ^ np.uint64(key)
    mixed ^= mixed >> _SHIFT_1
    mixed *= _FACTOR_1
    mixed ^= mixed >> _SHIFT_2
    mixed *= _FACTOR_2
    mixed ^= mixed >> _SHIFT_3
    return mixed


def _build(parameters: PrefixAffinityParameters, context: PluginContext) -> PrefixAffinityFilter:
    return PrefixAffinityFilter(parameters, context.delay, context.rng)


TYPE = PluginType(
    name="prefix-affinity-filter", role=Filter, parameters=PrefixAffinityParameters, build=_build
)
