"""`python -m chaos simulate`: pickers and model servers in virtual time.

The simulation runs the pickers' own code, which chaos may not import: it is part of the tests, and
runs as a process of its own.
"""

import subprocess
import sys
from pathlib import Path

import typer

ROOT = Path(__file__).parents[1]
MODULE = Path("tests/simulation/__main__.py")


def simulate(context: typer.Context) -> None:
    """Simulate pickers and model servers in virtual time; --help lists the options."""
    raise SystemExit(run_simulation(ROOT, context.args))


def run_simulation(root: Path, arguments: list[str]) -> int:
    """Run the simulation of a source checkout and return its exit code."""
    if not (root / MODULE).is_file():
        print(f"error: no {MODULE} in {root}: run this in a source checkout", file=sys.stderr)
        return 1
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    return subprocess.run(command, cwd=root, check=False).returncode
