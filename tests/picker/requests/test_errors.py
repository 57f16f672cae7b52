from hypothesis import given
from hypothesis import strategies as st

from picker.requests.errors import ErrorCode, InvalidJson, InvalidPrompt, MissingField, RequestError


@given(st.text(max_size=600), st.binary(max_size=600))
def test_messages_are_short_and_printable(reason: str, body: bytes) -> None:
    """Whatever a client sends, at most 256 bytes of printable ASCII without markup come back."""
    for error in (
        InvalidJson(reason, body),
        MissingField("chat", reason),
        InvalidPrompt("p", reason),
    ):
        assert len(error.message) <= 256
        assert error.message.isascii()
        assert error.message.isprintable()
        assert not set('"<>') & set(error.message)


def test_errors_carry_fields() -> None:
    """Callers read status, code and field, never the text."""
    error: RequestError = MissingField("chat-completions", "messages")
    assert (400, ErrorCode.MISSING_FIELD) == (error.status, error.code)
    assert "invalid chat-completions request: must have messages field" == error.message


def test_excerpt_is_a_fraction_of_the_body() -> None:
    """Ten megabytes of garbage are not echoed."""
    assert (
        "\\x3chtml\\x3e" + "x" * 58 + "..." == InvalidJson("bad", b"<html>" + b"x" * 10**7).excerpt
    )
