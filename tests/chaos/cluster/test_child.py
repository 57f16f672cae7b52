"""Child processes: ready lines, last words, ends."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chaos.cluster.child import Child
from chaos.errors import ChaosError

pytestmark = pytest.mark.integration


@pytest.fixture
async def children() -> AsyncIterator[list[Child]]:
    """Children that are ended with the test."""
    started: list[Child] = []
    yield started
    for child in started:
        await child.kill()


async def test_a_ready_line_is_returned(tmp_path: Path, children: list[Child]) -> None:
    """What comes before it is passed over."""
    code = "print('warming up'); print('ready at 7', flush=True); input()"
    child = await Child.start("it", [sys.executable, "-c", code], log=tmp_path / "log")
    children.append(child)
    with pytest.raises(ChaosError):
        await child.line("never")  # standard input is closed, so it ends
    assert child.returncode is not None


async def test_a_child_that_fails_says_why(tmp_path: Path, children: list[Child]) -> None:
    """The last line of its log becomes the sentence."""
    code = "import sys; sys.exit('error: no disk')"
    child = await Child.start("it", [sys.executable, "-c", code], log=tmp_path / "log")
    children.append(child)
    with pytest.raises(ChaosError, match="it did not start: no disk"):
        await child.line("ready")


async def test_no_such_program_is_one_sentence(tmp_path: Path) -> None:
    """It says what to run first."""
    with pytest.raises(ChaosError, match="no program '/nowhere/envoy': run make setup"):
        await Child.start("Envoy", ["/nowhere/envoy"], log=tmp_path / "log")


async def test_stopping_twice_is_harmless(tmp_path: Path) -> None:
    """And so is killing what has ended."""
    code = "import time; print('ready', flush=True); time.sleep(60)"
    child = await Child.start("it", [sys.executable, "-c", code], log=tmp_path / "log")
    assert "ready" == await child.line("ready")
    assert -15 == await child.stop()
    assert -15 == await child.stop()
    await child.kill()
