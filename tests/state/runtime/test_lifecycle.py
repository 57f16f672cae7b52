"""Signals, in processes of their own."""

import signal
import subprocess
import sys
from typing import Self

PROGRAM = """
import asyncio, os, signal, sys
from state.runtime import logging
from state.runtime.lifecycle import stop_on_signals

logging.configure()

async def main():
    with stop_on_signals() as stop:
        print("up", flush=True)
        await stop.wait()
        print("draining", flush=True)
        if sys.argv[1] == "hang":
            await asyncio.Event().wait()
    print("done", signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, flush=True)

asyncio.run(main())
"""


class Program:
    """A process that waits for a signal; `hang` makes it drain for ever."""

    def __init__(self, way: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, way],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> Self:
        assert "up" == self.line()
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


def test_first_signal_asks_for_an_end() -> None:
    """The program goes on to finish; afterwards signals are as before."""
    with Program("finish") as program:
        program.send(signal.SIGTERM)
        assert ["draining", "done True"] == [program.line(), program.line()]
        assert 0 == program.process.wait(10)


def test_second_signal_ends_at_once() -> None:
    """Whatever the program is at, with the shell's status for the signal."""
    with Program("hang") as program:
        program.send(signal.SIGINT)
        assert "draining" == program.line()
        program.send(signal.SIGTERM)
        assert 128 + signal.SIGTERM == program.process.wait(10)
