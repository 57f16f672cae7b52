"""A fleet listens on all its ports or on none."""

import socket

import pytest

from chaos.modelserver.fleet import AddressUnavailable, listen
from chaos.modelserver.server import ModelServer


def test_a_taken_port_is_named_and_the_others_are_given_back() -> None:
    """Whoever starts the fleet learns which port to free."""
    (taken,) = listen("127.0.0.1", [0])
    with taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressUnavailable, match=f"127.0.0.1:{port}: address already in use"):
            listen("127.0.0.1", [0, port])


def test_a_host_that_is_not_ours_is_named() -> None:
    """An address of another machine cannot be listened on."""
    with pytest.raises(AddressUnavailable, match=r"192\.0\.2\.1"):
        listen("192.0.2.1", [0])


async def test_speeds_are_dealt_in_turn_and_addresses_are_the_sockets(
    servers: list[ModelServer],
) -> None:
    """Each server has its own address, speed and engine."""
    assert [1.0, 0.5] == [server.knobs.speed for server in servers]
    for server in servers:
        host, _, port = server.served_by.rpartition(":")
        with socket.create_connection((host, int(port))):
            pass
