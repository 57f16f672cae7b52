"""Builders of domain objects: a test names what it is about, the rest is filled in."""

import random
from collections.abc import Sequence

import numpy as np

from picker.requests.model import Api, InferenceRequest
from picker.scheduling.delay import DelaySettings, ExpectedDelay
from picker.scheduling.framework import PluginContext
from state.model import BoolArray, Endpoint, Gauge, ReplicaId, make_endpoint
from state.view import PoolView


def endpoint(number: int = 0, *, address: str | None = None, port: int = 8000) -> Endpoint:
    """Return an endpoint of its own address for each number."""
    host = address or f"10.0.{number // 250}.{number % 250 + 1}"
    return make_endpoint(name=f"server-{number}", address=host, port=port)


def endpoints(count: int) -> list[Endpoint]:
    """Return that many endpoints."""
    return [endpoint(number) for number in range(count)]


def view(count: int | None = None, **columns: Sequence[float]) -> PoolView:
    """Return a view with the given columns, all observed just now; the others as at the start."""
    sizes = {len(values) for values in columns.values()} | ({count} if count is not None else set())
    (size,) = sizes
    built = PoolView(endpoints(size))
    built.now = 100.0
    built.observed_at[:] = 100.0
    for name, values in columns.items():
        column = getattr(built, name)
        column[:] = values
    return built


def request(**fields: object) -> InferenceRequest:
    """Return a chat request of 500 tokens without a prefix, changed by the given fields."""
    defaults: dict[str, object] = {
        "request_id": "request-1",
        "path": "/v1/chat/completions",
        "model": "tiny",
        "target_model": "tiny",
        "api": Api.CHAT,
        "stream": True,
        "prompt_tokens": 500,
        "max_output_tokens": 16,
        "prefix": (),
        "block_tokens": 64,
        "partial": False,
        "body_bytes": 2000,
        "objective": None,
        "fairness_id": None,
        "headers": {},
    }
    return InferenceRequest(**(defaults | fields))  # type: ignore[arg-type]


def everybody(pool: PoolView) -> BoolArray:
    """Return all endpoints of a view as candidates."""
    return np.ones(len(pool), np.bool_)


def delay(**settings: float) -> ExpectedDelay:
    """Return the delay model with some settings changed."""
    return ExpectedDelay(DelaySettings(**settings))


def context(seed: int = 1) -> PluginContext:
    """Return what plugin factories get, seeded."""
    return PluginContext(rng=random.Random(seed), delay=delay())


def gauge(
    replica: str, seq: int, loads: dict[int, tuple[int, int, int]], *, incarnation: int = 1
) -> Gauge:
    """Return a gauge from `{endpoint number: (requests, prefill, decode)}`."""
    uids = np.array([endpoint(number).uid for number in loads], np.uint64)
    columns = np.array(list(loads.values()), np.int64).reshape(len(loads), 3).T
    return Gauge(
        replica=ReplicaId(replica),
        incarnation=incarnation,
        seq=seq,
        epoch="epoch",
        uids=uids,
        requests=columns[0],
        prefill_tokens=columns[1],
        decode_tokens=columns[2],
        assigned_total=columns[0],
        done_total=np.zeros(len(loads), np.int64),
    )
