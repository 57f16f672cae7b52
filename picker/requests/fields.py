"""The fields of a body that matter, as raw JSON; nothing else is built."""

import re
from typing import NamedTuple

import msgspec
import numpy as np

from picker.requests.errors import InvalidJson
from picker.requests.scan import top_level

ABSENT = msgspec.Raw()


class Fields(msgspec.Struct, kw_only=True):
    """Top-level fields of all APIs. The last of repeated keys counts, as it does for servers."""

    model: msgspec.Raw = ABSENT
    messages: msgspec.Raw = ABSENT
    prompt: msgspec.Raw = ABSENT
    prompt_embeds: msgspec.Raw = ABSENT
    input: msgspec.Raw = ABSENT
    system: msgspec.Raw = ABSENT
    instructions: msgspec.Raw = ABSENT
    tools: msgspec.Raw = ABSENT
    stream: msgspec.Raw = ABSENT
    max_tokens: msgspec.Raw = ABSENT
    max_completion_tokens: msgspec.Raw = ABSENT
    max_output_tokens: msgspec.Raw = ABSENT
    cache_salt: msgspec.Raw = ABSENT


class Reading(NamedTuple):
    """The fields, and for a partial body the name of the one that its end cuts off."""

    fields: Fields
    partial: bool
    cut: str | None


_DECODER = msgspec.json.Decoder(Fields)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


def read_whole(body: bytes) -> Reading:
    """Read a complete body; raises InvalidJson unless it is one JSON object and nothing else.

    Lone surrogate escapes are accepted, as model servers do; invalid UTF-8 is not looked for.
    """
    fields, source = _decode(body)
    if source is not body:
        for name in Fields.__struct_fields__:
            span = _span(getattr(fields, name), source)
            setattr(fields, name, msgspec.Raw(body[slice(*span)]) if span else ABSENT)
    return Reading(fields, partial=False, cut=None)


def read_partial(body: bytes) -> Reading:
    """Read what is there of a body that may be cut off anywhere; never raises."""
    fields, cut = Fields(), None
    for span in top_level(body):
        if span.name in Fields.__struct_fields__:
            setattr(fields, span.name, msgspec.Raw(body[span.start : span.end]))
            cut = span.name if span.cut else cut
    return Reading(fields, partial=True, cut=cut)


def value_of(fields: Fields, name: str) -> bytes:
    """Return the raw JSON of a field, nothing if it is absent or null."""
    value = bytes(getattr(fields, name))
    return b"" if value == b"null" else value


def model_span(body: bytes, *, partial: bool) -> tuple[int, int] | None:
    """Return where the value of the model that counts lies; None if it is absent or cut off.

    Raises InvalidJson for a complete body that is not one JSON object.
    """
    if partial:
        models = [span for span in top_level(body) if span.name == "model"]
        return models[-1][1:3] if models and not models[-1].cut else None
    fields, source = _decode(body)
    return _span(fields.model, source)


def _decode(body: bytes) -> tuple[Fields, bytes]:
    """Return the fields, and the bytes that they are views of: the body or one of equal length."""
    try:
        return _DECODER.decode(body), body
    except RecursionError:
        raise InvalidJson("nested too deeply", body) from None
    except ValueError as error:
        repaired = _SURROGATE.sub(rb"\\ufffd", body)
        try:
            return _DECODER.decode(repaired), repaired
        except (ValueError, RecursionError):
            raise InvalidJson(str(error), body) from None


def _span(value: msgspec.Raw, source: bytes) -> tuple[int, int] | None:
    """Return where a value lies in the bytes from which it was decoded."""
    if value is ABSENT:
        return None
    start = _address(value) - _address(source)
    return start, start + len(memoryview(value))


def _address(buffer: bytes | msgspec.Raw) -> int:
    address: int = np.frombuffer(buffer, np.uint8).__array_interface__["data"][0]
    return address
