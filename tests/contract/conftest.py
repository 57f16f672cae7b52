"""The shared servers, and a store of each kind."""

from collections.abc import AsyncIterator

import pytest

from state.ports import Store
from tests.support.backends import Backend, backend
from tests.support.redis_groups import redis_cluster, redis_sentinel
from tests.support.redis_server import redis_server

__all__ = ["backend", "redis_cluster", "redis_sentinel", "redis_server"]


@pytest.fixture
async def store(backend: Backend) -> AsyncIterator[Store]:
    """Open the store as one process."""
    opened = backend.connect()
    yield opened
    await opened.close()


@pytest.fixture
async def other(backend: Backend) -> AsyncIterator[Store]:
    """Open the store as another process."""
    opened = backend.connect()
    yield opened
    await opened.close()
