"""Continuous batching in virtual time: prefill by rate, decode slowed by the batch, bounded KV.

Time advances in steps, as in vLLM: each gives every decoding sequence one token and computes up to
`chunk_tokens` of waiting prompts. While the batch stays the same, its steps are one *run*, so the
cost of a simulation follows arrivals and ends, and the number of tokens does not matter.
"""

from collections import OrderedDict
from math import ceil, inf

import msgspec

from chaos.engine.blocks import BlockPool
from chaos.engine.meter import Meter
from chaos.engine.sequence import Phase, Request, Sequence

# Sums of floats may miss a step's end by this share of the step.
ROUNDING = 1e-4


class EngineSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes and rates of an engine at speed 1."""

    prefill_tokens_per_second: float = 8000.0
    step_seconds: float = 0.008  # of a step, whatever is in the batch
    step_seconds_per_sequence: float = 0.0004  # added for each decoding sequence
    chunk_tokens: int = 2048  # prompt tokens computed in one step
    block_tokens: int = 16
    kv_tokens: int = 131072
    max_running: int = 128

    @property
    def blocks(self) -> int:
        """KV capacity in blocks."""
        return self.kv_tokens // self.block_tokens


class RequestTooLarge(Exception):  # noqa: N818  reads as the state it reports
    """A request needs more KV than the engine has, so it could never be admitted."""


class _Run(msgspec.Struct):
    """Steps of an unchanged batch, in work seconds (seconds at speed 1)."""

    starts: float
    step: float
    count: int
    decoding: int
    chunks: list[tuple[Sequence, int]]


class Engine:
    """Admits first come first served, computes, frees; every method takes the present time.

    `submit`, `cancel` and `set_speed` advance the engine to `now` first. Speed 0 is a hang.
    """

    def __init__(self, spec: EngineSpec, *, now: float = 0.0, speed: float = 1.0) -> None:
        self.spec = spec
        self.pool = BlockPool(spec.blocks)
        self.meter = Meter()
        self.speed = speed
        self._now = now
        self._work = 0.0  # seconds worked so far, at speed 1
        self._steps = 0
        self._run: _Run | None = None
        self._waiting: OrderedDict[Sequence, None] = OrderedDict()
        self._running: dict[Sequence, None] = {}

    @property
    def running(self) -> int:
        """Sequences in the batch, in prefill or decode."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Sequences that are not admitted yet."""
        return len(self._waiting)

    def blocks_of(self, request: Request) -> int:
        """Blocks that a request reserves: its prompt and all of its output."""
        return ceil((request.prompt_tokens + request.output_tokens) / self.spec.block_tokens)

    def generated(self, sequence: Sequence) -> int:
        """Tokens that a sequence has so far."""
        if sequence.phase is Phase.FINISHED:
            return sequence.request.output_tokens
        return self._steps - sequence.first_step + 1 if sequence.phase is Phase.DECODE else 0

    def submit(self, now: float, request: Request) -> Sequence:
        """Queue a request; it joins the batch at a step's end. Raises RequestTooLarge."""
        if self.blocks_of(request) > self.pool.capacity:
            raise RequestTooLarge(f"needs {self.blocks_of(request)} KV blocks")
        self.advance(now)
        sequence = Sequence(request, now)
        self._waiting[sequence] = None
        self._replan()
        return sequence

    def cancel(self, now: float, sequence: Sequence) -> None:
        """Drop a sequence and free what it holds; a sequence that is over stays as it is."""
        self.advance(now)
        if sequence.over:
            return
        if sequence.phase is Phase.DECODE and self._run is not None:
            self._run.decoding -= 1
        self._leave(sequence, Phase.CANCELLED, now)
        self.meter.cancelled += 1
        self._replan()

    def set_speed(self, now: float, speed: float) -> None:
        """Work `speed` times as fast from here on, also on the step in progress."""
        self.advance(now)
        self.speed = speed

    def next_token_at(self) -> float:
        """Time of the end of the step in progress, infinite without one."""
        return inf if self._run is None else self._time_of(self._run.starts + self._run.step)

    def next_change_at(self) -> float:
        """Time of the next change of the batch, infinite when idle."""
        run = self._run
        return inf if run is None else self._time_of(run.starts + run.step * run.count)

    def advance(self, now: float) -> None:
        """Complete every step that ends up to `now`."""
        self._work += (now - self._now) * self.speed
        self._now = now
        while (run := self._run) is not None:
            self._count_steps(run)
            if run.count:
                return
            self._end(run)
            self._run = self._plan(run.starts)

    def _time_of(self, work: float) -> float:
        return self._now + (work - self._work) / self.speed if self.speed else inf

    def _count_steps(self, run: _Run) -> None:
        done = min(run.count, int((self._work - run.starts) / run.step + ROUNDING))
        if done <= 0:
            return
        run.starts += done * run.step
        run.count -= done
        self._steps += done
        if run.decoding:
            self.meter.generation_tokens += done * run.decoding
            self.meter.inter_token_latency.observe(self._seconds(run.step), done * run.decoding)

    def _seconds(self, work: float) -> float:
        return work / self.speed if self.speed else 0.0

    def _replan(self) -> None:
        """Let the step in progress be the last of its run, or start one."""
        if self._run is None:
            self._run = self._plan(self._work)
        else:
            self._run.count = 1

    def _plan(self, starts: float) -> _Run | None:
        decoding = [s for s in self._running if s.phase is Phase.DECODE]
        chunks = self._schedule_prefill(self._time_of(starts) if self.speed else self._now)
        if not decoding and not chunks:
            return None
        spec = self.spec
        prefill = sum(tokens for _, tokens in chunks) / spec.prefill_tokens_per_second
        step = spec.step_seconds + spec.step_seconds_per_sequence * len(decoding) + prefill
        count = 1 if chunks else min(s.last_step for s in decoding) - self._steps
        return _Run(starts, step, count, len(decoding), chunks)

    def _schedule_prefill(self, at: float) -> list[tuple[Sequence, int]]:
        budget = self.spec.chunk_tokens
        chunks: list[tuple[Sequence, int]] = []
        unfinished = [s for s in self._running if s.phase is Phase.PREFILL]
        while budget > 0:
            sequence = unfinished.pop(0) if unfinished else self._admit(at)
            if sequence is None:
                break
            tokens = min(budget, sequence.request.prompt_tokens - sequence.prefilled)
            budget -= tokens
            chunks.append((sequence, tokens))
            self._publish(sequence, sequence.prefilled + tokens)
        return chunks

    def _admit(self, at: float) -> Sequence | None:
        """Move the oldest waiting sequence into the batch, if it fits."""
        if not self._waiting or len(self._running) >= self.spec.max_running:
            return None
        sequence = next(iter(self._waiting))
        request, size = sequence.request, self.spec.block_tokens
        # The last prompt token is always computed: it gives the first output token.
        reusable = request.block_hashes[: (request.prompt_tokens - 1) // size]
        holding = self.pool.acquire(reusable, self.blocks_of(request))
        if holding is None:
            return None
        del self._waiting[sequence]
        self._running[sequence] = None
        sequence.phase, sequence.holding, sequence.admitted_at = Phase.PREFILL, holding, at
        sequence.published = len(holding.hashes)
        sequence.cached_tokens = sequence.prefilled = sequence.published * size
        self.meter.prefix_queries += request.prompt_tokens
        self.meter.prefix_hits += sequence.cached_tokens
        return sequence

    def _publish(self, sequence: Sequence, computed: int) -> None:
        """Offer the blocks that this step computes, so that the next in line may hit them."""
        upto = computed // self.spec.block_tokens
        for block in sequence.request.block_hashes[sequence.published : upto]:
            self.pool.publish(sequence.holding, block)
        sequence.published = max(upto, sequence.published)

    def _end(self, run: _Run) -> None:
        at = self._time_of(run.starts)
        for sequence, tokens in run.chunks:
            sequence.prefilled += tokens
            if not sequence.over and sequence.prefilled == sequence.request.prompt_tokens:
                self._first_token(sequence, at)
        for sequence in [s for s in self._running if s.phase is Phase.DECODE]:
            if sequence.last_step <= self._steps:
                self._finish(sequence, at)

    def _first_token(self, sequence: Sequence, at: float) -> None:
        sequence.phase, sequence.first_step, sequence.first_token_at = Phase.DECODE, self._steps, at
        meter = self.meter
        meter.prompt_tokens += sequence.request.prompt_tokens
        meter.cached_tokens += sequence.cached_tokens
        meter.generation_tokens += 1
        meter.time_to_first_token.observe(at - sequence.arrived_at)

    def _finish(self, sequence: Sequence, at: float) -> None:
        self._leave(sequence, Phase.FINISHED, at)
        meter, request = self.meter, sequence.request
        reason = request.finish_reason.value
        meter.finished[reason] = meter.finished.get(reason, 0) + 1
        meter.request_prompt_tokens.observe(request.prompt_tokens)
        meter.request_generation_tokens.observe(request.output_tokens)
        meter.computed_tokens.observe(request.prompt_tokens - sequence.cached_tokens)
        meter.e2e_latency.observe(at - sequence.arrived_at)
        meter.queue_time.observe(sequence.admitted_at - sequence.arrived_at)
        meter.prefill_time.observe(sequence.first_token_at - sequence.admitted_at)
        meter.decode_time.observe(at - sequence.first_token_at)
        meter.inference_time.observe(at - sequence.admitted_at)

    def _leave(self, sequence: Sequence, phase: Phase, at: float) -> None:
        self._waiting.pop(sequence, None)
        self._running.pop(sequence, None)
        sequence.phase, sequence.finished_at = phase, at
        self.pool.release(sequence.holding)
