"""The block pool shares, caches and evicts within its capacity."""

from chaos.engine.blocks import BlockPool, Holding


def hold(pool: BlockPool, hashes: list[int], blocks: int) -> Holding:
    """Acquire blocks that must fit and publish the prompt's."""
    holding = pool.acquire(hashes, blocks)
    assert holding is not None
    for block in hashes[len(holding.hashes) :]:
        pool.publish(holding, block)
    return holding


def test_blocks_that_do_not_fit_are_refused_and_change_nothing() -> None:
    """A request that is too big for the free space leaves the pool as it was."""
    pool = BlockPool(4)
    hold(pool, [1, 2], 3)
    assert pool.acquire([9], 2) is None
    assert (3, 0) == (pool.used, pool.cached)


def test_a_shared_prefix_counts_once() -> None:
    """Two requests with the same head use its blocks together."""
    pool = BlockPool(10)
    hold(pool, [1, 2], 3)
    second = hold(pool, [1, 2, 3], 4)
    assert [1, 2, 3] == second.hashes
    assert 3 + 2 == pool.used


def test_released_prompt_blocks_stay_cached() -> None:
    """A later request hits what an earlier one computed; output blocks are forgotten."""
    pool = BlockPool(10)
    pool.release(hold(pool, [1, 2], 5))
    assert (0, 2) == (pool.used, pool.cached)
    again = pool.acquire([1, 2], 2)
    assert again is not None
    assert [1, 2] == again.hashes


def test_the_oldest_cached_block_is_evicted_first_and_tails_before_heads() -> None:
    """Space comes from the least recently used prompt, its last block first."""
    pool = BlockPool(4)
    pool.release(hold(pool, [1, 2], 2))
    pool.release(hold(pool, [3, 4], 2))
    pool.release(hold(pool, [9], 1))
    for first, hits in ((3, 2), (1, 1)):
        found = pool.acquire([first, first + 1], 2)
        assert found is not None
        assert hits == len(found.hashes)
        pool.release(found)


def test_a_hit_needs_the_whole_chain_before_it() -> None:
    """Blocks after the first unknown one are not reused."""
    pool = BlockPool(10)
    pool.release(hold(pool, [1, 2, 3], 3))
    other = pool.acquire([7, 2, 3], 3)
    assert other is not None
    assert [] == other.hashes


def test_a_second_copy_of_a_block_stays_private() -> None:
    """Publishing a known hash keeps one findable block and leaks none."""
    pool = BlockPool(10)
    first, second = pool.acquire([], 1), pool.acquire([], 1)
    assert first is not None
    assert second is not None
    pool.publish(first, 5)
    pool.publish(second, 5)
    assert (1, 2) == (second.private, pool.used)
    pool.release(first)
    pool.release(second)
    assert (0, 1) == (pool.used, pool.cached)


def test_releasing_twice_is_a_no_op() -> None:
    """The second release finds nothing to give back."""
    pool = BlockPool(4)
    holding = hold(pool, [1], 2)
    pool.release(holding)
    pool.release(holding)
    assert (0, 1) == (pool.used, pool.cached)
