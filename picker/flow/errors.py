"""Why a request is refused: what the client is told, and the gateway's reason header."""

from enum import Enum


class DropReason(Enum):
    """Values of `x-llm-d-request-dropped-reason`."""

    SATURATED = "rejected-saturated"
    NO_ENDPOINTS = "rejected-no-endpoints"
    SHUTTING_DOWN = "rejected-shutting-down"


class Refused(Exception):  # noqa: N818  a refusal is an answer, not a fault
    """The client gets an HTTP error of ours instead of a model server's answer."""

    def __init__(
        self,
        *,
        status: int,
        code: str,
        message: str,
        reason: DropReason | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        """Keep the parts of the answer; `code` is the machine-readable one of the error body."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds


def no_endpoints(message: str) -> Refused:
    """No endpoint exists that may serve the request: 503, worth a retry."""
    return Refused(
        status=503,
        code="no_endpoints",
        message=message,
        reason=DropReason.NO_ENDPOINTS,
        retry_after_seconds=1,
    )


def filtered_out() -> Refused:
    """Endpoints exist, the profile's filters left none: 429, contention."""
    return Refused(
        status=429,
        code="saturated",
        message="no endpoints available for the given request",
        reason=DropReason.SATURATED,
        retry_after_seconds=1,
    )
