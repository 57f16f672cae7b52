"""A client whose server is looked up at hosts that know it: Sentinels, or nodes of a Cluster."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
from redis.asyncio import Redis
from redis.asyncio.sentinel import MasterNotFoundError, SentinelConnectionPool
from redis.exceptions import ClusterDownError, MovedError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from state.backends.redis.faults import FAULTS, misconfiguration

HOST_SECONDS = 0.12
"""For one host to answer, so that several can be asked within the store's deadline."""

Address = tuple[str, int]
Ask = Callable[[Redis], Awaitable[Address | None]]
"""Asks one host for the server's address. None: it answered, and does not know."""


class HostsUrl(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of `scheme://user:password@host:port,host:port/path?query`."""

    hosts: tuple[Address, ...]
    username: str | None
    password: str | None
    path: str
    query: Mapping[str, str]
    tls: bool


def parse_hosts(url: str, *, default_port: int, form: str) -> HostsUrl:
    """Return the parts of a URL with several hosts; raises ValueError that shows the form."""
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    return HostsUrl(
        hosts=tuple(_host(each, default_port, form) for each in hosts.split(",")),
        username=unquote(username) or None,
        password=unquote(password) or None,
        path=unquote(parts.path.strip("/")),
        query=dict(parse_qsl(parts.query)),
        tls=parts.scheme.startswith("rediss"),
    )


class Directory:
    """Asks one host after the other; who answered is asked first the next time.

    Has what redis-py's SentinelConnectionPool wants of its Sentinels.
    """

    def __init__(self, hosts: list[Redis], ask: Ask, *, wanted: str) -> None:
        """Keep a client for every host; `wanted` is what messages say was asked for."""
        self._hosts = hosts
        self._ask = ask
        self._wanted = wanted

    async def discover_master(self, _service: str) -> Address:
        """Return the server's address; raises MasterNotFoundError from the most telling failure."""
        failures: list[Exception] = []
        for host in tuple(self._hosts):
            try:
                async with asyncio.timeout(HOST_SECONDS):
                    address = await self._ask(host)
            except FAULTS as error:
                failures.append(error)
                continue
            if address is not None:
                self._hosts.remove(host)
                self._hosts.insert(0, host)
                return address
        cause = next((each for each in failures if misconfiguration(each)), None)
        cause = cause or next(iter(failures), None)
        raise MasterNotFoundError(f"no host knows {self._wanted}") from cause

    def distrust(self) -> None:
        """Ask another host first: the last answer was wrong."""
        self._hosts.append(self._hosts.pop(0))

    async def aclose(self) -> None:
        """Let go of the connections to the hosts."""
        for host in self._hosts:
            await host.aclose()


class DirectedClient(Redis):
    """A client of the server that the directory names."""

    directory: Directory

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command; a server that says that it moved is looked up again, once."""
        try:
            return await self._attempt(*args, **options)
        except MovedError:
            pass
        try:
            return await self._attempt(*args, **options)
        except MovedError as error:
            raise RedisConnectionError(f"moved, and moved again: {error}") from None

    async def _attempt(self, *args: Any, **options: Any) -> Any:
        """Send a command; after a failure another host is asked where the server is."""
        try:
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except (MovedError, ClusterDownError):
            await self.connection_pool.disconnect(inuse_connections=False)
            self.directory.distrust()
            raise
        except ResponseError:
            raise
        except BaseException:  # cut off by a deadline, too
            self.directory.distrust()
            raise

    async def aclose(
        self,
        close_connection_pool: bool | None = None,  # noqa: FBT001  redis-py's shape
    ) -> None:
        await super().aclose(close_connection_pool)
        await self.directory.aclose()


def directed_client(
    url: HostsUrl, directory: Directory, options: Mapping[str, Any]
) -> DirectedClient:
    """Return a client with a pool of connections to whatever the directory names."""
    login = {"username": url.username, "password": url.password}
    pool = SentinelConnectionPool(  # type: ignore[no-untyped-call]
        "", directory, is_master=True, ssl=url.tls, **{**login, **options}
    )
    client = DirectedClient(connection_pool=pool)
    client.auto_close_connection_pool = True
    client.directory = directory
    return client


def tls_options(url: HostsUrl) -> dict[str, Any]:
    """Return the query's options of TLS, which hosts and server share."""
    found: dict[str, Any] = {k: v for k, v in url.query.items() if k.startswith("ssl_")}
    return found


def text(value: bytes | str) -> str:
    """Return a reply's text."""
    return value.decode() if isinstance(value, bytes) else value


def _host(host: str, default_port: int, form: str) -> Address:
    parts = urlsplit(f"//{host}")
    if not parts.hostname:
        raise ValueError(f"no host in {host!r}, expected {form}")
    return parts.hostname, parts.port or default_port
