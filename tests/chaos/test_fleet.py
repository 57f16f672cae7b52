"""`python -m chaos fleet` as a process."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer
import yaml

from chaos.fleet import parse_speeds

pytestmark = pytest.mark.integration


@contextmanager
def fleet(*flags: str) -> Iterator[subprocess.Popen[str]]:
    """Start a fleet and end it with the block."""
    command = [sys.executable, "-m", "chaos", "fleet", *flags]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_it_says_when_it_is_ready_lists_its_endpoints_and_ends_on_sigterm(tmp_path: Path) -> None:
    """One line, one file, exit code 0."""
    out = tmp_path / "endpoints.yaml"
    with fleet("--servers", "3", "--base-port", "0", "--endpoints-out", str(out)) as process:
        assert process.stdout is not None
        ready = process.stdout.readline()
        endpoints = yaml.safe_load(out.read_text())["endpoints"]
        process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(10)
    first = endpoints[0]
    assert f"ready servers=3 first=127.0.0.1:{first['port']}\n" == ready
    assert ["sim-000", "sim-001", "sim-002"] == [entry["name"] for entry in endpoints]
    assert {"name", "namespace", "address", "port", "labels"} == set(first)


def test_a_taken_port_is_one_sentence_and_exit_code_1() -> None:
    """The person who started it reads which port, without a traceback."""
    with fleet("--servers", "1", "--base-port", "0") as running:
        assert running.stdout is not None
        port = running.stdout.readline().rpartition(":")[2].strip()
        with fleet("--servers", "1", "--base-port", port) as second:
            _, stderr = second.communicate(timeout=10)
    assert f"error: cannot listen on 127.0.0.1:{port}: address already in use\n" == stderr
    assert 1 == second.returncode


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--servers", "2", "--base-port", "65535"], "--base-port"),
        (["--speeds", "1,fast"], "--speeds"),
        (["--kv-tokens", "1"], "--kv-tokens"),
        (["--max-model-len", "999999999"], "--max-model-len"),
    ],
)
def test_a_bad_flag_is_named(flags: list[str], named: str) -> None:
    """Values that cannot work are refused before anything listens."""
    with fleet(*flags) as process:
        _, stderr = process.communicate(timeout=10)
    assert 2 == process.returncode
    assert named in stderr


def test_speeds_are_positive_numbers() -> None:
    """Zero is a hang, which is a knob."""
    assert (1.0, 0.5) == parse_speeds("1.0, 0.5")
    with pytest.raises(typer.BadParameter):
        parse_speeds("1,0")
