"""The board of gauges that scrapes are cut with."""

import numpy as np

from state.board import GaugeBoard
from state.model import ReplicaId
from tests.support import builders


def opened(board: GaugeBoard) -> dict[tuple[str, int], int]:
    """Return open requests by replica and incarnation, from the cuts."""
    return {
        (cut.replica, cut.incarnation): int((cut.assigned_total - cut.done_total).sum())
        for cut in board.cuts()
    }


def test_cut_is_what_the_newest_gauge_says() -> None:
    """Late and repeated ones change nothing."""
    board = GaugeBoard()
    for seq, requests in ((1, 1), (3, 3), (2, 2), (3, 9)):
        board.apply(builders.gauge("a", seq, {0: (requests, 0, 0)}))
    assert {("a", 1): 3} == opened(board)


def test_new_incarnation_replaces_the_old() -> None:
    """A dead process's totals must not cut a scrape."""
    board = GaugeBoard()
    board.apply(builders.gauge("a", 9, {0: (5, 0, 0)}))
    board.apply(builders.gauge("a", 1, {0: (1, 0, 0)}, incarnation=2))
    board.apply(builders.gauge("a", 10, {0: (6, 0, 0)}))
    assert {("a", 2): 1} == opened(board)


def test_replica_that_left_is_in_no_cut() -> None:
    """Its requests count as the scrape shows them."""
    board = GaugeBoard()
    board.apply(builders.gauge("a", 1, {0: (1, 0, 0)}))
    board.drop(ReplicaId("a"))
    board.drop(ReplicaId("a"))
    assert {} == opened(board)


def test_only_live_replicas_are_kept() -> None:
    """The store's list decides."""
    board = GaugeBoard()
    for name in "abc":
        board.apply(builders.gauge(name, 1, {}))
    board.keep(frozenset({ReplicaId("b"), ReplicaId("d")}))
    assert {("b", 1): 0} == opened(board)


def test_cut_says_which_endpoints_it_is_about() -> None:
    """Rows keep the gauge's order."""
    board = GaugeBoard()
    board.apply(builders.gauge("a", 1, {3: (1, 0, 0), 1: (2, 0, 0)}))
    (cut,) = board.cuts()
    assert [builders.endpoint(3).uid, builders.endpoint(1).uid] == cut.uids.tolist()
    np.testing.assert_array_equal([1, 2], cut.assigned_total)
