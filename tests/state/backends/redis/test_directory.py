"""Hosts that know the server: asked one after the other, asked again when the server is another."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis
from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import ConnectionError as RedisConnectionError

from state.backends.redis.connect import connect
from state.backends.redis.directory import Directory, directed_client, parse_hosts
from state.backends.redis.store import RedisStore
from state.errors import StoreMisconfigured
from state.model import ReplicaId
from state.runtime.clock import SystemClock
from tests.support.redis_server import RedisServer, free_port

Address = tuple[str, int]


class Hosts:
    """Answers for hosts by their ports."""

    def __init__(self, answers: dict[int, Address | Exception | None]) -> None:
        self.answers = answers
        self.asked: list[int] = []
        self.clients = [Redis(host="h", port=port) for port in answers]

    async def ask(self, client: Redis) -> Address | None:
        port = client.connection_pool.connection_kwargs["port"]
        self.asked.append(port)
        answer = self.answers[port]
        if isinstance(answer, Exception):
            raise answer
        if answer == ("hang", 0):
            await asyncio.Event().wait()
        return answer

    def directory(self) -> Directory:
        return Directory(self.clients, self.ask, wanted="it")


async def test_hosts_are_asked_until_one_knows() -> None:
    """Who is down, hangs or does not know is passed over; who knew is asked first from then on."""
    down = RedisConnectionError("refused")
    hosts = Hosts({1: down, 2: ("hang", 0), 3: None, 4: ("server", 6379)})
    directory = hosts.directory()
    assert ("server", 6379) == await directory.discover_master("")
    assert [1, 2, 3, 4] == hosts.asked
    await directory.discover_master("")
    assert [4] == hosts.asked[4:]


async def test_who_misled_is_asked_last() -> None:
    """Two that disagree must not send us to the wrong one for ever."""
    hosts = Hosts({1: ("old", 1), 2: ("new", 2)})
    directory = hosts.directory()
    assert ("old", 1) == await directory.discover_master("")
    directory.distrust()
    assert ("new", 2) == await directory.discover_master("")


async def test_when_nobody_knows_the_most_telling_failure_is_kept() -> None:
    """A wrong file is worth more than a refused connection."""
    telling = FileNotFoundError("/no/ca.crt")
    hosts = Hosts({1: RedisConnectionError("refused"), 2: telling, 3: None})
    with pytest.raises(MasterNotFoundError, match="no host knows it") as caught:
        await hosts.directory().discover_master("")
    assert telling is caught.value.__cause__


def test_parts_of_a_url_with_several_hosts() -> None:
    """Ports have a default, IPv6 has brackets, logins are decoded."""
    url = parse_hosts(
        "rediss+sentinel://m%40e:p%2Fw@a,[::1]:7,b:8/name?db=1", default_port=5, form=""
    )
    assert (("a", 5), ("::1", 7), ("b", 8)) == url.hosts
    assert ("m@e", "p/w", "name", {"db": "1"}) == (
        url.username,
        url.password,
        url.path,
        dict(url.query),
    )
    assert url.tls


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """Start two servers."""
    started = [RedisServer(tmp_path_factory.mktemp("server")) for _ in range(2)]
    try:
        for each in started:
            each.start()
        yield started
    finally:
        for each in started:
            each.kill()


@pytest.fixture
async def hosts(servers: list[RedisServer]) -> AsyncIterator[Hosts]:
    """Know the first server as the master."""
    known = Hosts({1: ("127.0.0.1", servers[0].port)})
    yield known
    for each in known.clients:
        await each.aclose()


@pytest.mark.integration
async def test_subscription_leaves_a_master_that_was_cut_off(
    servers: list[RedisServer], hosts: Hosts
) -> None:
    """It lives, answers and says nothing, while calls go to the new one."""
    url = parse_hosts("redis+sentinel://h", default_port=1, form="")
    client = directed_client(url, hosts.directory(), {"protocol": 2})
    store = RedisStore(client, pool="p", clock=SystemClock())
    async with store.events() as events, asyncio.timeout(10):
        event = asyncio.gather(anext(events))
        hosts.answers[1] = ("127.0.0.1", servers[1].port)
        await client.connection_pool.disconnect(inuse_connections=False)
        while not event.done():
            await store.leave(await store.join(ReplicaId("a")))
            await asyncio.wait({event}, timeout=1.2)
        (heard,) = event.result()
        assert ReplicaId("a") == heard
    await store.close()


@pytest.mark.integration
@pytest.mark.parametrize("path", ["redis+sentinel://{}/mm", "redis+cluster://{}"])
async def test_wrong_password_of_a_host_is_named(
    path: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Also beside hosts that are down."""
    server = RedisServer(tmp_path_factory.mktemp("secret"), "--requirepass", "right")
    server.start()
    try:
        url = path.format(f"127.0.0.1:{free_port()},127.0.0.1:{server.port}")
        store = RedisStore(connect(url, slot=0), pool="p", clock=SystemClock(), url=url)
        with pytest.raises(StoreMisconfigured, match="password"):
            await store.check()
        await store.close()
    finally:
        server.kill()
