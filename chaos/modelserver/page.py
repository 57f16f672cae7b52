"""The metrics page: a recorded vLLM 0.32.0 page in which the engine's own numbers are filled in."""

import re
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.utils import floatToGoString

from chaos.engine.core import Engine
from chaos.engine.meter import Histogram, Meter

CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"
TEMPLATE = Path(__file__).with_name("vllm.prom")
PADDING_LINE = (
    'http_request_duration_seconds_bucket{{handler="/padding/{:05d}",le="+Inf",method="GET"}} 0.0\n'
)
_SAMPLE = re.compile(r"(?P<series>(?P<name>[\w:]+)(?:\{(?P<labels>.*)\})?) (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class MetricsPage:
    """Renders the page of one engine; the text between its numbers is prepared once."""

    def __init__(
        self, engine: Engine, *, model: str, created_at: float, padding_bytes: int = 0
    ) -> None:
        self._engine = engine
        template = _fill(TEMPLATE.read_text(), engine, model, created_at)
        self._texts, self._keys = _split(template, set(_values(engine)))
        self._texts[-1] += _padding(padding_bytes)
        self._shown: tuple[int, ...] = ()
        self._page = b""

    def render(self) -> bytes:
        """Return the page, the same object while nothing has changed."""
        shown = _fingerprint(self._engine)
        if shown != self._shown:
            self._shown, self._page = shown, self._text().encode()
        return self._page

    def _text(self) -> str:
        values = _values(self._engine)
        parts = [self._texts[0]]
        for key, text in zip(self._keys, self._texts[1:], strict=True):
            parts += (_number(values[key]), text)
        return "".join(parts)


def _number(value: float) -> str:
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]


def _fill(template: str, engine: Engine, model: str, created_at: float) -> str:
    escaped = model.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    fields = {
        "BLOCK_SIZE": str(engine.spec.block_tokens),
        "BLOCKS": str(engine.spec.blocks),
        "KV_TOKENS": str(engine.spec.kv_tokens),
        "MODEL": escaped,
    }
    template = template.replace(" CREATED\n", f" {_number(created_at)}\n")
    return re.sub(r'"([A-Z_]+)"', lambda m: f'"{fields.get(m[1], m[1])}"', template)


def _split(template: str, live: set[str]) -> tuple[list[str], list[str]]:
    """Cut the page at the values that change: texts and, between them, the keys of values."""
    texts, keys = [""], []
    for line in template.splitlines(keepends=True):
        sample = _SAMPLE.match(line)
        if sample is None or (key := _key(sample)) not in live:
            texts[-1] += line
        else:
            keys.append(key)
            texts[-1] += f"{sample['series']} "
            texts.append("\n")
    return texts, keys


def _key(sample: re.Match[str]) -> str:
    """Name a series by its metric and the labels that tell it from its siblings."""
    labels = dict(_LABEL.findall(sample["labels"] or ""))
    siblings = [text for name, text in labels.items() if name not in {"engine", "model_name"}]
    return ":".join([sample["name"], *siblings])


def _padding(size: int) -> str:
    lines = -(-size // len(PADDING_LINE.format(0)))
    return "".join(PADDING_LINE.format(number) for number in range(lines))


def _fingerprint(engine: Engine) -> tuple[int, ...]:
    meter = engine.meter
    return (
        engine.running,
        engine.waiting,
        engine.pool.used,
        meter.prefix_queries,
        meter.generation_tokens,
        meter.finished_total,
    )


def _values(engine: Engine) -> dict[str, float]:
    values = {
        "vllm:num_requests_running": float(engine.running),
        "vllm:num_requests_waiting": float(engine.waiting),
        "vllm:num_requests_waiting_by_reason:capacity": float(engine.waiting),
        "vllm:kv_cache_usage_perc": engine.pool.used / engine.pool.capacity,
        **_counters(engine.meter),
    }
    for name, histogram in _histograms(engine.meter).items():
        values.update(_samples(name, histogram))
    return values


def _counters(meter: Meter) -> dict[str, float]:
    computed = meter.prompt_tokens - meter.cached_tokens
    return {
        "vllm:prefix_cache_queries_total": meter.prefix_queries,
        "vllm:prefix_cache_hits_total": meter.prefix_hits,
        "vllm:prompt_tokens_total": meter.prompt_tokens,
        "vllm:prompt_tokens_by_source_total:local_compute": computed,
        "vllm:prompt_tokens_by_source_total:local_cache_hit": meter.cached_tokens,
        "vllm:prompt_tokens_cached_total": meter.cached_tokens,
        "vllm:prompt_tokens_cached_by_source_total:device": meter.prefix_hits,
        "vllm:generation_tokens_total": meter.generation_tokens,
        "vllm:request_success_total:stop": meter.finished.get("stop", 0),
        "vllm:request_success_total:length": meter.finished.get("length", 0),
    }


def _histograms(meter: Meter) -> dict[str, Histogram]:
    return {
        "vllm:request_prompt_tokens": meter.request_prompt_tokens,
        "vllm:request_generation_tokens": meter.request_generation_tokens,
        "vllm:request_prefill_kv_computed_tokens": meter.computed_tokens,
        "vllm:time_to_first_token_seconds": meter.time_to_first_token,
        "vllm:inter_token_latency_seconds": meter.inter_token_latency,
        "vllm:e2e_request_latency_seconds": meter.e2e_latency,
        "vllm:request_queue_time_seconds": meter.queue_time,
        "vllm:request_inference_time_seconds": meter.inference_time,
        "vllm:request_prefill_time_seconds": meter.prefill_time,
        "vllm:request_decode_time_seconds": meter.decode_time,
    }


def _samples(name: str, histogram: Histogram) -> Iterator[tuple[str, float]]:
    bounds = (*(str(bound) for bound in histogram.bounds), "+Inf")
    for bound, count in zip(bounds, histogram.cumulative(), strict=True):
        yield f"{name}_bucket:{bound}", count
    yield f"{name}_count", histogram.count
    yield f"{name}_sum", histogram.sum
