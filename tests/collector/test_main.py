"""The command line."""

import json
import sys

import pytest

from collector.__main__ import main
from tests.collector.fakes import CAPTURES


def inspect(page: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["collector", "inspect", page])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_inspect_prints_the_signals(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recorded page of two engines is printed with sums, and nothing is left out."""
    assert 0 == inspect(str(CAPTURES / "metrics_dp2_busy.prom"), monkeypatch)
    assert {
        "engine": "vllm",
        "models": ["tiny"],
        "waiting": 6,
        "running": 8,
        "kv_usage": 0.3464566929133859,
        "kv_capacity_tokens": 8192,
        "block_size": 32,
        "num_blocks": 256,
        "prefix_hits": 0,
        "prefix_queries": 290,
        "problems": [],
    } == json.loads(capsys.readouterr().out)


def test_unknown_is_null(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page without the engine's series has null signals and says why."""
    assert 0 == inspect(str(CAPTURES / "metrics_disable_log_stats_busy.prom"), monkeypatch)
    printed = json.loads(capsys.readouterr().out)
    assert printed["waiting"] is None
    assert printed["engine"] is None
    assert ["engine: no known series"] == printed["problems"]


@pytest.mark.parametrize("page", ["/nowhere.prom", str(CAPTURES / "TRUTH.json"), "http://[", "/"])
def test_unreadable_page_is_one_line_and_exit_code_one(
    page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is no page is named in one line on standard error."""
    assert 1 == inspect(page, monkeypatch)
    printed = capsys.readouterr()
    assert "" == printed.out
    assert printed.err.startswith(f"{page}: ")
    assert 1 == printed.err.count("\n")
