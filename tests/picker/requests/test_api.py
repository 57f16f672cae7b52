import pytest

from picker.requests.api import api_of
from picker.requests.model import Api


@pytest.mark.parametrize(
    ("path", "api"),
    [
        ("/v1/chat/completions", Api.CHAT),
        ("/tenant/a/v1/chat/completions", Api.CHAT),
        ("/v1/chat/completions/render", Api.CHAT),
        ("/v1/completions", Api.COMPLETIONS),
        ("/v1/completions/render", Api.COMPLETIONS),
        ("/v1/embeddings", Api.EMBEDDINGS),
        ("/v1/responses", Api.RESPONSES),
        ("/v1/messages", Api.MESSAGES),
        ("/v1/messages/count_tokens", Api.OTHER),
        ("/v1/models", Api.OTHER),
        ("/v1/mycompletions", Api.OTHER),
        ("/", Api.OTHER),
        ("", Api.OTHER),
    ],
)
def test_longest_claimed_suffix_decides(path: str, api: Api) -> None:
    """Suffixes are compared in whole segments, the longest first."""
    assert api is api_of(path)
