"""The error tree of the collector package."""

from enum import Enum


class FailureReason(Enum):
    """Why a scrape gave no page; the value is the label of the metric."""

    CONNECT = "connect"
    TIMEOUT = "timeout"
    BROKEN = "broken"
    STATUS = "status"
    REDIRECT = "redirect"
    ENCODING = "encoding"
    CONTENT_TYPE = "content_type"
    NOT_EXPOSITION = "not_exposition"
    EMPTY = "empty"
    TOO_LARGE = "too_large"


class CollectorError(Exception):
    """Root of everything that this package raises on purpose."""


class ScrapeFailed(CollectorError):  # noqa: N818  reads as the event it reports
    """An endpoint gave no usable page: what was known of it goes on ageing."""

    def __init__(self, reason: FailureReason, detail: str) -> None:
        """Keep the reason for machines, and what was seen and what to change for people."""
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail
