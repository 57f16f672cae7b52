"""Identity and wire form of endpoints, and the order of what is published."""

import math

import pytest

from state.model import (
    ShardId,
    Snapshot,
    by_uid,
    canonical_address,
    format_endpoint_id,
    known,
    make_endpoint,
    unknown_to_none,
)
from tests.support import builders


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("fd00:0:0::1", "fd00::1"),
        ("[FD00::1]", "fd00::1"),
    ],
)
def test_addresses_have_one_canonical_form(address: str, expected: str) -> None:
    """Brackets, case and zeros do not make another address."""
    assert expected == canonical_address(address)


@pytest.mark.parametrize(
    "address", ["", "localhost", "10.0.0", "10.0.0.1:80", "[::1", "::1]", "[]"]
)
def test_what_is_no_literal_is_named(address: str) -> None:
    """Names are refused: a picker resolves nothing."""
    with pytest.raises(ValueError, match=r"address: .* is not an IPv4 or IPv6 literal"):
        canonical_address(address)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_port_out_of_range_is_named(port: int) -> None:
    """The message says which port and why."""
    with pytest.raises(ValueError, match=f"port: {port} is not between 1 and 65535"):
        make_endpoint(name="a", address="10.0.0.1", port=port)


def test_ipv6_stands_in_brackets_in_an_id() -> None:
    """Otherwise the port could not be told from the address."""
    assert "[fd00::1]:8000" == format_endpoint_id("fd00::1", 8000)
    assert "10.0.0.1:8000" == format_endpoint_id("10.0.0.1", 8000)


def test_uid_is_the_same_in_every_process() -> None:
    """It goes on the wire, so its value is pinned."""
    assert 0xD28D_C1EB_3A78_7485 == make_endpoint(name="a", address="10.0.0.1", port=8000).uid


def test_uid_does_not_depend_on_how_the_address_is_written() -> None:
    """A file and a watch may spell one address differently."""
    one = make_endpoint(name="a", address="fd00:0:0::1", port=8000)
    assert one.uid == make_endpoint(name="a", address="[FD00::1]", port=8000).uid


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "b"},
        {"namespace": "other"},
        {"address": "10.0.0.2"},
        {"port": 8001},
        {"uid_source": "pod-uid"},
    ],
)
def test_each_part_of_the_identity_counts(changed: dict[str, object]) -> None:
    """Another name, namespace, address, port or pod is another endpoint."""
    base: dict[str, object] = {"name": "a", "address": "10.0.0.1", "port": 8000}
    one, other = make_endpoint(**base), make_endpoint(**(base | changed))  # type: ignore[arg-type]
    assert one.uid != other.uid


def test_pod_uid_replaces_name_and_address() -> None:
    """A pod's ranks differ by port; its address does not count."""
    one = make_endpoint(name="a", address="10.0.0.1", port=8000, uid_source="pod-uid")
    moved = make_endpoint(name="b", address="10.0.0.2", port=8000, uid_source="pod-uid")
    rank = make_endpoint(name="a", address="10.0.0.1", port=8001, uid_source="pod-uid")
    assert one.uid == moved.uid
    assert one.uid != rank.uid


def test_labels_are_a_copy() -> None:
    """A caller that goes on changing its labels does not change the endpoint."""
    labels = {"role": "decode"}
    endpoint = make_endpoint(name="a", address="10.0.0.1", port=8000, labels=labels)
    labels["role"] = "prefill"
    assert {"role": "decode"} == endpoint.labels


def test_later_fence_goes_before_version() -> None:
    """A new owner of a shard starts its versions anew."""

    def order(fence: int, version: int) -> tuple[int, int]:
        snapshot = Snapshot(shard=ShardId("0"), fence=fence, version=version, observations=())
        return snapshot.order

    assert sorted([order(2, 1), order(1, 9), order(1, 10)]) == [
        order(1, 9),
        order(1, 10),
        order(2, 1),
    ]


def test_later_incarnation_goes_before_seq() -> None:
    """A replica that came back counts from one again."""
    old = builders.gauge("a", 900, {})
    assert builders.gauge("a", 1, {}, incarnation=2).order > old.order


def test_unknown_is_nan_in_arrays_and_none_in_json() -> None:
    """Zero stays zero in both."""
    assert math.isnan(known(None))
    assert 0.0 == known(0.0)
    assert None is unknown_to_none(math.nan)
    assert 0.0 == unknown_to_none(0.0)


def test_last_of_two_with_one_identity_wins() -> None:
    """Discovery may repeat an endpoint, with other labels."""
    first = make_endpoint(name="a", address="10.0.0.1", port=8000)
    last = make_endpoint(name="a", address="10.0.0.1", port=8000, labels={"x": "y"})
    assert {first.uid: last} == by_uid([first, last])
