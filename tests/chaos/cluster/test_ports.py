"""Ports are checked before anything is started."""

import socket

import pytest

from chaos.cluster.ports import check_free, free_block
from chaos.errors import ChaosError

HOST = "127.0.0.1"


def test_a_port_in_use_is_named_with_its_purpose_and_the_flag() -> None:
    """One sentence that says what to do."""
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ChaosError) as caught:
            check_free(HOST, {port: "gateway"}, flag="--base-port")
    assert f"port {port} (gateway) is taken" in str(caught.value)
    assert "--base-port" in str(caught.value)


def test_a_block_is_free_in_whole() -> None:
    """Every port of it can be taken."""
    base = free_block(HOST, 5, first=28_000)
    sockets = [socket.create_server((HOST, base + i)) for i in range(5)]
    for each in sockets:
        each.close()


def test_a_block_above_all_ports_is_an_error() -> None:
    """Rather than a port that is none."""
    with pytest.raises(ChaosError):
        free_block(HOST, 5, first=31_999)
