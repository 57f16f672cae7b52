"""From a URL to a client: short limits, no retries; what retries is whoever keeps state current."""

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from state.backends.redis.faults import redacted
from state.errors import InvalidStateUrl

SOCKET_SECONDS = 0.25
MOST_CONNECTIONS = 32


def connect(url: str) -> Redis:
    """Return a client that connects when first used; raises InvalidStateUrl.

    Whatever redis-py takes as query works: `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`, `db`.
    """
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=MOST_CONNECTIONS,
            timeout=SOCKET_SECONDS,
        )
        pool.connection_kwargs |= {
            # With a limit here redis-py writes inside asyncio.wait_for, which in Python 3.11 loses
            # cancellations (python/cpython#86296): the store's own deadline spans the whole call.
            "socket_timeout": None,
            "socket_connect_timeout": SOCKET_SECONDS,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "client_name": "murmuration",
        }
        # Finds options that no connection takes, without any I/O.
        pool.make_connection()  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidStateUrl(redacted(url), str(error)) from error
    return Redis.from_pool(pool)
