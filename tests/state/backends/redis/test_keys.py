"""Key names."""

import pytest

from state.backends.redis.keys import Keys
from state.model import ReplicaId, ShardId


@pytest.mark.parametrize("pool", ["default", "a b", "a{b}c", "}{", "pool/ä:x", "%7B"])
def test_all_keys_of_a_pool_share_one_hash_tag(pool: str) -> None:
    """Whatever the name holds: what stands between the first braces is the same and not empty."""
    keys = Keys(pool)
    names = [
        keys.live,
        keys.bus,
        keys.gauge(ReplicaId("a}b{c}")),
        keys.snapshot(ShardId("{0}")),
        keys.owner(ShardId("0")),
    ]
    tags = {name.partition("{")[2].partition("}")[0] for name in names}
    (tag,) = tags
    assert tag
    assert " " not in tag


def test_pools_do_not_share_keys() -> None:
    """Encoding is one to one."""
    assert Keys("a b").live != Keys("a%20b").live


def test_lists_keep_their_order() -> None:
    """MGET answers by position."""
    keys = Keys("p")
    assert ["mm:{p}:g:b", "mm:{p}:g:a"] == keys.gauges([ReplicaId("b"), ReplicaId("a")])
    assert ["mm:{p}:snap:0"] == keys.snapshots([ShardId("0")])
