"""The simulation: repeatable, conserving, and able to tell good sharing from bad."""

import pytest

from state.view import SIGNALS
from tests.simulation.cell import Cell
from tests.simulation.gauges import GaugePool, Pool
from tests.simulation.peers import CounterPool, DeltaPool
from tests.simulation.run import SCHEMES, Simulation, simulate

SMALL = Cell(replicas=4, endpoints=8, requests=400, seed=11)


def changed(**fields: object) -> Cell:
    """Return the small cell with some fields changed."""
    values = {name: getattr(SMALL, name) for name in SMALL.__struct_fields__}
    return Cell(**(values | fields))


def ended(**fields: object) -> Simulation:
    """Run a cell to its end."""
    simulation = Simulation(changed(**fields))
    simulation.run()
    return simulation


def pool(simulation: Simulation) -> Pool:
    """Return the replicas of a simulation."""
    assert isinstance(simulation.scheme, Pool)
    return simulation.scheme


def hear_everything(replicas: GaugePool) -> None:
    """Let what was sent last arrive everywhere."""
    replicas.events.clock.advance(1.0)
    for number in range(len(replicas.replicas)):
        replicas.catch_up(number)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_same_cell_has_the_same_outcome(scheme: str) -> None:
    """A seed is a bug report: two runs agree in every placement and every time."""
    cell = changed(scheme=scheme, requests=200)
    assert simulate(cell) == simulate(cell)


def test_another_seed_has_another_outcome() -> None:
    """Outcomes depend on the seed, or sweeps over seeds would say nothing."""
    assert simulate(changed(seed=1)).fingerprint != simulate(changed(seed=2)).fingerprint


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_request_ends_and_nothing_stays_booked(scheme: str) -> None:
    """C8: the sum of the gauges is 0 when all streams have ended."""
    simulation = ended(scheme=scheme)
    assert 400 == len(simulation.records)
    assert all(record.first_token_at > record.arrived_at for record in simulation.records)
    assert 0 == simulation.fleet.open_requests
    assert not any(r.merge.ledger.open_requests for r in pool(simulation).replicas)


def test_views_are_equal_and_empty_after_quiescence() -> None:
    """C7: when all has been heard, the replicas' views are the same bytes."""
    simulation = ended(scheme="ours")
    assert isinstance(simulation.scheme, GaugePool)
    hear_everything(simulation.scheme)
    views = [replica.view for replica in simulation.scheme.replicas]
    loads, scraped = ("requests", "prefill_tokens", "decode_tokens"), ("open_at_cut", *SIGNALS)
    for name in (*loads, *scraped):
        assert 1 == len({getattr(view, name).tobytes() for view in views}), name
    assert not any(getattr(view, name).any() for name in loads for view in views)


def test_share_of_a_lost_replica_is_dropped() -> None:
    """C6: after its lease nobody counts what a dead replica had booked."""
    simulation = ended(scheme="ours", lost_at=0.5)
    assert isinstance(simulation.scheme, GaugePool)
    hear_everything(simulation.scheme)
    (lost,) = simulation.scheme.lost
    survivors = [r for n, r in enumerate(simulation.scheme.replicas) if n != lost]
    assert [3, 3, 3] == [replica.view.replicas for replica in survivors]
    assert not any(replica.view.requests.any() for replica in survivors)


def test_shared_counters_leak_with_a_crash() -> None:
    """The emulation shows what it is there to show: a crash leaves counts behind for ever."""
    whole, broken = ended(scheme="incr-decr"), ended(scheme="incr-decr", lost_at=0.5)
    assert isinstance(whole.scheme, CounterPool)
    assert isinstance(broken.scheme, CounterPool)
    assert 0 == whole.scheme.counts.sum() < broken.scheme.counts.sum()


def test_delta_bus_leaks_what_it_drops() -> None:
    """An end that was not heard counts until the reaper comes."""
    simulation = ended(scheme="delta-bus", requests=2000)
    bus = simulation.scheme
    assert isinstance(bus, DeltaPool)
    assert simulation.events.now < 300
    simulation.events.clock.advance(1.0)
    for number in range(4):
        bus.catch_up(number)
    leaked = [bus.leaked(number) for number in range(4)]
    assert all(leaked)
    simulation.events.clock.advance(300.0)
    for number in range(4):
        bus.catch_up(number)
    assert [0, 0, 0, 0] == [bus.leaked(number) for number in range(4)]


def test_perfect_view_does_not_depend_on_the_number_of_pickers() -> None:
    """The reference of all ratios is one decision maker."""
    one, many = changed(scheme="perfect", replicas=1), changed(scheme="perfect", replicas=4)
    assert simulate(one) == simulate(many)


def test_a_single_replica_shares_with_nobody() -> None:
    """Sharing changes nothing for one picker."""
    alone = simulate(changed(scheme="ours", replicas=1))
    assert simulate(changed(scheme="local", replicas=1)).ttft_p99 == pytest.approx(
        alone.ttft_p99, rel=0.1
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_sharing_is_not_worse_than_local_only(seed: int) -> None:
    """More replicas must not make placement worse than if they did not talk."""
    shared, local = (
        simulate(changed(scheme=scheme, replicas=8, requests=1000, seed=seed))
        for scheme in ("ours", "local")
    )
    assert shared.ttft_mean < 0.9 * local.ttft_mean


def test_loads_are_what_they_say() -> None:
    """Engines work as much as the cell's load asks for, if caches hold what they should."""
    outcome = simulate(changed(scheme="perfect", requests=3000))
    assert 0.85 == pytest.approx(outcome.utilisation, abs=0.1)
