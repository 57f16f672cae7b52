"""What the commands share: a fast loop, an end on signals, the wall clock, one-line errors."""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from chaos.errors import ChaosError


def wall_time() -> float:
    """Seconds since 1970."""
    return datetime.now(tz=UTC).timestamp()


def run(main: Coroutine[None, None, None]) -> None:
    """Run a command on uvloop; a ChaosError becomes one line on stderr and exit code 1."""
    try:
        uvloop.run(main)
    except ChaosError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error


@contextmanager
def stop_on_signals() -> Iterator[asyncio.Event]:
    """Yield an event that SIGTERM and SIGINT set."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def write_atomically(path: Path, text: str) -> None:
    """Replace a file so that a reader sees the old or the new text, whole. Raises ChaosError."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text)
        partial.replace(path)
    except OSError as error:
        raise ChaosError(f"cannot write {path}: {reason_of(error)}") from error


def reason_of(error: OSError) -> str:
    """Say what the system says, without the addresses that asyncio adds."""
    return os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
