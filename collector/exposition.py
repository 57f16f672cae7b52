"""Reads text exposition pages: only the wanted families, and only their valid samples."""

import re
from collections.abc import Container

import msgspec

from collector.errors import FailureReason, ScrapeFailed

MEDIA_TYPES = ("text/plain", "application/openmetrics-text")

BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")

# Possessive quantifiers: a hostile page cannot make these backtrack.
_LABEL = rb'[ \t]*+[a-zA-Z_][a-zA-Z0-9_]*+[ \t]*+=[ \t]*+"(?:[^"\\\n]++|\\.)*+"[ \t]*+'
_BLOCK = rb"\{(?:" + _LABEL + rb"(?:," + _LABEL + rb")*+,?+)?+[ \t]*+\}"
_TIME = rb"(?:[ \t]++-?[0-9.eE+]++)?+"
_SAMPLE = re.compile(
    rb"[ \t]*+("
    + _BLOCK
    + rb")?+[ \t]*+([^\s#{}]++)"
    + _TIME
    + rb"[ \t]*+(?:#[^\n]*+)?+\r?+(?:\n|\Z)"
)
_WORD = re.compile(rb"\S*+")
_PAIR = re.compile(rb'([a-zA-Z_][a-zA-Z0-9_]*+)[ \t]*+=[ \t]*+"((?:[^"\\]++|\\.)*+)"')
_ESCAPE = re.compile(r"\\(.)")
_UNESCAPED = {"n": "\n", '"': '"', "\\": "\\"}


class Family(msgspec.Struct):
    """The samples of one name, by their raw label block; the last of equal series counts."""

    samples: dict[bytes, float] = msgspec.field(default_factory=dict)
    rejected: int = 0
    """Lines of this name that are no valid sample."""


def check_page(content_type: str | None, page: bytes) -> None:
    """Raise ScrapeFailed unless this looks like a text exposition page."""
    media = (content_type or "").partition(";")[0].strip().lower()
    if media and media not in MEDIA_TYPES:
        raise ScrapeFailed(FailureReason.CONTENT_TYPE, f"{media}; {_hint(media)}")
    start = page[:256].lstrip()
    if not start:
        raise ScrapeFailed(FailureReason.EMPTY, "the page is empty; are metrics enabled?")
    if start.startswith((b"<", b"{", b"[", *BYTE_ORDER_MARKS)):
        raise ScrapeFailed(FailureReason.NOT_EXPOSITION, f"starts with {start[:16]!r}; {_hint('')}")


def _hint(media: str) -> str:
    if "protobuf" in media:
        return "the server ignored the Accept header"
    return "wrong path? trtllm-serve has its text page at /prometheus/metrics"


def scan(page: bytes, prefix: bytes, names: Container[bytes]) -> dict[bytes, Family]:
    """Return the families whose name is `prefix` plus one of the names, keyed by the latter.

    The page is split once at the prefix: the cost does not depend on how many names are wanted,
    and families may be scattered.
    """
    families: dict[bytes, Family] = {}
    chunks = (b"\n" + page).split(b"\n" + prefix)[1:]
    for name, chunk in zip(_heads(chunks), chunks, strict=True):
        if name in names:
            _add(families, name, chunk)
    return families


def _heads(chunks: list[bytes]) -> list[bytes]:
    """Return the names that the chunks start with."""
    heads = [chunk.partition(b"{")[0] for chunk in chunks]
    # One search instead of one per chunk: with a label block right after each name, as engines
    # write them, the heads are the names already.
    joined = b"{".join(heads)
    if b" " in joined or b"\t" in joined:
        heads = [_WORD.match(head)[0] for head in heads]  # type: ignore[index]  # always matches
    return heads


def _add(families: dict[bytes, Family], name: bytes, chunk: bytes) -> None:
    family = families.get(name)
    if family is None:
        family = families[name] = Family()
    sample = _SAMPLE.match(chunk, len(name))
    value = None if sample is None else _number(sample[2])
    if sample is None or value is None:
        family.rejected += 1
    else:
        family.samples[sample[1] or b"{}"] = value


def _number(text: bytes) -> float | None:
    # Python accepts 1_000, the format does not.
    if b"_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        return None


def parse_labels(block: bytes) -> dict[str, str]:
    """Return the labels of a valid raw block, escapes resolved."""
    return {
        key.decode(): _ESCAPE.sub(_resolve, text.decode(errors="replace"))
        for key, text in _PAIR.findall(block)
    }


def _resolve(escape: re.Match[str]) -> str:
    return _UNESCAPED.get(escape[1], escape[0])
