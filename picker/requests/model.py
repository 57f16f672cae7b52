"""What the picker knows of a request, and the settings by which it is read. Data only."""

from collections.abc import Mapping
from enum import Enum

import msgspec

from picker.requests.prefix import covered_units

MIN_BLOCK_TOKENS = 16

BYTES_PER_TOKEN = 4
"""Estimate for text of any kind, the reference picker's; also the room of one token id."""


class Api(Enum):
    """Which kind of request this is; the value is its name in messages."""

    CHAT = "chat-completions"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    RESPONSES = "responses"
    MESSAGES = "messages"
    OTHER = "other"
    """Nothing we read: passed through as it came and placed by load."""


class InferenceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request, read once."""

    request_id: str
    path: str
    """Without query and trailing slash."""
    model: str | None
    """The client's model; None if it named none, or if it lies beyond the end of a partial body."""
    target_model: str | None
    """The model after rewriting: what the body must name when it reaches the model server."""
    api: Api
    stream: bool
    prompt_tokens: int
    """Estimate, media included; of a partial body too, from its content-length."""
    max_output_tokens: int | None
    prefix: tuple[int, ...]
    """Chained hashes of the prompt's complete blocks; empty below one block. See prefix.py."""
    block_tokens: int
    """Size of the first block; `tokens_in` gives the size of several."""
    partial: bool
    """The body arrived cut off."""
    body_bytes: int
    """Length of the body, of a partial one as announced by content-length."""
    objective: str | None
    fairness_id: str | None
    headers: Mapping[str, bytes]
    """By lower-cased name."""

    def tokens_in(self, blocks: int) -> int:
        """Return how many prompt tokens the first `blocks` hashes of `prefix` stand for."""
        return covered_units(blocks, self.block_tokens)


class ParseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How bodies are read. All replicas must run with the same values: they shape the hashes."""

    block_tokens: int = 64
    """Tokens in the first, smallest block of a prefix. Smaller blocks find shorter common prefixes
    and cost memory in every index; 64 is the reference picker's floor."""
    max_prefix_blocks: int = 2048
    """Longest prefix that is hashed, in blocks of `block_tokens`: 131,072 tokens."""
    media_tokens: int = 225
    """Tokens of one image, sound or video: 640 x 360 / 1024, the reference picker's placeholder."""
    max_media_parts: int = 1024
    """Media parts that are told from text; more are refused by model servers anyway."""
    require_model: bool = True
    """Refuse (400) a request that names no model, as the reference picker does."""

    def __post_init__(self) -> None:
        """Refuse sizes that would make prefix indexes explode."""
        if self.block_tokens < MIN_BLOCK_TOKENS:
            raise ValueError(f"block_tokens: {self.block_tokens} is below {MIN_BLOCK_TOKENS}")
        if min(self.max_prefix_blocks, self.max_media_parts, self.media_tokens) < 0:
            raise ValueError(
                "max_prefix_blocks, max_media_parts, media_tokens: must not be negative"
            )

    @property
    def block_bytes(self) -> int:
        """Bytes in the first block."""
        return self.block_tokens * BYTES_PER_TOKEN

    @property
    def media_bytes(self) -> int:
        """Room of a media part in the hashed prompt, so that blocks keep counting tokens."""
        return self.media_tokens * BYTES_PER_TOKEN
