"""The bytes of an answer: one JSON document, or server-sent events."""

from collections.abc import Mapping

import msgspec

from chaos.engine.sequence import Sequence
from chaos.modelserver.openai import WORD

DONE = b"data: [DONE]\n\n"
FINGERPRINT = "vllm-0.32.0-simulated"


class Answer:
    """Renders the answer to one request; the event of a plain token is rendered once."""

    def __init__(self, *, number: int, model: str, created: int, chat: bool) -> None:
        self.chat = chat
        self._common: dict[str, object] = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{number:016x}",
            "object": "text_completion",
            "created": created,
            "model": model,
        }
        if chat:
            self._common["object"] = "chat.completion.chunk"
        self._token_event = self._event(self._choice(WORD, None))

    def opening(self) -> bytes:
        """The event before the first token: a chat announces the role."""
        if not self.chat:
            return b""
        delta = {"role": "assistant", "content": ""}
        return self._event({"index": 0, "delta": delta, "logprobs": None, "finish_reason": None})

    def tokens(self, count: int) -> bytes:
        """One event with some tokens that are not the last ones."""
        if count == 1:
            return self._token_event
        return self._event(self._choice(WORD * count, None))

    def closing(self, count: int, sequence: Sequence, *, usage: bool) -> bytes:
        """The last tokens, the usage if it was asked for, and the end mark."""
        reason = sequence.request.finish_reason.value
        last = self._event(self._choice(WORD * count, reason))
        tail = self._event(None, usage=_usage(sequence)) if usage else b""
        return b"".join((last, tail, DONE))

    def document(self, sequence: Sequence) -> bytes:
        """The whole answer of a request that does not stream."""
        text = WORD * sequence.request.output_tokens
        choice = self._choice(text, sequence.request.finish_reason.value)
        common = dict(self._common)
        if self.chat:
            choice["message"] = {"role": "assistant", **_mapping(choice.pop("delta"))}
            common["object"] = "chat.completion"
        document = {**common, "choices": [choice], "system_fingerprint": FINGERPRINT}
        return msgspec.json.encode({**document, "usage": _usage(sequence)})

    def _choice(self, text: str, reason: str | None) -> dict[str, object]:
        content: dict[str, object] = {"delta": {"content": text}} if self.chat else {"text": text}
        return {"index": 0, **content, "logprobs": None, "finish_reason": reason}

    def _event(
        self, choice: Mapping[str, object] | None, usage: Mapping[str, object] | None = None
    ) -> bytes:
        document = {**self._common, "choices": [] if choice is None else [choice]}
        if usage is not None:
            document["usage"] = usage
        return b"data: " + msgspec.json.encode(document) + b"\n\n"


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _usage(sequence: Sequence) -> dict[str, object]:
    prompt, output = sequence.request.prompt_tokens, sequence.request.output_tokens
    return {
        "prompt_tokens": prompt,
        "total_tokens": prompt + output,
        "completion_tokens": output,
        "prompt_tokens_details": {"cached_tokens": sequence.cached_tokens},
    }
