from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from picker.requests.prefix import (
    TIER_BLOCKS,
    block_spans,
    chain,
    chain_seed,
    complete_blocks,
    covered_units,
)


def links(data: bytes, seed: int = 7) -> tuple[int, ...]:
    return chain(data, seed=seed, block_bytes=64, max_blocks=2048)


@given(st.binary(max_size=2000), st.binary(max_size=300), st.binary(max_size=300))
def test_common_blocks_have_common_hashes(common: bytes, one: bytes, other: bytes) -> None:
    """Two prompts agree in the hashes of the complete blocks of their common part."""
    shared = complete_blocks(len(common), 64)
    assert links(common + one)[:shared] == links(common + other)[:shared] == links(common)


def test_a_changed_byte_changes_every_later_hash() -> None:
    """A hash covers everything before its block."""
    before, after = links(b"a" * 640), links(b"a" * 100 + b"b" + b"a" * 539)
    assert [True] + [False] * 9 == [one == other for one, other in zip(before, after, strict=True)]


def test_incomplete_blocks_are_not_hashed() -> None:
    """A prompt below one block has no prefix."""
    assert ((), 1) == (links(b"a" * 63), len(links(b"a" * 64)))


def test_seed_separates_models_and_salts() -> None:
    """The same words to another model, or with another salt, share nothing."""
    seeds = {chain_seed("a", b""), chain_seed("b", b""), chain_seed("a", b'"s"')}
    assert 3 == len(seeds)
    assert links(b"a" * 64, chain_seed("a", b"")) != links(b"a" * 64, chain_seed("b", b""))


@given(st.integers(0, 10**7), st.integers(1, 512))
def test_complete_blocks_inverts_covered_units(length: int, block: int) -> None:
    """The last complete block ends at or before the length, the next one after it."""
    blocks = complete_blocks(length, block)
    assert covered_units(blocks, block) <= length < covered_units(blocks + 1, block)


def test_spans_are_contiguous_and_double_after_each_tier() -> None:
    """Blocks follow each other without gaps, and what a block adds stays below 3 % of its end."""
    spans = block_spans(256, 2048)
    assert 0 == spans[0][0]
    assert all(left[1] == right[0] for left, right in pairwise(spans))
    assert 512 == spans[TIER_BLOCKS][1] - spans[TIER_BLOCKS][0]
    assert all((end - start) / end < 0.032 for start, end in spans[TIER_BLOCKS:])


def test_number_of_hashes_is_bounded() -> None:
    """Ten million bytes take no more hashes than 2,048 smallest blocks do."""
    assert 256 * 2048 >= block_spans(256, 2048)[-1][1]
    assert 322 >= len(chain(bytes(10**7), seed=0, block_bytes=256, max_blocks=2048))
