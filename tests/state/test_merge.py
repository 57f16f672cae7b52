"""The merge: news in any order, any number of times, and only newer state counts."""

import random
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from state.ledger import Booking
from state.merge import MOST_REPLICAS_REMEMBERED, Merge
from state.model import Cut, Endpoint, Gauge, Membership, Observation, ReplicaId, ShardId, Snapshot
from state.view import PoolView
from tests.support import builders

A, B, C = (ReplicaId(name) for name in "abc")
NOW = 50.0


def merge(replica: ReplicaId = A, endpoints: int = 2) -> Merge:
    built = Merge(replica)
    built.set_endpoints(builders.endpoints(endpoints))
    return built


def observation(number: int, running: float = 0.0, *, age: float = 0.0) -> Observation:
    uid = builders.endpoint(number).uid
    return Observation(uid=uid, age_seconds=age, running=running, waiting=0.0)


def snapshot(
    version: int,
    *observations: Observation,
    fence: int = 1,
    shard: str = "0",
    cuts: Iterable[Cut] = (),
) -> Snapshot:
    return Snapshot(
        shard=ShardId(shard),
        fence=fence,
        version=version,
        observations=observations,
        cuts=tuple(cuts),
    )


def cut(replica: str, opened: dict[int, int], *, incarnation: int = 1) -> Cut:
    """Return a cut from `{endpoint number: requests open}`."""
    uids = np.array([builders.endpoint(number).uid for number in opened], np.uint64)
    assigned = np.array(list(opened.values()), np.int64) + 100
    return Cut(
        replica=ReplicaId(replica),
        incarnation=incarnation,
        uids=uids,
        assigned_total=assigned,
        done_total=np.full(uids.size, 100, np.int64),
    )


def picked(replica: str, seq: int, total: int) -> Gauge:
    """Return an idle gauge of a replica that has assigned so many requests."""
    gauge = builders.gauge(replica, seq, {0: (total, 0, 0)})
    return Gauge(
        **{name: getattr(gauge, name) for name in gauge.__struct_fields__}
        | {"requests": gauge.requests * 0, "done_total": gauge.assigned_total}
    )


def loads(view: PoolView) -> bytes:
    """Return the load columns as bytes: equal views are equal bytes."""
    return b"|".join(
        column.tobytes() for column in (view.requests, view.prefill_tokens, view.decode_tokens)
    )


# Gauges


def test_peer_counts_beside_the_own_bookings() -> None:
    """Totals are over this replica and its live peers."""
    replica = merge()
    replica.ledger.book(builders.endpoint(0).uid, prefill_tokens=10, decode_tokens=1)
    assert replica.apply_gauge(builders.gauge("b", 1, {0: (2, 200, 20), 1: (1, 100, 10)}), NOW)
    assert [3, 1] == replica.view.requests.tolist()
    assert [210, 100] == replica.view.prefill_tokens.tolist()
    assert [21, 10] == replica.view.decode_tokens.tolist()
    assert 2 == replica.view.replicas


def test_newer_gauge_replaces_the_older_one() -> None:
    """A gauge is whole state, not a difference."""
    replica = merge()
    replica.apply_gauge(builders.gauge("b", 1, {0: (2, 200, 20)}), NOW)
    replica.apply_gauge(builders.gauge("b", 2, {1: (1, 100, 10)}), NOW)
    assert [0, 1] == replica.view.requests.tolist()


def test_repeated_gauge_counts_once() -> None:
    """Two transports may carry the same one."""
    replica = merge()
    gauge = builders.gauge("b", 1, {0: (2, 200, 20)})
    replica.apply_gauge(gauge, NOW)
    assert not replica.apply_gauge(gauge, NOW)
    assert [2, 0] == replica.view.requests.tolist()


def test_late_gauge_is_refused() -> None:
    """Views never go back (C2)."""
    replica = merge()
    replica.apply_gauge(builders.gauge("b", 2, {0: (1, 0, 0)}), NOW)
    assert not replica.apply_gauge(builders.gauge("b", 1, {0: (9, 0, 0)}), NOW)
    assert [1, 0] == replica.view.requests.tolist()


