"""Whether this replica should get traffic, and the gRPC health service that says so."""

from collections.abc import Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

EXT_PROC_SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
CHECK_PATH = "/grpc.health.v1.Health/Check"
LIVENESS = "liveness"
SERVICES = frozenset({"", "inference-extension", LIVENESS, "readiness", EXT_PROC_SERVICE})


class Readiness:
    """Ready once the first endpoint list has come, and until shutdown begins."""

    def __init__(self, discovered: Callable[[], bool]) -> None:
        self._discovered = discovered
        self.draining = False

    @property
    def ready(self) -> bool:
        return self._discovered() and not self.draining

    def serving(self, service: str) -> bool | None:
        """Answer for a service name of the field; None: there is no such service."""
        if service not in SERVICES:
            return None
        return True if service == LIVENESS else self.ready

    def check(self, request: bytes) -> bytes:
        """Answer a serialised HealthCheckRequest: health checks may come to the ext_proc port."""
        answer = self.serving(health_pb2.HealthCheckRequest.FromString(request).service)
        return bytes(_response(answer).SerializeToString())


class HealthService(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # the stubs are untyped
    """grpc.health.v1 over a `Readiness`, for a port of its own."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    async def Check(  # noqa: N802  the name on the wire
        self,
        request: health_pb2.HealthCheckRequest,
        context: "grpc.aio.ServicerContext[Any, Any]",
    ) -> health_pb2.HealthCheckResponse:
        answer = self._readiness.serving(request.service)
        if answer is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service!r}")
        return _response(answer)


async def start_health_server(readiness: Readiness, address: str) -> tuple[grpc.aio.Server, int]:
    """Serve health on an address of its own; return the server and its port.

    Raises OSError if the address cannot be used.
    """
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    health_pb2_grpc.add_HealthServicer_to_server(HealthService(readiness), server)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(str(error)) from error
    await server.start()
    return server, port


def _response(answer: bool | None) -> health_pb2.HealthCheckResponse:  # noqa: FBT001  tri-state
    statuses = health_pb2.HealthCheckResponse
    if answer is None:
        return health_pb2.HealthCheckResponse(status=statuses.SERVICE_UNKNOWN)
    return health_pb2.HealthCheckResponse(
        status=statuses.SERVING if answer else statuses.NOT_SERVING
    )
