"""A master that Sentinels watch: who it is, is asked of them at every new connection."""

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

PORT = 26379
FORM = "redis+sentinel://user:password@host:port,host:port/service?db=0&sentinel_password=…"


def connect_sentinel(url: str, options: Mapping[str, Any]) -> DirectedClient:
    """Return a client from a `redis+sentinel://` or `rediss+sentinel://` URL.

    Raises ValueError for a URL of another form.
    """
    parts = parse_hosts(url, default_port=PORT, form=FORM)
    if not parts.path:
        raise ValueError(f"no service, expected {FORM}")
    query = dict(parts.query)
    login = {name: query.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    tls = {"ssl": True, **tls_options(parts)} if parts.tls else {}
    hosts = [Redis(host=h, port=p, **{**options, **login, **tls}) for h, p in parts.hosts]
    directory = Directory(hosts, _asking(parts.path), wanted=f"a master of {parts.path!r}")
    server: dict[str, Any] = {**options, **query, "db": int(query.get("db", "0"))}
    return directed_client(parts, directory, server)


def _asking(service: str) -> Any:
    async def ask(sentinel: Redis) -> Address | None:
        reply = await sentinel.execute_command(  # type: ignore[no-untyped-call]
            "SENTINEL", "GET-MASTER-ADDR-BY-NAME", service
        )
        match reply:
            case [host, port]:
                return text(host), int(port)
        raise ResponseError(f"this Sentinel watches no service {service!r}")

    return ask
