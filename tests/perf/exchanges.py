"""Figures of exchanges with real processes: pickers of both transports, and their floors."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.perf.figures import Figure
from tests.perf.loads import CHUNKS, Costs, Subject, measure
from tests.perf.process import Served, floor, picker, resident_mb

TRANSPORTS = ("h2", "grpcio")
POOLS = (10, 100, 1000)
DEFAULT = Subject("h2", 100)

SMALL, LARGE, HEAD = "1.2 KB, resilient", "400 KB, resilient", "400 KB, long context"
ONE_CHUNK, ALL_CHUNKS = "1.2 KB, duplex, 1 chunk", f"1.2 KB, duplex, {CHUNKS} chunks"

BUDGETS = {SMALL: 120.0, LARGE: 1500.0, HEAD: 1500.0}
"""Microseconds of an exchange over h2 with 100 endpoints."""
GRPCIO_RATIO = 1 / 3
CHUNK_BUDGET = 8.0
PROMPTS_PER_SECOND = 100
CORES_BUDGET = 0.3
MEMORY_BUDGET_MB = 300.0


async def exchange_figures(folder: Path, scale: float, say: Callable[[str], None]) -> list[Figure]:
    """Run all processes side by side, measure, and end them."""
    async with _all_processes(folder) as subjects:
        costs = await measure(subjects, scale, say)
        memory = _of_memory(subjects)
    return [
        *_of_exchanges(costs),
        *_of_chunks(costs),
        *_of_floors(costs),
        *_of_cores(costs),
        *memory,
    ]


@asynccontextmanager
async def _all_processes(folder: Path) -> AsyncIterator[Mapping[Subject, Served]]:
    async with AsyncExitStack() as stack:
        subjects = {}
        for transport in TRANSPORTS:
            bare = floor(folder, transport=transport)
            subjects[Subject(transport, None)] = await stack.enter_async_context(bare)
        for endpoints in POOLS:
            for transport in TRANSPORTS:
                one = picker(folder, transport=transport, endpoints=endpoints)
                subjects[Subject(transport, endpoints)] = await stack.enter_async_context(one)
        yield subjects


def _of_exchanges(costs: Costs) -> list[Figure]:
    """One line per load, pool and transport."""
    return [
        _of_exchange(costs, load, subject)
        for load, subject in costs
        if subject.endpoints is not None
    ]


def _of_exchange(costs: Costs, load: str, subject: Subject) -> Figure:
    cost = costs[load, subject]
    is_default = subject == DEFAULT
    return Figure(
        section="CPU per exchange",
        what=f"{load}, {subject.endpoints} endpoints, {subject.transport}",
        value=cost,
        ratio=cost / costs[load, subject._replace(transport="grpcio")],
        against="grpcio",
        budget=BUDGETS.get(load) if is_default else None,
        ratio_budget=GRPCIO_RATIO if is_default and load == SMALL else None,
    )


def _of_chunks(costs: Costs) -> list[Figure]:
    """What one more chunk of a response costs."""
    chunk = {
        subject: (costs[ALL_CHUNKS, subject] - costs[ONE_CHUNK, subject]) / (CHUNKS - 1)
        for load, subject in costs
        if load == ALL_CHUNKS
    }
    return [
        Figure(
            section="CPU per streamed response chunk",
            what=f"{_pool(subject)}, {subject.transport}",
            value=cost,
            ratio=cost / chunk[subject._replace(transport="grpcio")],
            against="grpcio",
            budget=CHUNK_BUDGET if subject == DEFAULT else None,
        )
        for subject, cost in chunk.items()
    ]


def _of_floors(costs: Costs) -> list[Figure]:
    """What the bare transport costs, as a share of the whole exchange on 100 endpoints."""
    return [
        Figure(
            section="Bare transport, per exchange",
            what=f"{load}, {subject.transport}",
            value=cost,
            ratio=cost / costs[load, subject._replace(endpoints=100)],
            against="100 endpoints",
        )
        for (load, subject), cost in costs.items()
        if subject.endpoints is None
    ]


def _of_cores(costs: Costs) -> list[Figure]:
    return [
        Figure(
            section="Growth and totals, h2",
            what=f"{load}, 10 to 1,000 endpoints",
            value=costs[load, Subject("h2", 1000)],
            ratio=costs[load, Subject("h2", 1000)] / costs[load, Subject("h2", 10)],
            against="10 endpoints",
        )
        for load in (SMALL, LARGE)
    ] + [
        Figure(
            section="Growth and totals, h2",
            what=f"{PROMPTS_PER_SECOND} a second: {load}, 100 endpoints",
            value=costs[load, DEFAULT] * PROMPTS_PER_SECOND / 1e6,
            unit="cores",
            ratio=costs[load, DEFAULT] / costs[load, Subject("grpcio", 100)],
            against="grpcio",
            budget=CORES_BUDGET,
        )
        for load in (LARGE, HEAD)
    ]


def _of_memory(subjects: Mapping[Subject, Served]) -> list[Figure]:
    return [
        Figure(
            section="Resident memory after all loads",
            what=f"{_pool(subject)}, {subject.transport}",
            value=resident_mb(served.pid),
            unit="MB",
            ratio=resident_mb(served.pid) / served.resident_at_start_mb,
            against="at start",
            budget=MEMORY_BUDGET_MB if subject.endpoints == DEFAULT.endpoints else None,
        )
        for subject, served in subjects.items()
    ]


def _pool(subject: Subject) -> str:
    return "bare transport" if subject.endpoints is None else f"{subject.endpoints} endpoints"
