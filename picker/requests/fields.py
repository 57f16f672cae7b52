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
    try:
        return Reading(_DECODER.decode(body), partial=False, cut=None)
    except RecursionError:
        raise InvalidJson("nested too deeply", body) from None
    except ValueError as error:
        return Reading(_read_surrogates(body, error), partial=False, cut=None)


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


def offset_in(body: bytes, value: msgspec.Raw) -> int:
    """Return where a value that was decoded from this very body starts in it."""
    return _address(value) - _address(body)


def _address(buffer: bytes | msgspec.Raw) -> int:
    address: int = np.frombuffer(buffer, np.uint8).__array_interface__["data"][0]
    return address


def _read_surrogates(body: bytes, error: ValueError) -> Fields:
    """Read a body whose only fault may be lone surrogates, which the decoder refuses."""
    # Same length, so that values can be taken from the body as it came.
    repaired = _SURROGATE.sub(rb"\\ufffd", body)
    try:
        fields = _DECODER.decode(repaired) if repaired != body else None
    except (ValueError, RecursionError):
        fields = None
    if fields is None:
        raise InvalidJson(str(error), body) from None
    for name in Fields.__struct_fields__:
        value = getattr(fields, name)
        if value is not ABSENT:
            start = offset_in(repaired, value)
            setattr(fields, name, msgspec.Raw(body[start : start + len(memoryview(value))]))
    return fields
