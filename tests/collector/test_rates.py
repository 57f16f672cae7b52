"""What is learnt from the growth of counters."""

import pytest

from collector.engines import ENGINES
from collector.rates import HALF_LIFE_SECONDS, CounterRatio, RateLearner
from collector.reading import PageReader
from tests.collector.fakes import vllm

READER = PageReader(ENGINES)


def learn(learner: RateLearner, now: float, tokens: float, seconds: float) -> None:
    page = vllm(
        request_prefill_kv_computed_tokens_sum=tokens, request_prefill_time_seconds_sum=seconds
    )
    learner.learn(READER.read(page), now)


def decode(learner: RateLearner, seconds: float, count: float) -> None:
    page = vllm(inter_token_latency_seconds_sum=seconds, inter_token_latency_seconds_count=count)
    learner.learn(READER.read(page), 0.0)


def test_nothing_is_known_from_one_page() -> None:
    """Counters say nothing about the present until they have grown."""
    learner = RateLearner()
    learn(learner, 0.0, 1e6, 10.0)
    assert learner.prefill_tokens_per_second is None


def test_prefill_rate_is_growth_over_growth() -> None:
    """Computed tokens over prefill seconds between two pages is the rate."""
    learner = RateLearner()
    learn(learner, 0.0, 1000, 1.0)
    learn(learner, 0.2, 3000, 1.5)
    assert 4000.0 == learner.prefill_tokens_per_second


def test_small_growth_is_kept_until_it_says_something() -> None:
    """Growth below the least amount counts in the next sample instead of being lost."""
    learner = RateLearner()
    learn(learner, 0.0, 0, 0.0)
    learn(learner, 0.2, 100, 0.1)
    assert learner.prefill_tokens_per_second is None
    learn(learner, 0.4, 300, 0.2)
    assert pytest.approx(1500.0) == learner.prefill_tokens_per_second


def test_restarted_server_starts_the_count_again() -> None:
    """A counter that falls is a restart: no rate comes from across it."""
    learner = RateLearner()
    learn(learner, 0.0, 10_000, 10.0)
    learn(learner, 0.2, 500, 0.1)
    assert learner.prefill_tokens_per_second is None
    learn(learner, 0.4, 1500, 0.2)
    assert pytest.approx(10_000.0) == learner.prefill_tokens_per_second


def test_page_without_the_counters_is_no_restart() -> None:
    """A page on which a counter is unknown leaves the base where it was."""
    ratio = CounterRatio(least_bottom=1.0)
    ratio.advance(10.0, 10.0)
    assert ratio.advance(None, 20.0) is None
    assert 2.0 == ratio.advance(30.0, 20.0)


def test_faster_sample_moves_the_estimate_half_way() -> None:
    """The estimate follows its upper envelope without trusting one sample."""
    learner = RateLearner()
    for now, tokens in (0.0, 0), (0.2, 1000), (0.4, 4000):
        learn(learner, now, tokens, now)
    assert pytest.approx(10_000.0) == learner.prefill_tokens_per_second


def test_slower_samples_are_followed_over_the_half_life() -> None:
    """Batches make samples too low: the estimate falls slowly."""
    learner = RateLearner()
    learn(learner, 0.0, 0, 0.0)
    learn(learner, 1.0, 10_000, 1.0)
    learn(learner, 1.2, 10_500, 2.0)
    assert learner.prefill_tokens_per_second == pytest.approx(9978, abs=1)
    learn(learner, 1.2 + HALF_LIFE_SECONDS, 11_000, 3.0)
    assert learner.prefill_tokens_per_second == pytest.approx(5239, abs=1)


def test_idle_time_forgets_nothing() -> None:
    """Pages without growth leave the rates as they are."""
    learner = RateLearner()
    for now in 0.0, 1.0, 1000.0, 2000.0:
        learn(learner, now, min(now, 1.0) * 1000, min(now, 1.0))
    assert 1000.0 == learner.prefill_tokens_per_second


def test_impossible_rate_is_not_learnt() -> None:
    """A million tokens in a millisecond is a broken page."""
    learner = RateLearner()
    learn(learner, 0.0, 0, 0.0)
    learn(learner, 1.0, 1e6, 1e-3)
    assert learner.prefill_tokens_per_second is None


def test_decode_pace_is_the_mean_of_the_last_interval_with_traffic() -> None:
    """The pace is that of the newest tokens, and stays when there are none."""
    learner = RateLearner()
    for seconds, count in (1.0, 100), (2.0, 200), (2.4, 210), (2.4, 210):
        decode(learner, seconds, count)
    assert pytest.approx(0.04) == learner.decode_seconds_per_token


def test_few_tokens_make_no_pace() -> None:
    """A mean over fewer intervals than the least is not reported."""
    learner = RateLearner()
    for seconds, count in (0.0, 0), (5.0, 3):
        decode(learner, seconds, count)
    assert learner.decode_seconds_per_token is None
