"""A request inside the engine, from arrival to its end."""

from enum import Enum

import msgspec

from chaos.engine.blocks import Holding


class FinishReason(Enum):
    """Why a request ended by itself, in OpenAI's words."""

    STOP = "stop"
    LENGTH = "length"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine needs to know of a request."""

    prompt_tokens: int
    output_tokens: int
    block_hashes: tuple[int, ...] = ()  # chained, one for each full block of the prompt
    finish_reason: FinishReason = FinishReason.LENGTH


class Phase(Enum):
    """Where a sequence is; the last two are final."""

    WAITING = "waiting"
    PREFILL = "prefill"
    DECODE = "decode"
    FINISHED = "finished"
    CANCELLED = "cancelled"


class Sequence:
    """One request's progress; only the engine changes it."""

    __slots__ = (
        "admitted_at",
        "arrived_at",
        "cached_tokens",
        "finished_at",
        "first_step",
        "first_token_at",
        "holding",
        "phase",
        "prefilled",
        "published",
        "request",
    )

    def __init__(self, request: Request, arrived_at: float) -> None:
        self.request = request
        self.phase = Phase.WAITING
        self.arrived_at = arrived_at
        self.admitted_at = 0.0
        self.first_token_at = 0.0
        self.finished_at = 0.0
        self.cached_tokens = 0
        self.prefilled = 0  # prompt tokens computed or found in the cache
        self.published = 0  # prompt blocks offered to the prefix cache
        self.first_step = 0  # number of the decode step that gave the first token
        self.holding = Holding([], 0)

    @property
    def over(self) -> bool:
        """True when nothing more will come."""
        return self.phase in {Phase.FINISHED, Phase.CANCELLED}

    @property
    def last_step(self) -> int:
        """Number of the decode step that gives the last token."""
        return self.first_step + self.request.output_tokens - 1
