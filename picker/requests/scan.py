"""A tolerant scanner: top-level fields of a JSON object that may be cut off anywhere."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

Octets = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.intp]

MAX_SCAN_BYTES = 1 << 20
"""What lies further from the start of a partial body counts as cut off: Envoy's default buffer."""

MAX_FIELDS = 128
"""Top-level fields that are looked at, which bounds the time of one scan."""

_OPEN = re.compile(rb"\s*+\{")
_KEY = re.compile(rb'\s*+("[^"\\]*+(?:\\.[^"\\]*+)*+")\s*+:\s*+', re.DOTALL)
_SCALAR = re.compile(rb'[^,}\]\[{"\s]++(?=\s*+[,}])')
_COMMA = re.compile(rb"\s*+,")


class Span(NamedTuple):
    """Where a top-level value lies; the value of a cut field ends with the body."""

    name: str
    start: int
    end: int
    cut: bool


def top_level(body: bytes) -> Iterator[Span]:
    """Yield the top-level fields in order, the one that is cut off last.

    A scalar that ends with the body is left out, since it may go on. Never raises: the scan ends
    where the body stops being JSON.
    """
    body = body[:MAX_SCAN_BYTES]
    opened = _OPEN.match(body)
    if opened is None:
        return
    structure = _Structure(body)
    position = opened.end()
    for _ in range(MAX_FIELDS):
        key = _KEY.match(body, position)
        if key is None:
            return
        start = key.end()
        end = structure.value_end(start)
        if end is None:
            if body[start : start + 1] in {b"[", b"{", b'"'}:
                yield Span(_text(key[1]), start, len(body), cut=True)
            return
        yield Span(_text(key[1]), start, end, cut=False)
        comma = _COMMA.match(body, end)
        if comma is None:
            return
        position = comma.end()


class _Structure:
    """Where strings and containers end, found for the whole body at once and without recursion."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        octets = np.frombuffer(body, np.uint8)
        self._quotes = _plain_quotes(octets)
        folded = octets | 0x20  # makes { of [ and } of ]
        found = np.flatnonzero((folded == ord("{")) | (folded == ord("}")))
        self._brackets = found[np.searchsorted(self._quotes, found) % 2 == 0]
        self._depth = np.cumsum(np.where(folded[self._brackets] == ord("{"), 1, -1))

    def value_end(self, start: int) -> int | None:
        """Return the end of the value that starts here, None if it is cut off or no JSON."""
        first = self._body[start : start + 1]
        if first == b'"':
            return self._string_end(start)
        if first in {b"[", b"{"}:
            return self._container_end(start)
        scalar = _SCALAR.match(self._body, start)
        return scalar.end() if scalar else None

    def _string_end(self, start: int) -> int | None:
        closing = int(np.searchsorted(self._quotes, start)) + 1
        return int(self._quotes[closing]) + 1 if closing < len(self._quotes) else None

    def _container_end(self, start: int) -> int | None:
        opening = int(np.searchsorted(self._brackets, start))
        if opening == len(self._brackets):  # a body that lost its way in its strings
            return None
        closes = self._depth[opening:] == self._depth[opening] - 1
        closing = int(closes.argmax())
        return int(self._brackets[opening + closing]) + 1 if closes[closing] else None


def _plain_quotes(octets: Octets) -> Positions:
    """Return where the quotes are that no backslash escapes: those after an even run of them."""
    quotes = np.flatnonzero(octets == ord('"'))
    slashes = np.flatnonzero(octets == ord("\\"))
    if not len(slashes):
        return quotes
    # For each backslash the index of the first one of its run, hence the length of the run so far.
    starts = np.concatenate(([True], np.diff(slashes) > 1))
    index = np.arange(len(slashes))
    length = index - np.maximum.accumulate(np.where(starts, index, 0)) + 1
    before = np.searchsorted(slashes, quotes) - 1
    follows = (before >= 0) & (slashes[before] == quotes - 1)
    plain: Positions = quotes[~(follows & (length[before] % 2 == 1))]
    return plain


def _text(quoted: bytes) -> str:
    """Return the text of a key; one that is no valid string matches no field of ours."""
    if b"\\" not in quoted:
        return quoted[1:-1].decode("latin-1")
    try:
        return msgspec.json.decode(quoted, type=str)
    except ValueError:
        return ""
