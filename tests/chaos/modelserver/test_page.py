"""The metrics page reads like a recorded vLLM page and tells the engine's numbers."""

from collections.abc import Iterator
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from chaos.engine.core import Engine, EngineSpec
from chaos.engine.sequence import Request
from chaos.modelserver.page import MetricsPage

RECORDED = Path(__file__).parent.parent / "data" / "vllm-0.32.0-busy.prom"
SPEC = EngineSpec(kv_tokens=1600, block_tokens=16, max_running=2)


def page_of(engine: Engine, *, model: str = "tiny", padding_bytes: int = 0) -> MetricsPage:
    """Build a page with a fixed start time."""
    return MetricsPage(engine, model=model, created_at=1795580546.5, padding_bytes=padding_bytes)


def busy_engine() -> Engine:
    """Build an engine with two running and one waiting request."""
    engine = Engine(SPEC)
    for _ in range(3):
        engine.submit(0.0, Request(prompt_tokens=160, output_tokens=160, block_hashes=(1, 2, 3)))
    engine.advance(0.2)
    return engine


def families(page: bytes | str) -> dict[str, Metric]:
    """Parse a page."""
    text = page if isinstance(page, str) else page.decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(page: bytes, name: str, **labels: str) -> float:
    """Return the value of the one sample with these labels, besides engine and model."""
    wanted = {"engine": "0", "model_name": "tiny", **labels}
    samples = (s for family in families(page).values() for s in family.samples)
    return next(s.value for s in samples if s.name == name and wanted == s.labels)


def series(found: dict[str, Metric]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each sample's name and label names, without those of the recording's cuts."""
    for name, family in found.items():
        if name.startswith("vllm:") and not name.endswith("_created"):
            for sample in family.samples:
                yield sample.name, tuple(sorted(sample.labels))


def test_names_types_and_help_are_the_recorded_ones() -> None:
    """A collector that reads a real page reads this one."""
    recorded, ours = families(RECORDED.read_text()), families(page_of(Engine(SPEC)).render())
    described = {name: (family.type, family.documentation) for name, family in recorded.items()}
    found = {name: (family.type, family.documentation) for name, family in ours.items()}
    assert described == {name: found[name] for name in described}
    assert set(series(recorded)) <= set(series(ours))


def test_gauges_show_running_waiting_and_kv_usage() -> None:
    """The three core signals come from the engine."""
    page = page_of(busy_engine()).render()
    assert 2.0 == value(page, "vllm:num_requests_running")
    assert 1.0 == value(page, "vllm:num_requests_waiting")
    assert 1.0 == value(page, "vllm:num_requests_waiting_by_reason", reason="capacity")
    assert (3 + 17 + 17) / 100 == value(page, "vllm:kv_cache_usage_perc")


def test_counters_and_histograms_follow_the_meter() -> None:
    """Tokens, prefix hits, ends and latencies are all counted."""
    engine = busy_engine()
    engine.advance(60.0)
    page = page_of(engine).render()
    assert 480.0 == value(page, "vllm:prompt_tokens_total")
    assert 480.0 == value(page, "vllm:generation_tokens_total")
    assert 96.0 == value(page, "vllm:prefix_cache_hits_total")
    assert 3.0 == value(page, "vllm:request_success_total", finished_reason="length")
    assert 3.0 == value(page, "vllm:time_to_first_token_seconds_bucket", le="+Inf")
    assert 477.0 == value(page, "vllm:inter_token_latency_seconds_count")


def test_the_cache_config_tells_block_size_and_number() -> None:
    """KV capacity can be computed from the labels."""
    info = families(page_of(Engine(SPEC)).render())["vllm:cache_config_info"].samples[0].labels
    assert ("16", "100") == (info["block_size"], info["num_gpu_blocks"])
    assert ("1600", "None") == (info["kv_cache_size_tokens"], info["num_cpu_blocks"])


def test_a_model_name_is_escaped() -> None:
    """A quote or a backslash in the name keeps the page readable."""
    name = 'a"b\\c'
    page = families(page_of(Engine(SPEC), model=name).render())
    assert name == page["vllm:num_requests_running"].samples[0].labels["model_name"]


def test_padding_lengthens_the_page_and_keeps_it_valid() -> None:
    """Scrape cost can be raised at will."""
    plain = page_of(Engine(SPEC)).render()
    padded = page_of(Engine(SPEC), padding_bytes=50_000).render()
    assert 50_000 <= len(padded) - len(plain) < 50_200
    assert 0.0 == value(padded, "vllm:num_requests_running")


def test_an_idle_engine_is_rendered_once() -> None:
    """Frequent scrapes of an idle server cost nothing."""
    engine = Engine(SPEC)
    page = page_of(engine)
    first = page.render()
    assert first is page.render()
    engine.submit(0.0, Request(prompt_tokens=1, output_tokens=1))
    assert first is not page.render()
