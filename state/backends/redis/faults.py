"""What errors of the Redis client mean: silence, or a configuration that can never work."""

import re
import ssl
from collections.abc import Iterator

from redis.exceptions import (
    AuthenticationError,
    InvalidResponse,
    MovedError,
    NoPermissionError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

SILENCE = (RedisConnectionError, RedisTimeoutError, TimeoutError, OSError)
"""No answer came, or none could be asked for."""

FAULTS = (RedisError, OSError, TimeoutError, TypeError, ValueError)
"""All that a call raises; the last two stand for replies of a shape that no Redis gives."""

_ACL = (
    "give the user +@connection +@scripting +@pubsub +@read +@write +time +cluster|slots ~mm:*"
    " &mm:*, and one of Sentinels +@connection +sentinel|get-master-addr-by-name"
)
_FIXES = {
    "WRONGTYPE": "another application uses this pool's keys: choose another --pool or database",
    "NOPERM": _ACL,
    "The user executing the script can't": _ACL,
    "unknown command": "use a server that offers scripts and sharded pub/sub, Redis 7.0 or newer; a"
    " Sentinel is redis+sentinel://host:port/service",
    "watches no service": "name the service that the Sentinels watch: redis+sentinel://host/service",
    "cluster support disabled": "this server is no Cluster: redis://host:port",
    "NOAUTH": "give user and password in the URL: redis://user:password@host:port",
    "DB index": "name a database that exists: redis://host:port/0",
}


def reason(error: BaseException) -> str:
    """Return one line that says what went wrong."""
    return f"{type(error).__name__}: {error}".rstrip(": ")


def misconfiguration(error: BaseException) -> tuple[str, str] | None:
    """Return what is wrong and the fix; None: it may heal by itself."""
    for each in _causes(error):
        fix = _fix(each)
        if fix is not None:
            return reason(each), fix
    return None


def suspicion(error: BaseException) -> str:
    """Return one line that says what went wrong, and what may be behind it."""
    if any(isinstance(each, ConnectionResetError) for each in _causes(error)):
        return f"{reason(error)}: does the server want TLS, or a client certificate?"
    return reason(error)


def redacted(url: str) -> str:
    """Return the URL without its passwords, even if they were not percent-encoded."""
    url = re.sub(r"(?i)(password=)[^&#]*", r"\1***", url)
    scheme, separator, rest = url.partition("://")
    login, at, hosts = rest.rpartition("@")
    user, colon, password = login.partition(":")
    if not password:
        return url
    return f"{scheme}{separator}{user}{colon}***{at}{hosts}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from, outermost first."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _fix(error: BaseException) -> str | None:
    text = str(error)
    if isinstance(error, NoPermissionError):
        return _ACL
    if isinstance(error, AuthenticationError) or "WRONGPASS" in text:
        return "check user and password in the URL"
    if isinstance(error, ssl.SSLError):
        return "check ssl_ca_certs, ssl_certfile and ssl_keyfile in the URL, and the host name"
    if isinstance(error, FileNotFoundError | PermissionError):
        return "check the paths of the certificate files in the URL"
    if isinstance(error, InvalidResponse) or "Protocol error" in text or "Protocol Error" in text:
        return "this port does not speak Redis: check host and port"
    if isinstance(error, MovedError):
        return "this server is part of a Cluster: redis+cluster://host:port"
    if isinstance(error, ResponseError):
        return next((fix for sign, fix in _FIXES.items() if sign in text), None)
    return None
