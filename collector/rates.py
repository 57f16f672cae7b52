"""Learns an endpoint's speed from the growth of its counters between scrapes."""

from collector.engines import Signal
from collector.reading import Reading

LEAST_PREFILL_TOKENS = 256.0
"""Growth below this says more about fixed costs and clock steps than about speed."""

LEAST_PREFILL_SECONDS = 1e-3

LEAST_INTERVALS = 8.0
"""Inter-token intervals that make a mean worth reporting."""

MOST_PREFILL_RATE = 1e7
MOST_DECODE_SECONDS = 60.0

HALF_LIFE_SECONDS = 60.0
"""Time of learning after which half of a former maximum is forgotten."""


class CounterRatio:
    """The ratio of two counters' growth, taken whenever both have grown enough.

    A counter that falls was reset with its server: growth is counted from there.
    """

    def __init__(self, *, least_top: float = 0.0, least_bottom: float) -> None:
        self._least = (least_top, least_bottom)
        self._base: tuple[float, float] | None = None

    def advance(self, top: float | None, bottom: float | None) -> float | None:
        """Return the ratio since it was last taken; None: unknown, or not enough yet."""
        if top is None or bottom is None:
            return None
        if self._base is None or top < self._base[0] or bottom < self._base[1]:
            self._base = (top, bottom)
            return None
        growth = (top - self._base[0], bottom - self._base[1])
        if growth[0] < self._least[0] or growth[1] < self._least[1]:
            return None
        self._base = (top, bottom)
        return growth[0] / growth[1]


class RateLearner:
    """The learnt rates of one endpoint; None until enough has been seen.

    Prefill follows the upper envelope of the samples: the engine's seconds overlap between the
    requests of a batch and include waiting for decode steps, so a sample can only be below what the
    endpoint can do. One sample moves the estimate up half-way at most, as two families of a page
    need not be of one moment.
    """

    def __init__(self) -> None:
        self.prefill_tokens_per_second: float | None = None
        self.decode_seconds_per_token: float | None = None
        self._prefill = CounterRatio(
            least_top=LEAST_PREFILL_TOKENS, least_bottom=LEAST_PREFILL_SECONDS
        )
        self._decode = CounterRatio(least_bottom=LEAST_INTERVALS)
        self._learnt_at = 0.0

    def learn(self, reading: Reading, now: float) -> None:
        """Take in the next page of the endpoint, read at a monotonic time."""
        get = reading.values.get
        rate = self._prefill.advance(get(Signal.PREFILL_TOKENS), get(Signal.PREFILL_SECONDS))
        if rate is not None and rate <= MOST_PREFILL_RATE:
            self._follow(rate, now)
        pace = self._decode.advance(get(Signal.INTER_TOKEN_SECONDS), get(Signal.INTER_TOKEN_COUNT))
        if pace is not None and 0.0 < pace <= MOST_DECODE_SECONDS:
            self.decode_seconds_per_token = pace

    def _follow(self, rate: float, now: float) -> None:
        before = self.prefill_tokens_per_second
        if before is None:
            self.prefill_tokens_per_second = rate
        else:
            forgotten = 1.0 - 0.5 ** ((now - self._learnt_at) / HALF_LIFE_SECONDS)
            weight = 0.5 if rate > before else forgotten
            self.prefill_tokens_per_second = before + weight * (rate - before)
        self._learnt_at = now
