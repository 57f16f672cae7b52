"""Addresses on the command line of `envoy-config`."""

import pytest
import typer

from chaos.gateway.command import parse_host_port


def test_ipv6_addresses_stand_in_brackets() -> None:
    """Everything before the last colon is the host."""
    address = parse_host_port("[fd00::1]:8000")
    assert ("fd00::1", 8000) == (address.host, address.port)


@pytest.mark.parametrize("text", ["8000", ":8000", "host:", "host:0", "host:65536", "host:x"])
def test_what_is_no_address_is_named(text: str) -> None:
    """With the form that was expected."""
    with pytest.raises(typer.BadParameter, match="expected HOST:PORT"):
        parse_host_port(text)
