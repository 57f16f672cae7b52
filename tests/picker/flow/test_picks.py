"""The record of the last picks."""

import json

import msgspec
import numpy as np

from picker.flow.picks import MOST_CANDIDATES_SHOWN, PickLog, PickRecord
from state.model import ShardId
from tests.support import builders


def record(request_id: str = "r", size: int = 3, **changed: object) -> PickRecord:
    fields: dict[str, object] = {
        "at": 1795580546.0,
        "request_id": request_id,
        "model": "tiny",
        "path": "/v1/chat/completions",
        "prompt_tokens": 500,
        "cached_tokens": 64,
        "endpoint": builders.endpoint(0).id,
        "profile": "default",
        "reason": "least-delay",
        "endpoints": tuple(builders.endpoints(size)),
        "candidates": np.ones(size, np.bool_),
        "scores": np.zeros(size),
        "delays": np.zeros(size),
        "view_age_seconds": 0.005,
        "versions": {ShardId("0"): (2, 7)},
    }
    return PickRecord(**(fields | changed))  # type: ignore[arg-type]


def ids(log: PickLog, count: int) -> list[str]:
    return [each["request_id"] for each in log.last(count)]


def test_newest_come_first() -> None:
    """As many as asked for."""
    log = PickLog()
    for name in "abc":
        log.add(record(name))
    assert ["c", "b"] == ids(log, 2)
    assert ["c", "b", "a"] == ids(log, 99)


def test_nothing_asked_for_is_nothing() -> None:
    """Not everything, as a slice would say."""
    log = PickLog()
    log.add(record())
    assert [] == ids(log, 0)
    assert [] == ids(log, -1)


def test_oldest_goes_when_full() -> None:
    """The log is bounded."""
    log = PickLog(most=2)
    for name in "abc":
        log.add(record(name))
    assert ["c", "b"] == ids(log, 9)


def test_candidates_are_shown_best_first() -> None:
    """With what they were chosen by; others are left out."""
    shown = record(
        candidates=np.array([True, False, True]),
        scores=np.array([0.5, 9.0, 1.0]),
        delays=np.array([0.3, 0.0, 0.1]),
    ).describe()
    assert 2 == shown["candidate_count"]
    assert [
        {"id": "10.0.0.3:8000", "score": 1.0, "delay_seconds": 0.1},
        {"id": "10.0.0.1:8000", "score": 0.5, "delay_seconds": 0.3},
    ] == shown["candidates"]


def test_shown_candidates_are_bounded() -> None:
    """The count says how many there were."""
    shown = record(size=200).describe()
    assert 200 == shown["candidate_count"]
    assert MOST_CANDIDATES_SHOWN == len(shown["candidates"])


def test_description_is_json() -> None:
    """No numpy values inside; versions as lists."""
    shown = record().describe()
    read = json.loads(msgspec.json.encode(shown))
    assert {"0": [2, 7]} == read["view_versions"]
    assert shown == read