def test_older_incarnation_is_refused_whatever_its_seq() -> None:
    """A process that was replaced may still have messages on their way."""
    replica = merge()
    replica.apply_gauge(builders.gauge("b", 1, {0: (1, 0, 0)}, incarnation=2), NOW)
    assert not replica.apply_gauge(builders.gauge("b", 999, {0: (9, 0, 0)}), NOW)
    assert [1, 0] == replica.view.requests.tolist()


def test_new_incarnation_replaces_the_share_of_the_old() -> None:
    """A restarted peer starts with nothing open."""
    replica = merge()
    replica.apply_gauge(builders.gauge("b", 900, {0: (5, 500, 50)}), NOW)
    replica.apply_gauge(builders.gauge("b", 1, {}, incarnation=2), NOW)
    assert [0, 0] == replica.view.requests.tolist()
    assert 2 == replica.view.replicas


def test_own_gauge_is_not_a_peers() -> None:
    """The store plays back to everybody."""
    replica = merge(A)
    assert not replica.apply_gauge(builders.gauge("a", 1, {0: (2, 0, 0)}), NOW)
    assert 1 == replica.view.replicas
    assert [0, 0] == replica.view.requests.tolist()


def test_gauge_of_endpoints_not_yet_discovered_counts_once_they_are() -> None:
    """A peer's discovery may be ahead of ours."""
    replica = merge(endpoints=1)
    replica.apply_gauge(builders.gauge("b", 1, {0: (1, 0, 0), 1: (2, 0, 0)}), NOW)
    assert [1] == replica.view.requests.tolist()
    replica.set_endpoints(builders.endpoints(2))
    assert [1, 2] == replica.view.requests.tolist()


# Peers that go


def test_share_of_a_dropped_peer_is_gone() -> None:
    """Its lease is over (C6)."""
    replica = merge()
    replica.apply_gauge(builders.gauge("b", 1, {0: (2, 200, 20)}), NOW)
    assert replica.drop_peer(B)
    assert not replica.drop_peer(B)
    assert [0, 0] == replica.view.prefill_tokens.tolist()
    assert 1 == replica.view.replicas


def test_late_message_of_a_dropped_peer_revives_nobody() -> None:
    """What it had sent before is known to be old."""
    replica = merge()
    gauge = builders.gauge("b", 3, {0: (2, 200, 20)})
    replica.apply_gauge(gauge, NOW)
    replica.drop_peer(B)
    assert not replica.apply_gauge(gauge, NOW)
    assert not replica.apply_gauge(builders.gauge("b", 2, {0: (1, 0, 0)}), NOW)
    assert [0, 0] == replica.view.requests.tolist()


def test_dropped_peer_comes_back_with_news() -> None:
    """It was only silent for too long."""
    replica = merge()
    replica.apply_gauge(builders.gauge("b", 3, {0: (2, 200, 20)}), NOW)
    replica.drop_peer(B)
    assert replica.apply_gauge(builders.gauge("b", 4, {0: (1, 100, 10)}), NOW)
    assert [1, 0] == replica.view.requests.tolist()


def test_only_live_peers_are_kept() -> None:
    """The store's list of leases decides."""
    replica = merge()
    replica.apply_gauge(builders.gauge("b", 1, {0: (1, 0, 0)}), NOW)
    replica.apply_gauge(builders.gauge("c", 1, {0: (1, 0, 0)}), NOW)
    assert [B] == replica.keep_peers({A, C}, heard_before=NOW + 1)
    assert [1, 0] == replica.view.requests.tolist()


def test_peer_heard_after_the_question_is_kept() -> None:
    """A replica that joined while the store's answer travelled is live, and not yet in it."""
    replica = merge()
    replica.apply_gauge(builders.gauge("b", 1, {0: (1, 0, 0)}), NOW)
    assert [] == replica.keep_peers({A}, heard_before=NOW)
    assert [1, 0] == replica.view.requests.tolist()


def test_silence_counts_from_the_last_gauge() -> None:
    """A refused one does not count as a sign of life."""
    replica = merge()
    replica.apply_gauge(builders.gauge("b", 1, {}), NOW)
    replica.apply_gauge(builders.gauge("c", 1, {}), NOW + 1)
    replica.apply_gauge(builders.gauge("b", 1, {}), NOW + 1)
    assert [B] == replica.silent_peers(NOW + 0.5)


