"""Knobs are changed one by one and refused by name."""

import pytest

from chaos.modelserver.knobs import InvalidKnobs, Knobs, change


def test_fields_that_are_not_given_keep_their_value() -> None:
    """A change names only what it changes."""
    knobs = change(Knobs(speed=0.5), b'{"error_rate": 0.1, "error_status": 500}')
    assert Knobs(speed=0.5, error_rate=0.1, error_status=500) == knobs


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b'{"spead": 1}', "spead"),
        (b'{"speed": 0}', "speed"),
        (b'{"speed": "fast"}', "speed"),
        (b'{"hang": 1}', "hang"),
        (b'{"error_rate": 1.5}', "error_rate"),
        (b'{"error_status": 200}', "error_status"),
        (b'{"metrics_delay_seconds": -1}', "metrics_delay_seconds"),
        (b'{"health_status": 99}', "health_status"),
        (b"[]", "object"),
        (b"{", "truncated"),
    ],
)
def test_a_bad_field_is_named(body: bytes, named: str) -> None:
    """Whoever turned the knob learns which field is wrong."""
    with pytest.raises(InvalidKnobs, match=named):
        change(Knobs(), body)
