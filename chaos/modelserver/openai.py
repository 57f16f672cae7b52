"""OpenAI's requests and answers as vLLM 0.32.0 reads and writes them."""

import re

import msgspec

from chaos.engine.prompts import chain_hashes, count_tokens
from chaos.engine.sequence import FinishReason, Request

DEFAULT_OUTPUT_TOKENS = 16
WORD = " sim"


class ApiError(Exception):
    """An answer other than 200, in vLLM's form."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        """Keep the fields of the error object."""
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.param = param

    def body(self) -> bytes:
        """Render the JSON document."""
        error = {"message": str(self), "type": self.kind, "param": self.param, "code": self.status}
        return msgspec.json.encode({"error": error})


class Message(msgspec.Struct):
    """One message of a chat; content is text or a list of parts."""

    role: str
    content: str | list[dict[str, object]] | None = None


class StreamOptions(msgspec.Struct):
    """What a stream carries besides tokens."""

    include_usage: bool | None = False


class _Body(msgspec.Struct, kw_only=True):
    model: str | None = None
    max_tokens: int | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None


class ChatBody(_Body, kw_only=True):
    """A request to /v1/chat/completions."""

    messages: list[Message]
    max_completion_tokens: int | None = None

    def prompt(self) -> bytes:
        """Flatten the messages as a chat template would."""
        return "".join(f"<|{m.role}|>{_text(m.content)}" for m in self.messages).encode()

    def limit(self) -> int | None:
        """Return the client's limit of output tokens."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


class CompletionBody(_Body, kw_only=True):
    """A request to /v1/completions."""

    prompt_text: str | list[str] = msgspec.field(name="prompt")

    def prompt(self) -> bytes:
        """Return the text to complete."""
        text = self.prompt_text
        return (text if isinstance(text, str) else "".join(text)).encode()

    def limit(self) -> int | None:
        """Return the client's limit of output tokens."""
        return self.max_tokens


Body = ChatBody | CompletionBody
_CHAT = msgspec.json.Decoder(ChatBody)
_COMPLETION = msgspec.json.Decoder(CompletionBody)


def parse(body: bytes, *, chat: bool) -> Body:
    """Decode a request body. Raises ApiError with status 400."""
    try:
        return _CHAT.decode(body) if chat else _COMPLETION.decode(body)
    except msgspec.ValidationError as error:
        raise _validation_error(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _syntax_error(str(error), len(body)) from error


def to_request(
    body: Body, *, models: tuple[str, ...], max_model_len: int, block_tokens: int
) -> Request:
    """Turn a body into work for the engine. Raises ApiError for what vLLM refuses."""
    if body.model is not None and body.model not in models:
        raise _unknown_model(body.model, models)
    limit, prompt = body.limit(), body.prompt()
    tokens, output = count_tokens(prompt), limit or DEFAULT_OUTPUT_TOKENS
    if limit is not None and limit < 1:
        message = f"max_tokens must be at least 1, got {limit}."
        raise ApiError(400, "BadRequestError", message, "max_tokens")
    if tokens + output > max_model_len:
        raise _too_long(tokens, output, max_model_len)
    return Request(
        prompt_tokens=tokens,
        output_tokens=output,
        block_hashes=chain_hashes(prompt, block_tokens),
        finish_reason=FinishReason.STOP if limit is None else FinishReason.LENGTH,
    )


def _text(content: str | list[dict[str, object]] | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(str(part.get("text", "")) for part in content)


def _unknown_model(model: str, models: tuple[str, ...]) -> ApiError:
    message = f"The model `{model}` does not exist. Valid aliases: {', '.join(models)}."
    return ApiError(404, "NotFoundError", message, "model")


def _too_long(tokens: int, output: int, max_model_len: int) -> ApiError:
    message = (
        f"This model's maximum context length is {max_model_len} tokens. However, you requested "
        f"{output} output tokens and your prompt contains {tokens} input tokens. Please reduce "
        "the length of the input prompt or the number of requested output tokens."
    )
    return ApiError(400, "BadRequestError", message, "input_tokens")


def _validation_error(message: str) -> ApiError:
    missing = re.search(r"missing required field `(\w+)`", message)
    path = re.search(r"at `\$\.?([^`]*)`", message)
    location = ".".join(["body", *([path[1]] if path else []), *([missing[1]] if missing else [])])
    kind, text = ("missing", "Field required") if missing else ("type_error", message)
    return _pydantic_error(f"{{'type': '{kind}', 'loc': '{location}', 'msg': '{text}'}}", location)


def _syntax_error(message: str, length: int) -> ApiError:
    at = re.search(r"\(byte (\d+)\)", message)
    location = f"body.{at[1] if at else length}"
    details = f"{{'type': 'json_invalid', 'loc': '{location}', 'msg': 'JSON decode error'}}"
    return _pydantic_error(details, location)


def _pydantic_error(details: str, location: str) -> ApiError:
    return ApiError(400, "Bad Request", f"1 validation error:\n  {details}", location)
