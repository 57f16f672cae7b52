"""Readiness, as a value and as the gRPC health service."""

from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from picker.readiness import EXT_PROC_SERVICE, SERVICES, Readiness, start_health_server

Status = health_pb2.HealthCheckResponse
NAMES = ["", "inference-extension", "readiness", EXT_PROC_SERVICE]


class Discovery:
    """Whether the first endpoint list has come."""

    def __init__(self, *, done: bool) -> None:
        self.done = done

    def __call__(self) -> bool:
        return self.done


def ready(*, discovered: bool = True, draining: bool = False) -> Readiness:
    built = Readiness(Discovery(done=discovered))
    built.draining = draining
    return built


def check(readiness: Readiness, service: str) -> int:
    """Return the status that a check on the ext_proc port gets."""
    request = health_pb2.HealthCheckRequest(service=service).SerializeToString()
    status: int = Status.FromString(readiness.check(request)).status
    return status


@pytest.mark.parametrize(
    ("discovered", "draining", "expected"),
    [(False, False, False), (True, False, True), (True, True, False), (False, True, False)],
)
def test_ready_from_the_first_endpoints_until_draining(
    discovered: bool,  # noqa: FBT001  a table
    draining: bool,  # noqa: FBT001
    expected: bool,  # noqa: FBT001
) -> None:
    """Before and after, every answer would be a refusal."""
    assert expected == ready(discovered=discovered, draining=draining).ready


@pytest.mark.parametrize("service", NAMES)
def test_services_follow_readiness(service: str) -> None:
    """All names that gateways and charts use."""
    assert Status.SERVING == check(ready(), service)
    assert Status.NOT_SERVING == check(ready(draining=True), service)


def test_liveness_is_serving_whatever_readiness_says() -> None:
    """A draining process must not be restarted."""
    assert Status.SERVING == check(ready(discovered=False), "liveness")
    assert Status.SERVING == check(ready(draining=True), "liveness")


def test_unknown_service_is_said_to_be_unknown() -> None:
    """In a status of its own."""
    assert Status.SERVICE_UNKNOWN == check(ready(), "other")
    assert None is ready().serving("other")


def test_every_name_is_answered() -> None:
    """And no other."""
    assert {*NAMES, "liveness"} == SERVICES


@pytest.fixture
async def readiness() -> Readiness:
    """Return one that is ready."""
    return ready()


@pytest.fixture
async def stub(readiness: Readiness) -> AsyncIterator[health_pb2_grpc.HealthStub]:
    """Serve it on loopback and connect."""
    server, port = await start_health_server(readiness, "127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield health_pb2_grpc.HealthStub(channel)
    await server.stop(None)


async def ask(stub: health_pb2_grpc.HealthStub, service: str) -> int:
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
    status: int = answer.status
    return status


async def test_health_port_answers_as_it_is_now(
    stub: health_pb2_grpc.HealthStub, readiness: Readiness
) -> None:
    """Draining shows at once."""
    assert Status.SERVING == await ask(stub, "readiness")
    readiness.draining = True
    assert Status.NOT_SERVING == await ask(stub, "readiness")
    assert Status.SERVING == await ask(stub, "liveness")


async def test_health_port_does_not_find_other_services(stub: health_pb2_grpc.HealthStub) -> None:
    """NOT_FOUND, as the health protocol says."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(stub, "other")
    assert grpc.StatusCode.NOT_FOUND is caught.value.code()


async def test_address_in_use_is_an_os_error() -> None:
    """The composition root turns it into a sentence with the flag's name."""
    server, port = await start_health_server(ready(), "127.0.0.1:0")
    with pytest.raises(OSError, match=str(port)):
        await start_health_server(ready(), f"127.0.0.1:{port}")
    await server.stop(None)
