"""The Lua scripts: each is one atomic step in the store."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from redis.exceptions import NoScriptError

_LEDGER = {"reserve", "settle", "release", "restore", "reap"}
_FOLDER = Path(__file__).with_name("lua")

Argument = str | bytes | int


class Evaluates(Protocol):
    """What scripts need of a client."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command and return its reply."""


@cache
def _source(name: str) -> tuple[str, str]:
    """Return a script's text and digest."""
    parts = ("common", "ledger", name) if name in _LEDGER else ("common", name)
    text = "".join((_FOLDER / f"{part}.lua").read_text() for part in parts)
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


async def evaluate(client: Evaluates, name: str, keys: list[str], *arguments: Argument) -> Any:
    """Run a script by its digest; a server that does not know it is sent the text."""
    text, digest = _source(name)
    rest = (len(keys), *keys, *arguments)
    try:
        return await client.execute_command("EVALSHA", digest, *rest)
    except NoScriptError:
        return await client.execute_command("EVAL", text, *rest)
