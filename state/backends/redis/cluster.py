"""A pool's node of a Cluster: all its keys share a slot, and any node says whose that is."""

from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from state.backends.redis.directory import (
    Address,
    DirectedClient,
    Directory,
    directed_client,
    parse_hosts,
    text,
    tls_options,
)

PORT = 6379
FORM = "redis+cluster://user:password@host:port,host:port"


def connect_cluster(url: str, slot: int, options: Mapping[str, Any]) -> DirectedClient:
    """Return a client from a `redis+cluster://` or `rediss+cluster://` URL.

    Raises ValueError for a URL of another form.
    """
    parts = parse_hosts(url, default_port=PORT, form=FORM)
    if parts.path or "db" in parts.query:
        raise ValueError(f"a Cluster has no databases, expected {FORM}")
    login = {"username": parts.username, "password": parts.password}
    tls = {"ssl": True, **tls_options(parts)} if parts.tls else {}
    hosts = [Redis(host=h, port=p, **{**options, **login, **tls}) for h, p in parts.hosts]
    directory = Directory(hosts, _asking(slot), wanted=f"the master of slot {slot}")
    return directed_client(parts, directory, {**options, **parts.query})


def _asking(slot: int) -> Any:
    async def ask(node: Redis) -> Address | None:
        ranges = await node.execute_command("CLUSTER", "SLOTS")  # type: ignore[no-untyped-call]
        if not isinstance(ranges, list):
            raise ResponseError("CLUSTER SLOTS was not answered with a list")
        for each in ranges:
            match each:
                case [int(first), int(last), [host, int(port), *_], *_] if first <= slot <= last:
                    # No host: the node knows no better name than the one it was reached by.
                    own = node.connection_pool.connection_kwargs["host"]
                    return (text(host) if host else str(own)), port
        return None

    return ask
