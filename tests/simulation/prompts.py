"""Prompts without text: pieces of known identity, hashed as the picker and the engine would."""

from collections.abc import Iterable, Sequence
from functools import cache

import msgspec
import xxhash

from chaos.engine import sequence
from picker.requests.model import Api, InferenceRequest
from picker.requests.prefix import complete_blocks, covered_units

PICKER_BLOCK_TOKENS = 64
ENGINE_BLOCK_TOKENS = 16
MOST_PREFIX_BLOCKS = 2048
MASK = (1 << 64) - 1
ODD = 0x9E3779B97F4A7C15
"""Golden ratio of 2^64 (Weyl sequence): multiples of it spread over all bits."""


class Piece(msgspec.Struct, frozen=True):
    """Part of a prompt; two prompts that begin with equal pieces share them as a prefix."""

    identity: int
    tokens: int


def tokens_of(pieces: Iterable[Piece]) -> int:
    """Return the length of a prompt."""
    return sum(piece.tokens for piece in pieces)


def chain(pieces: Sequence[Piece], ends: Sequence[int]) -> tuple[int, ...]:
    """Return a hash of everything before each of the ascending ends."""
    hashes: list[int] = []
    path, over, done = 0, 0, 0
    for piece in pieces:
        path = xxhash.xxh3_64_intdigest(piece.identity.to_bytes(8, "little"), seed=path)
        over += piece.tokens
        upto = done
        while upto < len(ends) and ends[upto] <= over:
            upto += 1
        hashes += [(path ^ (end * ODD)) & MASK for end in ends[done:upto]]
        done = upto
    return tuple(hashes)


def read_request(pieces: Sequence[Piece]) -> InferenceRequest:
    """Return what the picker's parser would make of the prompt in a streamed chat request."""
    tokens = tokens_of(pieces)
    return InferenceRequest(
        request_id="",
        path="/v1/chat/completions",
        model="tiny",
        target_model="tiny",
        api=Api.CHAT,
        stream=True,
        prompt_tokens=tokens,
        max_output_tokens=None,
        prefix=chain(pieces, _picker_ends(min(tokens, _longest()))),
        block_tokens=PICKER_BLOCK_TOKENS,
        partial=False,
        body_bytes=4 * tokens,
        objective=None,
        fairness_id=None,
        headers={},
    )


def engine_request(pieces: Sequence[Piece], output_tokens: int) -> sequence.Request:
    """Return what the model server sees of the prompt."""
    tokens = tokens_of(pieces)
    ends = range(ENGINE_BLOCK_TOKENS, tokens + 1, ENGINE_BLOCK_TOKENS)
    return sequence.Request(
        prompt_tokens=tokens, output_tokens=output_tokens, block_hashes=chain(pieces, ends)
    )


def _longest() -> int:
    return PICKER_BLOCK_TOKENS * MOST_PREFIX_BLOCKS


@cache
def _picker_ends(tokens: int) -> tuple[int, ...]:
    count = complete_blocks(tokens, PICKER_BLOCK_TOKENS)
    return tuple(covered_units(block + 1, PICKER_BLOCK_TOKENS) for block in range(count))
