"""The error tree of picker.requests: what a client is told about a request that cannot be read."""

from enum import Enum

MESSAGE_BYTES = 256
EXCERPT_BYTES = 64


class ErrorCode(Enum):
    """The `code` of an error body."""

    INVALID_JSON = "invalid_json"
    MISSING_FIELD = "missing_field"
    INVALID_PROMPT = "invalid_prompt"
    MODEL_NOT_FOUND = "model_not_found"


class RequestError(Exception):
    """Root of the tree. `message` is printable ASCII of at most 256 bytes."""

    status = 400

    def __init__(self, code: ErrorCode, message: str) -> None:
        """Keep what an error body needs; the message is escaped and cut here."""
        self.code = code
        self.message = escape(message)[:MESSAGE_BYTES]
        super().__init__(self.message)


class InvalidJson(RequestError):  # noqa: N818  the name says what the body is
    """The body is not one JSON object."""

    def __init__(self, reason: str, body: bytes) -> None:
        """Keep the decoder's reason and the first bytes of the body, escaped."""
        self.excerpt = excerpt(body)
        super().__init__(ErrorCode.INVALID_JSON, f"body is not JSON: {reason}: {self.excerpt}")


class MissingField(RequestError):  # noqa: N818
    """A field without which the API has no prompt is absent, null or empty."""

    def __init__(self, api: str, field: str) -> None:
        """Keep the API and the field by their names on the wire."""
        self.api = api
        self.field = field
        super().__init__(ErrorCode.MISSING_FIELD, f"invalid {api} request: must have {field} field")


class InvalidPrompt(RequestError):  # noqa: N818
    """A prompt is of no type that the API knows, or its array mixes types."""

    def __init__(self, field: str, reason: str) -> None:
        """Keep the field and what is wrong with it."""
        self.field = field
        self.reason = reason
        super().__init__(ErrorCode.INVALID_PROMPT, f"invalid {field}: {reason}")


class ModelNotFound(RequestError):  # noqa: N818
    """Neither the body nor a rewrite names a model."""

    def __init__(self) -> None:
        """The message is the reference picker's."""
        super().__init__(ErrorCode.MODEL_NOT_FOUND, "model not found in request body")


def excerpt(body: bytes) -> str:
    """Return the first bytes of a body as printable ASCII without quotes or markup."""
    shown = escape(body[:EXCERPT_BYTES].decode("latin-1"))
    return shown + "..." if len(body) > EXCERPT_BYTES else shown


def escape(text: str) -> str:
    """Write everything but printable ASCII, and `"`, `<` and `>`, as escapes."""
    escaped = text.encode("unicode_escape").decode("ascii")
    return escaped.replace('"', "'").replace("<", "\\x3c").replace(">", "\\x3e")
