"""What was sent where: the longest known prefix, bounded per endpoint."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from picker.flow.sent import SentPrefixes
from picker.requests.model import InferenceRequest
from state.model import EndpointUid
from tests.support import builders

HERE, THERE = EndpointUid(1), EndpointUid(2)
BLOCK = builders.request().block_tokens


def request(*prefix: int, tokens: int | None = None) -> InferenceRequest:
    size = BLOCK * len(prefix) if tokens is None else tokens
    return builders.request(prefix=prefix, prompt_tokens=size)


def test_nothing_is_cached_where_nothing_was_sent() -> None:
    """Neither on another endpoint."""
    sent = SentPrefixes()
    sent.record(request(1, 2), THERE)
    assert 0 == sent.cached_tokens(request(1, 2), HERE)


def test_common_blocks_are_cached() -> None:
    """As many tokens as they hold."""
    sent = SentPrefixes()
    sent.record(request(1, 2, 3), HERE)
    assert 2 * BLOCK == sent.cached_tokens(request(1, 2, 4, 5), HERE)
    assert 3 * BLOCK == sent.cached_tokens(request(1, 2, 3, 4), HERE)
    assert 0 == sent.cached_tokens(request(9, 8, 7), HERE)


def test_cached_tokens_never_exceed_the_prompt() -> None:
    """The estimate of the prompt's size is rougher than the blocks."""
    sent = SentPrefixes()
    sent.record(request(1, 2), HERE)
    assert BLOCK == sent.cached_tokens(request(1, 2, tokens=BLOCK), HERE)


def test_prompt_without_blocks_leaves_no_trace() -> None:
    """Shorter than one block."""
    sent = SentPrefixes()
    sent.record(request(tokens=10), HERE)
    assert 0 == len(sent)
    assert 0 == sent.cached_tokens(request(tokens=10), HERE)


def test_blocks_of_later_tiers_hold_more() -> None:
    """Sizes are those of the chain."""
    sent = SentPrefixes()
    long = request(*range(1, 71), tokens=10**6)
    sent.record(long, HERE)
    assert BLOCK * (64 + 2 * 6) == sent.cached_tokens(long, HERE)


def test_blocks_per_endpoint_are_bounded() -> None:
    """A chain longer than the bound keeps its head."""
    sent = SentPrefixes(blocks_per_endpoint=3)
    sent.record(request(1, 2, 3, 4, 5), HERE)
    assert 3 == len(sent)
    assert 3 * BLOCK == sent.cached_tokens(request(1, 2, 3, 4, 5), HERE)


def test_least_recently_used_prompt_goes_first() -> None:
    """As model servers do it."""
    sent = SentPrefixes(blocks_per_endpoint=4)
    sent.record(request(1, 2), HERE)
    sent.record(request(3, 4), HERE)
    sent.record(request(1, 2), HERE)
    sent.record(request(5, 6), HERE)
    assert 2 * BLOCK == sent.cached_tokens(request(1, 2), HERE)
    assert 0 == sent.cached_tokens(request(3, 4), HERE)


def test_tail_goes_before_the_head() -> None:
    """A block without those before it is worth nothing."""
    sent = SentPrefixes(blocks_per_endpoint=4)
    sent.record(request(1, 2, 3), HERE)
    sent.record(request(9, 8), HERE)
    assert 2 * BLOCK == sent.cached_tokens(request(1, 2, 3), HERE)


def test_departed_endpoints_are_forgotten() -> None:
    """Everything keyed by an endpoint is dropped with the endpoint."""
    sent = SentPrefixes()
    sent.record(request(1, 2), HERE)
    sent.record(request(3), THERE)
    sent.keep({THERE})
    assert 1 == len(sent)
    assert 0 == sent.cached_tokens(request(1, 2), HERE)


def chain(*choices: int) -> tuple[int, ...]:
    """Return a prefix whose blocks stand for all before them, as hashes do."""
    return tuple(hash(choices[: i + 1]) for i in range(len(choices)))


CHAINS = st.lists(st.integers(0, 1), max_size=7).map(lambda choices: chain(*choices))
ENDPOINTS = st.sampled_from([HERE, THERE])


class SentMachine(RuleBasedStateMachine):
    """Prompts from a small tree, a small bound, and endpoints that go."""

    @initialize(bound=st.integers(1, 8))
    def start(self, bound: int) -> None:
        self.bound = bound
        self.sent = SentPrefixes(blocks_per_endpoint=bound)

    @rule(prefix=CHAINS, uid=ENDPOINTS)
    def record(self, prefix: tuple[int, ...], uid: EndpointUid) -> None:
        self.sent.record(request(*prefix), uid)
        kept = min(len(prefix), self.bound) * BLOCK
        assert kept == self.sent.cached_tokens(request(*prefix), uid)

    @rule(prefix=CHAINS, uid=ENDPOINTS)
    def ask(self, prefix: tuple[int, ...], uid: EndpointUid) -> None:
        """Ask for the longest known prefix, and count it block by block."""
        known = set(self.sent._sent.get(uid, ()))
        length = 0
        while length < len(prefix) and prefix[length] in known:
            length += 1
        assert length * BLOCK == self.sent.cached_tokens(request(*prefix), uid)
        assert not any(block in known for block in prefix[length:])

    @rule(uids=st.sets(ENDPOINTS))
    def keep(self, uids: set[EndpointUid]) -> None:
        self.sent.keep(uids)
        assert set(self.sent._sent) <= uids

    @invariant()
    def stays_within_the_bound(self) -> None:
        assert all(len(blocks) <= self.bound for blocks in self.sent._sent.values())
        assert sum(map(len, self.sent._sent.values())) == len(self.sent)


TestSentMachine = SentMachine.TestCase
TestSentMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


@given(prefixes=st.lists(CHAINS, max_size=5), asked=CHAINS)
@settings(max_examples=60)
def test_unbounded_memory_knows_every_common_head(
    prefixes: list[tuple[int, ...]], asked: tuple[int, ...]
) -> None:
    """The longest head shared with any prompt sent before."""
    sent = SentPrefixes()
    for prefix in prefixes:
        sent.record(request(*prefix), HERE)
    longest = max((len(set(prefix) & set(asked)) for prefix in prefixes), default=0)
    assert longest * BLOCK == sent.cached_tokens(request(*asked), HERE)


def test_room_is_shared_in_a_large_pool() -> None:
    """What all endpoints together may take is bounded, whatever their number."""
    sent = SentPrefixes(blocks_per_endpoint=100, blocks_in_all=40)
    uids = [builders.endpoint(number).uid for number in range(10)]
    sent.keep(uids)
    for uid in uids:
        for start in range(20):
            sent.record(builders.request(prefix=(start, start + 100)), uid)
    assert 40 == len(sent)
