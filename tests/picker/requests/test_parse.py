import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picker.requests.errors import ErrorCode, ModelNotFound, RequestError
from picker.requests.model import Api, ParseSettings
from picker.requests.parse import parse
from tests.picker.requests.builders import CHAT, TEXT, chat, image, read, text

PATHS = [
    CHAT,
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/messages",
    "/v1/models",
]
CONTENTS = st.one_of(
    st.text(max_size=400),
    st.integers(1, 40).map(lambda times: TEXT * times),
    st.lists(
        st.text(max_size=200).map(text) | st.text(max_size=300).map(image), min_size=1, max_size=4
    ),
)
CONVERSATIONS = st.lists(CONTENTS, min_size=1, max_size=8)
LAYOUTS = st.sampled_from([{}, {"indent": 2}, {"ensure_ascii": False}, {"separators": (",", ":")}])
FINE = ParseSettings(block_tokens=16)


def dump(body: dict[str, Any], layout: dict[str, Any]) -> bytes:
    return json.dumps(body, **layout).encode("utf-8", "backslashreplace")


def turn(contents: list[Any], **fields: Any) -> dict[str, Any]:
    return {
        "model": "tiny",
        "tools": [{"type": "function", "function": {"name": "f", "description": TEXT}}],
        **fields,
        "messages": [{"role": "user", "content": content} for content in contents],
    }


def test_chat_is_read() -> None:
    """All fields that matter, from one body and its headers."""
    headers = {
        "x-request-id": b"r1",
        "x-gateway-inference-objective": b"gold",
        "x-llm-d-inference-fairness-id": b"tenant",
    }
    body = chat(TEXT * 10, stream=True, max_tokens=7, max_completion_tokens=5)
    request = read(body, "/v1/chat/completions/?beta=1", headers=headers)
    assert (CHAT, Api.CHAT, "r1") == (request.path, request.api, request.request_id)
    assert ("tiny", "tiny", True, 5) == (
        request.model,
        request.target_model,
        request.stream,
        request.max_output_tokens,
    )
    assert ("gold", "tenant") == (request.objective, request.fairness_id)
    assert (headers, len(body), False) == (request.headers, request.body_bytes, request.partial)
    assert (len(TEXT) * 10 + 31) // 4 == request.prompt_tokens
    assert request.prompt_tokens // 64 == len(request.prefix)


@pytest.mark.parametrize(
    ("path", "fields", "cap"),
    [
        ("/v1/completions", {"prompt": "hi", "max_tokens": 3}, 3),
        ("/v1/completions", {"prompt": [1, 2], "max_completion_tokens": 3}, None),
        ("/v1/embeddings", {"input": ["a", "b"]}, None),
        ("/v1/responses", {"input": "hi", "max_output_tokens": 3, "max_tokens": 4}, 3),
        ("/v1/messages", {"system": "s", "messages": [{}], "max_tokens": 3}, 3),
        (CHAT, {"messages": [{}], "max_completion_tokens": -1, "max_tokens": 4}, 4),
        (CHAT, {"messages": [{}], "max_tokens": 0}, 0),
        (CHAT, {"messages": [{}], "max_tokens": 1.5}, None),
        (CHAT, {"messages": [{}], "max_tokens": "5"}, None),
        (CHAT, {"messages": [{}], "max_tokens": 10**5000}, None),
    ],
)
def test_output_cap_is_the_apis_own(path: str, fields: dict[str, Any], cap: int | None) -> None:
    """Negative, fractional and absurd caps are ignored, zero is kept."""
    body = b'{"model":"m",' + _encode(fields)[1:]
    assert cap == read(body, path).max_output_tokens


