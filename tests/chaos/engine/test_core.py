"""The engine batches, queues and frees as vLLM does, in virtual time."""

from math import inf, isinf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chaos.engine.core import Engine, EngineSpec, RequestTooLarge
from chaos.engine.sequence import FinishReason, Phase, Request, Sequence

SPEC = EngineSpec(
    prefill_tokens_per_second=1000.0,
    step_seconds=0.01,
    step_seconds_per_sequence=0.001,
    chunk_tokens=64,
    block_tokens=4,
    kv_tokens=400,
    max_running=4,
)


def request(prompt: int = 20, output: int = 5, family: int = 1) -> Request:
    """Build a request; those of one family share all the prefix they can."""
    hashes = tuple(family * 1000 + block for block in range(prompt // SPEC.block_tokens))
    return Request(prompt_tokens=prompt, output_tokens=output, block_hashes=hashes)


def drain(engine: Engine) -> float:
    """Run until nothing is left and return the time of the last change."""
    last = 0.0
    while not isinf(at := engine.next_change_at()):
        engine.advance(at)
        last = at
    return last


def test_a_lone_request_takes_prefill_time_and_one_step_per_further_token() -> None:
    """Prefill gives the first token; each other token costs one step."""
    engine = Engine(SPEC)
    sequence = engine.submit(0.0, request(prompt=20, output=5))
    drain(engine)
    assert pytest.approx(0.01 + 0.020) == sequence.first_token_at
    assert pytest.approx(0.03 + 4 * 0.011) == sequence.finished_at


def test_tokens_appear_step_by_step() -> None:
    """Between two changes of the batch the token count follows the time."""
    engine = Engine(SPEC)
    sequence = engine.submit(0.0, request(output=5))
    seen = []
    for now in (0.0, 0.0301, 0.0412, 0.0633, 0.1):
        engine.advance(now)
        seen.append(engine.generated(sequence))
    assert [0, 1, 2, 4, 5] == seen


def test_a_larger_batch_makes_every_token_slower() -> None:
    """Step time grows with the number of decoding sequences."""
    alone, together = Engine(SPEC), Engine(SPEC)
    single = alone.submit(0.0, request(output=30))
    many = [together.submit(0.0, request(output=30, family=f)) for f in range(1, 4)]
    drain(alone)
    drain(together)
    decode = [s.finished_at - s.first_token_at for s in (single, many[0])]
    assert decode[0] < decode[1]


def test_cached_prompt_tokens_cost_no_prefill() -> None:
    """The second prompt of a family computes only what the first did not."""
    engine = Engine(SPEC)
    first = engine.submit(0.0, request(prompt=41))
    now = drain(engine)
    second = engine.submit(now, request(prompt=41))
    drain(engine)
    assert (0, 40) == (first.cached_tokens, second.cached_tokens)
    assert pytest.approx(0.011) == second.first_token_at - now
    assert (82, 40) == (engine.meter.prefix_queries, engine.meter.prefix_hits)


def test_the_last_prompt_token_is_always_computed() -> None:
    """A prompt that is cached to its end still computes its last block."""
    engine = Engine(SPEC)
    for _ in range(2):
        sequence = engine.submit(0.0, request(prompt=40))
        drain(engine)
    assert 36 == sequence.cached_tokens


def test_a_long_prompt_is_computed_in_chunks_while_others_decode() -> None:
    """Chunked prefill: a decoding sequence gets a token from every chunk's step."""
    engine = Engine(SPEC)
    short = engine.submit(0.0, request(prompt=4, output=10, family=2))
    engine.advance(0.015)
    long = engine.submit(0.015, request(prompt=200))
    while long.phase is not Phase.DECODE:
        engine.advance(engine.next_token_at())
    assert 1 + 1 + 4 == engine.generated(short)


def test_admission_waits_for_kv_space() -> None:
    """A request that does not fit waits at the head of the queue; a smaller one stays behind it."""
    engine = Engine(SPEC)
    big = [engine.submit(0.0, request(prompt=200, output=40, family=f)) for f in (1, 2)]
    small = engine.submit(0.0, request(prompt=4, output=1, family=3))
    engine.advance(0.5)
    assert [Phase.DECODE, Phase.WAITING, Phase.WAITING] == [s.phase for s in (*big, small)]
    drain(engine)
    assert big[1].admitted_at >= big[0].finished_at
    assert small.admitted_at >= big[1].admitted_at


def test_a_request_larger_than_the_cache_is_refused() -> None:
    """What can never be admitted must not block the queue."""
    engine = Engine(SPEC)
    with pytest.raises(RequestTooLarge):
        engine.submit(0.0, request(prompt=400, output=1))
    assert 0 == engine.waiting


def test_cancelling_frees_blocks_and_the_next_in_line_starts() -> None:
    """A cancelled sequence holds nothing from that moment on."""
    engine = Engine(SPEC)
    first = engine.submit(0.0, request(prompt=300, output=50))
    second = engine.submit(0.0, request(prompt=300, output=5, family=2))
    engine.advance(0.5)
    engine.cancel(0.5, first)
    assert (0, 1) == (engine.running, engine.waiting)
    assert 0 == engine.pool.used
    drain(engine)
    assert Phase.FINISHED is second.phase
    assert (1, 1) == (engine.meter.cancelled, engine.meter.finished_total)


def test_cancelling_what_is_over_changes_nothing() -> None:
    """Finished requests are not counted as cancelled."""
    engine = Engine(SPEC)
    sequence = engine.submit(0.0, request())
    engine.cancel(drain(engine), sequence)
    assert (Phase.FINISHED, 0) == (sequence.phase, engine.meter.cancelled)


def test_half_the_speed_takes_twice_the_time() -> None:
    """Speed scales prefill and decode alike."""
    fast, slow = Engine(SPEC), Engine(SPEC, speed=0.5)
    for engine in (fast, slow):
        engine.submit(0.0, request())
    assert pytest.approx(2 * drain(fast)) == drain(slow)


def test_speed_zero_is_a_hang_that_ends_where_it_began() -> None:
    """A hang adds its length to what was in progress and loses nothing."""
    hung, other = Engine(SPEC), Engine(SPEC)
    for engine in (hung, other):
        engine.submit(0.0, request())
    hung.set_speed(0.02, 0.0)
    hung.advance(5.0)
    assert inf == hung.next_token_at()
    assert (1, 0) == (hung.running, hung.waiting)
    hung.set_speed(5.02, 1.0)
    assert pytest.approx(drain(other) + 5.0) == drain(hung)


def test_finished_requests_are_counted_by_reason() -> None:
    """The meter tells a limit of the client from a stop of the model."""
    engine = Engine(SPEC)
    for reason in (FinishReason.STOP, FinishReason.LENGTH, FinishReason.LENGTH):
        engine.submit(0.0, Request(prompt_tokens=3, output_tokens=2, finish_reason=reason))
    drain(engine)
    assert {"stop": 1, "length": 2} == engine.meter.finished


requests = st.builds(
    request,
    prompt=st.integers(1, 250),
    output=st.integers(1, 60),
    family=st.integers(1, 3),
)
arrivals = st.lists(st.tuples(st.floats(0, 0.3), requests), min_size=1, max_size=12)


@given(arrivals, st.floats(0.0007, 0.5))
def test_how_often_the_engine_is_advanced_makes_no_difference(
    gaps: list[tuple[float, Request]], tick: float
) -> None:
    """Jumping over whole runs gives the times that small ticks give."""
    jumping, ticking = Engine(SPEC), Engine(SPEC)
    pairs: list[tuple[Sequence, Sequence]] = []
    now = 0.0
    for gap, item in gaps:
        for index in range(1, int(gap / tick) + 1):
            ticking.advance(now + index * tick)
        now += gap
        pairs.append((jumping.submit(now, item), ticking.submit(now, item)))
    drain(jumping)
    drain(ticking)
    for one, other in pairs:
        assert pytest.approx(one.first_token_at) == other.first_token_at
        assert pytest.approx(one.finished_at) == other.finished_at
    assert jumping.meter.generation_tokens == ticking.meter.generation_tokens


@given(arrivals)
def test_work_is_conserved(gaps: list[tuple[float, Request]]) -> None:
    """Every output token is generated once; every prompt token is computed or a hit."""
    engine = Engine(SPEC)
    now = 0.0
    for gap, item in gaps:
        now += gap
        engine.submit(now, item)
    drain(engine)
    meter = engine.meter
    assert sum(item.output_tokens for _, item in gaps) == meter.generation_tokens
    assert sum(item.prompt_tokens for _, item in gaps) == meter.prompt_tokens
    assert meter.prefix_hits == meter.cached_tokens
    assert len(gaps) == meter.time_to_first_token.count == meter.finished_total


class EngineMachine(RuleBasedStateMachine):
    """Any order of arrivals, cancellations, pauses and time."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = Engine(SPEC)
        self.now = 0.0
        self.sequences: list[Sequence] = []

    @rule(item=requests)
    def submit(self, item: Request) -> None:
        self.sequences.append(self.engine.submit(self.now, item))

    @rule(seconds=st.floats(0, 2))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.engine.advance(self.now)

    @precondition(lambda self: self.sequences)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.engine.cancel(self.now, data.draw(st.sampled_from(self.sequences)))

    @rule(speed=st.sampled_from([0.0, 0.5, 1.0, 4.0]))
    def change_speed(self, speed: float) -> None:
        self.engine.set_speed(self.now, speed)

    @invariant()
    def kv_never_exceeds_the_capacity(self) -> None:
        pool = self.engine.pool
        assert pool.used >= 0
        assert pool.used + pool.cached <= pool.capacity

    @invariant()
    def the_batch_is_bounded(self) -> None:
        assert self.engine.running <= SPEC.max_running

    @invariant()
    def admission_is_first_come_first_served(self) -> None:
        phases = [s.phase for s in self.sequences if not s.over]
        waiting = [phase is Phase.WAITING for phase in phases]
        assert sorted(waiting) == waiting

    @invariant()
    def no_sequence_has_more_tokens_than_it_asked_for(self) -> None:
        for sequence in self.sequences:
            assert 0 <= self.engine.generated(sequence) <= sequence.request.output_tokens

    @invariant()
    def work_is_never_left_lying(self) -> None:
        busy = self.engine.running or self.engine.waiting
        assert not busy or not self.engine.speed or self.engine.next_token_at() < inf

    def teardown(self) -> None:
        """After the last request nothing is held and everything is accounted for."""
        self.engine.set_speed(self.now, 1.0)
        drain(self.engine)
        meter = self.engine.meter
        assert 0 == self.engine.pool.used == self.engine.running == self.engine.waiting
        assert len(self.sequences) == meter.finished_total + meter.cancelled


TestEngineMachine = EngineMachine.TestCase
TestEngineMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
