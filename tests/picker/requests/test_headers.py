import pytest

from picker.requests import headers


def test_new_name_goes_before_its_alias() -> None:
    """A deprecated name counts only where the new one is absent or empty."""
    alias = {"x-gateway-inference-objective": b"old"}
    assert "old" == headers.first_value(alias, headers.OBJECTIVE)
    both = alias | {"x-llm-d-inference-objective": b"new"}
    assert "new" == headers.first_value(both, headers.OBJECTIVE)
    empty = alias | {"x-llm-d-inference-objective": b""}
    assert "old" == headers.first_value(empty, headers.OBJECTIVE)


def test_path_falls_back_to_the_original_path() -> None:
    """`:path` goes before x-original-path, that before x-forwarded-path, then the default."""
    given = {"x-forwarded-path": b"/c", "x-original-path": b"/b", ":path": b"/a"}
    assert "/a" == headers.request_path(given)
    del given[":path"]
    assert "/b" == headers.request_path(given)
    del given["x-original-path"]
    assert "/c" == headers.request_path(given)
    assert "/v1/completions" == headers.request_path({})


@pytest.mark.parametrize("value", [b"", b"-1", b"1.5", b"9" * 40, b"\xc2\xb2", b"x"])
def test_senseless_length_counts_as_none(value: bytes) -> None:
    """A content-length that is no plain number of sane size is ignored."""
    assert 0 == headers.announced_length({"content-length": value})


def test_undecodable_values_are_replaced() -> None:
    """Invalid UTF-8 in a header is no error."""
    assert "a\ufffd" == headers.first_value({"x-request-id": b"a\xff"}, headers.REQUEST_ID)
