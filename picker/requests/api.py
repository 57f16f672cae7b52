"""Which API a request speaks, and where that API keeps what matters."""

from typing import NamedTuple

from picker.requests.model import Api


class Shape(NamedTuple):
    """Names of the fields of one API."""

    head: tuple[str, ...]
    """Rendered before the prompt by every model server, in this order."""
    prompt: tuple[str, ...]
    """Alternatives; the first one names the field in errors."""
    output_cap: tuple[str, ...]
    """The first one that holds a whole number counts."""


SHAPES = {
    Api.CHAT: Shape(("tools",), ("messages",), ("max_completion_tokens", "max_tokens")),
    Api.COMPLETIONS: Shape((), ("prompt", "prompt_embeds"), ("max_tokens",)),
    Api.EMBEDDINGS: Shape((), ("input", "messages"), ()),
    Api.RESPONSES: Shape(("tools", "instructions"), ("input",), ("max_output_tokens",)),
    Api.MESSAGES: Shape(("tools", "system"), ("messages",), ("max_tokens",)),
}

# Longest first. The reference's other suffixes (messages/count_tokens, conversations,
# images/generations, generate) have no prompt that we read.
_SUFFIXES = (
    ("/chat/completions/render", Api.CHAT),
    ("/completions/render", Api.COMPLETIONS),
    ("/chat/completions", Api.CHAT),
    ("/completions", Api.COMPLETIONS),
    ("/embeddings", Api.EMBEDDINGS),
    ("/responses", Api.RESPONSES),
    ("/messages", Api.MESSAGES),
)


def api_of(path: str) -> Api:
    """Return the API whose suffix, in whole segments, is the longest; OTHER if there is none."""
    for suffix, api in _SUFFIXES:
        if path.endswith(suffix):
            return api
    return Api.OTHER
