"""The last picks, each with what it was decided on."""

from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from state.model import BoolArray, Endpoint, FloatArray, ShardId

MOST_CANDIDATES_SHOWN = 64


class PickRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One decision. Arrays are shared with the decision, never written again."""

    at: float
    """Seconds since 1970."""
    request_id: str
    model: str | None
    path: str
    prompt_tokens: int
    cached_tokens: int
    endpoint: str
    profile: str
    reason: str
    endpoints: tuple[Endpoint, ...]
    candidates: BoolArray
    scores: FloatArray
    delays: FloatArray
    view_age_seconds: float
    versions: Mapping[ShardId, tuple[int, int]]

    def describe(self) -> dict[str, Any]:
        """Return the record for JSON: at most 64 candidates, best first. No prompt text."""
        slots = np.flatnonzero(self.candidates)
        shown = slots[np.argsort(self.delays[slots], kind="stable")][:MOST_CANDIDATES_SHOWN]
        return {
            "at": self.at,
            "request_id": self.request_id,
            "model": self.model,
            "path": self.path,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "endpoint": self.endpoint,
            "profile": self.profile,
            "reason": self.reason,
            "candidate_count": int(slots.size),
            "candidates": [
                {
                    "id": self.endpoints[slot].id,
                    "score": float(self.scores[slot]),
                    "delay_seconds": float(self.delays[slot]),
                }
                for slot in shown.tolist()
            ],
            "view_age_seconds": self.view_age_seconds,
            "view_versions": {shard: list(v) for shard, v in self.versions.items()},
        }


class PickLog:
    """A bounded record of decisions."""

    def __init__(self, most: int = 256) -> None:
        self._records: deque[PickRecord] = deque(maxlen=most)

    def add(self, record: PickRecord) -> None:
        """Keep a decision; the oldest goes."""
        self._records.append(record)

    def last(self, count: int) -> list[dict[str, Any]]:
        """Return the newest records, newest first."""
        newest = list(self._records)[::-1][: max(count, 0)]
        return [record.describe() for record in newest]
