"""What `/debug/view` says."""

import json
import math

import msgspec

from picker.admin.report import describe_view
from state.merge import Merge
from state.model import Membership, Observation, ReplicaId, ShardId, Snapshot
from tests.support import builders

NOW = 50.0
MEMBERSHIP = Membership(replica=ReplicaId("a"), incarnation=3, epoch="epoch")


def merge() -> Merge:
    built = Merge(ReplicaId("a"))
    built.set_endpoints([builders.endpoint(0), builders.endpoint(1, address="fd00::1")])
    return built


def describe(of: Merge, membership: Membership | None = MEMBERSHIP) -> dict[str, object]:
    """Return the view as it comes out of JSON."""
    said = describe_view(of, pool="p", mode="normal", membership=membership, now=NOW)
    read: dict[str, object] = json.loads(msgspec.json.encode(said))
    return read


def endpoint(of: Merge, number: int) -> dict[str, object]:
    endpoints = describe(of)["endpoints"]
    assert isinstance(endpoints, list)
    found: dict[str, object] = endpoints[number]
    return found


def test_the_promised_keys_are_there() -> None:
    """Tools rely on them; more are allowed."""
    said = describe(merge())
    assert {"pool", "mode", "replica", "replicas", "endpoints"} <= set(said)
    assert ("p", "normal", "a") == (said["pool"], said["mode"], said["replica"])
    assert {
        "id",
        "address",
        "port",
        "requests",
        "prefill_tokens",
        "decode_tokens",
        "waiting",
        "running",
        "kv_usage",
        "age_seconds",
    } <= set(endpoint(merge(), 0))


def test_unknown_is_null_and_load_is_zero() -> None:
    """Never scraped is not idle."""
    found = endpoint(merge(), 1)
    assert ("[fd00::1]:8000", "fd00::1", 8000) == (found["id"], found["address"], found["port"])
    for name in ("waiting", "running", "kv_usage", "age_seconds"):
        assert found[name] is None, name
    for name in ("requests", "prefill_tokens", "decode_tokens"):
        assert 0 == found[name], name


def test_loads_are_totals_over_live_replicas() -> None:
    """The own bookings and the peers' gauges."""
    of = merge()
    of.ledger.book(builders.endpoint(0).uid, prefill_tokens=10, decode_tokens=1)
    of.apply_gauge(builders.gauge("b", 1, {0: (2, 200, 20)}), NOW)
    found = endpoint(of, 0)
    assert (3, 210, 21) == tuple(
        found[name] for name in ("requests", "prefill_tokens", "decode_tokens")
    )


def test_scraped_signals_come_with_their_age() -> None:
    """Since the scrape's cut; a partly unknown page stays partly unknown."""
    of = merge()
    observation = Observation(
        uid=builders.endpoint(0).uid, age_seconds=0.5, running=0.0, kv_usage=0.25
    )
    snapshot = Snapshot(shard=ShardId("0"), fence=1, version=1, observations=(observation,))
    of.apply_snapshot(snapshot, NOW - 2)
    found = endpoint(of, 0)
    assert (0.0, None, 0.25, 2.5) == tuple(
        found[name] for name in ("running", "waiting", "kv_usage", "age_seconds")
    )


def test_replicas_are_this_one_and_its_live_peers() -> None:
    """With incarnation and age."""
    of = merge()
    of.apply_gauge(builders.gauge("b", 1, {}, incarnation=2), NOW - 1)
    of.apply_gauge(builders.gauge("c", 1, {}), NOW)
    of.drop_peer(ReplicaId("c"))
    assert [
        {"id": "a", "incarnation": 3, "age_seconds": 0.0},
        {"id": "b", "incarnation": 2, "age_seconds": 1.0},
    ] == describe(of)["replicas"]


def test_replica_outside_of_the_pool_has_no_incarnation() -> None:
    """It has not joined yet, or has left."""
    replicas = describe(merge(), membership=None)["replicas"]
    assert [{"id": "a", "incarnation": None, "age_seconds": 0.0}] == replicas


def test_nothing_unprintable_comes_out() -> None:
    """JSON has no NaN: a strict reader takes all of it."""
    said = describe_view(merge(), pool="p", mode="m", membership=None, now=math.pi)
    json.dumps(said, allow_nan=False)
