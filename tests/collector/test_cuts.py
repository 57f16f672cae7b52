"""Cuts of single scrapes, assembled per replica."""

from collections.abc import Mapping

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from collector.cuts import CutTable
from state.model import Cut, EndpointUid, ReplicaId

Rows = Mapping[int, tuple[int, int]]


def cut(replica: str, rows: Rows, incarnation: int = 1) -> Cut:
    totals = np.array(list(rows.values()), np.int64).reshape(len(rows), 2)
    return Cut(
        replica=ReplicaId(replica),
        incarnation=incarnation,
        uids=np.array(list(rows), np.uint64),
        assigned_total=totals[:, 0],
        done_total=totals[:, 1],
    )


def uid(number: int) -> EndpointUid:
    return EndpointUid(number)


def rows(table: CutTable) -> dict[tuple[str, int], dict[int, tuple[int, int]]]:
    return {
        (cut.replica, cut.incarnation): {
            int(u): (int(a), int(d))
            for u, a, d in zip(cut.uids, cut.assigned_total, cut.done_total, strict=True)
        }
        for cut in table.cuts()
    }


def test_each_endpoint_keeps_the_totals_of_its_own_scrape() -> None:
    """Rows of one replica are of different moments: each of its endpoint's scrape."""
    table = CutTable()
    table.record(uid(1), [cut("r", {1: (10, 4), 2: (20, 5)})])
    table.record(uid(2), [cut("r", {1: (12, 9), 2: (25, 7)})])
    assert {("r", 1): {1: (10, 4), 2: (25, 7)}} == rows(table)


def test_next_scrape_replaces_the_rows_of_every_replica() -> None:
    """A replica that is gone at the next scrape has no row for that endpoint any more."""
    table = CutTable()
    table.record(uid(1), [cut("r", {1: (1, 0)}), cut("s", {1: (2, 0)})])
    table.record(uid(1), [cut("s", {1: (3, 1)})])
    assert {("s", 1): {1: (3, 1)}} == rows(table)


def test_incarnations_of_a_replica_stay_apart() -> None:
    """Totals start over with a new incarnation: rows of both are published side by side."""
    table = CutTable()
    table.record(uid(1), [cut("r", {1: (90, 80)}, incarnation=1)])
    table.record(uid(2), [cut("r", {2: (1, 0)}, incarnation=2)])
    assert {("r", 1): {1: (90, 80)}, ("r", 2): {2: (1, 0)}} == rows(table)


def test_endpoint_without_assignments_has_no_row() -> None:
    """A replica that never assigned to an endpoint is not in its cut."""
    table = CutTable()
    table.record(uid(1), [cut("r", {2: (5, 5)})])
    assert {} == rows(table)


def test_published_cut_does_not_change_later() -> None:
    """A snapshot is immutable: later scrapes write elsewhere."""
    table = CutTable()
    table.record(uid(1), [cut("r", {1: (1, 0)})])
    (published,) = table.cuts()
    table.record(uid(1), [cut("r", {1: (9, 9)})])
    assert [1] == published.assigned_total.tolist()


@given(st.data())
def test_table_is_the_last_scrape_of_every_endpoint(data: st.DataObject) -> None:
    """Whatever is scraped and removed, the cuts are the rows of the endpoints' last scrapes."""
    small = st.integers(0, 1 << 40)
    table = CutTable()
    expected: dict[int, dict[tuple[str, int], tuple[int, int]]] = {}
    for _ in range(data.draw(st.integers(0, 30))):
        if data.draw(st.integers(0, 4)) == 0:
            kept = data.draw(st.sets(st.integers(1, 100)))
            table.retain({uid(number) for number in kept})
            expected = {number: row for number, row in expected.items() if number in kept}
        else:
            number = data.draw(st.integers(1, 100))
            origins = st.tuples(st.sampled_from("rst"), st.integers(1, 2))
            now = data.draw(st.dictionaries(origins, st.tuples(small, small), max_size=4))
            table.record(
                uid(number), [cut(r, {number: n, 999: (7, 7)}, i) for (r, i), n in now.items()]
            )
            expected[number] = now
    flat = {(origin, number): row for number, by in expected.items() for origin, row in by.items()}
    found = {
        (origin, number): row for origin, by in rows(table).items() for number, row in by.items()
    }
    assert flat == found


def test_table_grows_beyond_its_first_size() -> None:
    """More endpoints than were reserved keep their rows."""
    table = CutTable()
    for number in range(1, 300):
        table.record(uid(number), [cut("r", {number: (number, 0)})])
    assert {number: (number, 0) for number in range(1, 300)} == rows(table)["r", 1]


def test_slots_of_removed_endpoints_are_used_again() -> None:
    """Endpoints that come and go do not grow the table."""
    table = CutTable()
    for number in range(1, 5000):
        table.record(uid(number), [cut("r", {number: (1, 0)})])
        table.retain({uid(number)})
    assert 64 == table._uids.size
