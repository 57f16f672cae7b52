import json

import pytest

from picker.requests.errors import InvalidJson
from picker.requests.fields import model_span, read_partial, read_whole, value_of


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'"text"',
        b'{"model":"m"',
        b'{"model":"m"} x',
        b'\xef\xbb\xbf{"model":"m"}',
        b'{"model":NaN}',
        b'{"x":Infinity}',
        b'{"x":01}',
        b'{"x":"\\q"}',
        b'{"x":"a\nb"}',
        b'{"messages":' + b"[" * 100_000,
        b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"x":' + b'{"x":' * 100_000,
    ],
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    """Byte order marks, NaN, trailing bytes and bottomless nesting are refused, not crashes."""
    with pytest.raises(InvalidJson):
        read_whole(body)


@pytest.mark.parametrize("escape", [r"\ud800", r"\udc00", r"\ud800\u0041", r"\uDFFF\uD800"])
def test_lone_surrogates_are_accepted_as_they_came(escape: str) -> None:
    """Model servers take lone surrogates, so do we, and without changing a byte of the value."""
    value = f'["{escape}", "\\ud83d\\ude00", "\\\\ud800"]'
    fields = read_whole(f'{{"x": 1, "messages": {value}, "model": "m"}}'.encode()).fields
    assert value.encode() == value_of(fields, "messages")
    assert b'"m"' == value_of(fields, "model")


@pytest.mark.parametrize("body", [b'{"messages":["\xff"]}', b'{"messages":[1e999999]}'])
def test_values_are_not_interpreted(body: bytes) -> None:
    """Invalid UTF-8 and huge numbers inside a value are the model server's concern."""
    assert body[12:-1] == value_of(read_whole(body).fields, "messages")


def test_last_of_repeated_keys_counts() -> None:
    """Whole and partial bodies agree with json.loads on duplicates and on escaped names."""
    body = b'{"model":"a","\\u006dodel":"b","prompt":"x"}'
    assert "b" == json.loads(body)["model"]
    assert b'"b"' == value_of(read_whole(body).fields, "model")
    assert b'"b"' == value_of(read_partial(body).fields, "model")


def test_partial_tells_which_field_is_cut() -> None:
    """The cut field is named, a scalar that may go on is left out."""
    reading = read_partial(b'{"stream":true,"messages":[{"role"')
    assert ("messages", b"true") == (reading.cut, value_of(reading.fields, "stream"))
    assert b"" == value_of(read_partial(b'{"max_tokens":12').fields, "max_tokens")


def test_null_is_absent() -> None:
    """A null field reads as one that is not there."""
    assert b"" == value_of(read_whole(b'{"tools":null}').fields, "tools")


@pytest.mark.parametrize("body", [b'{"model": "tiny", "x": 1}', b'{"x":"\\ud800","model": "tiny"}'])
@pytest.mark.parametrize("partial", [False, True])
def test_model_span_points_into_the_body(body: bytes, *, partial: bool) -> None:
    """Offsets hold for the bytes as they came."""
    span = model_span(body, partial=partial)
    assert span is not None
    assert b'"tiny"' == body[slice(*span)]
