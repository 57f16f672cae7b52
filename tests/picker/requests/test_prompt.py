import json
from array import array
from typing import Any

import pytest

from picker.requests.errors import InvalidPrompt, MissingField, RequestError
from picker.requests.fields import read_partial, read_whole
from picker.requests.model import Api, ParseSettings
from picker.requests.prompt import TOKEN_SEPARATOR, prompt_bytes


def whole(api: Api, **fields: Any) -> bytes:
    return prompt_bytes(api, read_whole(json.dumps(fields).encode()), ParseSettings())


def cut(api: Api, body: bytes) -> bytes:
    return prompt_bytes(api, read_partial(body), ParseSettings())


def tokens(*ids: int) -> bytes:
    return array("I", ids).tobytes()


def test_closing_brackets_are_left_out() -> None:
    """A prompt ends where the next turn of the same conversation goes on."""
    body = b'{"messages": [ {"role":"user"}\n ]}'
    assert b'{"role":"user"}' == prompt_bytes(Api.CHAT, read_whole(body), ParseSettings())


@pytest.mark.parametrize(
    ("api", "fields", "expected"),
    [
        (Api.CHAT, {"messages": [1], "tools": [2]}, b"2\x001"),
        (Api.MESSAGES, {"messages": [1], "system": "s", "tools": [2]}, b"2\0s\x001"),
        (Api.MESSAGES, {"messages": [1], "system": ["s"]}, b'"s"\x001'),
        (Api.RESPONSES, {"input": "hi", "instructions": "be"}, b"be\0hi"),
        (Api.RESPONSES, {"input": [{}]}, b"{}"),
        (Api.COMPLETIONS, {"prompt": "hi"}, b"hi"),
        (Api.COMPLETIONS, {"prompt": ""}, b""),
        (Api.COMPLETIONS, {"prompt": ["a", "b"]}, b'"a", "b"'),
        (Api.COMPLETIONS, {"prompt": []}, b""),
        (Api.COMPLETIONS, {"prompt": [1, 2]}, tokens(1, 2)),
        (Api.EMBEDDINGS, {"input": [[1], [2, 3]]}, tokens(1, TOKEN_SEPARATOR, 2, 3)),
        (Api.EMBEDDINGS, {"messages": ["a"]}, b'"a"'),
    ],
)
def test_parts_come_in_the_order_of_model_servers(
    api: Api, fields: dict[str, Any], expected: bytes
) -> None:
    """Tools go before instructions, those before the prompt, wherever the client put them."""
    assert expected == whole(api, **fields)


@pytest.mark.parametrize(
    ("api", "fields"),
    [
        (Api.COMPLETIONS, {"prompt": ["a", 1]}),
        (Api.COMPLETIONS, {"prompt": [1, "a"]}),
        (Api.COMPLETIONS, {"prompt": [1, [2]]}),
        (Api.COMPLETIONS, {"prompt": [[1], 2]}),
        (Api.COMPLETIONS, {"prompt": [-1]}),
        (Api.COMPLETIONS, {"prompt": [2**32]}),
        (Api.COMPLETIONS, {"prompt": [10**400]}),
        (Api.COMPLETIONS, {"prompt": [1.5]}),
        (Api.COMPLETIONS, {"prompt": [True]}),
        (Api.COMPLETIONS, {"prompt": [None]}),
        (Api.COMPLETIONS, {"prompt": [{}]}),
        (Api.COMPLETIONS, {"prompt": {}}),
        (Api.EMBEDDINGS, {"input": 5}),
        (Api.CHAT, {"messages": "hi"}),
        (Api.CHAT, {"messages": {}}),
        (Api.RESPONSES, {"input": 5}),
    ],
)
def test_prompts_of_no_known_type_are_refused(api: Api, fields: dict[str, Any]) -> None:
    """Mixed arrays, ids beyond 32 bits and other types are the client's error."""
    with pytest.raises(InvalidPrompt):
        whole(api, **fields)


@pytest.mark.parametrize(
    ("api", "fields", "field"),
    [
        (Api.CHAT, {}, "messages"),
        (Api.CHAT, {"messages": []}, "messages"),
        (Api.CHAT, {"messages": None, "prompt": "x"}, "messages"),
        (Api.MESSAGES, {"system": "s"}, "messages"),
        (Api.COMPLETIONS, {"messages": [1]}, "prompt"),
        (Api.EMBEDDINGS, {}, "input"),
        (Api.RESPONSES, {"instructions": "x"}, "input"),
    ],
)
def test_missing_prompts_are_refused_by_name(api: Api, fields: dict[str, Any], field: str) -> None:
    """A field that is absent, null or an empty conversation is missing."""
    with pytest.raises(MissingField) as caught:
        whole(api, **fields)
    assert (api.value, field) == (caught.value.api, caught.value.field)


def test_embeddings_as_prompt_count_as_one_part() -> None:
    """A prompt of tensors is known by its hash, not by its bytes."""
    assert ParseSettings().media_bytes == len(whole(Api.COMPLETIONS, prompt_embeds="A" * 9999))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"prompt":[1,23,4', tokens(1, 23)),
        (b'{"prompt":[1,23,', tokens(1, 23)),
        (b'{"prompt":[12', b""),
        (b'{"prompt":[', b""),
        (b'{"prompt":[[1,2],[3,4', tokens(1, 2, TOKEN_SEPARATOR, 3)),
        (b'{"prompt":[[1,2],[3', tokens(1, 2)),
        (b'{"prompt":[[1,2', tokens(1)),
        (b'{"prompt":[[', b""),
        (b'{"prompt":["ab","c', b'"ab","c'),
        (b'{"prompt":"ab \\', b"ab \\"),
        (b'{"pro', b""),
    ],
)
def test_cut_prompts_keep_what_is_certain(body: bytes, expected: bytes) -> None:
    """The last token id of a cut prompt may go on beyond the cut, so it does not count."""
    assert expected == cut(Api.COMPLETIONS, body)


def test_cut_head_ends_the_prompt() -> None:
    """After tools that are cut off nothing is known, even if the messages came before them."""
    assert b"1,2" == cut(Api.CHAT, b'{"messages":[7],"tools":[1,2')


def test_endless_lists_of_tokens_are_text() -> None:
    """A million prompts in one request are not turned into a million lists."""
    assert b"[1], " * 4999 + b"[1]" == whole(Api.EMBEDDINGS, input=[[1]] * 5000)


def test_deep_prompts_are_refused_as_any_other() -> None:
    """Nesting in a prompt never raises anything but a RequestError."""
    for depth in (500, 900, 990, 5000):
        body = b'{"prompt":["a",' + b"[" * depth + b"]" * depth + b"]}"
        with pytest.raises(RequestError):
            prompt_bytes(Api.COMPLETIONS, read_whole(body), ParseSettings())
