"""Expected delay, against a slow and obvious reference and in its corner cases."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from picker.scheduling.delay import DelaySettings, ExpectedDelay
from state.view import PoolView
from tests.support import builders

SETTINGS = DelaySettings()
UNKNOWN = math.nan


def delays(view: PoolView, **settings: float) -> list[float]:
    seconds: list[float] = builders.delay(**settings).seconds(view).tolist()
    return seconds


def mean_of_known(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else 0.0


def reference(view: PoolView) -> list[float]:
    """Return the delays endpoint by endpoint, in the words of the design."""
    size = len(view)
    rates = [float(rate) if rate > 0 else UNKNOWN for rate in view.prefill_tokens_per_second]
    default = mean_of_known(rates) or SETTINGS.default_prefill_tokens_per_second
    outside, waiting, pressure = [UNKNOWN] * size, [UNKNOWN] * size, [UNKNOWN] * size
    for i in range(size):
        fresh = view.now - view.observed_at[i] <= SETTINGS.staleness_threshold_seconds
        if not fresh:
            continue
        scraped = view.running[i] + view.waiting[i]
        if not math.isnan(scraped):
            since = view.requests[i] - view.open_at_cut[i]
            outside[i] = max(scraped + since - view.requests[i], 0.0)
            waiting[i] = min(outside[i], view.waiting[i])
        if not math.isnan(view.kv_usage[i]):
            over = max(view.kv_usage[i] - SETTINGS.kv_pressure_from_ratio, 0.0)
            share = over / (1 - SETTINGS.kv_pressure_from_ratio)
            pressure[i] = SETTINGS.kv_pressure_seconds * share**2
    result = []
    for i in range(size):
        neutral = [
            mean_of_known(column) if math.isnan(column[i]) else column[i]
            for column in (outside, waiting, pressure)
        ]
        rate = default if math.isnan(rates[i]) else rates[i]
        tokens = (
            max(float(view.prefill_tokens[i]), left_to_compute(view, i, rate))
            + SETTINGS.decode_weight_tokens * (view.requests[i] + neutral[0])
            + SETTINGS.outside_request_tokens * neutral[1]
        )
        result.append(tokens / rate + neutral[2])
    return result


def left_to_compute(view: PoolView, slot: int, rate: float) -> float:
    """Return the tokens of booked requests that were seen waiting and cannot be over yet."""
    age = view.now - view.observed_at[slot]
    scraped = view.running[slot] + view.waiting[slot]
    if math.isnan(scraped) or not age <= SETTINGS.staleness_threshold_seconds:
        return 0.0
    outside = max(scraped - view.open_at_cut[slot], 0.0)
    booked = view.waiting[slot] - min(outside, view.waiting[slot])
    return float(max(booked * view.mean_prefill_tokens - age * rate, 0.0))


def signals(low: float, high: float) -> st.SearchStrategy[float]:
    return st.one_of(st.just(UNKNOWN), st.floats(low, high))


@st.composite
def views(draw: st.DrawFn) -> PoolView:
    size = draw(st.integers(1, 6))

    def column(strategy: st.SearchStrategy[float]) -> list[float]:
        return draw(st.lists(strategy, min_size=size, max_size=size))

    counts = st.integers(0, 20).map(float)
    view = builders.view(
        requests=column(counts),
        open_at_cut=column(counts),
        prefill_tokens=column(st.integers(0, 100_000).map(float)),
        running=column(st.one_of(st.just(UNKNOWN), counts)),
        waiting=column(st.one_of(st.just(UNKNOWN), counts)),
        kv_usage=column(signals(0.0, 1.0)),
        prefill_tokens_per_second=column(signals(0.0, 50_000.0).filter(lambda r: not 0 < r < 1)),
        observed_at=column(st.sampled_from([UNKNOWN, 10.0, 95.0, 99.9, 100.0])),
    )
    view.mean_prefill_tokens = draw(st.sampled_from([0.0, 1000.0]))
    return view


@given(view=views())
@settings(max_examples=150, deadline=None)
def test_delay_agrees_with_the_reference(view: PoolView) -> None:
    """Whatever is known, stale or unknown."""
    np.testing.assert_allclose(reference(view), ExpectedDelay(SETTINGS).seconds(view), rtol=1e-9)


def test_idle_pool_has_no_delay() -> None:
    """Nothing pending anywhere."""
    assert [0.0, 0.0] == delays(builders.view(2))


def test_pending_prefill_takes_its_time_at_the_learnt_rate() -> None:
    """Tokens over tokens per second."""
    view = builders.view(prefill_tokens=[8000, 8000], prefill_tokens_per_second=[4000, 16000])
    assert [2.0, 0.5] == delays(view)


def test_unlearnt_rate_is_the_pools_mean() -> None:
    """An endpoint that has just come is like the others."""
    rates = [4000, UNKNOWN, 8000]
    delay = builders.delay()
    assert [4000, 6000, 8000] == delay.rates(
        builders.view(prefill_tokens_per_second=rates)
    ).tolist()


def test_rate_is_the_default_while_nobody_taught_us() -> None:
    """A zero teaches nothing."""
    delay = builders.delay(default_prefill_tokens_per_second=1234.0)
    view = builders.view(prefill_tokens_per_second=[UNKNOWN, 0.0])
    assert [1234.0, 1234.0] == delay.rates(view).tolist()


def test_request_in_flight_weighs_a_little() -> None:
    """Each sequence in the batch slows every step."""
    view = builders.view(requests=[0, 1], prefill_tokens_per_second=[32, 32])
    assert [0.0, 1.0] == delays(view, decode_weight_tokens=32)


def test_requests_that_nobody_booked_count_as_the_scrape_shows_them() -> None:
    """Orphans of a dead replica: one running, one waiting with a prompt of assumed size."""
    view = builders.view(running=[1], waiting=[1], prefill_tokens_per_second=[100])
    assert [(2 * 10 + 80) / 100] == delays(view, decode_weight_tokens=10, outside_request_tokens=80)


def test_waiting_request_that_we_booked_does_not_count_twice() -> None:
    """Its prompt is in our books (C4)."""
    view = builders.view(
        running=[0], waiting=[1], requests=[1], open_at_cut=[1], prefill_tokens=[500]
    )
    rate = SETTINGS.default_prefill_tokens_per_second
    assert [pytest.approx((500 + SETTINGS.decode_weight_tokens) / rate)] == delays(view)


def test_unscraped_endpoint_carries_the_pools_mean_of_outside_load() -> None:
    """Running, waiting and KV pressure alike, or it would draw all traffic to itself."""
    view = builders.view(running=[8, 4, 0], waiting=[6, 2, 0], kv_usage=[1.0, 0.8, 0.0])
    view.observed_at[2] = UNKNOWN
    busy, calm, unscraped = delays(view)
    assert pytest.approx((busy + calm) / 2) == unscraped


@pytest.mark.parametrize("lacking", ["running", "waiting", "kv_usage"])
def test_signal_that_a_fresh_scrape_lacks_is_neutral(lacking: str) -> None:
    """A page without a line is no line that says zero."""
    view = builders.view(running=[4, 4], waiting=[4, 4], kv_usage=[1.0, 1.0])
    getattr(view, lacking)[1] = UNKNOWN
    known, lacks = delays(view)
    assert known == lacks


def test_stale_scrape_is_unknown() -> None:
    """The ledger alone counts."""
    view = builders.view(running=[9], waiting=[9], kv_usage=[1.0], requests=[1])
    view.observed_at[:] = view.now - SETTINGS.staleness_threshold_seconds - 0.1
    rate = SETTINGS.default_prefill_tokens_per_second
    assert [SETTINGS.decode_weight_tokens / rate] == delays(view)


def test_scrape_turns_stale_without_news() -> None:
    """Time alone changes what is kept, within a hundredth of the threshold."""
    view = builders.view(running=[9], waiting=[9])
    delay = builders.delay()
    busy = delay.seconds(view)[0]
    view.now += SETTINGS.staleness_threshold_seconds
    assert busy == delay.seconds(view)[0]
    view.now += SETTINGS.staleness_threshold_seconds / 100
    assert 0.0 == delay.seconds(view)[0]


@pytest.mark.parametrize(
    ("usage", "seconds"), [(0.0, 0.0), (0.8, 0.0), (0.9, 0.5), (1.0, 2.0), (UNKNOWN, 0.0)]
)
def test_kv_pressure_grows_with_the_square(usage: float, seconds: float) -> None:
    """From the threshold to a full cache; unknown everywhere is none."""
    assert [pytest.approx(seconds)] == delays(builders.view(kv_usage=[usage]))


def test_booking_is_seen_by_the_next_question() -> None:
    """What was computed is kept until the view moves."""
    view = builders.view(2)
    delay = builders.delay()
    before = delay.seconds(view)
    assert before is delay.seconds(view)
    view.add(view.endpoints[0].uid, 1, 8000, 10)
    assert [0.0, 0.0] == before.tolist()
    assert delay.seconds(view)[0] > 1.0


def test_another_view_is_computed_anew() -> None:
    """Also when its revision happens to be the same."""
    delay = builders.delay()
    delay.seconds(builders.view(prefill_tokens=[8000]))
    assert [0.0, 0.0] == delay.seconds(builders.view(2)).tolist()


def test_empty_pool_has_no_delays() -> None:
    """Shapes hold."""
    assert [] == delays(PoolView())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("default_prefill_tokens_per_second", 0.0),
        ("kv_pressure_from_ratio", 1.0),
        ("kv_pressure_seconds", -1.0),
        ("staleness_threshold_seconds", math.nan),
        ("decode_weight_tokens", math.inf),
        ("decode_weight", 1.0),
    ],
)
def test_bad_setting_names_its_field(field: str, value: float) -> None:
    """What would make costs meaningless is refused."""
    with pytest.raises(ValidationError) as caught:
        DelaySettings.model_validate({field: value})
    assert (field,) == caught.value.errors()[0]["loc"]


def test_prompts_seen_waiting_count_until_they_can_be_over() -> None:
    """Whatever was freed: three of 1,000 tokens at 4,000 a second, seen a quarter second ago."""
    view = builders.view(
        requests=[5, 5],
        open_at_cut=[5, 5],
        running=[2, 5],
        waiting=[3, 0],
        observed_at=[99.75, 99.75],
        prefill_tokens_per_second=[4000, 4000],
    )
    view.mean_prefill_tokens = 1000.0
    assert pytest.approx([0.5, 0.0]) == delays(view, decode_weight_tokens=0)
    view.prefill_tokens[:] = 3000
    assert pytest.approx([0.75, 0.75]) == builders.delay(decode_weight_tokens=0).seconds(view)


def test_prompt_is_over_before_all_that_is_pending_and_itself() -> None:
    """Pending prompts are half done, and share steps: 0.7 of 1 s before it and 0.5 s of its own."""
    view = builders.view(prefill_tokens=[8000], prefill_tokens_per_second=[8000])
    assert pytest.approx(1.05) == builders.delay().prefill_seconds(view, 0, 4000)
