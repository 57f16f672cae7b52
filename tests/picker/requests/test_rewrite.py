import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picker.requests.errors import InvalidJson
from picker.requests.rewrite import splice_model
from tests.picker.requests.builders import TEXT

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text() | st.just("model"), inner, max_size=3)
    ),
    max_leaves=15,
)


BODIES = st.builds(
    lambda before, model, after: {**before, "model": model, **after},
    st.dictionaries(st.text(), VALUES, max_size=5),
    VALUES,
    st.dictionaries(st.text(), VALUES, max_size=5),
)


@settings(deadline=None)
@given(BODIES, st.text(), st.sampled_from([None, 1]), st.booleans())
def test_only_the_model_changes(
    value: dict[str, object],
    model: str,
    indent: int | None,
    partial: bool,  # noqa: FBT001
) -> None:
    """Decoded, the spliced body is the old one with another model, whatever surrounds it."""
    body = json.dumps(value, indent=indent).encode()
    spliced = splice_model(body, model, partial=partial)
    assert spliced is not None
    assert json.loads(body) | {"model": model} == json.loads(spliced)


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{ "model" :  "a" , "x":1.50 }', b'{ "model" :  "b" , "x":1.50 }'),
        (b'{"x":{"model":"n"},"model":"a"}', b'{"x":{"model":"n"},"model":"b"}'),
        (b'{"x":"\\"model\\":\\"n\\"","model":"a"}', b'{"x":"\\"model\\":\\"n\\"","model":"b"}'),
        (b'{"model":"a","model":"c"}', b'{"model":"a","model":"b"}'),
        (b'{"mod\\u0065l":"a\\"\\\\","model2":"c"}', b'{"mod\\u0065l":"b","model2":"c"}'),
        (b'{"model":null}', b'{"model":"b"}'),
        (b'{"x":"\\ud800","model":"a"}', b'{"x":"\\ud800","model":"b"}'),
        (b'{"x":"\xff","model":"a"}', b'{"x":"\xff","model":"b"}'),
        (b'{"x":{"model":"n"}}', None),
        (b"{}", None),
    ],
)
def test_named_bodies(body: bytes, expected: bytes | None, *, partial: bool) -> None:
    """Nested and quoted models stay, the last duplicate changes, nothing is inserted."""
    assert expected == splice_model(body, "b", partial=partial)


def test_names_are_escaped() -> None:
    """A model's name cannot break out of its quotes."""
    spliced = splice_model(b'{"model":"a"}', 'b","x":"\n')
    assert spliced is not None
    assert {"model": 'b","x":"\n'} == json.loads(spliced)


def test_cut_bodies() -> None:
    """In a partial body a model before the cut is replaced; one that is cut or beyond is not."""
    body = json.dumps({"model": "a", "messages": [TEXT] * 100}).encode()
    assert b'{"model": "bb", "mess' == splice_model(body[:20], "bb", partial=True)
    assert splice_model(body[:12], "bb", partial=True) is None
    assert splice_model(b'{"messages":[{"model":"n"', "bb", partial=True) is None


def test_no_json_is_refused() -> None:
    """A complete body that is not JSON is not touched."""
    with pytest.raises(InvalidJson):
        splice_model(b'{"model":"a"', "b")