def _encode(fields: dict[str, Any]) -> bytes:
    big = fields.get("max_tokens")
    if isinstance(big, int) and big > 2**64:  # beyond what int() turns into text
        return json.dumps(fields | {"max_tokens": 0}).encode()[:-2] + b"1" + b"0" * 5000 + b"}"
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/v1/models", b"", {}),
        ("/v1/models", b"{}", {}),
        (CHAT, b"", {}),
        ("/v1/audio/transcriptions", b"--boundary", {}),
        (CHAT, b"\x1f\x8b", {"content-encoding": b"gzip"}),
        ("/v1/messages/count_tokens", b"{", {}),
    ],
)
def test_anything_else_is_passed_through(path: str, body: bytes, headers: dict[str, bytes]) -> None:
    """No body, an unknown path and a compressed body are placed by load, whatever they hold."""
    request = read(body, path, headers=headers)
    assert (Api.OTHER, None, (), 0) == (
        request.api,
        request.target_model,
        request.prefix,
        request.prompt_tokens,
    )


def test_path_may_come_from_headers() -> None:
    """Without a path the headers are asked, as 1.9 of the spec says."""
    request = read(chat("hi"), "", headers={"x-original-path": b"/v1/chat/completions?a"})
    assert (CHAT, Api.CHAT) == (request.path, request.api)


def test_rewrite_goes_before_the_header() -> None:
    """The pool's rewrite wins over the header's, the header's over the client's model."""
    header = {"x-gateway-model-name-rewrite": b"from-header"}
    seen = read(chat("hi"), headers=header)
    assert ("tiny", "from-header") == (seen.model, seen.target_model)
    ruled = parse(CHAT, header, chat("hi"), rewrite={"tiny": "from-pool"}.get)
    assert ("tiny", "from-pool") == (ruled.model, ruled.target_model)
    unruled = parse(CHAT, {}, chat("hi"), rewrite={"large": "from-pool"}.get)
    assert "tiny" == unruled.target_model


@pytest.mark.parametrize("model", [b'""', b"null", b"5", b"[]", b'"\\ud800"', b'"\xff"'])
def test_no_model_is_refused_unless_configured(model: bytes) -> None:
    """A body that names no model in text is the client's error by default, as in the reference."""
    body = b'{"messages":[{"role":"user"}],"model":' + model + b"}"
    with pytest.raises(ModelNotFound) as caught:
        read(body)
    assert (400, ErrorCode.MODEL_NOT_FOUND) == (caught.value.status, caught.value.code)
    assert read(body, settings=ParseSettings(require_model=False)).target_model is None
    assert "m" == read(body, headers={"x-llm-d-model-name-rewrite": b"m"}).target_model


def test_target_model_and_salt_seed_the_prefix() -> None:
    """An adapter, and a tenant with a salt of its own, share no prefix with others."""
    body = chat(TEXT * 10)
    heads = {
        read(body).prefix[0],
        read(body, headers={"x-llm-d-model-name-rewrite": b"lora"}).prefix[0],
        read(chat(TEXT * 10, cache_salt="s")).prefix[0],
    }
    assert 3 == len(heads)


def test_media_count_as_placeholders() -> None:
    """A picture of four kilobytes or of none at all is 225 tokens and part of the hash."""
    one, other, small = (
        read(chat([text(TEXT), image(data), text(TEXT * 9)]))
        for data in ("A" * 4000, "B" * 4000, "C")
    )
    assert one.prompt_tokens == other.prompt_tokens == small.prompt_tokens
    assert 225 < one.prompt_tokens < 500
    assert one.prefix[-1] != other.prefix[-1]


@settings(deadline=None)
@given(CONVERSATIONS, CONVERSATIONS, LAYOUTS)
def test_next_turn_extends_the_prefix(
    contents: list[Any], more: list[Any], layout: dict[str, Any]
) -> None:
    """A conversation that goes on keeps the hashes of all its complete blocks."""
    first = read(dump(turn(contents), layout), settings=FINE)
    second = read(dump(turn(contents + more), layout), settings=FINE)
    assert first.prefix == second.prefix[: len(first.prefix)]


@settings(deadline=None)
@given(CONVERSATIONS, LAYOUTS, st.data())
def test_cut_body_has_the_leading_hashes(
    contents: list[Any], layout: dict[str, Any], data: st.DataObject
) -> None:
    """Cut anywhere after its model, a body keeps the hashes of the blocks that are there."""
    body = dump(turn(contents, stream=True), layout)
    whole = read(body, settings=FINE)
    start = body.index(b'"tiny"') + 7
    cut = read(body[: data.draw(st.integers(start, len(body)))], settings=FINE, partial=True)
    assert cut.prefix == whole.prefix[: len(cut.prefix)]
    assert "tiny" == cut.target_model


