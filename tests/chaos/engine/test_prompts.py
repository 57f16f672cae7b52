"""Prompts become tokens and chained hashes."""

from chaos.engine.prompts import chain_hashes, count_tokens


def test_four_bytes_are_a_token_and_no_prompt_is_empty() -> None:
    """Token counts round up."""
    assert [1, 1, 1, 2] == [count_tokens(b"x" * size) for size in (0, 1, 4, 5)]


def test_only_full_blocks_are_hashed() -> None:
    """The tail of a prompt has no hash."""
    assert [0, 1, 1, 2] == [len(chain_hashes(b"x" * size, 4)) for size in (15, 16, 31, 32)]


def test_a_hash_depends_on_everything_before_its_block() -> None:
    """Equal blocks after different heads differ; equal heads agree."""
    one, other = chain_hashes(b"a" * 16 + b"x" * 16, 4), chain_hashes(b"b" * 16 + b"x" * 16, 4)
    assert one[1] != other[1]
    assert one[0] == chain_hashes(b"a" * 16 + b"y" * 16, 4)[0]
