"""Supervised tasks: restarted with back-off, on virtual time."""

import asyncio

import pytest
from structlog.testing import capture_logs

from state.runtime.tasks import LONGEST_PAUSE_SECONDS, supervise


class Work:
    """Records when it was started, and does what a test says."""

    def __init__(self, *, fails: int, seconds: float = 0.0) -> None:
        self.starts: list[float] = []
        self._fails = fails
        self._seconds = seconds

    async def run(self) -> None:
        self.starts.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self._seconds)
        if len(self.starts) <= self._fails:
            raise RuntimeError("told to")


def gaps(work: Work) -> list[float]:
    return [round(b - a, 6) for a, b in zip(work.starts, work.starts[1:], strict=False)]


@pytest.mark.looptime
async def test_work_that_returns_is_over() -> None:
    """It is not started again."""
    work = Work(fails=0)
    await supervise(work.run, name="work")
    assert [0.0] == work.starts


@pytest.mark.looptime
async def test_pauses_double_up_to_a_limit() -> None:
    """A fault that lasts costs little."""
    work = Work(fails=8)
    with capture_logs():
        await supervise(work.run, name="work")
    assert [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0] == gaps(work)


@pytest.mark.looptime
async def test_work_that_ran_well_starts_over_quickly() -> None:
    """Its former faults are forgotten."""
    work = Work(fails=3, seconds=LONGEST_PAUSE_SECONDS + 1)
    with capture_logs():
        await supervise(work.run, name="work")
    assert [6.1, 6.1, 6.1] == gaps(work)


@pytest.mark.looptime
async def test_each_failure_is_logged_with_the_name() -> None:
    """And when it is tried again."""
    with capture_logs() as logs:
        await supervise(Work(fails=2).run, name="work")
    logged = [(e["event"], e["task"], e["retry_in_seconds"]) for e in logs]
    assert [("task failed", "work", 0.1), ("task failed", "work", 0.2)] == logged


@pytest.mark.looptime
@pytest.mark.parametrize("after", [0.5, 1.05])
async def test_cancelling_ends_it(after: float) -> None:
    """While it works and while it pauses."""
    work = Work(fails=9, seconds=1.0)
    with capture_logs():
        task = asyncio.get_running_loop().create_task(supervise(work.run, name="work"))
        await asyncio.sleep(after)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [0.0] == work.starts


@pytest.mark.looptime
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
async def test_what_must_end_the_process_is_not_answered(error: type[BaseException]) -> None:
    """Only faults are."""

    async def work() -> None:
        raise error

    with pytest.raises(error):
        await supervise(work, name="work")
