"""Redis servers for tests: on free ports, nothing on disk, ended by their process ids."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

START_SECONDS = 10.0
MISSING = "no redis-server on the PATH: install the redis-server package (7.0 or newer)"


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """One server process; it can be paused, killed and started again on its port."""

    def __init__(self, folder: Path, *arguments: str, configuration: Path | None = None) -> None:
        """Choose a port; `arguments` are further ones of redis-server."""
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self.folder = folder
        self._arguments = arguments
        self._configuration = configuration
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it answers."""
        program = shutil.which("redis-server")
        if program is None:
            pytest.fail(MISSING, pytrace=False)
        command = [program, "--bind", "127.0.0.1", "--port", str(self.port)]
        if self._configuration is not None:
            command.insert(1, str(self._configuration))
        else:
            command += ["--save", "", "--appendonly", "no"]
        command += ["--dir", str(self.folder), *self._arguments]
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "redis.log").read_text()
            assert time.monotonic() < end, "redis-server does not answer"
            time.sleep(0.02)

    def command(self, *arguments: str | int) -> str:
        """Send one command and return its reply in the form that is readable."""
        words = [str(each).encode() for each in arguments]
        request = b"*%d\r\n" % len(words)
        request += b"".join(b"$%d\r\n%s\r\n" % (len(each), each) for each in words)
        with socket.create_connection(("127.0.0.1", self.port), 5) as s:
            s.sendall(request)
            reply = s.recv(65536).decode()
        assert not reply.startswith("-"), f"{arguments}: {reply}"
        return reply

    def pause(self) -> None:
        """Hang it: connections stay, answers stop."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it with all it holds."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def _answers(self) -> bool:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), 1) as s,
        ):
            s.sendall(b"PING\r\n")
            return bool(s.recv(64))
        return False


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Share one server; whoever uses it takes a pool of its own."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    try:
        server.start()
        yield server
    finally:
        server.kill()
