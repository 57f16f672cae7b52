"""Faults of our own code, logged without what a client sent, which exceptions may quote."""

import traceback
from pathlib import Path

import structlog

from picker.extproc.ports import StreamFailed
from picker.extproc.server import GrpcStatus

log = structlog.get_logger(__name__)

FRAMES = 5


def log_fault(error: Exception) -> StreamFailed:
    """Log type and place of a fault in one line; return what its stream ends with."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    place = " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
    log.error("exchange failed", error=type(error).__name__, at=place)
    return StreamFailed(GrpcStatus.INTERNAL, "internal error")
