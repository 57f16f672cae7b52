"""Expected delay: what it costs to put one more request on an endpoint, in seconds."""

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from state.model import BoolArray, FloatArray
from state.view import PoolView

SHARED_STEPS = 0.7
"""Simulated p99 TTFT of chat at 85 % load with shares of 1, 0.85, 0.7, 0.55 and 0.4: 629, 600, 599,
621 and 721 ms; 421 ms if the moment were known."""


class DelaySettings(BaseModel):
    """How load becomes seconds."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    default_prefill_tokens_per_second: float = Field(default=8000.0, gt=0)
    """Prefill rate of an endpoint while no endpoint of the pool has taught us its own."""
    decode_weight_tokens: float = Field(default=64.0, ge=0)
    """What a request in flight adds to the delay of the next, in prefill tokens: each sequence in
    the batch slows every step a little."""
    outside_request_tokens: float = Field(default=512.0, ge=0)
    """Prompt size assumed of waiting requests that no live replica booked (orphans, others)."""
    kv_pressure_from_ratio: float = Field(default=0.8, ge=0, lt=1)
    """KV usage above which preemption threatens and the penalty starts."""
    kv_pressure_seconds: float = Field(default=2.0, ge=0)
    """Penalty at a full KV cache; it grows with the square of the way there."""
    staleness_threshold_seconds: float = Field(default=5.0, gt=0)
    """Scraped signals older than this are unknown: the ledger alone counts."""


class ExpectedDelay:
    """Seconds until a new request's prefill could start, per endpoint.

    pending prefill / prefill rate + a slope for decode concurrency + KV pressure. An unknown signal
    is neutral: rate, outside load and pressure of an unscraped endpoint are the pool's own average.
    """

    def __init__(self, settings: DelaySettings) -> None:
        self._settings = settings
        self._view: PoolView | None = None
        self._revision = -1
        self._observations = -1
        self._until = 0.0
        self._seconds: FloatArray = np.zeros(0)
        self._rates: FloatArray = np.zeros(0)
        self._unbooked: FloatArray = np.zeros(0)
        self._queued: FloatArray = np.zeros(0)

    def seconds(self, view: PoolView) -> FloatArray:
        """Return the delay of each endpoint. The array is shared: do not write to it."""
        self._refresh(view)
        return self._seconds

    def rates(self, view: PoolView) -> FloatArray:
        """Return the prefill rate of each endpoint in tokens per second, none unknown."""
        self._refresh(view)
        return self._rates

    def prefill_seconds(self, view: PoolView, slot: int, tokens: int) -> float:
        """Return when a prompt of that many uncached tokens will have been processed, from now.

        Pending prompts count whole until they are over, and several share a step: all of it takes
        less than the sum.
        """
        self._refresh(view)
        return SHARED_STEPS * float(self._seconds[slot] + tokens / self._rates[slot])

    def _refresh(self, view: PoolView) -> None:
        """Bookings change with every decision, observations a few times in a second."""
        seen = view is self._view and view.observations == self._observations
        if not seen or view.now >= self._until:
            self._view, self._observations = view, view.observations
            self._until = view.now + self._settings.staleness_threshold_seconds / 100
            self._rates = self._prefill_rates(view)
            self._unbooked = self._unbooked_delays(view, self._rates)
            self._queued = self._queued_seconds(view, self._rates)
            self._revision = -1
        if view.revision != self._revision:
            self._revision = view.revision
            prefill = np.maximum(view.prefill_tokens / self._rates, self._queued)
            slope = self._settings.decode_weight_tokens * view.requests / self._rates
            self._seconds = prefill + slope + self._unbooked

    def _prefill_rates(self, view: PoolView) -> FloatArray:
        rates = view.prefill_tokens_per_second
        unknown = ~(rates > 0)
        if not unknown.any():
            return rates
        default = self._settings.default_prefill_tokens_per_second
        return np.where(unknown, default if unknown.all() else rates[~unknown].mean(), rates)

    def _unbooked_delays(self, view: PoolView, rates: FloatArray) -> FloatArray:
        """Return the part that no booking of a live replica explains, as of the scrapes."""
        settings = self._settings
        fresh = view.ages() <= settings.staleness_threshold_seconds
        counted = fresh & ~np.isnan(view.running + view.waiting)
        outside = view.unbooked()
        waiting = _neutral(np.minimum(outside, view.waiting), counted)
        tokens = (
            settings.decode_weight_tokens * _neutral(outside, counted)
            + settings.outside_request_tokens * waiting
        )
        pressure = _neutral(self._kv_pressure(view), fresh & ~np.isnan(view.kv_usage))
        return tokens / rates + pressure

    def _queued_seconds(self, view: PoolView, rates: FloatArray) -> FloatArray:
        """Return what booked requests that were seen waiting have left to compute, at least.

        Their tokens may have been freed too early where nobody sees the first byte; an endpoint
        that looks idle for that reason would get more and more.
        """
        waiting = view.waiting - np.minimum(view.unbooked(), view.waiting)
        left = waiting * view.mean_prefill_tokens / rates - view.ages()
        fresh = view.ages() <= self._settings.staleness_threshold_seconds
        return np.where(fresh & (left > 0), left, 0.0)

    def _kv_pressure(self, view: PoolView) -> FloatArray:
        start = self._settings.kv_pressure_from_ratio
        over = np.maximum(view.kv_usage - start, 0.0) / (1 - start)
        return self._settings.kv_pressure_seconds * over * over


def _neutral(values: FloatArray, known: BoolArray) -> FloatArray:
    """Put the mean of what is known in the place of what is not; nothing known is nothing there."""
    if known.all():
        return values
    return np.where(known, values, values[known].mean() if known.any() else 0.0)
