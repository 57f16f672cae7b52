"""What can be changed on a running model server, checked field by field."""

from typing import Annotated

import msgspec

Ratio = Annotated[float, msgspec.Meta(ge=0, le=1)]
Status = Annotated[int, msgspec.Meta(ge=200, le=599)]
ErrorStatus = Annotated[int, msgspec.Meta(ge=400, le=599)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=3600)]
Speed = Annotated[float, msgspec.Meta(gt=0, le=1000)]


class InvalidKnobs(ValueError):  # noqa: N818  reads as the state it reports
    """A change of knobs is not acceptable; the message names the field."""


class Knobs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The present behaviour of one model server."""

    speed: Speed = 1.0
    """Work done per second, 1 being the engine as specified."""
    hang: bool = False
    """Accept requests and never answer; answers in progress stall until it is false again."""
    headers_with_first_token: bool = False
    """Hold a stream's response headers until its first token; vLLM sends them at once."""
    error_rate: Ratio = 0.0
    """Share of inference requests answered with `error_status`."""
    error_status: ErrorStatus = 503
    reset_rate: Ratio = 0.0
    """Share of inference requests whose connection is cut half-way through the answer."""
    metrics_delay_seconds: Seconds = 0.0
    metrics_frozen: bool = False
    """Answer scrapes with the page of the moment this was set."""
    metrics_status: Status = 200
    """Other than 200: scrapes get this status and no page."""
    health_status: Status = 200


def change(knobs: Knobs, body: bytes) -> Knobs:
    """Return the knobs with the fields of a JSON object replaced. Raises InvalidKnobs."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, object])
        return msgspec.convert({**msgspec.structs.asdict(knobs), **fields}, Knobs)
    except msgspec.DecodeError as error:
        raise InvalidKnobs(str(error)) from error
