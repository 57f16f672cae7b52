"""Requests are read, and refused, as vLLM 0.32.0 does."""

import json

import pytest

from chaos.engine.sequence import FinishReason, Request
from chaos.modelserver.openai import ApiError, parse, to_request


def read(body: dict[str, object], *, chat: bool = True) -> Request:
    """Parse a body for a server of small limits."""
    parsed = parse(json.dumps(body).encode(), chat=chat)
    return to_request(parsed, models=("tiny", "alias"), max_model_len=100, block_tokens=4)


def chat(content: object = "hello", **fields: object) -> dict[str, object]:
    """Build a chat of one message."""
    return {"model": "tiny", "messages": [{"role": "user", "content": content}], **fields}


def test_max_tokens_decides_the_output_length() -> None:
    """The newer field wins over the older one, and reaching it is a length stop."""
    assert 7 == read(chat(max_tokens=7)).output_tokens
    both = read(chat(max_tokens=7, max_completion_tokens=3))
    assert (3, FinishReason.LENGTH) == (both.output_tokens, both.finish_reason)


def test_without_a_limit_the_model_stops_by_itself() -> None:
    """The default length ends with the reason `stop`."""
    request = read(chat())
    assert (16, FinishReason.STOP) == (request.output_tokens, request.finish_reason)


def test_text_parts_are_the_same_prompt_as_text() -> None:
    """A list of parts hashes like the plain string."""
    parts = [{"type": "text", "text": "hello "}, {"type": "text", "text": "world" * 9}]
    assert read(chat("hello " + "world" * 9)) == read(chat(parts))


def test_a_completion_prompt_is_four_bytes_per_token() -> None:
    """No template is added to a completion."""
    assert 10 == read({"prompt": "x" * 40}, chat=False).prompt_tokens


def test_an_alias_is_served() -> None:
    """Every served name is accepted, and so is none."""
    assert read(chat(model="alias")) == read(chat(model=None))


@pytest.mark.parametrize(
    ("body", "status", "kind", "param"),
    [
        (chat(model="other"), 404, "NotFoundError", "model"),
        ({"model": "tiny"}, 400, "Bad Request", "body.messages"),
        (chat(max_tokens=0), 400, "BadRequestError", "max_tokens"),
        (chat(max_tokens="x"), 400, "Bad Request", "body.max_tokens"),
        (chat("x" * 400), 400, "BadRequestError", "input_tokens"),
    ],
)
def test_refusals_have_vllms_form(
    body: dict[str, object], status: int, kind: str, param: str
) -> None:
    """Status, type and parameter are the recorded ones."""
    with pytest.raises(ApiError) as refused:
        read(body)
    error = json.loads(refused.value.body())["error"]
    assert (status, kind, param, status) == (
        refused.value.status,
        error["type"],
        error["param"],
        error["code"],
    )


def test_the_unknown_model_message_is_the_recorded_one() -> None:
    """Clients match on this sentence."""
    body = parse(b'{"model":"no-such-model","messages":[]}', chat=True)
    with pytest.raises(ApiError, match=r"`no-such-model` does not exist. Valid aliases: tiny\."):
        to_request(body, models=("tiny",), max_model_len=100, block_tokens=4)


def test_bad_json_names_the_position() -> None:
    """A body cut off in the middle is refused at its end, as recorded."""
    with pytest.raises(ApiError) as refused:
        parse(b'{"model": "tiny", "messages": [', chat=True)
    assert (400, "Bad Request", "body.31") == (
        refused.value.status,
        refused.value.kind,
        refused.value.param,
    )
