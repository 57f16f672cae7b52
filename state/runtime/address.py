"""Addresses to listen on: `host:port`, IPv6 in brackets."""

from typing import Annotated, NamedTuple

from pydantic import AfterValidator


class Address(NamedTuple):
    """A host (name or literal, without brackets) and a port; port 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return the form that `parse_address` reads."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read `127.0.0.1:9002`, `[::1]:9002` or `:9002` (all interfaces); raises ValueError."""
    host, separator, port = text.rpartition(":")
    digits = port.isascii() and port.isdigit() and len(port) <= 5
    if not separator or not digits or int(port) > 65535:
        raise ValueError(f"{text!r} is no address: expected HOST:PORT, such as 127.0.0.1:9002")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r} is ambiguous: put the IPv6 address in brackets")
    return Address(host or "0.0.0.0", int(port))  # noqa: S104  what ":9002" means everywhere


def _canonical(text: str) -> str:
    return str(parse_address(text))


AddressText = Annotated[str, AfterValidator(_canonical)]
"""For settings: the text of an address, checked; `parse_address` reads it."""
