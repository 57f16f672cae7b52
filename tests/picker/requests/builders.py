"""Bodies, and a parse with the path that the test does not care about."""

import json
from collections.abc import Mapping
from typing import Any

from picker.requests.model import InferenceRequest, ParseSettings
from picker.requests.parse import DEFAULT_SETTINGS, parse

CHAT = "/v1/chat/completions"
TEXT = "All happy families are alike; each unhappy family is unhappy in its own way. "
PNG = "iVBORw0KGgo" * 400


def chat(*contents: Any, **fields: Any) -> bytes:
    """A chat body; fields go before the messages."""
    messages = [{"role": "user", "content": content} for content in contents]
    return json.dumps({"model": "tiny", **fields, "messages": messages}).encode()


def read(
    body: bytes,
    path: str = CHAT,
    *,
    headers: Mapping[str, bytes] | None = None,
    partial: bool = False,
    settings: ParseSettings = DEFAULT_SETTINGS,
) -> InferenceRequest:
    """Parse with defaults."""
    return parse(path, headers or {}, body, partial=partial, settings=settings)


def image(data: str = PNG) -> dict[str, Any]:
    """A content part of the chat API with its picture inline."""
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def text(content: str) -> dict[str, str]:
    """A content part of the chat API."""
    return {"type": "text", "text": content}
