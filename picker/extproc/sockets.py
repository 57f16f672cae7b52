"""Sockets to listen on."""

import asyncio
import os
import socket

from state.runtime.address import Address


async def bound_socket(address: Address, *, shared_port: bool) -> socket.socket:
    """Return one socket, so that port 0 is one port; `::` takes IPv4 as well. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, _, _, _, where = found[0]
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it lets two servers share a port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared_port:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address.host != "::"))
        bound.bind(where)
    except OSError:
        bound.close()
        raise
    return bound
