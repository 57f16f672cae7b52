"""From raw JSON values to the bytes that are hashed and counted, `BYTES_PER_TOKEN` to a token."""

from array import array
from itertools import chain

import msgspec

from picker.requests.api import SHAPES
from picker.requests.errors import InvalidPrompt, MissingField
from picker.requests.fields import Reading, value_of
from picker.requests.media import placeholder, replace_media
from picker.requests.model import Api, ParseSettings

SEPARATOR = b"\0"
"""Stands between the parts of a prompt."""

TOKEN_SEPARATOR = 0xFFFFFFFF
"""Stands between the prompts of an int[][]."""

MAX_TOKEN_LISTS = 4096
"""Prompts of one int[][] that are read as numbers; of more, only the text is hashed and counted."""

_TOKENS = msgspec.json.Decoder(list[int])
_TOKEN_LISTS = msgspec.json.Decoder(list[list[int]])
_VALUES = msgspec.json.Decoder(list[msgspec.Raw])


def prompt_bytes(api: Api, reading: Reading, settings: ParseSettings) -> bytes:
    """Return what the prompt is hashed and counted from, in the order model servers render it.

    Raises RequestError if there is no prompt, or none of a type that the API knows.
    """
    shape = SHAPES[api]
    parts = []
    for name in shape.head:
        if value := value_of(reading.fields, name):
            parts.append(replace_media(inner(value, cut=name == reading.cut), settings))
            if name == reading.cut:
                return SEPARATOR.join(parts)
    for name in shape.prompt:
        if value := value_of(reading.fields, name):
            parts.append(_main_part(api, name, value, settings, cut=name == reading.cut))
            return SEPARATOR.join(parts)
    if reading.partial:
        return SEPARATOR.join(parts)
    raise MissingField(api.value, shape.prompt[0])


def inner(value: bytes, *, cut: bool) -> bytes:
    """Return what a longer conversation has in common with this one: a value without its end.

    A closing bracket or quote, and space before a bracket, would poison the last block.
    """
    if value[:1] == b'"':
        return value[1:] if cut else value[1:-1]
    return value[1:].strip() if cut else value[1:-1].strip()


def _main_part(api: Api, name: str, value: bytes, settings: ParseSettings, *, cut: bool) -> bytes:
    if name == "prompt_embeds":
        return placeholder(value, settings)
    if name == "prompt" or (api is Api.EMBEDDINGS and name == "input"):
        return _read_text_or_tokens(name, value, cut=cut)
    if value[:1] != b"[" and (name == "messages" or value[:1] != b'"'):
        raise InvalidPrompt(name, "must be an array")
    found = inner(value, cut=cut)
    if not found and not cut:
        raise MissingField(api.value, name)
    return replace_media(found, settings)


def _read_text_or_tokens(field: str, value: bytes, *, cut: bool) -> bytes:
    """Return the prompt of a string, string[], int[] or int[][]; raises InvalidPrompt."""
    first = value[:1]
    if first == b'"':
        return inner(value, cut=cut)
    if first != b"[":
        raise InvalidPrompt(field, "must be a string or an array")
    element = value[1:].lstrip()[:1]
    if element == b'"':
        if not cut:
            _check_strings(field, value)
        return inner(value, cut=cut)
    nested = element == b"["
    if nested and value.count(b"[") > MAX_TOKEN_LISTS:
        return inner(value, cut=cut)
    whole = _close_tokens(value, nested=nested) if cut else value
    return _token_bytes(field, whole, nested=nested)


def _check_strings(field: str, value: bytes) -> None:
    try:
        items = _VALUES.decode(value)
    except ValueError:  # lone surrogates, which read_whole let through
        return
    except RecursionError:
        raise InvalidPrompt(field, "nested too deeply") from None
    if any(memoryview(item)[0] != ord('"') for item in items):
        raise InvalidPrompt(field, "an array of strings holds something else")


def _token_bytes(field: str, value: bytes, *, nested: bool) -> bytes:
    """Return token ids as four bytes each."""
    try:
        if not nested:
            return array("I", _TOKENS.decode(value)).tobytes()
        lists = _TOKEN_LISTS.decode(value)
        tokens = array("I", chain.from_iterable((*ids, TOKEN_SEPARATOR) for ids in lists))
    except (ValueError, OverflowError, RecursionError):
        raise InvalidPrompt(field, "token ids must be integers of 32 bits without sign") from None
    return tokens[:-1].tobytes()


def _close_tokens(value: bytes, *, nested: bool) -> bytes:
    """Make a cut array of token ids whole, without the last id: it may go on beyond the cut."""
    head = value[: max(value.rfind(b","), 0)].rstrip()
    if not head:
        return b"[]"
    return head + (b"]]" if nested and not head.endswith(b"]") else b"]")
