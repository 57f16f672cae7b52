"""What is played against every process, in rounds, so that ratios compare neighbours in time."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

import msgspec

from tests.perf import scripts
from tests.perf.client import Script, play
from tests.perf.process import Served, cpu_seconds

ROUNDS = 3
CHUNKS = 500
SMALL_BYTES, LARGE_BYTES = 1200, 400_000
FEWEST_EXCHANGES = 16
GRPCIO_SHARE = 4
"""grpcio plays this many times fewer exchanges: each takes that much longer."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """Scripts that are played in turn."""

    name: str
    scripts: Sequence[Script]
    exchanges: int
    """A round's, over h2."""
    has_floor: bool = False
    """Whether the bare transports play it too."""


class Subject(NamedTuple):
    """A process under load."""

    transport: str
    endpoints: int | None
    """None: the bare transport."""


Costs = Mapping[tuple[str, Subject], float]
"""CPU microseconds of one exchange, by the load's name and its subject."""


def all_loads() -> dict[str, Load]:
    """Return the loads by name."""
    small = scripts.chats(SMALL_BYTES, 32)
    large = scripts.chats(LARGE_BYTES, 8)
    loads = [
        Load(
            name="1.2 KB, resilient",
            scripts=[scripts.resilient(body) for body in small],
            exchanges=2000,
            has_floor=True,
        ),
        Load(
            name="400 KB, resilient",
            scripts=[scripts.resilient(body) for body in large],
            exchanges=160,
            has_floor=True,
        ),
        Load(
            name="400 KB, long context",
            scripts=[scripts.long_context(body) for body in large],
            exchanges=600,
            has_floor=True,
        ),
        Load(
            name="1.2 KB, duplex, 1 chunk",
            scripts=[scripts.full_duplex(body, 1) for body in small],
            exchanges=1200,
            has_floor=True,
        ),
        Load(
            name=f"1.2 KB, duplex, {CHUNKS} chunks",
            scripts=[scripts.full_duplex(body, CHUNKS) for body in small],
            exchanges=128,
            has_floor=True,
        ),
        Load(
            name=f"400 KB, duplex, {CHUNKS} chunks",
            scripts=[scripts.full_duplex(body, CHUNKS) for body in large],
            exchanges=64,
        ),
    ]
    return {load.name: load for load in loads}


async def measure(
    subjects: Mapping[Subject, Served], scale: float, say: Callable[[str], None]
) -> Costs:
    """Play every load against every subject in each round; return the medians."""
    costs: dict[tuple[str, Subject], list[float]] = {}
    for number in range(ROUNDS):
        for load in all_loads().values():
            say(f"round {number + 1} of {ROUNDS}: {load.name}")
            for subject, served in subjects.items():
                if subject.endpoints is None and not load.has_floor:
                    continue
                cost = await _cost(served, load, _exchanges(load, subject, scale), warm=number > 0)
                costs.setdefault((load.name, subject), []).append(cost)
    return {key: median(values) for key, values in costs.items()}


async def _cost(served: Served, load: Load, exchanges: int, *, warm: bool) -> float:
    if not warm:
        await play(served.host, served.port, load.scripts, exchanges=FEWEST_EXCHANGES)
    before = cpu_seconds(served.pid)
    await play(served.host, served.port, load.scripts, exchanges=exchanges)
    return (cpu_seconds(served.pid) - before) / exchanges * 1e6


def _exchanges(load: Load, subject: Subject, scale: float) -> int:
    share = GRPCIO_SHARE if subject.transport == "grpcio" else 1
    return max(int(load.exchanges * scale / share), FEWEST_EXCHANGES)
