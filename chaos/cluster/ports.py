"""Ports for a cluster on this machine: checked before anything is started."""

import socket

from chaos.errors import ChaosError


def check_free(host: str, ports: dict[int, str], *, flag: str) -> None:
    """Raise ChaosError that names the first port in use, its purpose and the flag to change."""
    for port, purpose in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise ChaosError(
                    f"port {port} ({purpose}) is taken: {error.strerror};"
                    f" choose other ports with {flag}"
                ) from error


def free_block(host: str, size: int, *, first: int = 20_000) -> int:
    """Return the first of that many free ports in a row, at `first` or above."""
    for base in range(first, 32_001 - size, size):
        try:
            check_free(host, dict.fromkeys(range(base, base + size), "probe"), flag="")
        except ChaosError:
            continue
        return base
    raise ChaosError(f"no {size} free ports in a row between {first} and 32000")
