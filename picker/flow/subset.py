"""The gateway's subset hint: which endpoints of the pool may serve a request."""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from state.model import BoolArray, canonical_address
from state.view import PoolView


def subset_mask(view: PoolView, hint: Sequence[str]) -> BoolArray:
    """Return the endpoints that the hint names; an empty hint names none.

    `ip:port` names one endpoint, `ip` all its ports; IPv6 with a port stands in brackets. Items may
    be comma lists themselves. What is no address names nobody.
    """
    named = _entries(tuple(hint))
    mask = np.zeros(len(view), np.bool_)
    for slot, endpoint in enumerate(view.endpoints):
        mask[slot] = (endpoint.address, endpoint.port) in named or (
            (endpoint.address, None) in named
        )
    return mask


@lru_cache(maxsize=256)
def _entries(hint: tuple[str, ...]) -> frozenset[tuple[str, int | None]]:
    return frozenset(_parse_all(item for text in hint for item in text.split(",")))


def _parse_all(items: Iterable[str]) -> Iterable[tuple[str, int | None]]:
    for item in items:
        entry = _parse(item.strip())
        if entry is not None:
            yield entry


def _parse(item: str) -> tuple[str, int | None] | None:
    for address, port in _readings(item):
        try:
            return canonical_address(address), port
        except ValueError:
            continue
    return None


def _readings(item: str) -> Iterable[tuple[str, int | None]]:
    """A bare IPv6 literal also ends in a colon and digits: as a whole address it comes first."""
    yield item, None
    address, _, port = item.rpartition(":")
    bracketed = address.startswith("[") or ":" not in address
    if bracketed and port.isascii() and port.isdigit() and len(port) <= 5:
        yield address, int(port)
