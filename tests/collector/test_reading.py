"""Recorded pages give their true values, and what cannot be true is unknown."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from collector.engines import ENGINES, Signal
from collector.reading import PageReader, Reading
from tests.collector.fakes import CAPTURES, vllm

TRUTH: Mapping[str, Any] = json.loads((CAPTURES / "TRUTH.json").read_bytes())

CONFIG = "vllm:cache_config_info{%s} 1.0\n"


def read(page: bytes | str) -> Reading:
    return PageReader(ENGINES).read(page if isinstance(page, bytes) else page.encode())


def value(page: bytes | str, signal: Signal) -> float | None:
    return read(page).values.get(signal)


def problems(page: bytes | str) -> list[str]:
    return [str(problem) for problem in read(page).problems]


def total(by_engine: Mapping[str, float] | None) -> float | None:
    return None if by_engine is None else sum(by_engine.values())


def mean(by_engine: Mapping[str, float] | None) -> float | None:
    return None if by_engine is None else sum(by_engine.values()) / len(by_engine)


@pytest.mark.parametrize("name", sorted(TRUTH))
def test_recorded_page_gives_the_true_values(name: str) -> None:
    """Every page recorded from a vLLM server gives what an independent reader found in it."""
    truth = TRUTH[name]
    reading = read((CAPTURES / name).read_bytes())
    config = truth["cache_config"]
    sizes = config and {e: float(c["kv_cache_size_tokens"]) for e, c in config.items()}
    block = config and float(next(iter(config.values()))["block_size"])
    assert ("vllm" if truth["engines"] else None) == reading.engine
    assert truth["model_names"] == list(reading.models)
    assert total(truth["waiting"]) == reading.values.get(Signal.WAITING)
    assert total(truth["running"]) == reading.values.get(Signal.RUNNING)
    assert mean(truth["kv_usage"]) == reading.values.get(Signal.KV_USAGE)
    assert total(sizes) == reading.values.get(Signal.KV_CAPACITY_TOKENS)
    assert block == reading.values.get(Signal.BLOCK_SIZE)


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("metrics_busy_default_flags.prom", 4096),
        ("metrics_lora_fresh.prom", 128),
        # The label of each engine says 256.
        ("metrics_dp2_busy.prom", 2 * 128),
    ],
)
def test_blocks_are_those_that_exist(name: str, blocks: int) -> None:
    """The number of blocks follows from the size in tokens, which data parallelism leaves right."""
    assert blocks == value((CAPTURES / name).read_bytes(), Signal.NUM_BLOCKS)


@pytest.mark.parametrize("name", ["metrics_dp2_fresh.prom", "metrics_apiservers2_lora_fresh.prom"])
def test_gauges_without_samples_are_unknown(name: str) -> None:
    """HELP and TYPE without a sample are unknown, never idle."""
    found = problems((CAPTURES / name).read_bytes())
    assert ["waiting: missing", "running: missing", "kv_usage: missing"] == found


def test_disabled_statistics_are_unknown() -> None:
    """A good page without one series of the engine says nothing, and says so."""
    reading = read((CAPTURES / "metrics_disable_log_stats_busy.prom").read_bytes())
    assert {} == reading.values
    assert ["engine: no known series"] == [str(problem) for problem in reading.problems]


@pytest.mark.parametrize("prefix", ["vllm:", "vllm_", "ray_vllm_", "ray_vllm:"])
def test_every_spelling_of_the_prefix_gives_the_same(prefix: str) -> None:
    """Colons or underscores, with Ray's prefix or without: the values are those of the page."""
    page = (CAPTURES / "metrics_dp2_busy.prom").read_bytes()
    assert read(page) == read(page.replace(b"\nvllm:", b"\n" + prefix.encode()))


def test_engines_behind_one_endpoint_are_summed_and_averaged() -> None:
    """A busy second engine is not hidden behind an idle first one."""
    page = "".join(
        f'vllm:num_requests_waiting{{engine="{engine}"}} {waiting}\n'
        f'vllm:num_requests_running{{engine="{engine}"}} 1\n'
        f'vllm:kv_cache_usage_perc{{engine="{engine}"}} {usage}\n'
        for engine, waiting, usage in [(0, 0, 0.1), (1, 40, 0.7)]
    )
    assert 40.0 == value(page, Signal.WAITING)
    assert 2.0 == value(page, Signal.RUNNING)
    assert pytest.approx(0.4) == value(page, Signal.KV_USAGE)


def test_old_names_are_read() -> None:
    """Pages of older releases give the same signals under their names."""
    page = vllm(gpu_cache_usage_perc=0.5, time_per_output_token_seconds_sum=2)
    assert 0.5 == value(page, Signal.KV_USAGE)
    assert 2.0 == value(page, Signal.INTER_TOKEN_SECONDS)


