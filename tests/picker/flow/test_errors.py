"""Refusals: what the client is told."""

from picker.flow.errors import DropReason, Refused, filtered_out, no_endpoints


def parts(refused: Refused) -> tuple[int, str, DropReason | None, int | None]:
    return refused.status, refused.code, refused.reason, refused.retry_after_seconds


def test_no_endpoint_at_all_is_unavailable() -> None:
    """503, worth a retry."""
    expected = (503, "no_endpoints", DropReason.NO_ENDPOINTS, 1)
    assert expected == parts(no_endpoints("none"))
    assert "none" == str(no_endpoints("none")) == no_endpoints("none").message


def test_filtered_out_is_contention() -> None:
    """429: endpoints exist."""
    assert (429, "saturated", DropReason.SATURATED, 1) == parts(filtered_out())


def test_reasons_have_the_fields_names() -> None:
    """They go into a header that gateways read."""
    assert ["rejected-saturated", "rejected-no-endpoints", "rejected-shutting-down"] == [
        reason.value for reason in DropReason
    ]
