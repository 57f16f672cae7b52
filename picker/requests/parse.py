"""From path, headers and body to an InferenceRequest, in one pass and as a pure function.

What a partial body (BUFFERED_PARTIAL) hides is unknown, never an error. Two hidden fields change
the hashes: `tools` or `system` that a client sends after its messages, and `model`, for which the
header `x-gateway-model-name` stands in. All replicas see the same bytes and so agree; but when such
a conversation grows beyond the gateway's buffer, its prefix is new once. Clients that send `model`,
`tools` and `system` first, or gateways that set the header, do not pay for that.
"""

from collections.abc import Callable, Mapping

import msgspec

from picker.requests import headers as names
from picker.requests.api import SHAPES, api_of
from picker.requests.errors import ModelNotFound, RequestError
from picker.requests.fields import Fields, Reading, read_partial, read_whole, value_of
from picker.requests.model import BYTES_PER_TOKEN, Api, InferenceRequest, ParseSettings
from picker.requests.prefix import chain, chain_seed
from picker.requests.prompt import prompt_bytes

MAX_NUMBER_DIGITS = 15
DEFAULT_SETTINGS = ParseSettings()

RewriteModel = Callable[[str], str | None]
"""From the client's model to the target model; None leaves it to the header, then to the client."""


def parse(
    path: str,
    headers: Mapping[str, bytes],
    body: bytes,
    *,
    partial: bool = False,
    settings: ParseSettings = DEFAULT_SETTINGS,
    rewrite: RewriteModel | None = None,
) -> InferenceRequest:
    """Read a request; raises RequestError for a body that its API cannot mean.

    An empty `path` is taken from the headers. A model that the pool does not know is no error.
    """
    path = (path or names.request_path(headers)).partition("?")[0].rstrip("/")
    api = api_of(path)
    hidden = max(names.announced_length(headers) - len(body), 0) if partial else 0
    if api is Api.OTHER or not body or names.is_encoded(headers):
        return _pass_through(path, headers, body, hidden, settings, partial=partial)
    reading = read_partial(body) if partial else read_whole(body)
    model, target = _models(reading, headers, rewrite)
    if target is None and settings.require_model and not partial:
        raise ModelNotFound
    prompt = _prompt(api, reading, settings)
    return InferenceRequest(
        request_id=names.first_value(headers, names.REQUEST_ID) or "",
        path=path,
        model=model,
        target_model=target,
        api=api,
        stream=bytes(reading.fields.stream) == b"true",
        prompt_tokens=(len(prompt) + hidden) // BYTES_PER_TOKEN,
        max_output_tokens=_output_cap(reading.fields, SHAPES[api].output_cap),
        prefix=chain(
            prompt,
            seed=chain_seed(target or "", value_of(reading.fields, "cache_salt")),
            block_bytes=settings.block_bytes,
            max_blocks=settings.max_prefix_blocks,
        ),
        block_tokens=settings.block_tokens,
        partial=partial,
        body_bytes=len(body) + hidden,
        objective=names.first_value(headers, names.OBJECTIVE),
        fairness_id=names.first_value(headers, names.FAIRNESS_ID),
        headers=headers,
    )


def _pass_through(
    path: str,
    headers: Mapping[str, bytes],
    body: bytes,
    hidden: int,
    settings: ParseSettings,
    *,
    partial: bool,
) -> InferenceRequest:
    """Return a request of which only the size is known; it counts if it looks like JSON."""
    size = len(body) + hidden
    return InferenceRequest(
        request_id=names.first_value(headers, names.REQUEST_ID) or "",
        path=path,
        model=None,
        target_model=None,
        api=Api.OTHER,
        stream=False,
        prompt_tokens=size // BYTES_PER_TOKEN if body[:1] == b"{" else 0,
        max_output_tokens=None,
        prefix=(),
        block_tokens=settings.block_tokens,
        partial=partial,
        body_bytes=size,
        objective=names.first_value(headers, names.OBJECTIVE),
        fairness_id=names.first_value(headers, names.FAIRNESS_ID),
        headers=headers,
    )


def _models(
    reading: Reading, headers: Mapping[str, bytes], rewrite: RewriteModel | None
) -> tuple[str | None, str | None]:
    """Return the client's model and the target model."""
    model = _string(reading.fields.model)
    if model is None and reading.partial:
        model = names.first_value(headers, names.MODEL)
    target = rewrite(model) if rewrite and model else None
    return model, target or names.first_value(headers, names.MODEL_REWRITE) or model


def _prompt(api: Api, reading: Reading, settings: ParseSettings) -> bytes:
    """Return the prompt's bytes; a partial body is never refused, whatever it holds."""
    try:
        return prompt_bytes(api, reading, settings)
    except RequestError:
        if reading.partial:
            return b""
        raise


def _string(value: msgspec.Raw) -> str | None:
    """Return a non-empty JSON string's text, None for anything else."""
    try:
        return msgspec.json.decode(value, type=str) or None
    except (ValueError, RecursionError):
        return None


def _output_cap(fields: Fields, names_in_order: tuple[str, ...]) -> int | None:
    """Return the first cap that is a whole number; negative and fractional ones do not count."""
    for name in names_in_order:
        value = bytes(getattr(fields, name))
        if value.isdigit() and len(value) <= MAX_NUMBER_DIGITS:
            return int(value)
    return None
