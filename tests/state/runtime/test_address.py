"""Addresses to listen on."""

import pytest
from pydantic import TypeAdapter, ValidationError

from state.runtime.address import Address, AddressText, parse_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:9002", Address("127.0.0.1", 9002)),
        ("localhost:0", Address("localhost", 0)),
        ("[::1]:9002", Address("::1", 9002)),
        (":9002", Address("0.0.0.0", 9002)),
        ("[::]:65535", Address("::", 65535)),
    ],
)
def test_address_is_read(text: str, expected: Address) -> None:
    """Names, both families, and all interfaces."""
    assert expected == parse_address(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("9002", "expected HOST:PORT"),
        ("", "expected HOST:PORT"),
        ("127.0.0.1:", "expected HOST:PORT"),
        ("127.0.0.1:http", "expected HOST:PORT"),
        ("127.0.0.1:-1", "expected HOST:PORT"),
        ("127.0.0.1:65536", "expected HOST:PORT"),
        ("127.0.0.1:" + "9" * 5000, "expected HOST:PORT"),
        ("127.0.0.1:\u0661", "expected HOST:PORT"),
        ("::1:9002", "in brackets"),
        ("::1", "in brackets"),
    ],
)
def test_what_is_no_address_says_what_is_expected(text: str, reason: str) -> None:
    """The message has the fix."""
    with pytest.raises(ValueError, match=reason):
        parse_address(text)


@pytest.mark.parametrize("text", ["127.0.0.1:9002", "[::1]:9002", "localhost:9002"])
def test_text_of_an_address_reads_back(text: str) -> None:
    """IPv6 gets its brackets again."""
    assert text == str(parse_address(text))


def test_settings_keep_the_canonical_text() -> None:
    """All interfaces are spelled out."""
    adapter: TypeAdapter[str] = TypeAdapter(AddressText)
    assert "0.0.0.0:9002" == adapter.validate_python(":9002")
    with pytest.raises(ValidationError, match="expected HOST:PORT"):
        adapter.validate_python("nowhere")
