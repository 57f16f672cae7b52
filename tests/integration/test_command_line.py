"""The picker's command line, as processes."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp
import grpc
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chaos.cluster.child import Child
from picker.extproc.modes import BodyMode
from tests.support import ext_proc as gw
from tests.support.serving import Gateway

pytestmark = pytest.mark.integration

FREE = {
    f"--{name}": "127.0.0.1:0" for name in ("extproc-address", "health-address", "admin-address")
}
Start = Callable[..., AbstractAsyncContextManager[tuple[Child, dict[str, str]]]]


@pytest.fixture
def endpoints(tmp_path: Path) -> Path:
    """A discovery file of two endpoints that nobody scrapes."""
    path = tmp_path / "endpoints.yaml"
    listed = [{"name": f"m{n}", "address": f"127.0.0.{n}", "port": 8000} for n in (1, 2)]
    path.write_text(yaml.safe_dump({"endpoints": listed}))
    return path


@pytest.fixture
def start(tmp_path: Path, endpoints: Path) -> Start:
    """Return a starter of picker processes that yields the parts of their ready line."""

    @asynccontextmanager
    async def start_picker(
        command: str = "serve", *switches: str, **flags: str
    ) -> AsyncIterator[tuple[Child, dict[str, str]]]:
        given = {f"--{name.replace('_', '-')}": value for name, value in flags.items()}
        chosen = FREE | {"--endpoints": str(endpoints), "--linger-seconds": "0"} | given
        pairs = [part for pair in chosen.items() for part in pair]
        log = tmp_path / "picker.log"
        child = await Child.start(
            "picker", Child.python("picker", command, *switches, *pairs), log=log
        )
        try:
            ready = await child.line("ready ")
            yield child, dict(part.split("=", 1) for part in ready.split()[1:])
        finally:
            await child.kill()

    return start_picker


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "picker", *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env={"PATH": "/usr/bin:/bin", **environment},
    )


async def test_one_line_says_where_it_serves(start: Start) -> None:
    """Tools wait for `ready extproc=… health=… admin=…`; all three answer then."""
    async with start() as (_, where):
        assert {"extproc", "health", "admin"} == set(where)
        async with grpc.aio.insecure_channel(where["health"]) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            for service in ("", "inference-extension", "liveness", "readiness"):
                reply = await stub.Check(health_pb2.HealthCheckRequest(service=service))
                assert health_pb2.HealthCheckResponse.SERVING == reply.status
        async with aiohttp.ClientSession() as session:
            for path in ("/metrics", "/healthz", "/readyz", "/debug/view", "/debug/picks?n=5"):
                async with session.get(f"http://{where['admin']}{path}") as response:
                    assert 200 == response.status


@pytest.mark.parametrize("transport", ["h2", "grpcio"])
async def test_sigterm_lets_streams_finish(start: Start, transport: str) -> None:
    """Not ready at once, the open stream is served to its end, exit 0."""
    async with start(transport=transport, drain_seconds="10", linger_seconds="1") as (child, where):
        async with grpc.aio.insecure_channel(where["extproc"]) as channel:
            call = Gateway(channel).open()
            await call.write(gw.request_headers(mode=BodyMode.BUFFERED))
            await call.read()
            child.signal(signal.SIGTERM)
            assert health_pb2.HealthCheckResponse.NOT_SERVING == await status_once_draining(where)
            await call.write(gw.request_body())
            reply = gw.read(await call.read())  # type: ignore[arg-type]  # not EOF here
            assert gw.destination_in_metadata(reply)
            await call.done_writing()
            assert grpc.StatusCode.OK is await call.code()
        assert 0 == await child.wait()


async def status_once_draining(where: dict[str, str]) -> int:
    """Return the readiness as soon as the signal has been heard."""
    async with grpc.aio.insecure_channel(where["health"]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="readiness")
        for _ in range(50):
            reply = await stub.Check(request)
            if health_pb2.HealthCheckResponse.SERVING != reply.status:
                break
            await asyncio.sleep(0.01)
        return int(reply.status)


async def test_drain_is_bounded(start: Start) -> None:
    """A stream that does not end is ended; exit 0 all the same."""
    async with (
        start(drain_seconds="0.2") as (child, where),
        grpc.aio.insecure_channel(where["extproc"]) as channel,
    ):
        call = Gateway(channel).open()
        await call.write(gw.request_headers(mode=BodyMode.BUFFERED))
        await call.read()
        assert 0 == await child.stop()
        assert grpc.StatusCode.UNAVAILABLE is await call.code()


async def test_a_second_signal_ends_at_once(start: Start) -> None:
    """Whoever insists need not wait for the drain; the status says which signal it was."""
    async with start(linger_seconds="60") as (child, _):
        child.signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        assert 128 + signal.SIGTERM == await child.stop()


async def test_standalone_replicas_share_their_load(start: Start) -> None:
    """What one books, the other's view shows; both are named."""
    async with start("standalone", replicas="2", pool="shared") as (_, where):
        first, second = where["extproc"].split(",")
        assert first != second
        async with grpc.aio.insecure_channel(first) as channel:
            call = Gateway(channel).open()
            await call.write(gw.request_headers(mode=BodyMode.BUFFERED))
            await call.read()
            await call.write(gw.request_body())
            await call.read()
            view = await view_with_requests(where["admin"].split(",")[1], 1)
            assert ["shared", 2] == [view["pool"], len(view["replicas"])]
            call.cancel()
            await view_with_requests(where["admin"].split(",")[1], 0)


