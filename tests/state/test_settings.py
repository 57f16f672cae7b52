"""Cadence settings: ranges and spelling are checked."""

import pytest
from pydantic import ValidationError

from state.settings import StateSettings


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("flush_gap_seconds", 0.0),
        ("heartbeat_seconds", 0.01),
        ("lease_seconds", float("nan")),
        ("lease", 1.0),
    ],
)
def test_bad_value_names_its_field(field: str, value: float) -> None:
    """Out of range, no number, no such field."""
    with pytest.raises(ValidationError) as caught:
        StateSettings.model_validate({field: value})
    assert (field,) == caught.value.errors()[0]["loc"]


def test_lease_outlives_the_heartbeat() -> None:
    """Else a live replica would be dropped between two heartbeats."""
    with pytest.raises(ValidationError, match="lease_seconds"):
        StateSettings(heartbeat_seconds=1.0, lease_seconds=1.9)


def test_default_lease_is_five_heartbeats() -> None:
    """Four may be lost."""
    settings = StateSettings()
    assert settings.lease_seconds == pytest.approx(5 * settings.heartbeat_seconds)
