"""Parts of the picker and the collector in this process, by CPU time."""

import time
from collections.abc import Callable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from collector.engines import ENGINES
from collector.reading import PageReader
from picker.plugins.catalogue import built_in
from picker.requests.parse import parse
from picker.scheduling.config import DEFAULT_CONFIG, build_scheduler, load_config
from tests.perf.scripts import chat
from tests.support import builders

PAGE = Path(__file__).parents[1] / "collector/captures/metrics_busy_default_flags.prom"
HEADERS = {":path": b"/v1/chat/completions", "content-type": b"application/json"}


def microseconds(run: Callable[[], object], seconds: float = 0.3) -> float:
    """Return the CPU time of one call: the best of three rounds."""
    run()
    best = float("inf")
    for _ in range(3):
        calls, started = 0, time.process_time()
        while time.process_time() - started < seconds / 3:
            run()
            calls += 1
        best = min(best, (time.process_time() - started) / calls)
    return best * 1e6


def scheduling(endpoints: int) -> float:
    """Return the cost of one decision of the default profile."""
    context = builders.context()
    scheduler = build_scheduler(load_config(DEFAULT_CONFIG), built_in(), context)
    view = builders.view(endpoints)
    request = builders.request(prefix=(1, 2, 3, 4))
    candidates = builders.everybody(view)

    def decide() -> None:
        view.revision += 1  # as after every booking
        scheduler.schedule(request, view, candidates)

    return microseconds(decide)


def parsing(size: int) -> float:
    """Return the cost of reading and hashing a chat request."""
    body = chat(size)
    return microseconds(lambda: parse("", HEADERS, body))


def reading_page() -> tuple[float, float]:
    """Return the cost of reading a recorded vLLM page: ours, and the reference library's."""
    page = PAGE.read_bytes()
    reader = PageReader(ENGINES)
    text = page.decode()
    ours = microseconds(lambda: reader.read(page))
    library = microseconds(lambda: list(text_string_to_metric_families(text)))
    return ours, library
