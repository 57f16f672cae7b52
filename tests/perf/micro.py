"""Parts of the picker and the collector in this process, by CPU time."""

import random
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from prometheus_client.parser import text_string_to_metric_families

from collector.engines import ENGINES
from collector.reading import PageReader
from picker.plugins.catalogue import built_in
from picker.requests.model import InferenceRequest
from picker.requests.parse import parse
from picker.scheduling.config import DEFAULT_CONFIG, build_scheduler, load_config
from state.ledger import Ledger
from state.model import Membership, ReplicaId
from tests.perf.figures import Figure
from tests.perf.scripts import HEAD_BYTES, chats
from tests.support import builders

ROUNDS = 3
PAGE = Path(__file__).parents[1] / "collector/captures/metrics_busy_default_flags.prom"
HEADERS = {":path": b"/v1/chat/completions", "content-type": b"application/json"}
BODY_BYTES = (1200, 100_000, 400_000)
POOLS = (10, 100, 1000)
DIFFERENT_PROMPTS = 256

SCHEDULE_BUDGET = 100.0
SCHEDULE_GROWTH = 2.0
PAGE_BUDGET = 150.0


def micro_figures(seconds: float) -> list[Figure]:
    """Measure the parts, each for about that long."""
    return [
        *_scheduling("with a prefix", (1, 2, 3, 4, 5), seconds),
        *_scheduling("without a prefix", (), seconds),
        *_parsing(seconds),
        *_booking(seconds),
        _reading(seconds),
    ]


def microseconds(run: Callable[[], object], seconds: float) -> float:
    """Return the CPU time of one call: the median of three rounds."""
    run()
    return median(_one_round(run, seconds / ROUNDS) for _ in range(ROUNDS)) * 1e6


def _one_round(run: Callable[[], object], seconds: float) -> float:
    started, calls = time.process_time(), 0
    while (used := time.process_time() - started) < seconds or not calls:
        for _ in range(8):  # the clock is a system call
            run()
        calls += 8
    return used / calls


def _scheduling(kind: str, prefix: tuple[int, ...], seconds: float) -> list[Figure]:
    costs = {pool: _schedule_cost(pool, prefix, seconds) for pool in POOLS}
    return [
        Figure(
            section="Decision alone",
            what=f"schedule, default profile, {kind}, {pool} endpoints",
            value=cost,
            ratio=cost / costs[POOLS[0]],
            against=f"{POOLS[0]} endpoints",
            budget=SCHEDULE_BUDGET if pool == POOLS[-1] else None,
            ratio_budget=SCHEDULE_GROWTH if pool == POOLS[-1] else None,
        )
        for pool, cost in costs.items()
    ]


def _schedule_cost(pool: int, prefix: tuple[int, ...], seconds: float) -> float:
    """Every decision is for another prompt and finds another revision, as after a booking."""
    scheduler = build_scheduler(load_config(DEFAULT_CONFIG), built_in(), builders.context())
    view = builders.view(pool)
    view.requests[:] = [random.Random(slot).randrange(8) for slot in range(pool)]
    view.prefill_tokens[:] = view.requests * 300
    requests = _different_prompts(prefix)
    everybody = builders.everybody(view)

    def decide() -> None:
        view.revision += 1
        scheduler.schedule(requests[view.revision % DIFFERENT_PROMPTS], view, everybody)

    return microseconds(decide, seconds)


def _different_prompts(prefix: tuple[int, ...]) -> list[InferenceRequest]:
    return [
        builders.request(prefix=tuple(block * 977 + number for block in prefix))
        for number in range(DIFFERENT_PROMPTS)
    ]


def _parsing(seconds: float) -> list[Figure]:
    bodies = {f"{size / 1000:g} KB": chats(size, 1)[0] for size in BODY_BYTES}
    costs = {
        name: microseconds(lambda body=body: parse("", HEADERS, body), seconds)  # type: ignore[misc]
        for name, body in bodies.items()
    }
    head = bodies["400 KB"][:HEAD_BYTES]
    costs["64 KB head of 400 KB"] = microseconds(
        lambda: parse("", HEADERS, head, partial=True), seconds
    )
    return [
        Figure(
            section="Decision alone",
            what=f"parse and hash, {name}",
            value=cost,
            ratio=cost / costs["1.2 KB"],
            against="1.2 KB",
        )
        for name, cost in costs.items()
    ]


def _booking(seconds: float) -> list[Figure]:
    ledger = Ledger(builders.view(POOLS[-1]))
    uids = [endpoint.uid for endpoint in ledger.view.endpoints]
    for uid in uids:
        ledger.book(uid, prefill_tokens=300, decode_tokens=64)
    membership = Membership(replica=ReplicaId("replica-1"), incarnation=1, epoch="epoch")

    def book_and_release() -> None:
        ledger.book(uids[7], prefill_tokens=300, decode_tokens=64).release()

    costs = {
        "book and release": microseconds(book_and_release, seconds),
        "gauge": microseconds(lambda: ledger.gauge(membership, 1), seconds),
    }
    return [
        Figure(section="Ledger", what=f"{name}, {POOLS[-1]} endpoints", value=cost)
        for name, cost in costs.items()
    ]


def _reading(seconds: float) -> Figure:
    page = PAGE.read_bytes()
    text = page.decode()
    reader = PageReader(ENGINES)
    ours = microseconds(lambda: reader.read(page), seconds)
    library = microseconds(lambda: list(text_string_to_metric_families(text)), seconds)
    return Figure(
        section="Collector",
        what=f"read a recorded vLLM page of {len(page) / 1000:.0f} KB",
        value=ours,
        ratio=ours / library,
        against="prometheus_client",
        budget=PAGE_BUDGET,
    )
