"""Readiness and the health service's answers."""

import pytest
from grpc_health.v1 import health_pb2

from picker.readiness import SERVICES, Readiness

STATUS = health_pb2.HealthCheckResponse


def status(readiness: Readiness, service: str) -> int:
    """Return the answer to a check that came to the ext_proc port."""
    request = health_pb2.HealthCheckRequest(service=service).SerializeToString()
    return int(STATUS.FromString(readiness.check(request)).status)


@pytest.mark.parametrize("service", sorted(SERVICES - {"liveness"}))
def test_ready_from_discovery_until_drain(service: str) -> None:
    """Not before the first list of endpoints, not once shutdown has begun."""
    discovered: list[bool] = []
    readiness = Readiness(lambda: bool(discovered))
    assert STATUS.NOT_SERVING == status(readiness, service)
    discovered.append(True)
    assert STATUS.SERVING == status(readiness, service)
    readiness.draining = True
    assert STATUS.NOT_SERVING == status(readiness, service)


def test_alive_throughout() -> None:
    """A probe must not kill a picker that starts or drains."""
    readiness = Readiness(lambda: False)
    readiness.draining = True
    assert STATUS.SERVING == status(readiness, "liveness")


def test_other_services_are_unknown() -> None:
    """Neither up nor down."""
    assert STATUS.SERVICE_UNKNOWN == status(Readiness(lambda: True), "something.Else")