def test_report_names_the_live_peers() -> None:
    """For the debug page."""
    replica = merge()
    replica.apply_gauge(builders.gauge("b", 1, {}, incarnation=4), NOW)
    (peer,) = replica.report(NOW + 2)
    assert (B, 4, 2.0) == (peer.replica, peer.incarnation, peer.age_seconds)


def test_memory_of_departed_replicas_is_bounded() -> None:
    """Replicas of a rolling update come and go under new names."""
    replica = merge()
    for number in range(MOST_REPLICAS_REMEMBERED + 10):
        replica.apply_gauge(builders.gauge(f"r{number}", 1, {}), NOW)
        replica.drop_peer(ReplicaId(f"r{number}"))
    assert MOST_REPLICAS_REMEMBERED == len(replica._newest)


# Pick rates of peers


def test_rate_of_a_peer_approaches_what_it_assigns() -> None:
    """A hundred picks per second, told every 5 ms."""
    replica = merge()
    for step in range(2000):
        replica.apply_gauge(picked("b", step + 1, total=step // 2), NOW + step * 0.005)
    assert 100.0 == pytest.approx(replica.view.peer_picks_per_second, rel=0.02)


def test_picks_of_gauges_that_arrive_together_all_count() -> None:
    """A burst that one reading of the clock covers is still load."""
    replica, at_once = merge(), merge()
    for step in range(11):
        replica.apply_gauge(picked("b", step + 1, total=step), NOW + step * 1e-6)
        at_once.apply_gauge(picked("b", step + 1, total=step), NOW)
    expected = pytest.approx(replica.view.peer_picks_per_second, rel=0.01)
    assert expected == at_once.view.peer_picks_per_second


def test_rate_of_a_peer_that_fell_silent_is_gone_with_it() -> None:
    """What nobody places needs no room."""
    replica = merge()
    replica.apply_gauge(picked("b", 1, total=0), NOW)
    replica.apply_gauge(picked("b", 2, total=50), NOW + 1)
    replica.drop_peer(B)
    assert 0.0 == replica.view.peer_picks_per_second


def test_total_that_shrinks_is_no_negative_rate() -> None:
    """Rows of departed endpoints leave a gauge."""
    replica = merge()
    replica.apply_gauge(picked("b", 1, total=50), NOW)
    replica.apply_gauge(picked("b", 2, total=3), NOW + 1)
    assert 0.0 == replica.view.peer_picks_per_second


# Snapshots


def test_snapshot_is_aged_to_this_process_clock() -> None:
    """Two hosts' clocks are never compared."""
    replica = merge()
    assert replica.apply_snapshot(snapshot(1, observation(0, 3.0, age=0.25)), NOW)
    assert 3.0 == replica.view.running[0]
    assert NOW - 0.25 == replica.view.observed_at[0]
    assert {"0": (1, 1)} == replica.view.versions


@pytest.mark.parametrize(("fence", "version"), [(1, 2), (1, 1), (0, 99)])
def test_snapshot_that_is_not_newer_is_refused(fence: int, version: int) -> None:
    """Repeated, late, or of a collector that lost its shard."""
    replica = merge()
    replica.apply_snapshot(snapshot(2, observation(0, 3.0)), NOW)
    assert not replica.apply_snapshot(snapshot(version, observation(0, 9.0), fence=fence), NOW)
    assert 3.0 == replica.view.running[0]
    assert {"0": (1, 2)} == replica.view.versions


def test_new_owner_of_a_shard_starts_its_versions_anew() -> None:
    """Its fence is higher."""
    replica = merge()
    replica.apply_snapshot(snapshot(7, observation(0, 3.0)), NOW)
    assert replica.apply_snapshot(snapshot(1, observation(0, 4.0), fence=2), NOW)
    assert 4.0 == replica.view.running[0]


def test_shards_do_not_touch_each_other() -> None:
    """Each has versions of its own."""
    replica = merge()
    replica.apply_snapshot(snapshot(7, observation(0, 3.0), shard="0"), NOW)
    assert replica.apply_snapshot(snapshot(1, observation(1, 4.0), shard="1"), NOW)
    assert [3.0, 4.0] == replica.view.running.tolist()
    assert {"0": (1, 7), "1": (1, 1)} == replica.view.versions


def test_endpoint_that_a_snapshot_leaves_out_is_unknown() -> None:
    """A decision reads one version of a shard, not parts of two (C1)."""
    replica = merge()
    replica.apply_snapshot(snapshot(1, observation(0, 3.0), observation(1, 4.0)), NOW)
    replica.apply_snapshot(snapshot(2, observation(1, 5.0)), NOW)
    assert np.isnan(replica.view.running[0])
    assert np.isnan(replica.view.observed_at[0])
    assert 5.0 == replica.view.running[1]


def test_endpoint_that_moves_to_another_shard_stays_known() -> None:
    """The new owner speaks up before the old one falls silent."""
    replica = merge()
    replica.apply_snapshot(snapshot(1, observation(0, 3.0), shard="0"), NOW)
    replica.apply_snapshot(snapshot(1, observation(0, 4.0), shard="1"), NOW + 1)
    replica.apply_snapshot(snapshot(2, shard="0"), NOW + 2)
    assert 4.0 == replica.view.running[0]
    assert NOW + 1 == replica.view.observed_at[0]


# Cuts


def test_scrape_is_corrected_by_what_changed_since_its_cut() -> None:
    """Scraped + open now - open at the cut, over all live replicas (C4)."""
    replica = merge()
    replica.joined(1)
    replica.apply_gauge(builders.gauge("b", 1, {0: (3, 0, 0)}), NOW)
    for _ in range(2):
        replica.ledger.book(builders.endpoint(0).uid, prefill_tokens=1, decode_tokens=1)
    cuts = [cut("a", {0: 1}), cut("b", {0: 2})]
    replica.apply_snapshot(snapshot(1, observation(0, 10.0), cuts=cuts), NOW)
    assert 10 + (2 + 3) - (1 + 2) == replica.view.outstanding()[0]


def test_cut_of_a_dead_replica_is_ignored() -> None:
    """Its requests stay in the scraped number: they run on until a scrape says otherwise."""
    replica = merge()
    replica.joined(1)
    replica.apply_gauge(builders.gauge("b", 1, {0: (2, 0, 0)}), NOW)
    replica.apply_snapshot(snapshot(1, observation(0, 2.0), cuts=[cut("b", {0: 2})]), NOW)
    assert 2.0 == replica.view.outstanding()[0]
    replica.drop_peer(B)
    assert 2.0 == replica.view.outstanding()[0]
    replica.apply_snapshot(snapshot(2, observation(0, 0.0), cuts=[cut("b", {0: 0})]), NOW)
    assert 0.0 == replica.view.outstanding()[0]


def test_cut_of_an_older_incarnation_of_a_peer_is_ignored() -> None:
    """The new process has not opened those."""
    replica = merge()
    replica.apply_gauge(builders.gauge("b", 1, {}, incarnation=2), NOW)
    old = cut("b", {0: 2}, incarnation=1)
    replica.apply_snapshot(snapshot(1, observation(0, 2.0), cuts=[old]), NOW)
    assert 2.0 == replica.view.outstanding()[0]


def test_cut_counts_as_soon_as_its_replica_is_known() -> None:
    """A newcomer may hear of a scrape before it hears of a peer."""
    replica = merge()
    replica.apply_snapshot(snapshot(1, observation(0, 2.0), cuts=[cut("b", {0: 2})]), NOW)
    replica.apply_gauge(builders.gauge("b", 1, {0: (2, 0, 0)}), NOW)
    assert 2.0 == replica.view.outstanding()[0]


def test_own_cut_counts_over_a_join_again() -> None:
    """Bookings live on when this replica gets another incarnation."""
    replica = merge()
    replica.joined(1)
    replica.ledger.book(builders.endpoint(0).uid, prefill_tokens=1, decode_tokens=1)
    replica.apply_snapshot(snapshot(1, observation(0, 1.0), cuts=[cut("a", {0: 1})]), NOW)
    replica.joined(2)
    assert 1.0 == replica.view.outstanding()[0]


def test_own_cut_of_a_former_process_is_ignored() -> None:
    """A restarted replica of the same name has other bookings."""
    replica = merge()
    replica.joined(2)
    replica.apply_snapshot(snapshot(1, observation(0, 1.0), cuts=[cut("a", {0: 1})]), NOW)
    assert 1.0 == replica.view.outstanding()[0]


# The table


def test_same_table_in_another_order_changes_nothing() -> None:
    """Slots stay, so that what is derived from the view stays."""
    replica = merge(endpoints=3)
    before = replica.view
    assert not replica.set_endpoints(builders.endpoints(3)[::-1])
    assert before is replica.view


def test_table_change_keeps_what_is_known() -> None:
    """Totals, signals, cuts and versions are those of the endpoints that stayed."""
    replica = merge(endpoints=2)
    replica.joined(1)
    replica.ledger.book(builders.endpoint(1).uid, prefill_tokens=7, decode_tokens=8)
    replica.apply_gauge(builders.gauge("b", 1, {1: (2, 200, 20)}), NOW)
    replica.apply_snapshot(snapshot(3, observation(1, 6.0, age=0.5), cuts=[cut("b", {1: 1})]), NOW)
    replica.view.peers_age_seconds = 0.005
    replica.view.own_picks_per_second = 4.0
    replica.set_endpoints([builders.endpoint(5), builders.endpoint(1)])
    view = replica.view
    assert [0, 3] == view.requests.tolist()
    assert [0, 207] == view.prefill_tokens.tolist()
    assert [0, 28] == view.decode_tokens.tolist()
    assert 6.0 == view.running[1]
    assert NOW - 0.5 == view.observed_at[1]
    assert [0, 1] == view.open_at_cut.tolist()
    assert {"0": (1, 3)} == view.versions
    assert (2, 0.005, 4.0, 7.0) == (
        view.replicas,
        view.peers_age_seconds,
        view.own_picks_per_second,
        view.mean_prefill_tokens,
    )


def test_labels_alone_are_a_change() -> None:
    """Filters may read them."""
    replica = merge(endpoints=1)
    first = builders.endpoint(0)
    labelled = Endpoint(
        **{name: getattr(first, name) for name in first.__struct_fields__} | {"labels": {"a": "b"}}
    )
    assert replica.set_endpoints([labelled])


# Convergence


GAUGES = [
    builders.gauge(
        name, seq, {n: (seq, 10 * seq + n, n) for n in range(seq % 3 + 1)}, incarnation=inc
    )
    for name, lives in (("b", (1, 2)), ("c", (1,)))
    for inc in lives
    for seq in range(1, 6)
]


@given(order=st.permutations(GAUGES), repeats=st.lists(st.sampled_from(GAUGES), max_size=10))
@settings(max_examples=60)
def test_any_order_with_repeats_gives_the_same_bytes(
    order: list[Gauge], repeats: list[Gauge]
) -> None:
    """Convergence (C7): a lost or reordered message is healed by the newest one."""
    expected, replica = merge(endpoints=3), merge(endpoints=3)
    for gauge in (GAUGES[9], GAUGES[14]):
        expected.apply_gauge(gauge, NOW)
    for gauge in [*repeats, *order, *repeats]:
        replica.apply_gauge(gauge, NOW)
    assert loads(expected.view) == loads(replica.view)


POOL = 4
NUMBERS = st.integers(0, POOL - 1)
REPLICAS = st.sampled_from([A, B, C])
CHOICES = st.integers(0, 10**6)


class Site:
    """A replica under test: its merge, its open bookings, and messages on their way to it."""

    def __init__(self, replica: ReplicaId, incarnation: int, listed: set[int]) -> None:
        self.merge = Merge(replica)
        self.incarnation = incarnation
        self.listed = listed
        self.seq = 0
        self.bookings: list[tuple[int, Booking]] = []
        self.inbox: list[Gauge] = []
        self.heard: dict[ReplicaId, Gauge] = {}
        """Newest gauge applied, per live peer."""
        self.newest: dict[ReplicaId, tuple[int, int]] = {}
        self.discover(listed)
        self.merge.joined(incarnation)

    def discover(self, listed: set[int]) -> None:
        self.listed = listed
        self.merge.set_endpoints([builders.endpoint(number) for number in sorted(listed)])

    def gauge(self) -> Gauge:
        self.seq += 1
        membership = Membership(
            replica=self.merge.replica, incarnation=self.incarnation, epoch="epoch"
        )
        return self.merge.ledger.gauge(membership, self.seq)

    def receive(self, gauge: Gauge) -> None:
        newer = gauge.order > self.newest.get(gauge.replica, (0, 0))
        assert newer == self.merge.apply_gauge(gauge, NOW)
        if newer:
            self.newest[gauge.replica] = gauge.order
            self.heard[gauge.replica] = gauge

    def expected(self, number: int) -> int:
        """Return the requests on an endpoint, summed the slow way."""
        own = sum(at == number and not booking.released for at, booking in self.bookings)
        uid = builders.endpoint(number).uid
        peers = sum(
            int(requests)
            for gauge in self.heard.values()
            for known, requests in zip(gauge.uids.tolist(), gauge.requests.tolist(), strict=True)
            if known == uid
        )
        return own + peers


class PoolMachine(RuleBasedStateMachine):
    """Three replicas over channels that lose, repeat and reorder, each with its own discovery."""

    @initialize()
    def start(self) -> None:
        self.sites = {name: Site(name, 1, set(range(POOL))) for name in (A, B, C)}

    @rule(name=REPLICAS, number=NUMBERS, prefill=st.integers(0, 500))
    def book(self, name: ReplicaId, number: int, prefill: int) -> None:
        site = self.sites[name]
        uid = builders.endpoint(number).uid
        booking = site.merge.ledger.book(uid, prefill_tokens=prefill, decode_tokens=1)
        site.bookings.append((number, booking))

    @rule(name=REPLICAS, choice=CHOICES)
    def release(self, name: ReplicaId, choice: int) -> None:
        bookings = self.sites[name].bookings
        if bookings:
            bookings[choice % len(bookings)][1].release()

    @rule(name=REPLICAS)
    def publish(self, name: ReplicaId) -> None:
        gauge = self.sites[name].gauge()
        for other in self.sites.values():
            other.inbox.append(gauge)

    @rule(name=REPLICAS, choice=CHOICES, fate=st.sampled_from(["arrives", "arrives twice", "lost"]))
    def deliver(self, name: ReplicaId, choice: int, fate: str) -> None:
        site = self.sites[name]
        if not site.inbox:
            return
        gauge = site.inbox.pop(choice % len(site.inbox))
        if fate != "lost" and gauge.replica != name:
            site.receive(gauge)
        if fate == "arrives twice":
            site.inbox.append(gauge)

    @rule(name=REPLICAS, peer=REPLICAS)
    def lease_ends(self, name: ReplicaId, peer: ReplicaId) -> None:
        site = self.sites[name]
        site.heard.pop(peer, None)
        site.merge.drop_peer(peer)

    @rule(name=REPLICAS)
    def restart(self, name: ReplicaId) -> None:
        old = self.sites[name]
        self.sites[name] = Site(name, old.incarnation + 1, old.listed)

    @rule(name=REPLICAS)
    def join_again(self, name: ReplicaId) -> None:
        site = self.sites[name]
        site.incarnation += 1
        site.merge.joined(site.incarnation)

    @rule(name=REPLICAS, listed=st.sets(NUMBERS))
    def discover(self, name: ReplicaId, listed: set[int]) -> None:
        self.sites[name].discover(listed)

    @rule(seed=CHOICES)
    def quiesce(self, seed: int) -> None:
        """Everybody discovers the same and is heard: all views are equal and complete."""
        messages = [site.gauge() for site in self.sites.values()]
        for name, site in self.sites.items():
            site.discover(set(range(POOL)))
            arriving = [*messages, *site.inbox]
            random.Random(seed).shuffle(arriving)
            for gauge in arriving:
                if gauge.replica != name:
                    site.receive(gauge)
            site.inbox.clear()
        first = self.sites[A].merge.view
        for site in self.sites.values():
            view = site.merge.view
            np.testing.assert_array_equal(first.uids, view.uids)
            assert loads(first) == loads(view)
            assert 3 == view.replicas
        opened = sum(site.merge.ledger.open_requests for site in self.sites.values())
        assert opened == first.requests.sum()

    @invariant()
    def views_are_sums_of_what_was_heard(self) -> None:
        for site in self.sites.values():
            view = site.merge.view
            expected = [site.expected(number) for number in sorted(site.listed)]
            assert expected == view.requests.tolist()
            assert (view.prefill_tokens >= 0).all()
            assert (view.decode_tokens >= 0).all()

    def teardown(self) -> None:
        if hasattr(self, "sites"):
            self.quiesce(0)
            for site in self.sites.values():
                for _, booking in site.bookings:
                    booking.release()
            self.quiesce(1)
            assert 0 == self.sites[A].merge.view.requests.sum()


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
