"""From a URL to a client: short limits, no retries; what retries is whoever keeps state current."""

from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from state.backends.redis.faults import redacted
from state.backends.redis.sentinel import connect_sentinel
from state.errors import InvalidStateUrl

SOCKET_SECONDS = 0.25
MOST_CONNECTIONS = 32
SENTINEL_SCHEMES = ("redis+sentinel://", "rediss+sentinel://")


def connect(url: str) -> Redis:
    """Return a client that connects when first used; raises InvalidStateUrl.

    Whatever redis-py takes as query works: `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`, `db`.
    """
    try:
        if url.startswith(SENTINEL_SCHEMES):
            client: Redis = connect_sentinel(url, _options())
        else:
            client = _connect_server(url)
        # Finds options that no connection takes, without any I/O.
        client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidStateUrl(redacted(url), str(error)) from error
    return client


def _connect_server(url: str) -> Redis:
    pool = BlockingConnectionPool.from_url(
        url, max_connections=MOST_CONNECTIONS, timeout=SOCKET_SECONDS
    )
    pool.connection_kwargs |= _options()
    return Redis.from_pool(pool)


def _options() -> dict[str, Any]:
    """Return what all connections have, whatever the URL says."""
    return {
        # With a limit here redis-py writes inside asyncio.wait_for, which in Python 3.11 loses
        # cancellations (python/cpython#86296): the store's own deadline spans the whole call.
        "socket_timeout": None,
        "socket_connect_timeout": SOCKET_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "client_name": "murmuration",
    }
