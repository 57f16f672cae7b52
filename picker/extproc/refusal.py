"""Errors to HTTP: the one place that says what a client is told."""

import msgspec

from picker.extproc import codec
from picker.flow.errors import Refused
from picker.requests.errors import RequestError

TYPES = {
    400: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
}


def body_too_large(limit_bytes: int) -> Refused:
    """The request body is above `max_request_body_bytes`."""
    return Refused(
        status=413,
        code="request_too_large",
        message=f"request body is larger than {limit_bytes} bytes",
    )


def refusal_reply(error: RequestError | Refused) -> bytes:
    """Return the ImmediateResponse for a refusal, with an OpenAI-style error body."""
    code = error.code if isinstance(error, Refused) else error.code.value
    kind = TYPES.get(error.status, "server_error")
    body = {"error": {"message": error.message, "type": kind, "code": code}}
    headers = [("content-type", b"application/json")]
    if isinstance(error, Refused) and error.reason is not None:
        headers.append((codec.DROPPED_REASON, error.reason.value.encode()))
    if isinstance(error, Refused) and error.retry_after_seconds is not None:
        headers.append(("retry-after", str(error.retry_after_seconds).encode()))
    return codec.immediate_reply(
        status=error.status,
        headers=headers,
        body=msgspec.json.encode(body),
        details=f"murmuration_{code}",
    )
