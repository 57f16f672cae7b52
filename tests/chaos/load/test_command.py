"""The flags of `python -m chaos load` are checked before anything is sent."""

import pytest
import typer

from chaos.load.command import chat_url, parse_header


def test_a_url_without_a_path_gets_the_chat_path() -> None:
    """A gateway's address is enough; a full URL is kept."""
    full = "http://127.0.0.1:10000/v1/chat/completions"
    assert full == chat_url("http://127.0.0.1:10000") == chat_url("http://127.0.0.1:10000/")
    assert "http://h/other" == chat_url("http://h/other")


@pytest.mark.parametrize("url", ["127.0.0.1:10000", "ftp://h", "http://"])
def test_what_is_no_url_is_refused(url: str) -> None:
    """The message shows what was given."""
    with pytest.raises(typer.BadParameter, match="URL"):
        chat_url(url)


def test_headers_are_split_at_the_first_colon() -> None:
    """A value may have colons of its own."""
    assert ("x-a", "b:c") == parse_header("x-a: b:c")
    with pytest.raises(typer.BadParameter, match="NAME:VALUE"):
        parse_header("x-a")
