"""Structured logs on standard error: JSON for machines, lines for a terminal."""

import logging
import sys
from typing import Literal

import structlog
from structlog.tracebacks import ExceptionDictTransformer

LogFormat = Literal["auto", "json", "text"]


def configure(*, level: str = "info", form: LogFormat = "auto") -> None:
    """Set structlog up for this process; called once by a composition root."""
    terminal = sys.stderr.isatty()
    text = form == "text" or (form == "auto" and terminal)
    renderer = _text_renderer(colors=terminal) if text else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if text else [_tracebacks_without_locals()]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=level.upper(), stream=sys.stderr, force=True)


def _tracebacks_without_locals() -> structlog.processors.ExceptionRenderer:
    """Frames hold prompts and keys: structlog's defaults, here and in text, would print them."""
    return structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))


def _text_renderer(*, colors: bool) -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(
        colors=colors, exception_formatter=structlog.dev.plain_traceback
    )
