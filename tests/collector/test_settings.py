"""Settings refuse what would harm."""

import pytest
from pydantic import ValidationError

from collector.settings import CollectorSettings


@pytest.mark.parametrize(
    "given",
    [
        {"scrape": {"interval_seconds": 0.049}},
        {"scrape": {"interval": 1}},
        {"scrape": {"path": "//elsewhere/metrics"}},
        {"scrape": {"path": "metrics"}},
        {"publish": {"gap_seconds": 0}},
        {"shards": 2},
    ],
)
def test_harmful_or_unknown_setting_is_refused(given: dict[str, object]) -> None:
    """An interval below the floor, an unknown key or a path to another host is an error."""
    with pytest.raises(ValidationError):
        CollectorSettings.model_validate(given)