async def view_with_requests(admin: str, requests: int) -> dict[str, list[dict[str, int]]]:
    """Return a replica's view once it counts that many requests."""
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"http://{admin}/debug/view") as response:
                view: dict[str, list[dict[str, int]]] = await response.json()
            if requests == sum(endpoint["requests"] for endpoint in view["endpoints"]):
                return view
            await asyncio.sleep(0.01)


async def test_self_signed_tls(start: Start) -> None:
    """`--secure-serving` alone encrypts; a plain-text client is turned away."""
    async with (
        start("serve", "--secure-serving") as (_, where),
        grpc.aio.insecure_channel(where["extproc"]) as channel,
    ):
        _, status = await Gateway(channel).exchange(gw.request_headers())
        assert grpc.StatusCode.UNAVAILABLE is status


@pytest.mark.parametrize("flag", ["extproc", "health", "admin"])
def test_a_port_in_use_is_one_sentence(flag: str, endpoints: Path) -> None:
    """It names the flag and the address; no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        flags = FREE | {f"--{flag}-address": address, "--endpoints": str(endpoints)}
        result = run("serve", *[part for pair in flags.items() for part in pair])
    assert 1 == result.returncode
    errors = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    (error,) = errors
    assert f"--{flag}-address" in error
    assert address in error
    assert "Traceback" not in result.stderr


BAD_STARTS = {
    "no endpoints": ([], "endpoints: name the file"),
    "missing file": (["--endpoints", "/nowhere/endpoints.yaml"], "/nowhere/endpoints.yaml"),
    "workers on memory": (["--workers", "2"], "workers: more than 1 needs a shared state"),
    "unknown state": (["--state", "etcd://x"], "state: 'etcd://x'"),
    "address": (["--extproc-address", "9002"], "extproc_address: '9002' is no address"),
    "transport": (["--transport", "quic"], "transport: Input should be 'h2' or 'grpcio'"),
    "certificate alone": (["--cert-file", "x.pem"], "cert_file, key_file: give both or none"),
    "missing config": (["--config", "/nowhere/config.yaml"], "config: cannot read /nowhere"),
}


@pytest.mark.parametrize("kind", BAD_STARTS)
def test_a_bad_start_names_the_field(kind: str, endpoints: Path) -> None:
    """One sentence with the fix, exit 1."""
    arguments, expected = BAD_STARTS[kind]
    if kind not in {"no endpoints", "missing file"}:
        arguments = ["--endpoints", str(endpoints), *arguments]
    free = [part for pair in FREE.items() for part in pair if pair[0] not in arguments]
    result = run("serve", *free, *arguments)
    assert 1 == result.returncode
    assert expected in result.stderr
    assert "Traceback" not in result.stderr


def test_flags_win_over_environment_and_file(tmp_path: Path) -> None:
    """All three can say everything; a bad value from any of them is named."""
    settings = tmp_path / "settings.yaml"
    settings.write_text("drain_seconds: -1\n")
    result = run("serve", "--settings", str(settings))
    assert "drain_seconds: Input should be greater than or equal to 0" in result.stderr
    result = run("serve", MURMURATION_WORKERS="0", MURMURATION_SETTINGS=str(settings))
    assert "workers: Input should be greater than or equal to 1" in result.stderr
    result = run("serve", "--workers", "1", MURMURATION_WORKERS="0")
    assert "endpoints: name the file" in result.stderr


GOOD_CONFIG = """\
apiVersion: inference.networking.x-k8s.io/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: kv-cache-utilization-scorer
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: queue-scorer, weight: 2}
  - {pluginRef: kv-cache-utilization-scorer}
"""


def test_check_prints_the_effective_configuration(tmp_path: Path) -> None:
    """Defaults are spelled out, as JSON."""
    path = tmp_path / "config.yaml"
    path.write_text(GOOD_CONFIG)
    result = run("check", "--config", str(path))
    assert 0 == result.returncode
    effective = json.loads(result.stdout)
    assert "max-score-picker" in {plugin["type"] for plugin in effective["plugins"]}
    weights = [use.get("weight") for use in effective["schedulingProfiles"][0]["plugins"]]
    assert [2.0, 1.0, None] == weights


def test_check_names_the_field_of_a_mistake(tmp_path: Path) -> None:
    """Exit 1 with the path."""
    path = tmp_path / "config.yaml"
    path.write_text(GOOD_CONFIG.replace("weight: 2", "wait: 2"))
    result = run("check", "--config", str(path))
    assert 1 == result.returncode
    assert "$.schedulingProfiles[0].plugins[0]" in result.stderr
    assert "wait" in result.stderr
