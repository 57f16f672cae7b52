"""The gateway's subset hint."""

import pytest

from picker.flow.subset import subset_mask
from state.model import make_endpoint
from state.view import PoolView

VIEW = PoolView(
    [
        make_endpoint(name=f"e{i}", address=address, port=port)
        for i, (address, port) in enumerate(
            [("10.0.0.1", 8000), ("10.0.0.1", 8001), ("10.0.0.2", 8000), ("fd00::1", 8000)]
        )
    ]
)


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (["10.0.0.1:8001"], [1]),
        (["10.0.0.1"], [0, 1]),
        (["10.0.0.1:8000", "10.0.0.2:8000"], [0, 2]),
        (["10.0.0.2:8000,10.0.0.1:8001"], [1, 2]),
        (["  10.0.0.2:8000 ,\t10.0.0.1:8001 ,"], [1, 2]),
        (["10.0.0.2,10.0.0.2:8000", "10.0.0.2"], [2]),
        (["[fd00::1]:8000"], [3]),
        (["[fd00::1]"], [3]),
        (["fd00::1"], [3]),
        (["FD00:0:0::1"], [3]),
        (["[FD00:0::1]:8000"], [3]),
        (["[fd00::1]:8001"], []),
        (["10.0.0.1:9999"], []),
        (["10.0.0.9:8000"], []),
    ],
)
def test_hint_names_endpoints(hint: list[str], expected: list[int]) -> None:
    """By address and port, or by address alone; lists and comma lists add up."""
    assert expected == subset_mask(VIEW, hint).nonzero()[0].tolist()


@pytest.mark.parametrize("hint", [[], [""], [" , ,"]])
def test_empty_hint_names_nobody(hint: list[str]) -> None:
    """The gateway said that none may serve: not the same as saying nothing."""
    assert not subset_mask(VIEW, hint).any()


@pytest.mark.parametrize(
    "item",
    [
        "localhost:8000",
        "e0",
        "10.0.0.1:",
        "10.0.0.1:http",
        "10.0.0.1:8000:8000",
        "10.0.0.1:-8000",
        "10.0.0.1: 8000",
        "10.0.0.1:\u0668\u0660\u0660\u0660",
        "10.0.0.1:" + "8" * 5000,
        "10.0.0",
        "010.000.000.001",
        "[10.0.0.1:8000",
        "fd00::1]:8000",
        "10.0.0.0/8",
        "*",
        "\x00",
    ],
)
def test_what_is_no_address_names_nobody(item: str) -> None:
    """And does not keep its neighbours from being read."""
    assert not subset_mask(VIEW, [item]).any()
    assert [2] == subset_mask(VIEW, [item, "10.0.0.2"]).nonzero()[0].tolist()


def test_bare_ipv6_with_a_port_is_an_address_of_its_own() -> None:
    """`fd00::1:8000` is a valid address without a port."""
    assert not subset_mask(VIEW, ["fd00::1:8000"]).any()


def test_hint_for_an_empty_pool_names_nobody() -> None:
    """Shapes hold."""
    assert [] == subset_mask(PoolView(), ["10.0.0.1"]).tolist()