def test_new_name_wins_over_the_old_one() -> None:
    """A page with both names is not counted twice."""
    assert 0.6 == value(vllm(gpu_cache_usage_perc=0.5, kv_cache_usage_perc=0.6), Signal.KV_USAGE)


def test_old_name_serves_while_the_new_one_is_unsound() -> None:
    """The first name with a sound value wins, and the other one is still named."""
    page = vllm(
        num_requests_waiting=0,
        num_requests_running=0,
        kv_cache_usage_perc="NaN",
        gpu_cache_usage_perc=0.5,
    )
    assert 0.5 == value(page, Signal.KV_USAGE)
    assert ["kv_usage: not finite"] == problems(page)


@pytest.mark.parametrize(
    ("series", "bad", "problem"),
    [
        ("num_requests_waiting", "NaN", "waiting: not finite"),
        ("num_requests_waiting", "+Inf", "waiting: not finite"),
        ("num_requests_waiting", "-1", "waiting: too small"),
        ("num_requests_waiting", "1.1e6", "waiting: too large"),
        ("num_requests_waiting", "1,5", "waiting: malformed"),
        ("num_requests_running", "-1e-9", "running: too small"),
        ("kv_cache_usage_perc", "1.0002", "kv_usage: too large"),
        ("kv_cache_usage_perc", "30", "kv_usage: too large"),
        ("prefix_cache_hits_total", "-5", "prefix_hits: too small"),
    ],
)
def test_impossible_value_is_unknown(series: str, bad: str, problem: str) -> None:
    """A value that cannot be true is unknown with its fault, and costs no other signal."""
    good: dict[str, float | str] = {
        "num_requests_waiting": 1,
        "num_requests_running": 1,
        "kv_cache_usage_perc": 0.5,
        "prefix_cache_hits_total": 1,
    }
    before = read(vllm(**good)).values
    after = read(vllm(**(good | {series: bad}))).values
    assert [problem] == problems(vllm(**(good | {series: bad})))
    assert 1 == len(before) - len(after)
    assert after == {signal: before[signal] for signal in after}


def test_usage_above_one_by_rounding_is_one() -> None:
    """A ratio may exceed its limit by rounding and is cut to it."""
    assert 1.0 == value(vllm(kv_cache_usage_perc=1.00009), Signal.KV_USAGE)


def test_sum_without_one_engines_share_is_unknown() -> None:
    """An engine whose value is unusable makes the sum unknown: a part of it would look idle."""
    page = 'vllm:num_requests_waiting{engine="0"} 1\nvllm:num_requests_waiting{engine="1"} NaN\n'
    assert value(page, Signal.WAITING) is None


@pytest.mark.parametrize(
    ("labels", "capacity", "blocks"),
    [
        ('block_size="16",num_gpu_blocks="100"', 1600.0, 100.0),
        ('block_size="16",num_gpu_blocks="None"', None, None),
        ('block_size="None",num_gpu_blocks="100"', None, 100.0),
        ('block_size="16",num_gpu_blocks=""', None, None),
        ('block_size="16",num_gpu_blocks="0"', None, None),
        ('block_size="x",num_gpu_blocks="100"', None, 100.0),
        ('block_size="16",num_gpu_blocks="200",kv_cache_size_tokens="1600"', 1600.0, 100.0),
        # A hybrid model's printed block size is not the one that divides its cache.
        ('block_size="528",num_gpu_blocks="90",kv_cache_size_tokens="1600"', 1600.0, 90.0),
        ('block_size="16",num_gpu_blocks="100",kv_cache_size_tokens="None"', 1600.0, 100.0),
        ('num_gpu_blocks="100",x="block_size=\\"16\\""', None, 100.0),
    ],
)
def test_capacity_comes_from_labels_that_hold_numbers(
    labels: str, capacity: float | None, blocks: float | None
) -> None:
    """The size in tokens wins over the product of blocks; the text None is unknown."""
    page = CONFIG % labels
    assert capacity == value(page, Signal.KV_CAPACITY_TOKENS)
    assert blocks == value(page, Signal.NUM_BLOCKS)


def test_block_sizes_that_differ_are_unknown() -> None:
    """Engines behind one endpoint must agree on the block size."""
    page = CONFIG % 'block_size="16",engine="0"' + CONFIG % 'block_size="32",engine="1"'
    assert value(page, Signal.BLOCK_SIZE) is None
    assert "block_size: engines disagree" in problems(page)


def test_page_that_lacks_one_signal_keeps_the_others() -> None:
    """A missing required signal is named; nothing is made up for it."""
    page = vllm(num_requests_waiting=3, num_requests_running=1)
    assert ["kv_usage: missing"] == problems(page)
    assert 3.0 == value(page, Signal.WAITING)


def test_remembered_label_blocks_are_bounded() -> None:
    """Label blocks that keep changing do not grow the reader."""
    reader = PageReader(ENGINES)
    for number in range(9000):
        reader.read((CONFIG % f'block_size="16",serial="{number}"').encode())
    assert len(reader._labels) <= 4096
