"""What the commands share."""

from pathlib import Path

import pytest

from chaos.errors import ChaosError
from chaos.process import run, write_atomically


def test_an_expected_error_is_one_line_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback for what a person can put right."""

    async def fail() -> None:
        raise ChaosError("no room")

    with pytest.raises(SystemExit) as ended:
        run(fail())
    assert (1, "error: no room\n") == (ended.value.code, capsys.readouterr().err)


def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    """Readers see the old or the new text."""
    path = tmp_path / "file"
    for text in ("old", "new"):
        write_atomically(path, text)
    assert ("new", [path]) == (path.read_text(), list(tmp_path.iterdir()))


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    """The message has the path and the reason."""
    with pytest.raises(ChaosError, match=r"cannot write .*no such file or directory"):
        write_atomically(tmp_path / "missing" / "file", "text")
