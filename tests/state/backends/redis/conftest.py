"""The shared servers."""

from tests.support.redis_groups import redis_cluster
from tests.support.redis_server import redis_server

__all__ = ["redis_cluster", "redis_server"]
