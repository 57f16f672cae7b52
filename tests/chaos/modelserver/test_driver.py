"""The driver delivers tokens when the engine has them. Time is virtual."""

import asyncio

import pytest

from chaos.engine.core import Engine, EngineSpec
from chaos.engine.sequence import Request
from chaos.modelserver.driver import TIMER_SLACK_SECONDS, EngineDriver

pytestmark = pytest.mark.looptime
SPEC = EngineSpec(step_seconds=0.1, step_seconds_per_sequence=0.0, prefill_tokens_per_second=100.0)
REQUEST = Request(prompt_tokens=90, output_tokens=5)


def now() -> float:
    """Read the loop's virtual clock."""
    return asyncio.get_running_loop().time()


def driver() -> EngineDriver:
    """Start an engine on the running loop; the first token of REQUEST takes a second."""
    loop = asyncio.get_running_loop()
    return EngineDriver(Engine(SPEC, now=loop.time()), loop)


async def test_tokens_come_one_by_one() -> None:
    """A stream with interval 1 wakes at every step."""
    stream = driver().open(REQUEST, 1)
    started = now()
    assert [1, 1, 1, 1, 1] == [await stream.take() for _ in range(5)]
    assert pytest.approx(1.4, abs=0.01) == now() - started
    assert stream.over


async def test_an_interval_coalesces_tokens() -> None:
    """The last batch may be smaller."""
    stream = driver().open(REQUEST, 2)
    assert [2, 2, 1] == [await stream.take() for _ in range(3)]


async def test_without_an_interval_only_the_end_wakes() -> None:
    """A request that does not stream costs one wake-up."""
    stream = driver().open(REQUEST, None)
    started = now()
    assert 5 == await stream.take()
    assert pytest.approx(1.4, abs=0.01) == now() - started


async def test_a_stopped_engine_delivers_nothing_until_it_goes_on() -> None:
    """Speed 0 holds a stream for as long as it lasts."""
    running = driver()
    stream = running.open(REQUEST, 1)
    asyncio.get_running_loop().call_later(0.5, running.set_speed, 0.0)
    asyncio.get_running_loop().call_later(9.5, running.set_speed, 1.0)
    started = now()
    await stream.take()
    assert pytest.approx(10.0, abs=0.01) == now() - started


async def test_closing_a_stream_frees_its_sequence() -> None:
    """A client that leaves takes its work with it."""
    running = driver()
    stream = running.open(REQUEST, 1)
    await stream.take()
    running.close(stream)
    assert (0, 0, 0) == (running.streams, running.engine.running, running.engine.pool.used)
    assert 1 == running.engine.meter.cancelled


async def test_an_end_is_delivered_even_when_another_close_saw_it_first() -> None:
    """Closing a stream advances the engine; whoever ended by that is woken."""
    running = driver()
    # The second starts one step later and asks for one token less: both end in the same step.
    first = running.open(REQUEST, 1)
    second = running.open(Request(prompt_tokens=90, output_tokens=4), 1)
    while first.taken < 4:
        await first.take()
    at = running.engine.next_change_at() + TIMER_SLACK_SECONDS / 2
    asyncio.get_running_loop().call_at(at, running.close, second)
    async with asyncio.timeout(60):
        await first.take()
    assert first.over
