"""Prompts as the engine sees them: a number of tokens and a chain of block hashes."""

import xxhash

BYTES_PER_TOKEN = 4


def count_tokens(text: bytes) -> int:
    """Tokens of a text, four bytes each, never 0."""
    return max(1, -(-len(text) // BYTES_PER_TOKEN))


def chain_hashes(text: bytes, block_tokens: int) -> tuple[int, ...]:
    """One hash for each full block; it depends on all the text up to the block's end."""
    size = block_tokens * BYTES_PER_TOKEN
    hashes: list[int] = []
    parent = 0
    for start in range(0, len(text) - size + 1, size):
        parent = xxhash.xxh3_64_intdigest(text[start : start + size], seed=parent)
        hashes.append(parent)
    return tuple(hashes)
