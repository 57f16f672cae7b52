"""What errors of the Redis client mean: silence, or a configuration that can never work."""

import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

from redis.exceptions import (
    AuthenticationError,
    InvalidResponse,
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

_ACL = "give the user +@connection +@scripting +@pubsub +@read +@write +time ~mm:* &mm:*"
_FIXES = {
    "WRONGTYPE": "another application uses this pool's keys: choose another --pool or database",
    "NOPERM": _ACL,
    "The user executing the script can't": _ACL,
    "unknown command": "use a server that offers scripts and pub/sub, Redis 7.0 or newer",
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


def redacted(url: str) -> str:
    """Return the URL without its password."""
    try:
        password = urlsplit(url).password
    except ValueError:
        password = None
    head, at, tail = url.rpartition("@")
    if not at or not password:
        return url
    scheme, separator, user = head.partition("://")
    return f"{scheme}{separator}{user.partition(':')[0]}:***@{tail}"


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
    if isinstance(error, ResponseError):
        return next((fix for sign, fix in _FIXES.items() if sign in text), None)
    return None
