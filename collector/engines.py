"""What each engine's page means, as data: which series give which signal, and what is plausible."""

import math
from collections.abc import Mapping
from enum import Enum

import msgspec


class Signal(Enum):
    """What is read from a page; the value is its name in JSON and in metric labels."""

    WAITING = "waiting"
    RUNNING = "running"
    KV_USAGE = "kv_usage"
    KV_CAPACITY_TOKENS = "kv_capacity_tokens"
    BLOCK_SIZE = "block_size"
    NUM_BLOCKS = "num_blocks"
    PREFIX_HITS = "prefix_hits"
    PREFIX_QUERIES = "prefix_queries"
    PREFILL_TOKENS = "prefill_tokens"
    PREFILL_SECONDS = "prefill_seconds"
    INTER_TOKEN_SECONDS = "inter_token_seconds"  # noqa: S105  a token of text
    INTER_TOKEN_COUNT = "inter_token_count"  # noqa: S105


class Aggregate(Enum):
    """How the series of several engines behind one endpoint become one number."""

    SUM = "sum"
    MEAN = "mean"
    SAME = "same"
    """They must agree."""


class Sample(msgspec.Struct, frozen=True, tag="sample"):
    """The value of the series itself."""


class Label(msgspec.Struct, frozen=True, tag="label"):
    """A number in a label of an info series; absent, empty or "None" is unknown."""

    name: str


class Product(msgspec.Struct, frozen=True, tag="product"):
    """The product of two labels."""

    left: str
    right: str


class Quotient(msgspec.Struct, frozen=True, tag="quotient"):
    """The quotient of two labels if it is whole, else unknown."""

    dividend: str
    divisor: str


Term = Sample | Label | Product | Quotient


class Source(msgspec.Struct, frozen=True):
    """One place where a signal may be found: a series name without the engine's prefix."""

    series: str
    term: Term = Sample()


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """How a signal is read. Sources are tried in order; the first with a sound value wins."""

    sources: tuple[Source, ...]
    aggregate: Aggregate = Aggregate.SUM
    least: float = 0.0
    most: float = math.inf
    required: bool = False
    """A page of this engine without it is a problem."""


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """The mapping of one engine."""

    name: str
    prefixes: tuple[str, ...]
    """Spellings of what its series names start with; the first that yields a signal wins."""
    model_label: str
    rules: Mapping[Signal, Rule]


MOST_REQUESTS = 1e6
MOST_BLOCK_TOKENS = 1e6
MOST_TOKENS = 1e12


def _counter(*names: str) -> Rule:
    return Rule(sources=tuple(Source(name) for name in names))


VLLM_CACHE = "cache_config_info"

VLLM = Engine(
    name="vllm",
    # The client library writes underscores when OpenMetrics is negotiated; Ray adds its own prefix.
    prefixes=("vllm:", "vllm_", "ray_vllm_", "ray_vllm:"),
    model_label="model_name",
    rules={
        Signal.WAITING: Rule(
            sources=(Source("num_requests_waiting"),), most=MOST_REQUESTS, required=True
        ),
        Signal.RUNNING: Rule(
            sources=(Source("num_requests_running"),), most=MOST_REQUESTS, required=True
        ),
        Signal.KV_USAGE: Rule(
            sources=(Source("kv_cache_usage_perc"), Source("gpu_cache_usage_perc")),
            aggregate=Aggregate.MEAN,
            most=1.0,
            required=True,
        ),
        # num_gpu_blocks is summed over data-parallel engines in every engine's label, and
        # block_size is not the real one for hybrid models: the size in tokens is right where given.
        Signal.KV_CAPACITY_TOKENS: Rule(
            sources=(
                Source(VLLM_CACHE, Label("kv_cache_size_tokens")),
                Source(VLLM_CACHE, Product("block_size", "num_gpu_blocks")),
            ),
            least=1.0,
            most=MOST_TOKENS,
        ),
        Signal.BLOCK_SIZE: Rule(
            sources=(Source(VLLM_CACHE, Label("block_size")),),
            aggregate=Aggregate.SAME,
            least=1.0,
            most=MOST_BLOCK_TOKENS,
        ),
        Signal.NUM_BLOCKS: Rule(
            sources=(
                Source(VLLM_CACHE, Quotient("kv_cache_size_tokens", "block_size")),
                Source(VLLM_CACHE, Label("num_gpu_blocks")),
            ),
            least=1.0,
            most=MOST_TOKENS,
        ),
        Signal.PREFIX_HITS: _counter(
            "prefix_cache_hits_total",
            "prefix_cache_hits",
            "gpu_prefix_cache_hits_total",
            "gpu_prefix_cache_hits",
        ),
        Signal.PREFIX_QUERIES: _counter(
            "prefix_cache_queries_total",
            "prefix_cache_queries",
            "gpu_prefix_cache_queries_total",
            "gpu_prefix_cache_queries",
        ),
        Signal.PREFILL_TOKENS: _counter("request_prefill_kv_computed_tokens_sum"),
        Signal.PREFILL_SECONDS: _counter("request_prefill_time_seconds_sum"),
        Signal.INTER_TOKEN_SECONDS: _counter(
            "inter_token_latency_seconds_sum", "time_per_output_token_seconds_sum"
        ),
        Signal.INTER_TOKEN_COUNT: _counter(
            "inter_token_latency_seconds_count", "time_per_output_token_seconds_count"
        ),
    },
)

ENGINES = (VLLM,)
