"""Test files mirror modules, so that the tests of a module are found without a search."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("picker", "collector", "state", "chaos")
ASPECTS = {Path("picker/extproc"): ("test_transport", "test_session_")}
"""Beginnings of suites that have one file per aspect: both servers, and an HTTP/2 session."""


def mirrored() -> list[Path]:
    """Return the test files of the packages, relative to `tests`."""
    tests = ROOT / "tests"
    return sorted(
        path
        for name in PACKAGES
        for path in (each.relative_to(tests) for each in (tests / name).rglob("test_*.py"))
        if not path.name.startswith(ASPECTS.get(path.parent, "/"))
    )


def module_candidates(test: Path) -> list[Path]:
    """Return what a test file may be about: a module, a package, or a package's entry point."""
    name = test.stem.removeprefix("test_")
    return [
        ROOT / test.parent / f"{name}.py",
        ROOT / test.parent / name / "__init__.py",
        ROOT / test.parent / f"__{name}__.py",
    ]


@pytest.mark.parametrize("test", mirrored(), ids=str)
def test_each_test_file_mirrors_a_module(test: Path) -> None:
    """A module that moved takes its tests along."""
    assert any(candidate.exists() for candidate in module_candidates(test)), test
