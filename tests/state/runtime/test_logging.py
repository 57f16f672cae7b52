"""Logs: structured, on standard error, and silent about what frames hold."""

import json
import logging as standard
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from state.runtime import logging

PROMPT = "my secret question"


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    """Undo what a test configures."""
    root = standard.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    captured = capsys.readouterr()
    assert "" == captured.out
    return [json.loads(line) for line in captured.err.splitlines()]


def fail_with(prompt: str) -> None:
    raise ValueError(f"prompt of {len(prompt)} characters")


def test_json_has_event_level_time_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    """One object per line."""
    logging.configure(form="json")
    structlog.get_logger().info("lease lost", lease="0", epoch=3)
    (line,) = lines(capsys)
    assert ("lease lost", "info", "0", 3) == (
        line["event"],
        line["level"],
        line["lease"],
        line["epoch"],
    )
    assert line["timestamp"].endswith("Z")


def test_less_severe_than_the_level_is_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    """Of ours and of libraries'."""
    logging.configure(level="warning", form="json")
    structlog.get_logger().info("not this")
    standard.getLogger("aiohttp").info("nor this")
    assert [] == lines(capsys)


def test_not_a_terminal_means_json(capsys: pytest.CaptureFixture[str]) -> None:
    """`auto` looks at standard error."""
    logging.configure(form="auto")
    structlog.get_logger().info("hello")
    assert "hello" == lines(capsys)[0]["event"]


def test_text_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """No JSON."""
    logging.configure(form="text")
    structlog.get_logger().info("hello", count=3)
    assert "hello" in (written := capsys.readouterr().err)
    assert not written.startswith("{")


@pytest.mark.parametrize("form", ["json", "text"])
def test_exceptions_are_logged_without_local_variables(
    capsys: pytest.CaptureFixture[str], form: logging.LogFormat
) -> None:
    """Frames hold prompts and keys; logs hold neither."""
    logging.configure(form=form)
    try:
        fail_with(PROMPT)
    except ValueError:
        structlog.get_logger().exception("task failed")
    written = capsys.readouterr().err
    assert "prompt of 18 characters" in written
    assert "fail_with" in written
    assert "secret question" not in written
