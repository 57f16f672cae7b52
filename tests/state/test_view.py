"""The view's arrays: who is where, what is unknown, and how scrapes are corrected."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.model import Observation
from state.view import SIGNALS, PoolView
from tests.support import builders

NUMBERS = st.lists(st.integers(0, 40), unique=True, max_size=30)


def observation(number: int, **signals: float) -> Observation:
    return Observation(uid=builders.endpoint(number).uid, age_seconds=0.0, **signals)


def test_new_view_knows_nothing() -> None:
    """Signals are unknown, own load is zero."""
    view = PoolView(builders.endpoints(2))
    assert [0, 0] == view.requests.tolist()
    for name in (*SIGNALS, "observed_at"):
        assert np.isnan(getattr(view, name)).all(), name


def test_every_signal_is_a_field_of_an_observation() -> None:
    """Arrays and fields share their names."""
    assert set(SIGNALS) <= set(Observation.__struct_fields__)
    assert set(SIGNALS) <= set(vars(PoolView()))


@given(listed=NUMBERS, asked=NUMBERS)
def test_locate_agrees_with_a_dictionary(listed: list[int], asked: list[int]) -> None:
    """Sorted search finds each slot, and -1 for strangers, also in an empty table."""
    view = PoolView([builders.endpoint(number) for number in listed])
    uids = [builders.endpoint(number).uid for number in asked]
    expected = [view.slots.get(uid, -1) for uid in uids]
    assert expected == view.locate(np.array(uids, np.uint64)).tolist()


def test_observation_replaces_all_signals() -> None:
    """What the newer scrape does not say is unknown again, not what it was."""
    view = PoolView(builders.endpoints(1))
    view.observe(observation(0, running=3.0, kv_usage=0.5), observed_at=7.0)
    view.observe(observation(0, running=4.0), observed_at=8.0)
    assert 4.0 == view.running[0]
    assert np.isnan(view.kv_usage[0])
    assert 8.0 == view.observed_at[0]


def test_observation_of_zero_is_known() -> None:
    """Idle is not unknown."""
    view = PoolView(builders.endpoints(1))
    view.observe(observation(0, waiting=0.0), observed_at=7.0)
    assert 0.0 == view.waiting[0]


def test_forgotten_endpoint_is_as_never_scraped() -> None:
    """Its load stays: that is no signal."""
    view = builders.view(running=[3, 4], requests=[1, 2])
    view.forget(view.endpoints[0].uid)
    assert np.isnan([view.running[0], view.observed_at[0]]).all()
    assert [1, 2] == view.requests.tolist()
    assert 4.0 == view.running[1]


def test_news_of_strangers_is_ignored() -> None:
    """Collectors and pickers discover on their own, so one may be ahead."""
    view = PoolView(builders.endpoints(1))
    view.observe(observation(9, running=3.0), observed_at=7.0)
    view.forget(builders.endpoint(9).uid)
    view.add(builders.endpoint(9).uid, 1, 100, 10)
    assert 0 == view.requests.sum()
    assert 0 == view.revision


def test_every_change_raises_the_revision() -> None:
    """What is derived from the numbers is kept until it moves."""
    view = PoolView(builders.endpoints(1))
    view.add(builders.endpoint(0).uid, 1, 100, 10)
    after_booking = view.revision
    view.observe(observation(0), observed_at=7.0)
    assert 0 < after_booking < view.revision


def test_only_what_is_scraped_raises_the_observations() -> None:
    """A booking leaves what is derived from scrapes as it was."""
    view = PoolView(builders.endpoints(1))
    view.add(builders.endpoint(0).uid, 1, 100, 10)
    assert 0 == view.observations
    view.observe(observation(0), observed_at=7.0)
    seen = view.observations
    view.forget(builders.endpoint(0).uid)
    assert 0 < seen < view.observations


def test_hit_ratio_is_over_all_that_was_looked_up() -> None:
    """Not a mean of ratios; nothing looked up is nothing found."""
    view = PoolView(builders.endpoints(3))
    view.summarise()
    assert 0.0 == view.prefix_hit_ratio
    view.observe(observation(0, prefix_hits=30.0, prefix_queries=40.0), observed_at=7.0)
    view.observe(observation(1, prefix_hits=0.0, prefix_queries=60.0), observed_at=7.0)
    view.summarise()
    assert 0.3 == view.prefix_hit_ratio


def test_age_counts_from_the_cut_and_is_unknown_before_one() -> None:
    """Never scraped is not fresh."""
    view = builders.view(2)
    view.observed_at[:] = [99.0, np.nan]
    assert 1.0 == view.ages()[0]
    assert np.isnan(view.ages()[1])


@pytest.mark.parametrize(
    ("scraped", "open_at_cut", "open_now", "expected"),
    [
        (0, 0, 2, 2),  # booked since the cut
        (5, 2, 2, 5),  # three of others
        (5, 2, 0, 3),  # both ended since
        (5, 0, 2, 7),  # both began since
        (0, 3, 3, 3),  # sent, but the server has not counted them yet
        (0, 3, 0, 0),  # ended before they showed
    ],
)
def test_outstanding_is_the_scrape_corrected_since_its_cut(
    scraped: int, open_at_cut: int, open_now: int, expected: int
) -> None:
    """Scraped + (open now - open at the cut), never less than what is open."""
    view = builders.view(
        running=[scraped], waiting=[0], open_at_cut=[open_at_cut], requests=[open_now]
    )
    assert [expected] == view.outstanding().tolist()


def test_outstanding_of_an_unscraped_endpoint_is_its_open_requests() -> None:
    """The ledger alone counts."""
    assert [3.0] == builders.view(requests=[3]).outstanding().tolist()
