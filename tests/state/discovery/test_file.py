"""A file of endpoints is followed through every way of replacing it."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from state.discovery.file import FileSource
from state.errors import InvalidEndpoints
from state.model import Endpoint
from state.ports import EndpointSource


class Told:
    """A listener that keeps what it was told and can be waited on."""

    def __init__(self) -> None:
        self.sets: list[list[str]] = []
        self._arrived = asyncio.Event()

    def __call__(self, endpoints: Sequence[Endpoint]) -> None:
        self.sets.append([endpoint.name for endpoint in endpoints])
        self._arrived.set()

    async def next(self) -> list[str]:
        async with asyncio.timeout(2):
            await self._arrived.wait()
        self._arrived.clear()
        return self.sets[-1]


def listing(*names: str) -> str:
    return json.dumps(
        {
            "endpoints": [
                {"name": name, "address": f"10.0.0.{ord(name)}", "port": 80} for name in names
            ]
        }
    )


def write(path: Path, text: str | None) -> None:
    """Write in place; None deletes."""
    path.unlink() if text is None else path.write_text(text)


@asynccontextmanager
async def following(path: Path) -> AsyncIterator[Told]:
    told = Told()
    source: EndpointSource = FileSource(path, poll_seconds=0.02)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(source.run(told))
        try:
            yield told
        finally:
            task.cancel()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "endpoints.yaml"
    path.write_text(listing("a"))
    return path


async def complaint(path: Path, text: str | None) -> list[str]:
    """Return what is logged when the file gets this content, and that its good set stays."""
    with capture_logs() as logs:
        async with following(path) as told:
            assert ["a"] == await told.next()
            write(path, text)
            async with asyncio.timeout(2):
                while not logs:  # noqa: ASYNC110  the log has no event to wait for
                    await asyncio.sleep(0.01)
    assert [["a"]] == told.sets
    return [str(entry) for entry in logs]


async def test_first_set_is_told_at_start(path: Path) -> None:
    """The listener gets the complete set at start."""
    async with following(path) as told:
        assert ["a"] == await told.next()


async def test_atomic_rename_is_seen(path: Path) -> None:
    """A new file moved over the old one is taken."""
    async with following(path) as told:
        await told.next()
        new = path.with_suffix(".new")
        new.write_text(listing("a", "b"))
        new.replace(path)
        assert ["a", "b"] == await told.next()


async def test_in_place_write_is_seen(path: Path) -> None:
    """New content in the same file is taken, even of the same size."""
    async with following(path) as told:
        await told.next()
        write(path, listing("b"))
        assert ["b"] == await told.next()


async def test_recreated_file_is_seen(path: Path) -> None:
    """A file that is deleted and written again is taken; in between the last set stays."""
    async with following(path) as told:
        await told.next()
        write(path, None)
        await asyncio.sleep(0.1)
        write(path, listing("c"))
        assert ["c"] == await told.next()
    assert [["a"], ["c"]] == told.sets


async def test_swapped_symlink_is_seen(tmp_path: Path) -> None:
    """A Kubernetes mount swaps a symlink above the file: the path itself never changes."""
    for version, name in ("v1", "a"), ("v2", "b"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "endpoints.yaml").write_text(listing(name))
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "endpoints.yaml").symlink_to("..data/endpoints.yaml")
    async with following(tmp_path / "endpoints.yaml") as told:
        assert ["a"] == await told.next()
        (tmp_path / "..data_tmp").symlink_to("v2")
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")
        assert ["b"] == await told.next()


async def test_unchanged_set_is_not_told_again(path: Path) -> None:
    """Rewriting the file with the same endpoints tells nobody."""
    async with following(path) as told:
        await told.next()
        write(path, listing("a") + "\n")
        await asyncio.sleep(0.2)
        write(path, listing("b"))
        await told.next()
    assert [["a"], ["b"]] == told.sets


async def test_half_written_file_is_not_taken(path: Path) -> None:
    """A writer that pauses within the file does not make endpoints disappear."""
    write(path, listing("a", "b"))
    async with following(path) as told:
        await told.next()
        with path.open("w") as file:
            for part in "endpoints:\n", "- {name: a, address: 10.0.0.97, port: 80}\n":
                file.write(part)
                file.flush()
                await asyncio.sleep(0.03)
            file.write("- {name: c, address: 10.0.0.99, port: 80}\n")
        assert ["a", "c"] == await told.next()
    assert [["a", "b"], ["a", "c"]] == told.sets


async def test_removed_entry_is_gone(path: Path) -> None:
    """The listener gets the whole desired set, without what was removed."""
    write(path, listing("a", "b"))
    async with following(path) as told:
        await told.next()
        write(path, listing("b"))
        assert ["b"] == await told.next()


async def test_bad_entry_is_skipped_and_named_on_reload(path: Path) -> None:
    """On reload a bad entry costs only itself, and one log line names it."""
    broken = json.loads(listing("a", "b", "c"))
    broken["endpoints"][1]["port"] = "http"
    with capture_logs() as logs:
        async with following(path) as told:
            await told.next()
            write(path, json.dumps(broken))
            assert ["a", "c"] == await told.next()
    (entry,) = logs
    assert "endpoints[1] 'b': port: 'http' is not a number from 1 to 65535" == entry["problem"]


@pytest.mark.parametrize("text", [None, "", "endpoints: [", "<html>", "endpoints: 7"])
async def test_unusable_file_keeps_the_last_good_set(path: Path, text: str | None) -> None:
    """A missing or unparsable file is one log line, and the last good set stays."""
    logs = await complaint(path, text)
    assert 1 == len(logs)
    assert "keeping the last good set" in logs[0]


@pytest.mark.parametrize("text", [None, "", json.dumps({"endpoints": [{"name": "a"}]})])
async def test_start_is_refused_with_an_unusable_file(path: Path, text: str | None) -> None:
    """At start a missing file, or any bad entry, is an error that names it."""
    write(path, text)
    with pytest.raises(InvalidEndpoints) as caught:
        await FileSource(path).run(Told())
    assert str(path) == caught.value.source
    assert caught.value.problems


async def test_named_pipe_is_refused(tmp_path: Path) -> None:
    """A path that could block for ever is refused."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidEndpoints, match="no regular file"):
        await FileSource(tmp_path / "pipe").run(Told())
