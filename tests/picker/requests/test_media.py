import json
from typing import Any

import pytest

from picker.requests.media import replace_media
from picker.requests.model import ParseSettings
from tests.picker.requests.builders import PNG

SETTINGS = ParseSettings()


def replaced(part: dict[str, Any], settings: ParseSettings = SETTINGS) -> bytes:
    return replace_media(json.dumps(part).encode(), settings)


def parts(payload: str) -> list[dict[str, Any]]:
    base64 = {"type": "base64", "media_type": "image/png", "data": payload}
    return [
        {"type": "image_url", "image_url": {"url": payload}},
        {"type": "image_url", "image_url": {"detail": "low", "url": payload}},
        {"image_url": {"url": payload}, "type": "image_url"},
        {"type": "input_image", "image_url": payload},
        {"type": "input_audio", "input_audio": {"data": payload, "format": "wav"}},
        {"type": "input_audio", "input_audio": {"format": "wav", "data": payload}},
        {"type": "video_url", "video_url": {"url": payload}},
        {"type": "audio_url", "audio_url": {"url": payload}},
        {"type": "image", "source": base64},
        {"type": "image", "source": {"type": "url", "url": payload}},
        {"type": "file", "file": {"file_data": payload, "filename": "a.pdf"}},
    ]


@pytest.mark.parametrize("index", range(11))
def test_every_kind_of_media_takes_the_room_of_its_tokens(index: int) -> None:
    """However large a payload is, a placeholder of one size that depends on its bytes remains."""
    one, other, small = (replaced(parts(payload)[index]) for payload in (PNG, PNG + "A", "x"))
    assert PNG.encode() not in one
    assert one != other
    assert len(one) == len(other) == len(small)
    assert len(json.dumps(parts("")[index])) + SETTINGS.media_bytes == len(one)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": json.dumps({"image_url": {"url": "http://x"}})},
        {"type": "document", "source": {"type": "text", "media_type": "a/b", "data": "words"}},
        {"type": "tool_use", "input": {"url": "http://x", "data": "y", "source": "z"}},
    ],
)
def test_text_about_media_is_text(part: dict[str, Any]) -> None:
    """Quoted JSON, text documents and arguments of tools stay as they are."""
    assert json.dumps(part).encode() == replaced(part)


def test_payload_without_end_ends_the_prompt() -> None:
    """Of a payload that is cut off nothing is known, and so of everything after it."""
    whole = json.dumps(parts(PNG)[0]).encode()
    cut = replace_media(whole[:-100], SETTINGS)
    assert cut == whole[: whole.index(b"iVBOR")]
    assert replace_media(whole, SETTINGS).startswith(cut)


def test_number_of_media_is_bounded() -> None:
    """Beyond the limit, payloads are text."""
    settings = ParseSettings(max_media_parts=2)
    many = json.dumps([parts(PNG)[0]] * 5).encode()
    assert 3 == replace_media(many, settings).count(PNG.encode())


@pytest.mark.parametrize(
    "unit",
    [b'"source":{', b'"image_url"', b'"image_url":{"a":"b",', b'"source":{"a":', b'"data":"'],
)
def test_near_misses_are_text(unit: bytes) -> None:
    """Text that nearly looks like media, many times over, comes back unchanged."""
    assert unit * 20_000 == replace_media(unit * 20_000, SETTINGS)
