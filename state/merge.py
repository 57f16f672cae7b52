"""Keeps a view true to its sources: the table, snapshots, peers' gauges, and the own ledger."""

import math
from collections.abc import Collection, Sequence
from functools import partial

import msgspec

from state.ledger import Ledger
from state.model import Endpoint, Gauge, IntArray, ReplicaId, Snapshot, UidArray, by_uid
from state.view import PoolView

RATE_MEMORY_SECONDS = 1.0
"""Time constant over which pick rates are averaged."""

MOST_REPLICAS_REMEMBERED = 4096
"""Bound on ids of replicas that come and go under new names."""


class Peer(msgspec.Struct, kw_only=True):
    """What is known of another replica."""

    gauge: Gauge
    heard_at: float
    picks_per_second: float = 0.0


class PeerReport(msgspec.Struct, frozen=True, kw_only=True):
    """A live peer, for the debug page."""

    replica: ReplicaId
    incarnation: int
    age_seconds: float
    """Since its last gauge."""


class Merge:
    """Applies news to the view in any order, any number of times: only newer state counts.

    Peers are merged by `(incarnation, seq)`, snapshots by `(fence, version)`; neither goes back.
    Times are monotonic seconds of this process, given by the caller.
    """

    def __init__(self, replica: ReplicaId) -> None:
        self.replica = replica
        self.view = PoolView()
        self.ledger = Ledger(self.view)
        self._peers: dict[ReplicaId, Peer] = {}
        self._newest: dict[ReplicaId, tuple[int, int]] = {}
        self._incarnations: set[int] = set()
        self._snapshots: dict[str, tuple[Snapshot, float]] = {}

    def joined(self, incarnation: int) -> None:
        """This replica got an incarnation; its bookings live on over a re-join."""
        self._incarnations.add(incarnation)
        self._sum_cuts()

    def set_endpoints(self, endpoints: Sequence[Endpoint]) -> bool:
        """Replace the table. False: nothing changed. What is keyed by a lost endpoint goes."""
        if by_uid(endpoints) == by_uid(self.view.endpoints):
            return False
        before, self.view = self.view, PoolView(tuple(by_uid(endpoints).values()))
        self.view.peers_age_seconds = before.peers_age_seconds
        self.view.own_picks_per_second = before.own_picks_per_second
        self.view.mean_prefill_tokens = before.mean_prefill_tokens
        self.ledger.rebind(self.view)
        for peer in self._peers.values():
            self._count(peer.gauge, 1)
        self._write_all()
        self._summarise_peers()
        return True

    def apply_snapshot(self, snapshot: Snapshot, now: float) -> bool:
        """Take over a shard's snapshot. False: it is not newer than the one merged."""
        known = self._snapshots.get(snapshot.shard)
        if known is not None and snapshot.order <= known[0].order:
            return False
        self._snapshots[snapshot.shard] = (snapshot, now)
        if known is not None and self._forget(known[0], but=snapshot):
            self._write_all()
        else:
            self._write(snapshot, now)
            self._sum_cuts()
        return True

    def apply_gauge(self, gauge: Gauge, now: float) -> bool:
        """Take over a peer's gauge. False: our own, or not newer than the one merged."""
        newest = self._newest.get(gauge.replica)
        if gauge.replica == self.replica or (newest is not None and gauge.order <= newest):
            return False
        self._remember(gauge)
        before = self._peers.get(gauge.replica)
        if before is not None:
            self._count(before.gauge, -1)
        self._count(gauge, 1)
        rate = 0.0 if before is None else _rate(before, gauge, now)
        self._peers[gauge.replica] = Peer(gauge=gauge, heard_at=now, picks_per_second=rate)
        if before is None or before.gauge.incarnation != gauge.incarnation:
            self._sum_cuts()
        self._summarise_peers()
        return True

    def drop_peer(self, replica: ReplicaId) -> bool:
        """Its lease is over, or it left: its share is gone. False: it was not known."""
        peer = self._peers.pop(replica, None)
        if peer is None:
            return False
        self._count(peer.gauge, -1)
        self._sum_cuts()
        self._summarise_peers()
        return True

    def keep_peers(self, live: Collection[ReplicaId], *, heard_before: float) -> list[ReplicaId]:
        """Drop the peers that are not live; return them.

        Those heard since the question was asked stay: they may have joined after the answer.
        """
        gone = [replica for replica in self.silent_peers(heard_before) if replica not in live]
        for replica in gone:
            self.drop_peer(replica)
        return gone

    def silent_peers(self, before: float) -> list[ReplicaId]:
        """Return the peers not heard from since the given time."""
        return [replica for replica, peer in self._peers.items() if peer.heard_at < before]

    @property
    def peers(self) -> int:
        """How many live peers are merged."""
        return len(self._peers)

    def report(self, now: float) -> list[PeerReport]:
        """Return the live peers."""
        return [
            PeerReport(
                replica=replica,
                incarnation=peer.gauge.incarnation,
                age_seconds=now - peer.heard_at,
            )
            for replica, peer in self._peers.items()
        ]

    def _remember(self, gauge: Gauge) -> None:
        """Keep the newest order per replica, also after it left: a late message revives nobody."""
        self._newest.pop(gauge.replica, None)
        self._newest[gauge.replica] = gauge.order
        if len(self._newest) > MOST_REPLICAS_REMEMBERED:
            del self._newest[next(iter(self._newest))]

    def _write_all(self) -> None:
        for snapshot, received_at in self._snapshots.values():
            self._write(snapshot, received_at)
        self._sum_cuts()

    def _write(self, snapshot: Snapshot, received_at: float) -> None:
        for observation in snapshot.observations:
            self.view.observe(observation, observed_at=received_at - observation.age_seconds)
        self.view.summarise()
        self.view.versions[snapshot.shard] = snapshot.order

    def _forget(self, before: Snapshot, *, but: Snapshot) -> bool:
        """Make unknown what a shard no longer says, so that no signal outlives its cut."""
        gone = {o.uid for o in before.observations} - {o.uid for o in but.observations}
        for uid in gone:
            self.view.forget(uid)
        return bool(gone)

    def _sum_cuts(self) -> None:
        """Only live incarnations count: a dead one's requests stay in the scraped number."""
        live = {(r, peer.gauge.incarnation) for r, peer in self._peers.items()}
        live |= {(self.replica, incarnation) for incarnation in self._incarnations}
        column = self.view.open_at_cut
        column[:] = 0
        self.view.observations += 1
        for snapshot, _ in self._snapshots.values():
            for cut in snapshot.cuts:
                if (cut.replica, cut.incarnation) in live:
                    _add_at(self.view, column, cut.uids, cut.assigned_total - cut.done_total)

    def _count(self, gauge: Gauge, sign: int) -> None:
        add = partial(_add_at, self.view)
        add(self.view.requests, gauge.uids, sign * gauge.requests)
        add(self.view.prefill_tokens, gauge.uids, sign * gauge.prefill_tokens)
        add(self.view.decode_tokens, gauge.uids, sign * gauge.decode_tokens)

    def _summarise_peers(self) -> None:
        self.view.replicas = 1 + self.peers
        self.view.peer_picks_per_second = sum(p.picks_per_second for p in self._peers.values())


def _add_at(view: PoolView, column: IntArray, uids: UidArray, amounts: IntArray) -> None:
    slots = view.locate(uids)
    known = slots >= 0
    view.revision += 1
    column[slots[known]] += amounts[known]


def _rate(before: Peer, gauge: Gauge, now: float) -> float:
    """Exponentially averaged assignments per second."""
    if gauge.incarnation != before.gauge.incarnation:
        return before.picks_per_second
    # Gauges may arrive together, and their picks count then too.
    elapsed = max(now - before.heard_at, 1e-6)
    picks = max(int(gauge.assigned_total.sum()) - int(before.gauge.assigned_total.sum()), 0)
    keep = math.exp(-elapsed / RATE_MEMORY_SECONDS)
    return keep * before.picks_per_second + (1 - keep) * picks / elapsed
