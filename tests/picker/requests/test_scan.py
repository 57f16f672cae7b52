import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picker.requests.scan import MAX_FIELDS, MAX_SCAN_BYTES, Span, top_level

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=8)


def fields(body: bytes) -> dict[str, bytes]:
    return {span.name: body[span.start : span.end] for span in top_level(body)}


@settings(deadline=None)
@given(OBJECTS, st.sampled_from([None, 2]), st.booleans())
def test_whole_objects_read_as_the_decoder_reads_them(
    value: dict[str, object],
    indent: int | None,
    ascii_only: bool,  # noqa: FBT001
) -> None:
    """Names and values of all top-level fields agree with the standard library."""
    body = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "replace")
    expected = json.loads(body)
    if not ascii_only:
        expected = {name.encode().decode("latin-1"): found for name, found in expected.items()}
    if all("\\" not in json.dumps(name, ensure_ascii=ascii_only) for name in value):
        assert expected == {name: json.loads(raw) for name, raw in fields(body).items()}


@settings(deadline=None)
@given(OBJECTS, st.data())
def test_only_the_last_field_of_a_cut_object_is_cut(
    value: dict[str, object], data: st.DataObject
) -> None:
    """Cut anywhere, all fields but the last read as they do in the whole object."""
    body = json.dumps(value).encode()
    whole = list(top_level(body))
    spans = list(top_level(body[: data.draw(st.integers(0, len(body)))]))
    assert not any(span.cut for span in spans[:-1])
    assert [span for span in spans if not span.cut] == whole[: sum(not s.cut for s in spans)]
    if spans and spans[-1].cut:
        assert (spans[-1].name, spans[-1].start) == whole[len(spans) - 1][:2]


@settings(deadline=None)
@given(st.binary() | st.text('{}[]",:\\ a1').map(str.encode))
def test_garbage_never_raises(body: bytes) -> None:
    """Spans lie inside the body, whatever it is."""
    for span in top_level(body):
        assert 0 <= span.start <= span.end <= len(body)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a":"x\\"', [Span("a", 5, 9, True)]),
        (b'{"a":"x\\\\"', [Span("a", 5, 10, False)]),
        (b'{"a":"x\\\\\\"', [Span("a", 5, 11, True)]),
        (b'{"a":"]","b":[1', [Span("a", 5, 8, False), Span("b", 13, 15, True)]),
        (b'{"a":12', []),
        (b'{"a":12}', [Span("a", 5, 7, False)]),
        (b'{"a":tru', []),
        (b'{"\\u0061":1,', [Span("a", 10, 11, False)]),
        (b'{"\\ud800":1,', [Span("", 10, 11, False)]),
        (b"[1]", []),
        (b"", []),
        (b"\xef\xbb\xbf{}", []),
    ],
)
def test_named_cuts(body: bytes, expected: list[Span]) -> None:
    """Escapes before the cut, scalars at the cut, and bodies that are no objects."""
    assert expected == list(top_level(body))


def test_deep_nesting_is_no_recursion() -> None:
    """A hundred thousand brackets are stepped over."""
    deep = b"[" * 100_000 + b"]" * 100_000
    assert deep == fields(b'{"a":' + deep + b',"b":1}')["a"]


def test_work_is_bounded() -> None:
    """Fields beyond the limit, and bytes beyond the limit, are not looked at."""
    many = b"{" + b'"a":[],' * 10_000
    assert MAX_FIELDS == len(list(top_level(many)))
    huge = b'{"a":"' + b"x" * (MAX_SCAN_BYTES + 10) + b'"}'
    assert [Span("a", 5, MAX_SCAN_BYTES, True)] == list(top_level(huge))
