"""`python -m chaos simulate`: a process of its own, or one clear sentence."""

from pathlib import Path

import pytest

from chaos.simulate import ROOT, run_simulation


def test_simulation_of_a_checkout_prints_its_seed(capfd: pytest.CaptureFixture[str]) -> None:
    """The seed is what repeats a run."""
    arguments = ["--requests", "20", "--endpoints", "2", "--replicas", "1", "--seed", "7"]
    assert 0 == run_simulation(ROOT, arguments)
    assert "seed 7" in capfd.readouterr().out


def test_installed_package_says_that_it_has_no_simulation(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Tests are not installed."""
    assert 1 == run_simulation(tmp_path, [])
    assert "source checkout" in capfd.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["--speeds", "1,x"], ["--speeds", "0"], ["--replicas", "1", "--lost-at", "0.5"], ["--nope"]],
)
def test_bad_arguments_are_refused(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """A usage error is exit code 2 and a sentence."""
    assert 2 == run_simulation(ROOT, arguments)
    assert "Traceback" not in capfd.readouterr().err
