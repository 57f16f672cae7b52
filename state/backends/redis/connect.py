"""From a URL to a client: short limits, no retries; what retries is whoever keeps state current."""

from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from state.backends.redis.cluster import connect_cluster
from state.backends.redis.faults import redacted
from state.backends.redis.sentinel import connect_sentinel
from state.errors import InvalidStateUrl

SOCKET_SECONDS = 0.25
MOST_CONNECTIONS = 32
SERVER_SCHEMES = ("redis", "rediss")
SENTINEL_SCHEMES = ("redis+sentinel", "rediss+sentinel")
CLUSTER_SCHEMES = ("redis+cluster", "rediss+cluster")
FORMS = (
    *(f"{scheme}://host:port" for scheme in SERVER_SCHEMES),
    *(f"{scheme}://host:port,host:port/service" for scheme in SENTINEL_SCHEMES),
    *(f"{scheme}://host:port,host:port" for scheme in CLUSTER_SCHEMES),
)


def connect(url: str, *, slot: int) -> Redis:
    """Return a client that connects when first used; raises InvalidStateUrl.

    `slot` is where a Cluster keeps the keys. Whatever redis-py takes as query works:
    `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`, `db`.
    """
    try:
        client = _client(url, slot)
        # Finds options that no connection takes, without any I/O.
        client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidStateUrl(redacted(url), str(error)) from error
    return client


def _client(url: str, slot: int) -> Redis:
    scheme, _, rest = url.partition("://")
    netloc = urlsplit(url).netloc
    _, colon, port = netloc.rpartition(":")
    if "@" in rest and "@" not in netloc and colon and not port.isdigit():
        raise ValueError("percent-encode '/', '?' and '#' in user and password")
    if scheme in SENTINEL_SCHEMES:
        return connect_sentinel(url, _options())
    if scheme in CLUSTER_SCHEMES:
        return connect_cluster(url, slot, _options())
    return _connect_server(url)


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
