"""KV blocks: a bounded pool in which computed prompt blocks outlive their request, LRU."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence


class Holding:
    """The blocks of one running request: shared ones by hash, the others as a number."""

    __slots__ = ("hashes", "private")

    def __init__(self, hashes: list[int], private: int) -> None:
        self.hashes = hashes
        self.private = private


class BlockPool:
    """A fixed number of blocks. Blocks that nobody holds stay cached until the space is needed."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._private = 0
        self._shared: dict[int, int] = {}  # hash to holders
        self._idle: OrderedDict[int, None] = OrderedDict()  # oldest first

    @property
    def used(self) -> int:
        """Blocks that running requests hold; a shared block counts once."""
        return self._private + len(self._shared)

    @property
    def cached(self) -> int:
        """Blocks that nobody holds but that a prompt may still hit."""
        return len(self._idle)

    def acquire(self, hashes: Sequence[int], blocks: int) -> Holding | None:
        """Take `blocks` blocks, reusing the cached head of `hashes`; None when they do not fit."""
        hits = list(self._cached_head(hashes))
        fresh = blocks - sum(block in self._shared for block in hits)
        if self.used + fresh > self.capacity:
            return None
        for block in hits:
            self._idle.pop(block, None)
            self._shared[block] = self._shared.get(block, 0) + 1
        holding = Holding(hits, blocks - len(hits))
        self._private += holding.private
        self._evict()
        return holding

    def publish(self, holding: Holding, block: int) -> None:
        """Make a computed block of this holding findable; a second copy stays private."""
        if block in self._shared or block in self._idle:
            return
        self._shared[block] = 1
        holding.hashes.append(block)
        holding.private -= 1
        self._private -= 1

    def release(self, holding: Holding) -> None:
        """Give all blocks back; the tail of the prompt becomes the oldest, as in vLLM."""
        self._private -= holding.private
        for block in reversed(holding.hashes):
            holders = self._shared[block] - 1
            if holders:
                self._shared[block] = holders
            else:
                del self._shared[block]
                self._idle[block] = None
        holding.hashes, holding.private = [], 0

    def _cached_head(self, hashes: Sequence[int]) -> Iterator[int]:
        for block in hashes:
            if block not in self._shared and block not in self._idle:
                return
            yield block

    def _evict(self) -> None:
        while self.used + len(self._idle) > self.capacity:
            self._idle.popitem(last=False)
