"""A client that asks Sentinels where the master is, each for a short time only."""

import asyncio
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

from state.backends.redis.faults import SILENCE

SENTINEL_SECONDS = 0.12
"""For one Sentinel to answer, so that several can be asked within the store's deadline."""
SENTINEL_PORT = 26379
FORM = "redis+sentinel://user:password@host:port,host:port/service?db=0&sentinel_password=…"


class Sentinels(Sentinel):
    """Asks one after the other; who answered is asked first the next time."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the master's address; raises MasterNotFoundError."""
        for sentinel in tuple(self.sentinels):
            try:
                async with asyncio.timeout(SENTINEL_SECONDS):
                    found = await sentinel.sentinel_get_master_addr_by_name(
                        service_name, return_responses=True
                    )
            except SILENCE:
                continue
            if found:
                self.sentinels.remove(sentinel)
                self.sentinels.insert(0, sentinel)
                return _address(found)
        raise MasterNotFoundError(f"no Sentinel knows a master of {service_name!r}")

    async def aclose(self) -> None:
        """Let go of the connections to the Sentinels."""
        for sentinel in self.sentinels:
            await sentinel.aclose()


class SentinelClient(Redis):
    """A client of the current master; closing it closes the Sentinels' connections too."""

    sentinels: Sentinels

    async def aclose(
        self,
        close_connection_pool: bool | None = None,  # noqa: FBT001  redis-py's shape
    ) -> None:
        await super().aclose(close_connection_pool)
        await self.sentinels.aclose()


def connect_sentinel(url: str, options: dict[str, Any]) -> SentinelClient:
    """Return a client from a `redis+sentinel://` or `rediss+sentinel://` URL.

    Raises ValueError for a URL of another form.
    """
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    service = parts.path.strip("/")
    if not service or not hosts:
        raise ValueError(f"expected {FORM}")
    user, _, password = login.partition(":")
    query = dict(parse_qsl(parts.query))
    sentinel_options = options | {"password": query.pop("sentinel_password", None)}
    sentinel_options["username"] = query.pop("sentinel_username", None)
    options = options | {"username": unquote(user) or None, "password": unquote(password) or None}
    options |= {"db": int(query.pop("db", "0")), "ssl": parts.scheme == "rediss+sentinel", **query}
    sentinels = Sentinels(  # type: ignore[no-untyped-call]
        [_host(each) for each in hosts.split(",")], sentinel_kwargs=sentinel_options
    )
    pool = SentinelConnectionPool(  # type: ignore[no-untyped-call]
        unquote(service), sentinels, is_master=True, **options
    )
    client = SentinelClient(connection_pool=pool)
    client.auto_close_connection_pool = True
    client.sentinels = sentinels
    return client


def _host(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError(f"no host in {text!r}, expected {FORM}")
    return parts.hostname, parts.port or SENTINEL_PORT


def _address(reply: Any) -> tuple[str, int]:
    """Return host and port from a Sentinel's reply."""
    host, port = reply[0] if isinstance(reply[0], list | tuple) else reply
    return (host.decode() if isinstance(host, bytes) else str(host)), int(port)
