"""Answers have the shape of OpenAI's."""

import json

import pytest

from chaos.engine.sequence import Request, Sequence
from chaos.modelserver.answers import DONE, Answer


def answer(*, chat: bool = True) -> Answer:
    """Build an answer with fixed identity."""
    return Answer(number=7, model="tiny", created=1795580546, chat=chat)


def sequence() -> Sequence:
    """Build a request of 10 prompt tokens, 4 of them cached, and 3 output tokens."""
    done = Sequence(Request(prompt_tokens=10, output_tokens=3), 0.0)
    done.cached_tokens = 4
    return done


def events(raw: bytes) -> list[dict[str, object]]:
    """Decode server-sent events, without the end mark."""
    lines = raw.decode().removesuffix(DONE.decode()).split("\n\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if line]


def test_a_chat_stream_opens_with_the_role() -> None:
    """The first event has the role and no text; a completion has no such event."""
    (first,) = events(answer().opening())
    assert {"role": "assistant", "content": ""} == first["choices"][0]["delta"]  # type: ignore[index]
    assert b"" == answer(chat=False).opening()


def test_several_tokens_make_one_event() -> None:
    """Events can be coalesced."""
    (event,) = events(answer().tokens(3))
    assert " sim sim sim" == event["choices"][0]["delta"]["content"]  # type: ignore[index]


@pytest.mark.parametrize("usage", [True, False])
def test_a_stream_ends_with_the_reason_usage_on_demand_and_done(*, usage: bool) -> None:
    """Usage is an event of its own with no choices, sent only if asked for."""
    raw = answer().closing(1, sequence(), usage=usage)
    assert raw.endswith(DONE)
    last, *tail = events(raw)
    assert "length" == last["choices"][0]["finish_reason"]  # type: ignore[index]
    assert ([[]] if usage else []) == [event["choices"] for event in tail]


def test_the_document_carries_text_and_usage() -> None:
    """Usage tells cached prompt tokens apart."""
    document = json.loads(answer().document(sequence()))
    assert "chat.completion" == document["object"]
    message = {"role": "assistant", "content": " sim sim sim"}
    assert message == document["choices"][0]["message"]
    assert {
        "prompt_tokens": 10,
        "total_tokens": 13,
        "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 4},
    } == document["usage"]


def test_a_completion_has_text_in_place_of_a_message() -> None:
    """The two APIs differ in object and choice."""
    document = json.loads(answer(chat=False).document(sequence()))
    assert ("text_completion", " sim sim sim") == (
        document["object"],
        document["choices"][0]["text"],
    )
