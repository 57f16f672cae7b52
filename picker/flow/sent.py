"""What this replica sent where: an estimate of how much of a prompt an endpoint has cached."""

from collections import OrderedDict
from collections.abc import Collection

from picker.requests.model import InferenceRequest
from state.model import EndpointUid

BLOCKS_PER_ENDPOINT = 16_384
"""About 2 MB of hashes each; model servers evict long before."""

BLOCKS_IN_ALL = 1_000_000
"""About 150 MB; large pools remember less of each endpoint."""


class SentPrefixes:
    """Per endpoint, the block hashes of prompts sent to it; the least recently used ones go."""

    def __init__(
        self,
        blocks_per_endpoint: int = BLOCKS_PER_ENDPOINT,
        blocks_in_all: int = BLOCKS_IN_ALL,
    ) -> None:
        self._limit = self._most = blocks_per_endpoint
        self._in_all = blocks_in_all
        self._sent: dict[EndpointUid, OrderedDict[int, None]] = {}

    def __len__(self) -> int:
        """Blocks held in all."""
        return sum(map(len, self._sent.values()))

    def cached_tokens(self, request: InferenceRequest, uid: EndpointUid) -> int:
        """Return the prompt tokens that the endpoint has seen in front of an earlier request."""
        sent = self._sent.get(uid)
        if not sent:
            return 0
        low, high = 0, len(request.prefix)
        while low < high:  # each hash stands for all blocks before it: known ones come first
            middle = (low + high + 1) // 2
            if request.prefix[middle - 1] in sent:
                low = middle
            else:
                high = middle - 1
        return min(request.tokens_in(low), request.prompt_tokens)

    def record(self, request: InferenceRequest, uid: EndpointUid) -> None:
        """Remember what was sent."""
        sent = self._sent.setdefault(uid, OrderedDict())
        # Deepest first: the head of a chain ends up as its most recent part and outlives its tail.
        for block in reversed(request.prefix):
            sent[block] = None
            sent.move_to_end(block)
        while len(sent) > self._most:
            sent.popitem(last=False)

    def keep(self, uids: Collection[EndpointUid]) -> None:
        """Drop what belongs to endpoints that are gone; share the room among those that stay."""
        self._most = min(self._limit, max(self._in_all // max(len(uids), 1), 1))
        for uid in [uid for uid in self._sent if uid not in uids]:
            del self._sent[uid]
