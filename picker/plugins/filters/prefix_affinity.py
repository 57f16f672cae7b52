"""`prefix-affinity-filter`: requests that share the head of their prompt meet on one endpoint.

Rendezvous hashing orders the endpoints for the head of the prefix chain, in every replica alike and
with nothing to synchronise. The first where waiting for the cached prefix pays takes the request,
so that a popular prefix spreads over as many endpoints as its load needs. It never randomises.
"""

import math

import numpy as np

from picker.requests.model import InferenceRequest
from picker.scheduling.delay import ExpectedDelay
from picker.scheduling.framework import Filter, PluginContext
from picker.scheduling.registry import Parameters, PluginType
from state.model import BoolArray, UidArray
from state.view import PoolView

_SHIFT_1, _SHIFT_2, _SHIFT_3 = np.uint64(30), np.uint64(27), np.uint64(31)
_FACTOR_1, _FACTOR_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


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


class PrefixAffinityFilter:
    """Keeps the holder of the request's prefix, or everybody if there is none with room."""

    def __init__(self, parameters: PrefixAffinityParameters, delay: ExpectedDelay) -> None:
        self._head_blocks = parameters.head_blocks
        self._bound = parameters.bound
        self._delay = delay

    def filter(self, request: InferenceRequest, view: PoolView, candidates: BoolArray) -> BoolArray:
        head = request.prefix[: self._head_blocks]
        if not head:
            return candidates
        roomy = candidates & self._has_room(request, request.tokens_in(len(head)), view, candidates)
        if not np.count_nonzero(roomy):
            return candidates
        holder = (rendezvous_weights(view.uids, head[-1]) * roomy).argmax()
        kept = np.zeros(candidates.size, np.bool_)
        kept[holder] = True
        return kept

    def _has_room(
        self, request: InferenceRequest, head_tokens: int, view: PoolView, candidates: BoolArray
    ) -> BoolArray:
        """The first token comes about as soon as from the best endpoint without the prefix.

        What a holder has cached is the head, or what the caches hold of an average request: figures
        that are about the same in all replicas, so that they agree on the holder.
        """
        delays, rates = self._delay.seconds(view), self._delay.rates(view)
        shared = min(view.mean_cached_tokens, request.tokens_in(len(request.prefix)))
        cached = max(shared, head_tokens)
        uncached = max(request.prompt_tokens - cached, 0)
        elsewhere = np.minimum.reduce((delays + request.prompt_tokens / rates)[candidates])
        roomy: BoolArray = delays + uncached / rates <= self._bound * elsewhere
        return roomy


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
    return PrefixAffinityFilter(parameters, context.delay)


TYPE = PluginType(
    name="prefix-affinity-filter", role=Filter, parameters=PrefixAffinityParameters, build=_build
)
