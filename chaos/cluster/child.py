"""One child process: started, waited for until ready, ended by pid."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from chaos.errors import ChaosError

READY_SECONDS = 20.0
STOP_SECONDS = 10.0
LOG_TAIL_BYTES = 2000


class Child:
    """A process of ours with its log in a file. Use `start`, end with `stop` or `kill`."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    @classmethod
    async def start(
        cls,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> "Child":
        """Start a command; raises ChaosError if there is no such program."""
        with log.open("wb") as output:
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=output,
                    env=dict(os.environ) | dict(environment or {}),
                    start_new_session=True,  # a terminal's Ctrl-C is for us, who end them in order
                )
            except FileNotFoundError as error:
                raise ChaosError(f"no program {command[0]!r}: run make setup") from error
        return cls(name, process, log)

    @classmethod
    def python(cls, *arguments: str) -> list[str]:
        """Return the command that runs a module with this interpreter."""
        return [sys.executable, "-m", *arguments]

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    async def line(self, start: str, *, anywhere: bool = False) -> str:
        """Wait for a line that starts so on its standard output, or has the text anywhere.

        Raises ChaosError with the end of its log.
        """
        assert self._process.stdout is not None  # noqa: S101  start() asked for the pipe
        try:
            async with asyncio.timeout(READY_SECONDS):
                async for raw in self._process.stdout:
                    text = raw.decode().strip()
                    if text.startswith(start) or (anywhere and start in text):
                        return text
        except TimeoutError:
            raise ChaosError(f"{self.name} was not ready in {READY_SECONDS:.0f} s") from None
        await self._process.wait()
        raise ChaosError(f"{self.name} did not start: {self.last_words()}")

    def last_words(self) -> str:
        """Return the last line of its log."""
        lines = self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").splitlines()
        return lines[-1].removeprefix("error: ") if lines else "it said nothing"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if it still runs."""
        if self._process.returncode is None:
            self._process.send_signal(number)

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)
        await self._process.wait()

    async def wait(self) -> int:
        """Wait for its end and return its exit code."""
        return await self._process.wait()

    async def stop(self) -> int:
        """Ask it to end and return its exit code; a stubborn one is killed."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                return await self._process.wait()
        except TimeoutError:
            await self.kill()
            return await self._process.wait()
