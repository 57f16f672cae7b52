"""Writing another model into a body, leaving every other byte as it came."""

import msgspec

from picker.requests.fields import model_span


def splice_model(body: bytes, model: str, *, partial: bool = False) -> bytes | None:
    """Return the body with the value of its top-level `model` replaced, None if it has none there.

    Of repeated keys the last one is replaced, the one that `parse` reads. Nothing is ever inserted.
    Raises InvalidJson for a complete body that is not one JSON object.
    """
    span = model_span(body, partial=partial)
    if span is None:
        return None
    start, end = span
    return b"".join((body[:start], msgspec.json.encode(model), body[end:]))
