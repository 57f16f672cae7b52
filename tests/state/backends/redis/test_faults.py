"""Which errors can never heal, and what messages may say."""

import ssl

import pytest
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    InvalidResponse,
    MovedError,
    NoPermissionError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from state.backends.redis.faults import misconfiguration, reason, redacted


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (AuthenticationError("invalid username-password pair"), "user and password"),
        (NoPermissionError("no permissions to run 'evalsha'"), "+@scripting"),
        (ResponseError("WRONGTYPE Operation against a key"), "another --pool"),
        (ResponseError("unknown command 'EVALSHA'"), "Redis 7.0"),
        (ResponseError("NOAUTH Authentication required."), "user:password"),
        (InvalidResponse("Protocol Error: b'HTTP'"), "host and port"),
        (ssl.SSLCertVerificationError("self-signed"), "ssl_ca_certs"),
        (FileNotFoundError("/ca.pem"), "paths"),
        (MovedError("1 127.0.0.1:7001"), "redis+cluster://"),
        (ResponseError("This instance has cluster support disabled"), "no Cluster"),
    ],
)
def test_misconfiguration_names_the_fix(error: Exception, fix: str) -> None:
    """What an operator must do is part of the message."""
    found = misconfiguration(error)
    assert found is not None
    assert fix in found[1]


def test_cause_is_looked_for_below() -> None:
    """The client wraps what TLS says."""
    error = RedisConnectionError("Error 1 connecting")
    error.__cause__ = ssl.SSLCertVerificationError("self-signed")
    assert misconfiguration(error) is not None


@pytest.mark.parametrize(
    "error",
    [
        RedisConnectionError("refused"),
        TimeoutError(),
        BusyLoadingError("loading"),
        ReadOnlyError("replica"),
        ConnectionResetError(),
    ],
)
def test_what_may_heal_is_no_misconfiguration(error: Exception) -> None:
    """A store that is away, starting or failing over."""
    assert None is misconfiguration(error)


def test_reason_names_the_kind() -> None:
    """Time-outs have no text of their own."""
    assert reason(TimeoutError()) == "TimeoutError"
    assert reason(OSError("gone")) == "OSError: gone"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host:1", "redis://host:1"),
        ("redis://:secret@host:1/0", "redis://:***@host:1/0"),
        ("rediss://me:se@cret@host", "rediss://me:***@host"),
        ("redis://me@host", "redis://me@host"),
        ("redis://me:se/cr?e#t@host:1", "redis://me:***@host:1"),
        ("redis+sentinel://:pw@a:1,b:2/mm", "redis+sentinel://:***@a:1,b:2/mm"),
        (
            "redis+sentinel://a/mm?sentinel_password=pw&db=1",
            "redis+sentinel://a/mm?sentinel_password=***&db=1",
        ),
    ],
)
def test_password_is_redacted(url: str, shown: str) -> None:
    """The user stays, it helps."""
    assert shown == redacted(url)
