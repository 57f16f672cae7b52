"""Request headers that say how a request is treated; names are lower-cased."""

from collections.abc import Mapping

OBJECTIVE = ("x-llm-d-inference-objective", "x-gateway-inference-objective")
FAIRNESS_ID = ("x-llm-d-inference-fairness-id", "x-gateway-inference-fairness-id")
MODEL_REWRITE = ("x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite")
MODEL = ("x-gateway-model-name",)
"""Set by body-based routers in front of us; counts only where a partial body hides the model."""
REQUEST_ID = ("x-request-id",)
PATHS = (":path", "x-original-path", "x-forwarded-path")

DEFAULT_PATH = "/v1/completions"


def first_value(headers: Mapping[str, bytes], names: tuple[str, ...]) -> str | None:
    """Return the first of these headers that is not empty: a new name goes before its alias."""
    for name in names:
        value = headers.get(name)
        if value:
            return value.decode("utf-8", "replace")
    return None


def request_path(headers: Mapping[str, bytes]) -> str:
    """Return the path as the gateway got it, still with its query."""
    return first_value(headers, PATHS) or DEFAULT_PATH


def is_encoded(headers: Mapping[str, bytes]) -> bool:
    """Return whether the body is compressed, so that we cannot read it."""
    return headers.get("content-encoding", b"identity") not in {b"", b"identity"}


def announced_length(headers: Mapping[str, bytes]) -> int:
    """Return content-length, 0 if there is none that makes sense."""
    value = headers.get("content-length", b"")
    return int(value) if value.isdigit() and len(value) < 16 else 0
