"""Bookings: each counted once, released once, whatever happens to endpoints in between."""

import math

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from state.ledger import Booking, Ledger
from state.model import Membership, ReplicaId
from state.view import PoolView
from tests.support import builders

MEMBERSHIP = Membership(replica=ReplicaId("a"), incarnation=3, epoch="epoch")
POOL = 5
CHOICES = st.integers(0, 10**6)
NUMBERS = st.integers(0, POOL - 1)


NEVER = math.inf


def ledger(count: int = 2) -> Ledger:
    return Ledger(PoolView(builders.endpoints(count)))


def book(
    books: Ledger, number: int = 0, prefill: int = 100, decode: int = 10, at: float = NEVER
) -> Booking:
    uid = builders.endpoint(number).uid
    return books.book(uid, prefill_tokens=prefill, decode_tokens=decode, prefilled_at=at)


def columns(books: Ledger, number: int = 0) -> list[int]:
    view = books.view
    slot = view.slots[builders.endpoint(number).uid]
    return [
        int(column[slot]) for column in (view.requests, view.prefill_tokens, view.decode_tokens)
    ]


def totals(books: Ledger, number: int = 0) -> list[int] | None:
    """Return assigned and done totals in the gauge; None if the endpoint has no row."""
    gauge = books.gauge(MEMBERSHIP, 1)
    rows = np.flatnonzero(gauge.uids == builders.endpoint(number).uid)
    if not rows.size:
        return None
    return [int(gauge.assigned_total[rows[0]]), int(gauge.done_total[rows[0]])]


def test_booking_counts_in_the_view_at_once() -> None:
    """Read your writes (C3)."""
    books = ledger()
    book(books)
    assert [1, 100, 10] == columns(books)


def test_prefilled_frees_the_prompt_alone() -> None:
    """The request goes on decoding."""
    books = ledger()
    booking = book(books)
    booking.prefilled()
    booking.prefilled()
    assert [1, 0, 10] == columns(books)


def test_release_after_the_first_byte_frees_the_rest() -> None:
    """The prompt's tokens are not freed twice."""
    books = ledger()
    booking = book(books)
    booking.prefilled()
    booking.release()
    assert [0, 0, 0] == columns(books)


def test_prompt_is_freed_when_it_should_be_over() -> None:
    """Where no response body passes through us, only the clock tells."""
    books = ledger()
    book(books, at=5.0)
    books.settle(4.9)
    assert [1, 100, 10] == columns(books)
    books.settle(5.0)
    assert [1, 0, 10] == columns(books)


def test_settling_frees_no_prompt_twice() -> None:
    """A response, or the end of the stream, came first."""
    books = ledger()
    book(books, at=5.0).prefilled()
    book(books, at=5.0).release()
    book(books)
    books.settle(9.0)
    assert [2, 100, 20] == columns(books)


def test_settling_follows_a_move() -> None:
    """The prompt is freed where it is."""
    books = ledger()
    book(books, at=5.0).move(builders.endpoint(1).uid)
    books.settle(9.0)
    assert [1, 0, 10] == columns(books, 1)


def test_next_settlement_is_the_earliest() -> None:
    """Infinity when there is none."""
    books = ledger()
    assert NEVER == books.next_settlement
    book(books, at=7.0)
    book(books, at=5.0)
    assert 5.0 == books.next_settlement
    books.settle(6.0)
    assert 7.0 == books.next_settlement


def test_second_release_does_nothing() -> None:
    """Stream end and cancellation may both come."""
    books = ledger()
    booking, _ = book(books), book(books)
    booking.release()
    booking.release()
    assert booking.released
    assert [1, 100, 10] == columns(books)


def test_released_booking_stays_dead() -> None:
    """Late events of a stream that has ended move nothing."""
    books = ledger()
    booking = book(books)
    booking.release()
    booking.prefilled()
    booking.move(builders.endpoint(1).uid)
    assert [0, 0, 0] == columns(books)
    assert [0, 0, 0] == columns(books, 1)


def test_move_takes_the_whole_load_along() -> None:
    """The gateway retried elsewhere."""
    books = ledger()
    booking = book(books)
    booking.move(builders.endpoint(1).uid)
    assert [0, 0, 0] == columns(books)
    assert [1, 100, 10] == columns(books, 1)
    assert [1, 1] == totals(books)
    assert [1, 0] == totals(books, 1)


def test_move_to_where_it_is_changes_nothing() -> None:
    """Served by the endpoint that was chosen: the normal case."""
    books = ledger()
    book(books).move(builders.endpoint(0).uid)
    assert [1, 0] == totals(books)


def test_release_after_a_flap_takes_off_what_was_booked() -> None:
    """An endpoint that left and came back neither loses a count nor goes negative."""
    books = ledger()
    booking = book(books)
    books.rebind(PoolView())
    assert 1 == books.open_requests
    books.rebind(PoolView(builders.endpoints(2)))
    assert [1, 100, 10] == columns(books)
    booking.release()
    assert [0, 0, 0] == columns(books)


def test_row_of_a_departed_endpoint_goes_with_its_last_booking() -> None:
    """Everything keyed by an endpoint is dropped with the endpoint."""
    books = ledger()
    booking = book(books)
    books.rebind(PoolView())
    assert [1, 0] == totals(books)
    booking.release()
    assert None is totals(books)


def test_empty_row_of_a_departed_endpoint_goes_at_once() -> None:
    """Nobody will release anything there again."""
    books = ledger()
    book(books).release()
    assert [1, 1] == totals(books)
    books.rebind(PoolView())
    assert None is totals(books)


