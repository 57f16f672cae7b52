"""A whole system on this machine: model servers, pickers and Envoy as processes."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import yaml

from chaos.cluster.child import Child
from chaos.cluster.ports import check_free
from chaos.cluster.redis import start_redis
from chaos.errors import ChaosError
from chaos.gateway.command import parse_host_port
from chaos.gateway.config import GatewayMode, GatewaySpec, HostPort, bootstrap

HOST = "127.0.0.1"
READY_SECONDS = 20.0
POLL_SECONDS = 0.1
ENVOY = Path(sys.prefix).parent / ".venv-envoy" / "bin" / "envoy"
SERVERS_FROM = 10
"""Offset of the model servers' ports from the base port; the gateway's are the first."""


class ClusterSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to build."""

    folder: Path
    """For configuration and logs."""
    base_port: int
    mode: GatewayMode = GatewayMode.RESILIENT
    pickers: int = 2
    transport: str = "h2"
    redis: bool = False
    """Share the pickers' state through a redis-server of the cluster."""
    servers: int = 6
    fleet_flags: Sequence[str] = ("--speeds", "1.0,0.5")
    picker_flags: Sequence[str] = ()
    max_body_bytes: int = 32 << 20
    envoy: Path = ENVOY

    @property
    def ports(self) -> dict[int, str]:
        """Fixed ports and what they are for; pickers take free ones."""
        first = self.base_port + SERVERS_FROM
        servers = {first + i: f"model server {i}" for i in range(self.servers)}
        gateway = {self.base_port: "gateway", self.base_port + 1: "gateway's admin page"}
        redis = {self.base_port + 2: "Redis"} if self.redis else {}
        return gateway | redis | servers

    @property
    def state(self) -> str:
        """The pickers' `--state`."""
        return f"redis://{HOST}:{self.base_port + 2}" if self.redis else "memory"


class Picker(msgspec.Struct, frozen=True, kw_only=True):
    """A running picker replica and where it can be reached."""

    child: Child
    extproc: HostPort
    admin: HostPort

    @property
    def admin_url(self) -> str:
        return f"http://{self.admin.host}:{self.admin.port}"


class Cluster:
    """A running system. Get it from `cluster(spec)`."""

    def __init__(
        self,
        spec: ClusterSpec,
        *,
        fleet: Child,
        pickers: Sequence[Picker],
        envoy: Child,
        redis: Child | None,
    ) -> None:
        self.spec = spec
        self.redis = redis
        self.fleet = fleet
        self.pickers = list(pickers)
        self.envoy = envoy

    @property
    def url(self) -> str:
        """Where clients send requests."""
        return f"http://{HOST}:{self.spec.base_port}"

    @property
    def envoy_admin_url(self) -> str:
        return f"http://{HOST}:{self.spec.base_port + 1}"

    @property
    def server_urls(self) -> list[str]:
        first = self.spec.base_port + SERVERS_FROM
        return [f"http://{HOST}:{first + i}" for i in range(self.spec.servers)]


@asynccontextmanager
async def cluster(spec: ClusterSpec) -> AsyncIterator[Cluster]:
    """Start everything, yield it ready, end it. Raises ChaosError with one sentence."""
    if not spec.envoy.exists():
        raise ChaosError(f"no Envoy at {spec.envoy}: run make setup")
    check_free(HOST, spec.ports, flag="--base-port")
    async with AsyncExitStack() as stack:
        endpoints = spec.folder / "endpoints.yaml"
        fleet = await _start_fleet(spec, endpoints, stack)
        redis = await _start_redis(spec, stack) if spec.redis else None
        pickers = [await _start_picker(spec, endpoints, i, stack) for i in range(spec.pickers)]
        envoy = await _start_envoy(spec, pickers, stack)
        yield Cluster(spec, fleet=fleet, pickers=pickers, envoy=envoy, redis=redis)


async def _start_redis(spec: ClusterSpec, stack: AsyncExitStack) -> Child:
    return await start_redis(HOST, spec.base_port + 2, spec.folder, stack)


async def _start_fleet(spec: ClusterSpec, endpoints: Path, stack: AsyncExitStack) -> Child:
    command = Child.python(
        "chaos",
        "fleet",
        "--servers",
        str(spec.servers),
        "--base-port",
        str(spec.base_port + SERVERS_FROM),
        "--endpoints-out",
        str(endpoints),
        *spec.fleet_flags,
    )
    child = await Child.start("model servers", command, log=spec.folder / "fleet.log")
    stack.push_async_callback(child.stop)
    await child.line("ready")
    return child


async def _start_picker(
    spec: ClusterSpec, endpoints: Path, index: int, stack: AsyncExitStack
) -> Picker:
    command = Child.python(
        "picker",
        "serve",
        "--pool",
        "demo",
        "--replica-id",
        f"picker-{index}",
        "--extproc-address",
        f"{HOST}:0",
        "--health-address",
        f"{HOST}:0",
        "--admin-address",
        f"{HOST}:0",
        "--transport",
        spec.transport,
        "--endpoints",
        str(endpoints),
        "--state",
        spec.state,
        "--scrape",
        "--linger-seconds",
        "0",
        "--drain-seconds",
        "2",
        *spec.picker_flags,
    )
    name = f"picker {index}"
    child = await Child.start(name, command, log=spec.folder / f"picker-{index}.log")
    stack.push_async_callback(child.stop)
    ready = await child.line("ready ")
    where = dict(part.split("=", 1) for part in ready.split()[1:])
    return Picker(
        child=child,
        extproc=parse_host_port(where["extproc"]),
        admin=parse_host_port(where["admin"]),
    )


async def _start_envoy(
    spec: ClusterSpec, pickers: Sequence[Picker], stack: AsyncExitStack
) -> Child:
    first = spec.base_port + SERVERS_FROM
    document = bootstrap(
        GatewaySpec(
            mode=spec.mode,
            listen=HostPort(host=HOST, port=spec.base_port),
            admin=HostPort(host=HOST, port=spec.base_port + 1),
            pickers=[picker.extproc for picker in pickers],
            endpoints=[HostPort(host=HOST, port=first + i) for i in range(spec.servers)],
            max_body_bytes=spec.max_body_bytes,
        )
    )
    path = spec.folder / "envoy.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    command = [
        str(spec.envoy),
        "-c",
        str(path),
        "--use-dynamic-base-id",
        "--concurrency",
        "1",
        "--log-level",
        "warning",
        "--drain-time-s",
        "1",
    ]
    child = await Child.start("Envoy", command, log=spec.folder / "envoy.log")
    stack.push_async_callback(child.stop)
    await _until_ready(child, f"http://{HOST}:{spec.base_port + 1}/ready")
    return child


async def _until_ready(child: Child, url: str) -> None:
    async with aiohttp.ClientSession() as session:
        try:
            async with asyncio.timeout(READY_SECONDS):
                while not await _answers(session, url):
                    if child.returncode is not None:
                        raise ChaosError(f"{child.name} did not start: {child.last_words()}")
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise ChaosError(f"{child.name} was not ready in {READY_SECONDS:.0f} s") from None


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False
