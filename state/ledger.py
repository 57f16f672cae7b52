"""The ledger: this replica's bookings, each released exactly once by its owner."""

import heapq
import math
from collections.abc import Callable

import numpy as np

from state.model import EndpointUid, Gauge, IntArray, Membership, UidArray
from state.view import PoolView

REQUESTS, PREFILL, DECODE, ASSIGNED, DONE = range(5)
COLUMNS = 5

MEAN_WEIGHT = 1 / 64
"""Weight of one request in the running mean of prompt sizes."""


class Booking:
    """One in-flight request of this replica. Its stream owns it and releases it."""

    __slots__ = ("_decode", "_ledger", "_prefill", "uid")

    def __init__(self, ledger: "Ledger", uid: EndpointUid, prefill: int, decode: int) -> None:
        self._ledger: Ledger | None = ledger
        self.uid = uid
        self._prefill = prefill
        self._decode = decode

    @property
    def released(self) -> bool:
        """True once the booking counts for nothing."""
        return self._ledger is None

    def prefilled(self) -> None:
        """The prompt has been processed: free its tokens. Further calls do nothing."""
        if self._ledger is not None and self._prefill:
            self._ledger.change(self.uid, 0, -self._prefill, 0)
            self._prefill = 0

    def move(self, uid: EndpointUid) -> None:
        """Another endpoint than the chosen one serves the request."""
        if self._ledger is None or uid == self.uid:
            return
        self._ledger.close(self.uid, self._prefill, self._decode)
        self.uid = uid
        self._ledger.open(uid, self._prefill, self._decode)

    def release(self) -> None:
        """The request is over, whatever ended it. Releasing twice does nothing."""
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            ledger.close(self.uid, self._prefill, self._decode)


class Ledger:
    """Own bookings per endpoint, kept as columns so that a gauge is a copy of arrays.

    Rows belong to endpoint UIDs: an endpoint that disappears keeps its row until its last booking
    is released, so a flap can neither lose a count nor make one negative.
    """

    def __init__(self, view: PoolView) -> None:
        self.view = view
        self.on_news: Callable[[], None] = lambda: None
        """Called at the first change after a gauge was taken."""
        self.assigned = 0
        """Requests booked since the start."""
        self._expected: list[tuple[float, int, Booking]] = []
        self._news = False
        self._rows: dict[EndpointUid, int] = {}
        self._uids: UidArray = np.zeros(64, np.uint64)
        self._counts: IntArray = np.zeros((COLUMNS, 64), np.int64)
        self._kept: frozenset[EndpointUid] = frozenset(view.slots)

    @property
    def open_requests(self) -> int:
        """Bookings not yet released."""
        return int(self._counts[REQUESTS, : len(self._rows)].sum())

    def book(
        self,
        uid: EndpointUid,
        *,
        prefill_tokens: int,
        decode_tokens: int,
        prefilled_at: float = math.inf,
    ) -> Booking:
        """Count a request against an endpoint; the caller owns the booking.

        `prefilled_at` is when the prompt will have been processed as far as one can tell: `settle`
        frees its tokens then, if nothing else did before. Monotonic seconds of this process.
        """
        self.open(uid, prefill_tokens, decode_tokens)
        self.assigned += 1
        # The plain mean of the first requests: from zero it would creep up over hundreds of them.
        weight = max(MEAN_WEIGHT, 1 / self.assigned)
        self.view.mean_prefill_tokens += weight * (prefill_tokens - self.view.mean_prefill_tokens)
        booking = Booking(self, uid, prefill_tokens, decode_tokens)
        if prefilled_at < math.inf:
            heapq.heappush(self._expected, (prefilled_at, self.assigned, booking))
        return booking

    @property
    def next_settlement(self) -> float:
        """When `settle` next has something to do; infinity: never."""
        return self._expected[0][0] if self._expected else math.inf

    def settle(self, now: float) -> None:
        """Free the prompt tokens of bookings whose prefill is expected to be over."""
        while self._expected and self._expected[0][0] <= now:
            heapq.heappop(self._expected)[2].prefilled()

    def open(self, uid: EndpointUid, prefill: int, decode: int) -> None:
        """Add one request to an endpoint's row."""
        self.change(uid, 1, prefill, decode)
        self._counts[ASSIGNED, self._rows[uid]] += 1

    def close(self, uid: EndpointUid, prefill: int, decode: int) -> None:
        """Take one request off an endpoint's row; the row goes when it is empty and unlisted."""
        self.change(uid, -1, -prefill, -decode)
        row = self._rows[uid]
        self._counts[DONE, row] += 1
        if uid not in self._kept and not self._counts[REQUESTS, row]:
            self._drop(uid)

    def change(self, uid: EndpointUid, requests: int, prefill: int, decode: int) -> None:
        """Move an endpoint's numbers, here and in the view."""
        row = self._rows.get(uid)
        if row is None:
            row = self._new_row(uid)
        counts = self._counts
        counts[REQUESTS, row] += requests
        counts[PREFILL, row] += prefill
        counts[DECODE, row] += decode
        self.view.add(uid, requests, prefill, decode)
        self._changed()

    def rebind(self, view: PoolView) -> None:
        """Write the own bookings into a new view; rows of endpoints that left go when empty."""
        self.view = view
        self._kept = frozenset(view.slots)
        for uid, row in list(self._rows.items()):
            if uid not in self._kept and not self._counts[REQUESTS, row]:
                self._drop(uid)
        for uid, row in self._rows.items():
            requests, prefill, decode = self._counts[: DECODE + 1, row].tolist()
            view.add(uid, requests, prefill, decode)
        self._changed()

    def gauge(self, membership: Membership, seq: int) -> Gauge:
        """Return the current numbers of every endpoint this replica has assigned to."""
        self._news = False
        size = len(self._rows)
        counts = self._counts[:, :size].copy()
        return Gauge(
            replica=membership.replica,
            incarnation=membership.incarnation,
            seq=seq,
            epoch=membership.epoch,
            uids=self._uids[:size].copy(),
            requests=counts[REQUESTS],
            prefill_tokens=counts[PREFILL],
            decode_tokens=counts[DECODE],
            assigned_total=counts[ASSIGNED],
            done_total=counts[DONE],
        )

    def _changed(self) -> None:
        if not self._news:
            self._news = True
            self.on_news()

    def _new_row(self, uid: EndpointUid) -> int:
        row = len(self._rows)
        if row == self._uids.size:
            self._uids = np.concatenate([self._uids, np.zeros_like(self._uids)])
            self._counts = np.concatenate([self._counts, np.zeros_like(self._counts)], axis=1)
        self._rows[uid] = row
        self._uids[row] = uid
        self._counts[:, row] = 0
        return row

    def _drop(self, uid: EndpointUid) -> None:
        row = self._rows.pop(uid)
        last = len(self._rows)
        if row != last:
            moved = EndpointUid(int(self._uids[last]))
            self._rows[moved] = row
            self._uids[row] = moved
            self._counts[:, row] = self._counts[:, last]