def test_cut_at_the_end_changes_nothing() -> None:
    """A partial body that is complete gives what the whole one gives."""
    body = chat(TEXT * 50, [text(TEXT), image()], tools=[1])
    whole, partial = read(body), read(body, partial=True)
    assert (whole.prefix, whole.prompt_tokens) == (partial.prefix, partial.prompt_tokens)


def test_cut_keeps_nearly_all_blocks() -> None:
    """Half of the body gives half of the hashes, not none."""
    body = chat(*[TEXT * 10] * 20)
    half = read(body[: len(body) // 2], settings=FINE, partial=True)
    whole = read(body, settings=FINE)
    assert half.tokens_in(len(half.prefix)) > 0.45 * whole.tokens_in(len(whole.prefix))


def test_hidden_part_counts_by_content_length() -> None:
    """The load of a prompt that reached us in part is that of the whole."""
    body = chat(TEXT * 1000)
    headers = {"content-length": str(len(body)).encode()}
    whole, cut = read(body), read(body[:8000], headers=headers, partial=True)
    assert abs(whole.prompt_tokens - cut.prompt_tokens) < 10
    assert (len(body), True) == (cut.body_bytes, cut.partial)


def test_model_beyond_the_cut_comes_from_a_header() -> None:
    """Only a header can tell a hidden model; without one all replicas agree on an unknown one."""
    body = json.dumps({"messages": [{"content": TEXT * 50}], "model": "tiny"}).encode()
    told = read(body[:2000], headers={"x-gateway-model-name": b"tiny"}, partial=True)
    assert ("tiny", "tiny") == (told.model, told.target_model)
    assert told.prefix == read(body).prefix[: len(told.prefix)]
    hidden = read(body[:2000], partial=True)
    assert (None, None) == (hidden.model, hidden.target_model)
    assert hidden.prefix == read(body[:2000], partial=True).prefix != told.prefix


def test_header_does_not_overrule_a_model_that_is_there() -> None:
    """The body is what the model server reads."""
    assert "tiny" == read(chat("x"), headers={"x-gateway-model-name": b"a"}, partial=True).model


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(PATHS),
    st.one_of(
        st.binary(),
        st.text('{}[]",:\\ 1etru').map(str.encode),
        st.binary(max_size=40).map(lambda junk: b'{"model":"m","messages":[' + junk + b"]}"),
        st.binary(max_size=40).map(lambda junk: b'{"model":"m","prompt":' + junk + b"}"),
        st.binary(max_size=40).map(lambda junk: b'{"model":"m","input":["' + junk + b'"]}'),
    ),
    st.booleans(),
)
def test_arbitrary_bytes_raise_nothing_of_their_own(path: str, body: bytes, partial: bool) -> None:  # noqa: FBT001
    """A whole body is read or refused with a RequestError, a partial one is read."""
    try:
        request = read(body, path, partial=partial)
    except RequestError:
        assert not partial
    else:
        assert request.prompt_tokens <= len(body) // 4 + 1024 * 225


@settings(deadline=None)
@given(
    st.permutations(["model", "messages", "tools", "system", "stream", "prompt", "input"]),
    st.sampled_from(PATHS),
    st.data(),
)
def test_any_cut_of_a_valid_body_is_read(order: list[str], path: str, data: st.DataObject) -> None:
    """In any order of fields, cut anywhere, a body is never refused for being cut."""
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": [text('"\\é\ud83d'), image("AB")]}],
        "tools": [{"a": [{}]}],
        "system": 'say "no"\\',
        "stream": True,
        "prompt": [[1, 2], [3]],
        "input": ["a", "b"],
    }
    raw = dump({name: body[name] for name in order}, {})
    read(raw[: data.draw(st.integers(0, len(raw)))], path, partial=True)
