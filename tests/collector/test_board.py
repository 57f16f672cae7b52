"""The latest observation of every endpoint."""

import pytest

from collector.board import ObservationBoard
from tests.collector.fakes import observation
from tests.support.builders import endpoint


def test_observation_ages_until_it_is_published() -> None:
    """The age is that of the scrape's cut at the time asked for."""
    board = ObservationBoard()
    board.record(observation(0), sent_at=10.0, cuts=[])
    (at,) = board.observations(12.5)
    assert pytest.approx(2.5) == at.age_seconds


def test_latest_observation_counts() -> None:
    """A newer scrape replaces the one before."""
    board = ObservationBoard()
    board.record(observation(0, waiting=1), sent_at=1.0, cuts=[])
    board.record(observation(0, waiting=2), sent_at=2.0, cuts=[])
    (at,) = board.observations(2.0)
    assert 2 == at.waiting


def test_news_are_signalled() -> None:
    """A scrape and the loss of an observed endpoint are news, the loss of another one is not."""
    board = ObservationBoard()
    board.record(observation(0), sent_at=0.0, cuts=[])
    assert board.changed.is_set()
    board.changed.clear()
    board.retain({endpoint(0).uid})
    assert not board.changed.is_set()
    board.retain(set())
    assert board.changed.is_set()
    assert () == board.observations(0.0)
