"""Session-wide set-up."""

import asyncio

import pytest


def pytest_sessionstart(session: pytest.Session) -> None:  # noqa: ARG001  pytest's shape
    """Say that there is no loop, or pytest-asyncio makes one and leaves it open."""
    asyncio.set_event_loop(None)
