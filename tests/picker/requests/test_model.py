from typing import Any

import pytest

from picker.requests.model import ParseSettings
from tests.picker.requests.builders import TEXT, chat, read


def test_tokens_in_counts_growing_blocks() -> None:
    """Matched hashes turn into tokens, although blocks are not of one size."""
    request = read(chat(TEXT * 1000))
    assert [0, 64, 64 * 64, 64 * 64 + 128] == [request.tokens_in(n) for n in (0, 1, 64, 65)]
    assert 0.97 < request.tokens_in(len(request.prefix)) / request.prompt_tokens <= 1


@pytest.mark.parametrize("fields", [{"block_tokens": 1}, {"max_prefix_blocks": -1}])
def test_settings_refuse_exploding_sizes(fields: dict[str, Any]) -> None:
    """A block of one token would index every token of every prompt."""
    with pytest.raises(ValueError, match=next(iter(fields))):
        ParseSettings(**fields)