def test_many_endpoints_grow_the_columns() -> None:
    """Rows beyond the first allocation keep their numbers."""
    books = ledger(200)
    for number in range(200):
        book(books, number, prefill=number)
    gauge = books.gauge(MEMBERSHIP, 1)
    assert list(range(200)) == gauge.prefill_tokens.tolist()
    assert [e.uid for e in builders.endpoints(200)] == gauge.uids.tolist()


def test_gauge_is_a_copy() -> None:
    """What is on its way to a store does not change under it."""
    books = ledger()
    booking = book(books)
    gauge = books.gauge(MEMBERSHIP, 7)
    booking.release()
    assert [1] == gauge.requests.tolist()
    assert (3, 7) == gauge.order
    assert "epoch" == gauge.epoch


def test_news_is_told_once_per_gauge() -> None:
    """A burst of bookings is one flush."""
    books = ledger()
    told: list[None] = []
    books.on_news = lambda: told.append(None)
    book(books)
    book(books)
    assert 1 == len(told)
    books.gauge(MEMBERSHIP, 1)
    book(books)
    assert 2 == len(told)


def test_mean_prompt_starts_at_the_first_request() -> None:
    """A mean that crept up from zero would let the first hundred picks herd."""
    books = ledger()
    for _ in range(3):
        book(books, prefill=500)
    assert 500.0 == books.view.mean_prefill_tokens


def test_mean_prompt_follows_the_traffic() -> None:
    """Old requests lose their weight."""
    books = ledger()
    for _ in range(64):
        book(books, prefill=100)
    for _ in range(640):
        book(books, prefill=900)
    assert 890 < books.view.mean_prefill_tokens <= 900


class LedgerMachine(RuleBasedStateMachine):
    """Any order of events of streams and of discovery, against a list of open bookings."""

    @initialize(listed=st.sets(NUMBERS))
    def start(self, listed: set[int]) -> None:
        self.listed = listed
        self.ledger = Ledger(self.table())
        self.bookings: list[Booking] = []
        self.model: list[tuple[int, int, int] | None] = []  # endpoint number, prefill, decode
        self.due: list[float] = []
        self.now = 0.0

    def table(self) -> PoolView:
        return PoolView([builders.endpoint(number) for number in sorted(self.listed)])

    def choose(self, choice: int) -> int | None:
        return choice % len(self.bookings) if self.bookings else None

    @rule(
        number=NUMBERS,
        prefill=st.integers(0, 1000),
        decode=st.integers(0, 1000),
        seconds=st.one_of(st.just(NEVER), st.floats(0, 10)),
    )
    def book(self, number: int, prefill: int, decode: int, seconds: float) -> None:
        self.due.append(self.now + seconds)
        self.bookings.append(book(self.ledger, number, prefill, decode, self.due[-1]))
        self.model.append((number, prefill, decode))

    @rule(seconds=st.floats(0, 5))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.ledger.settle(self.now)
        for index, entry in enumerate(self.model):
            if entry is not None and self.due[index] <= self.now:
                self.model[index] = (entry[0], 0, entry[2])

    @rule(choice=CHOICES)
    def prefilled(self, choice: int) -> None:
        index = self.choose(choice)
        if index is None:
            return
        self.bookings[index].prefilled()
        entry = self.model[index]
        if entry is not None:
            self.model[index] = (entry[0], 0, entry[2])

    @rule(choice=CHOICES, number=NUMBERS)
    def move(self, choice: int, number: int) -> None:
        index = self.choose(choice)
        if index is None:
            return
        self.bookings[index].move(builders.endpoint(number).uid)
        entry = self.model[index]
        if entry is not None:
            self.model[index] = (number, *entry[1:])

    @rule(choice=CHOICES)
    def release(self, choice: int) -> None:
        index = self.choose(choice)
        if index is None:
            return
        self.bookings[index].release()
        self.model[index] = None

    @rule(listed=st.sets(NUMBERS))
    def change_the_table(self, listed: set[int]) -> None:
        self.listed = listed
        self.ledger.rebind(self.table())

    @invariant()
    def view_shows_the_open_bookings(self) -> None:
        for number in self.listed:
            open_here = [entry for entry in self.model if entry is not None and entry[0] == number]
            expected = [
                len(open_here),
                sum(entry[1] for entry in open_here),
                sum(entry[2] for entry in open_here),
            ]
            assert expected == columns(self.ledger, number)

    @invariant()
    def every_unreleased_booking_is_open(self) -> None:
        assert sum(entry is not None for entry in self.model) == self.ledger.open_requests
        released = [booking.released for booking in self.bookings]
        assert [entry is None for entry in self.model] == released

    @invariant()
    def gauge_is_the_ledger(self) -> None:
        gauge = self.ledger.gauge(MEMBERSHIP, 1)
        assert len(set(gauge.uids.tolist())) == gauge.uids.size
        for column in (gauge.requests, gauge.prefill_tokens, gauge.decode_tokens):
            assert not (column < 0).any()
        np.testing.assert_array_equal(gauge.requests, gauge.assigned_total - gauge.done_total)
        assert gauge.requests.sum() == self.ledger.open_requests
        slots = self.ledger.view.locate(gauge.uids)
        at = slots >= 0
        view = self.ledger.view
        np.testing.assert_array_equal(gauge.requests[at], view.requests[slots[at]])
        np.testing.assert_array_equal(gauge.prefill_tokens[at], view.prefill_tokens[slots[at]])
        np.testing.assert_array_equal(gauge.decode_tokens[at], view.decode_tokens[slots[at]])

    @invariant()
    def rows_of_departed_endpoints_are_gone_once_empty(self) -> None:
        gauge = self.ledger.gauge(MEMBERSHIP, 1)
        departed = self.ledger.view.locate(gauge.uids) < 0
        assert (gauge.requests[departed] > 0).all()


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
