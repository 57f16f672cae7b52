"""Token usage, read off response bodies as they pass: fail-open, in bounded memory."""

import re

import msgspec

from picker.requests.inflate import InflateError, inflater_for

TAIL_BYTES = 64 << 10
"""What is kept of a line or a body that is not over yet; usage stands near its end."""

MAX_COUNT = 1 << 53

# Usage objects nest one level, and hold no text: braces need no further care.
_USAGE = re.compile(rb'"usage"\s*+:\s*+(\{(?:[^{}]++|\{[^{}]*+\})*+\})')
_DONE = re.compile(rb"(?m)^data:[ \t]*+\[DONE\]")


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What the model server said; None is what it did not say."""

    prompt_tokens: int | None = None
    """Anthropic's count leaves out what was read from the cache."""
    output_tokens: int | None = None
    cached_tokens: int | None = None
    total_tokens: int | None = None
    """The sum of the others where only those were given."""


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Counts(msgspec.Struct):
    """All spellings of one usage object."""

    prompt_tokens: int | None = None
    input_tokens: int | None = None
    completion_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None


_DECODER = msgspec.json.Decoder(_Counts)


class UsageReader:
    """Observes one response body, chunk by chunk, and never raises."""

    def __init__(self, *, content_type: bytes = b"", content_encoding: bytes = b"") -> None:
        """Prepare for a body of this type; one in an unknown encoding is not observed."""
        self._streams = b"text/event-stream" in content_type.lower()
        encoded = content_encoding.strip().lower() not in {b"", b"identity"}
        self._inflater = inflater_for(content_encoding) if encoded else None
        self._tail = bytearray()
        self._counts: dict[str, int] = {}
        self._sums_cached = False
        self.observing = not encoded or self._inflater is not None
        """False once the body cannot be read any further."""
        self.events = 0
        """`data:` lines of an event stream, without `[DONE]`."""

    @property
    def usage(self) -> Usage:
        """What has been said so far; the last word on each count wins."""
        return Usage(**self._counts | {"total_tokens": self._total()})

    def feed(self, chunk: bytes, *, end: bool = False) -> None:
        """Take the next chunk as it came off the wire; `end` tells that it is the last one."""
        if not self.observing:
            return
        if self._inflater is None:
            self._take(chunk)
        else:
            try:
                for piece in self._inflater.inflate(chunk):
                    self._take(piece)
            except InflateError:
                self.observing = False
        if end:
            self._finish()

    def _take(self, data: bytes) -> None:
        if not self._streams:
            self._keep(data)
            return
        if b"\r" in data:
            data = data.replace(b"\r", b"\n")  # the empty lines this makes of CRLF mean nothing
        whole = data.rfind(b"\n") + 1
        if not whole:
            self._keep(data)
            return
        lines = data[:whole]
        if self._tail:
            lines = bytes(self._tail) + lines
            self._tail.clear()
        self._read_lines(lines)
        if whole < len(data):
            self._keep(data[whole:])

    def _keep(self, data: bytes) -> None:
        """Add to the unfinished line or body; of an overlong one, keep its kind and its end."""
        self._tail += data
        if len(self._tail) > 2 * TAIL_BYTES:
            kind = b"data:" if self._tail.startswith(b"data:") else b":"
            self._tail[:-TAIL_BYTES] = kind

    def _finish(self) -> None:
        rest = bytes(self._tail)
        self._tail.clear()
        self.observing = False
        if self._streams:
            self._read_lines(rest)
        else:
            self._read_usage(rest)

    def _read_lines(self, lines: bytes) -> None:
        self.events += lines.count(b"\ndata:") + lines.startswith(b"data:")
        if b"[DONE]" in lines:
            self.events -= len(_DONE.findall(lines))
        if b'"usage"' in lines:
            for line in lines.split(b"\n"):
                if line.startswith(b"data:"):
                    self._read_usage(line)

    def _read_usage(self, text: bytes) -> None:
        for found in _USAGE.finditer(text):
            try:
                counts = _DECODER.decode(found[1])
            except (ValueError, RecursionError):
                continue
            self._merge(counts)

    def _merge(self, counts: _Counts) -> None:
        details = counts.prompt_tokens_details or counts.input_tokens_details or _Details()
        said = {
            "prompt_tokens": _first(counts.prompt_tokens, counts.input_tokens),
            "output_tokens": _first(counts.completion_tokens, counts.output_tokens),
            "cached_tokens": _first(details.cached_tokens, counts.cache_read_input_tokens),
            "total_tokens": counts.total_tokens,
        }
        self._sums_cached |= counts.cache_read_input_tokens is not None
        self._counts |= {
            name: count for name, count in said.items() if count is not None and _is_sane(count)
        }

    def _total(self) -> int | None:
        said = self._counts.get("total_tokens")
        if said is not None or not self._counts:
            return said
        summed = ("prompt_tokens", "output_tokens") + ("cached_tokens",) * self._sums_cached
        return sum(self._counts.get(name, 0) for name in summed)


def _first(*counts: int | None) -> int | None:
    return next((count for count in counts if count is not None), None)


def _is_sane(count: int) -> bool:
    return 0 <= count < MAX_COUNT
