"""Discovery from a file that may be replaced at any time."""

import asyncio
import stat
from pathlib import Path

import structlog

from state.discovery.entries import MOST_BYTES, Entries, parse_entries
from state.errors import InvalidEndpoints
from state.model import Endpoint, EndpointUid, by_uid
from state.ports import EndpointListener

log = structlog.get_logger(__name__)

SETTLE_SECONDS = 0.05
"""A file that changed within this time may still be half written."""

MOST_SETTLES = 5
"""A file that never rests is read anyway: its next change corrects what was read."""

Signature = tuple[int, ...]


class FileSource:
    """An `EndpointSource` over a YAML or JSON file.

    The file behind the path is compared by identity, size and times, so that atomic renames,
    in-place writes, re-creation and swapped symlinks (Kubernetes mounts) are all seen.
    """

    def __init__(self, path: Path, *, poll_seconds: float = 0.5) -> None:
        self._path = path
        self._poll_seconds = poll_seconds
        self._seen: Signature | None = None
        self._told: dict[EndpointUid, Endpoint] | None = None

    async def run(self, listener: EndpointListener) -> None:
        """Tell the first set, then every different one, until cancelled.

        Raises InvalidEndpoints if the first set has any problem. Later ones take what is good, and
        a file that is missing or unreadable keeps the last good set.
        """
        self._seen = await self._signature()
        entries = await asyncio.to_thread(_load, self._path)
        if entries.problems:
            raise InvalidEndpoints(str(self._path), list(entries.problems))
        self._tell(listener, entries)
        while True:
            await asyncio.sleep(self._poll_seconds)
            if await self._signature() != self._seen:
                await self._settle()
                await self._reload(listener)

    async def _settle(self) -> None:
        for _ in range(MOST_SETTLES):
            self._seen = await self._signature()
            await asyncio.sleep(SETTLE_SECONDS)
            if await self._signature() == self._seen:
                return

    async def _reload(self, listener: EndpointListener) -> None:
        try:
            entries = await asyncio.to_thread(_load, self._path)
        except InvalidEndpoints as error:
            log.warning("endpoints file unusable, keeping the last good set", error=str(error))
            return
        for problem in entries.problems:
            log.warning("bad endpoint entry skipped", file=str(self._path), problem=problem)
        self._tell(listener, entries)

    async def _signature(self) -> Signature | None:
        return await asyncio.to_thread(_sign, self._path)

    def _tell(self, listener: EndpointListener, entries: Entries) -> None:
        desired = by_uid(entries.endpoints)
        if desired != self._told:
            self._told = desired
            listener(entries.endpoints)


def _sign(path: Path) -> Signature | None:
    """Identify the content behind the path; None: there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _load(path: Path) -> Entries:
    try:
        # Opening a named pipe would wait for a writer.
        if not stat.S_ISREG(path.stat().st_mode):
            raise InvalidEndpoints(str(path), ["no regular file"])
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InvalidEndpoints(str(path), [f"cannot be read: {error.strerror}"]) from error
    return parse_entries(text, source=str(path))
